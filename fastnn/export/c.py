"""C99: a network as one file with its weights and a `predict` function."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import replace
from ..kernels import catalogue
from ..kernels.catalogue import Operation, OperationRow
from ..types import Array, PathLike
from ..validation import as_path
from . import c_table
from .c_functions import CALLED_FUNCTIONS, FUNCTIONS, MATH_FUNCTIONS
from .estimator import classes_of, estimator_of
from .inference import InferenceNetwork, batch_norm_scale, read_network, runs_of_columns
from .table import ExportTable, read_table_model, table_model_of

if TYPE_CHECKING:
    from ..model import Sequential
    from ..tables.models import TableModel


def to_c(model: Sequential | TableModel | Any, path: PathLike, *, prefix: str = "model") -> None:
    """Write a model as one file of C99 that needs nothing but the standard library.

    The file has the weights, exact to the last bit, the macros MODEL_N_INPUTS and
    MODEL_N_OUTPUTS, and one function of the model's dtype, float or double::

        int model_predict(const float *x, float *probabilities);

    A classifier writes the probabilities of its classes and returns the label. A yes-or-no model
    with one output writes its probability and returns the answer, 0 or 1; with several outputs it
    returns nothing. A regression model writes `outputs`, the result of `predict`, and returns
    nothing. The comment at the top of the file describes the function and its memory, with an
    example. Nothing is allocated and there is no state, so threads may call the function side by
    side. Inputs that are not finite are not refused: the outputs become NaN.

    The function of a model of a table (:func:`fastnn.tables.load`) takes a row of MODEL_N_COLUMNS
    numbers of type double: those of the table as they are, for a category its place in
    `model_categories`, NaN for a missing value. The file has the names of the columns and classes.
    A regression writes a value of the target. The file of a fitted :class:`MLPClassifier` has the
    names of its classes too.

    A C compiler keeps the order of the additions of a sum. Values differ from those of fastnn by
    the rounding of products, which fastnn fuses with additions.

    Parameters
    ----------
    model : Sequential, TableModel or fitted estimator
    path : path-like
        The file to write. An existing file is replaced.
    prefix : str
        The start of all names, in capitals for macros: letters, digits and underscores.

    Raises
    ------
    TypeError, ValueError
        For a layer of your own, no dense layer, parameters that are not finite, and a bad prefix.
    OSError
        If the file cannot be written. An existing file stays as it was.

    Warns
    -----
    PreparedInputsWarning
        For a model of `fastnn train`: `fastnn export` writes one that takes raw numbers.

    Examples
    --------
    >>> layers = [fastnn.Dense(2, 3, rng=0), fastnn.ReLU(), fastnn.Dense(3, 2, rng=1)]
    >>> model = fastnn.Sequential(layers)
    >>> fastnn.export.to_c(model, "model.c")
    >>> with open("model.c") as file:
    ...     print(file.readline().strip())
    /* A 2-3-2 classifier, float32: Dense, ReLU, Dense.
    """
    whole = table_model_of(model)
    table = None if whole is None else read_table_model(whole)
    if whole is not None:
        model = whole.without_notes()
    estimator = estimator_of(model)
    classes = [] if estimator is None else classes_of(estimator)
    if estimator is not None:
        model = estimator.model_
    network, path = read_network(model, OPERATIONS, "to_c"), as_path(path)
    if not isinstance(prefix, str) or not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", prefix):
        raise ValueError(
            f"prefix is {prefix!r:.80}, expected letters, digits and underscores, a letter first"
        )
    text = _Source(network, prefix, Path(path).name, table, classes).text()
    replace(path, text.encode("ascii", "replace"))  # the name of a class may not be ASCII


class _Source:
    """The text of a file: the functions that are called, constants, and `predict`.

    While the body is written, the values at hand are in the C array named `values`, `width` of
    them: first the inputs `x`, then a buffer, then the output.
    """

    def __init__(
        self,
        network: InferenceNetwork,
        prefix: str,
        file_name: str,
        table: ExportTable | None = None,
        classes: Sequence[Any] = (),
    ) -> None:
        self.network, self.prefix, self.table = network, prefix, table
        self.classes = classes
        self.is_float = network.dtype == np.float32
        self.real = "float" if self.is_float else "double"
        self.file_name = file_name if re.fullmatch(r"[\w.-]+", file_name, re.ASCII) else "model.c"
        self.functions: list[str] = []
        self.constants: list[str] = []
        self.body: list[str] = []
        self.n_constants = 0
        self.values, self.width = "x", network.n_inputs
        self.n_buffers, self.widest_buffer = 0, 0
        self.skips: list[tuple[str, int]] = []  # arrays of what an Add adds, and their widths
        self.branches: list[str] = []  # those without an Add so far
        dense = [each.position for each in network.layers if each.operation == Operation.DENSE]
        self.last_dense = dense[-1]
        self.output = "outputs" if network.loss.task == "numbers" else "probabilities"
        if network.loss.task == "answers" and network.n_outputs == 1:
            self.output = "probability"

    # -------------------------------------------------------------- pieces

    def literal(self, value: float) -> str:
        """Return the shortest literal that is exactly `value` in the dtype of the network."""
        exact = np.float32(value) if self.is_float else np.float64(value)
        return f"{exact!s}f" if self.is_float else str(exact)

    def constant(self, name: str, values: Array, comment: str) -> str:
        """Declare an array; return its name."""
        suffix = "f" if self.is_float else ""
        words = [_hex(value) + suffix for value in values.ravel().tolist()]
        per_line = 5 if self.is_float else 3
        lines = [", ".join(words[i : i + per_line]) for i in range(0, len(words), per_line)]
        name = f"{self.prefix}_{name}"
        self.constants.append(
            f"/* {comment} */\nstatic const {self.real} {name}[{len(words)}] = {{\n    "
            + ",\n    ".join(lines)
            + "\n};\n"
        )
        self.n_constants += len(words)
        return name

    def function(self, name: str) -> str:
        """Add a function to the file, once, behind those that it calls; return its C name."""
        if name not in self.functions:
            for other in CALLED_FUNCTIONS.get(name, ()):
                self.function(other)
            self.functions.append(name)
        return f"{self.prefix}_{name}"

    def call(self, name: str, *arguments: object) -> str:
        """Return the expression that calls a function, which is added to the file."""
        return f"{self.function(name)}({', '.join(map(str, arguments))})"

    def _in_c(self, template: str) -> str:
        """Fill in the text of a function: the prefix, and types and literals of the dtype."""
        text = template.replace("REAL", self.real)
        text = MATH_FUNCTIONS.sub(rf"\1{'f' * self.is_float}(", text)
        text = re.sub(r"(?<![\w.])\d+\.\d+", lambda match: self.literal(float(match[0])), text)
        # As in `kernels/layer_norm.py`.
        widest, shrink = (2.0**50, 2.0**-80) if self.is_float else (2.0**490, 2.0**-540)
        text = text.replace("WIDEST", self.literal(widest)).replace("SHRINK", self.literal(shrink))
        return text.replace("@", f"{self.prefix}_")

    # -------------------------------------------------------------- the file

    def text(self) -> str:
        self._write_body()
        functions = [FUNCTIONS[name] for name in self.functions]
        needs_math = bool(MATH_FUNCTIONS.search("".join(functions)))
        macro, network = self.prefix.upper(), self.network
        parts = [
            self._comment(needs_math),
            "#include <math.h>\n" if needs_math else "",
            f"#define {macro}_N_INPUTS {network.n_inputs}\n"
            f"#define {macro}_N_OUTPUTS {network.n_outputs}\n"
            + (
                ""
                if self.table is None
                else f"#define {macro}_N_COLUMNS {len(self.table.inputs)}\n"
            ),
            f"{self._signature()};\n",
            "" if self.table is None else c_table.names(self.prefix, self.table),
            c_table.class_names(self.prefix, self.classes) if self.classes else "",
            *self.constants,
            *map(self._in_c, functions),
            f"{self._signature()}\n{{\n{textwrap.indent(_lines(self.body), '    ')}}}\n",
        ]
        return "\n".join(filter(None, parts))

    def _signature(self) -> str:
        returned = "void" if self._returns() is None else "int"
        name = f"{self.prefix}_predict"
        x = f"const {self.real} *x" if self.table is None else "const double *row"
        return f"{returned} {name}({x}, {self.real} *{self.output})"

    def _returns(self) -> str | None:
        if self.network.loss.task == "classes":
            return "the label: the number of the most probable class, from 0"
        if self.output == "probability":
            return "the answer: 1 for yes, 0 for no"
        return None

    def _comment(self, needs_math: bool) -> str:
        from ..version import __version__

        macro, network = self.prefix.upper(), self.network
        n_bytes = self.n_constants * network.dtype.itemsize
        n_values = self.n_buffers * self.widest_buffer + sum(width for _, width in self.skips)
        n_stack = n_values * network.dtype.itemsize
        library = "<math.h>, so link with -lm" if needs_math else "no library at all"
        about = {
            "x": f"{macro}_N_INPUTS finite numbers",
            self.output: f"{macro}_N_OUTPUTS numbers that are written, apart from x",
            "returns": self._returns(),
        }
        if self.table is not None:
            inputs = f"{macro}_N_COLUMNS numbers, those of {self.prefix}_column_names"
            about = {"row": inputs, **about}
            del about["x"]
            about[self.output] = f"{macro}_N_OUTPUTS numbers that are written, apart from row"
        width = max(map(len, about)) + 2
        layers = ", ".join(type(layer).__name__ for _, _, layer in network.layers)
        lines = [
            *textwrap.wrap(f"A {network}: {layers}.", 92),
            f"Written by fastnn {__version__}.",
            "",
            f"{self._signature()};",
            "",
            *(f"    {name.ljust(width)}{says}" for name, says in about.items() if says),
            *([] if self.table is None else c_table.about(self.prefix)),
            "",
            f"C99 and {library}. Nothing is allocated or kept, so threads may call it side by",
            f"side. It takes {n_bytes:,} bytes of constants and {n_stack:,} of the stack.",
            "",
            f"An example: cc -O2 example.c{' -lm' * needs_math}",
            "",
            *(f"    {line}" for line in self._example()),
        ]
        return f"/* {textwrap.indent(_lines(lines), '   ').lstrip()}*/\n"

    def _example(self) -> list[str]:
        macro, real, output = self.prefix.upper(), self.real, self.output
        x, kind, size = "x", real, f"{macro}_N_INPUTS"
        if self.table is not None:
            x, kind, size = "row", "double", f"{macro}_N_COLUMNS"
        call = f"{self.prefix}_predict({x}, {output})"
        says = f'printf("%d\\n", {call})' if self._returns() else call
        return [
            "#include <stdio.h>",
            f'#include "{self.file_name}"',
            "",
            "int main(void)",
            "{",
            f"    const {kind} {x}[{size}] = {{0}};",
            f"    {real} {output}[{macro}_N_OUTPUTS];",
            "",
            f"    {says};",
            f"    for (int i = 0; i < {macro}_N_OUTPUTS; i++)",
            f'        printf("%g\\n", (double){output}[i]);',
            "    return 0;",
            "}",
        ]

    # -------------------------------------------------------------- the function

    def _write_body(self) -> None:
        """Write the statements of `predict`: values go from x through buffers to the output."""
        for index, operation, layer in self.network.layers:
            OPERATIONS[operation](self, layer, index)
        self._write_answer()
        arrays = [(name, self.widest_buffer) for name in "ab"[: self.n_buffers]] + self.skips
        if self.table is not None:
            arrays.insert(0, ("x", self.network.n_inputs))
            self.body[:0] = c_table.features(self.table, self.real)
        if arrays:
            names = ", ".join(f"{name}[{width}]" for name, width in arrays)
            self.body[:0] = [f"{self.real} {names};", ""]

    def _take_buffer(self, width: int) -> str:
        """Return the name of the buffer that `values` are not in."""
        name = "b" if self.values == "a" else "a"
        self.n_buffers = max(self.n_buffers, "ab".index(name) + 1)
        self.widest_buffer = max(self.widest_buffer, width)
        return name

    def _copy_inputs(self) -> None:
        """Copy x to a buffer, if the values are there: what follows works in place."""
        if self.values != "x":
            return
        target = self._take_buffer(self.width)
        self.body += [f"for (int i = 0; i < {self.width}; i++)", f"    {target}[i] = x[i];"]
        self.values = target

    def dense(self, layer: Any, index: int) -> None:
        """Write a dense layer. The last one writes to the output."""
        n_inputs, n_outputs = layer.weights.shape
        weights = self.constant(
            f"weights_{index}", layer.weights, f"({n_inputs}, {n_outputs}), a row for each input"
        )
        biases = self.constant(f"biases_{index}", layer.biases, f"({n_outputs})")
        is_last = index == self.last_dense
        target = self.output if is_last else self._take_buffer(n_outputs)
        call = self.call("dense", target, self.values, weights, biases, n_inputs, n_outputs)
        self.body.append(f"{call};")
        self.values, self.width = target, n_outputs

    def embedding(self, layer: Any, index: int) -> None:
        """Write loops that copy numbers, and rows of tables."""
        target, place, tables = self._take_buffer(layer.n_outputs), 0, layer.tables
        for start, count in runs_of_columns(layer):
            value = f"{self.values}[{start} + i]"
            if start in tables:
                rows, count = tables[start].shape
                name, about = f"table_{index}_{start}", f"({rows}, {count}), of x[{start}]"
                table = self.constant(name, tables[start], about)
                code = self.call("code", f"{self.values}[{start}]", rows)
                value = f"{table}[{code} * {count} + i]"
            self.body += [
                f"for (int i = 0; i < {count}; i++)",
                f"    {target}[{place} + i] = {value};",
            ]
            place += count
        self.values, self.width = target, layer.n_outputs

    def branch(self, layer: Any, index: int) -> None:
        """Write a loop that keeps the values for an Add."""
        name = f"skip_{index}"
        self.skips.append((name, self.width))
        self.branches.append(name)
        loop = f"for (int i = 0; i < {self.width}; i++)"
        self.body += [loop, f"    {name}[i] = {self.values}[i];"]

    def add(self, layer: Any, index: int) -> None:
        """Write a loop that adds what the last branch has kept."""
        self._copy_inputs()
        loop = f"for (int i = 0; i < {self.width}; i++)"
        self.body += [loop, f"    {self.values}[i] += {self.branches.pop()}[i];"]

    def each(self, name: str, *settings: float) -> None:
        """Write a loop that replaces each value by a function of it, and of the settings."""
        self._copy_inputs()
        call = self.call(name, f"{self.values}[i]", *map(self.literal, settings))
        loop = f"for (int i = 0; i < {self.width}; i++)"
        self.body += [loop, f"    {self.values}[i] = {call};"]

    def row(self, name: str, index: int, arrays: dict[str, Array], *settings: float) -> None:
        """Write the call of a function that changes all values in place.

        It takes the values, the constants `arrays` {name: array}, the width, and the settings.
        """
        self._copy_inputs()
        names = [self.constant(f"{key}_{index}", array, key) for key, array in arrays.items()]
        literals = map(self.literal, settings)
        self.body.append(f"{self.call(name, self.values, *names, self.width, *literals)};")

    def _write_answer(self) -> None:
        loss, n = self.network.loss, self.network.n_outputs
        if loss.task == "classes":
            self.body.append(f"const int label = {self.call('largest', self.output, n)};")
        elif self._returns():
            limit = self.literal(loss.threshold)
            self.body.append(f"const int answer = {self.output}[0] > {limit};")
        if loss.finish == Operation.SOFTMAX:
            self.body.append(f"{self.call('softmax', self.output, n)};")
        elif loss.finish == Operation.SIGMOID:
            self.each("sigmoid")
        elif loss.finish == Operation.EXP:
            self.each("exponential")
        if self.table is not None and self.table.task == "regression":
            self.body.append(c_table.value(self.table, self.real, self.output))
        if self._returns():
            self.body.append(f"return {'label' if loss.task == 'classes' else 'answer'};")


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _hex(value: float) -> str:
    """Return a number in hexadecimal, exact, without zeros at the end."""
    mantissa, _, exponent = value.hex().partition("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{exponent}"


def _layer_norm(source: _Source, layer: Any, index: int) -> None:
    arrays = {"weights": layer.weights, "biases": layer.biases}
    source.row("layer_norm", index, arrays, layer.epsilon)


def _batch_norm(source: _Source, layer: Any, index: int) -> None:
    arrays = {"mean": layer.running_mean, "scale": batch_norm_scale(layer), "biases": layer.biases}
    source.row("batch_norm", index, arrays)


def _element_wise(row: OperationRow) -> Callable[[_Source, Any, int], None]:
    """Return the function that writes an activation, whose C function has its name."""
    settings = (row.number,) if row.number else ()

    def write(source: _Source, layer: Any, index: int) -> None:
        source.each(row.name, *(getattr(layer, name) for name in settings))

    return write


# {operation: the function that writes a layer}; dropout does nothing in a prediction.
OPERATIONS: dict[int, Callable[[_Source, Any, int], None]] = {
    Operation.DENSE: _Source.dense,
    Operation.RELU: lambda source, layer, index: source.each("relu"),
    Operation.SOFTMAX: lambda source, layer, index: source.row("softmax", index, {}),
    Operation.IDENTITY: lambda source, layer, index: None,
    Operation.LAYER_NORM: _layer_norm,
    Operation.BATCH_NORM: _batch_norm,
    Operation.EMBEDDING: _Source.embedding,
    Operation.BRANCH: _Source.branch,
    Operation.ADD: _Source.add,
    **{row.code: _element_wise(row) for row in catalogue.ACTIVATIONS if row.name in FUNCTIONS},
}
