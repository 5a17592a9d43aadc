"""C99: a network as one file with its weights and a `predict` function."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import replace
from ..kernels.codes import Operation
from ..types import Array, PathLike
from ..validation import as_path
from .network import Network, read_network, scale_of

if TYPE_CHECKING:
    from ..model import Sequential


def to_c(model: Sequential, path: PathLike, *, prefix: str = "model") -> None:
    """Write a model as one file of C99 that needs nothing but the standard library.

    The file has the weights, exact to the last bit, the macros MODEL_N_INPUTS and
    MODEL_N_OUTPUTS, and one function of the model's dtype, float or double::

        int model_predict(const float *x, float *probabilities);

    A classifier writes the probabilities of its classes and returns the label. A yes-or-no model
    with one output writes its probability and returns the answer, 0 or 1; with several it returns
    nothing. A model of numbers writes `outputs`, what `predict` gives, and returns nothing. The
    comment at the top says which, what it takes of memory, and gives an example. Nothing is
    allocated, and there is no state: threads may call it side by side. Numbers that are not finite
    are not refused: they come out as NaN.

    Compilers order the additions of a sum as they stand, so values differ from those of fastnn by
    the rounding of products, which are fused with additions here.

    Parameters
    ----------
    model : Sequential
    path : path-like
        The file to write; one that is there is replaced.
    prefix : str
        What all names begin with, in capitals those of macros: letters, digits and underscores.

    Raises
    ------
    TypeError, ValueError
        For a layer of your own, no dense layer, parameters that are not finite, another prefix.
    OSError
        Where the file cannot be written; the one that was there stays.

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
    network, path = read_network(model), as_path(path)
    if not isinstance(prefix, str) or not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", prefix):
        raise ValueError(
            f"prefix is {prefix!r:.80}, expected letters, digits and underscores, a letter first"
        )
    text = _Source(network, prefix, Path(path).name).text()
    replace(path, text.encode("ascii", "replace"))  # a class may have any name


class _Source:
    """The text of a file: helper functions that are needed, constants, and `predict`."""

    def __init__(self, network: Network, prefix: str, file_name: str) -> None:
        self.network, self.prefix = network, prefix
        self.is_float = network.dtype == np.float32
        self.real = "float" if self.is_float else "double"
        self.file_name = file_name if re.fullmatch(r"[\w.-]+", file_name, re.ASCII) else "model.c"
        self.helpers: list[str] = []
        self.constants: list[str] = []
        self.body: list[str] = []
        self.n_constants = 0
        self.output = "outputs" if network.loss.task == "numbers" else "probabilities"
        if network.loss.task == "answers" and network.n_outputs == 1:
            self.output = "probability"

    # -------------------------------------------------------------- pieces

    def number(self, value: float) -> str:
        """A number as C has it, exact, in as few digits as that takes."""
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

    def helper(self, name: str) -> str:
        """Take a helper function into the file, once, behind those that it needs; its name."""
        if name not in self.helpers:
            for other in _NEEDS.get(name, ()):
                self.helper(other)
            self.helpers.append(name)
        return f"{self.prefix}_{name}"

    def call(self, name: str, *arguments: object) -> str:
        return f"{self.helper(name)}({', '.join(map(str, arguments))})"

    def _in_c(self, template: str) -> str:
        """Fill in a helper's text: names, and the functions and numbers of the dtype."""
        text = template.replace("REAL", self.real)
        text = _FUNCTIONS.sub(rf"\1{'f' * self.is_float}(", text)
        text = re.sub(r"(?<![\w.])\d+\.\d+", lambda found: self.number(float(found[0])), text)
        # Those of `kernels/normalization.py`.
        widest, shrink = (2.0**50, 2.0**-80) if self.is_float else (2.0**490, 2.0**-540)
        text = text.replace("WIDEST", self.number(widest)).replace("SHRINK", self.number(shrink))
        return text.replace("@", f"{self.prefix}_")

    # -------------------------------------------------------------- the file

    def text(self) -> str:
        self._write_body()
        helpers = [_HELPERS[name] for name in self.helpers]
        needs_math = bool(_FUNCTIONS.search("".join(helpers)))
        macro, network = self.prefix.upper(), self.network
        parts = [
            self._comment(needs_math),
            "#include <math.h>\n" if needs_math else "",
            f"#define {macro}_N_INPUTS {network.n_inputs}\n"
            f"#define {macro}_N_OUTPUTS {network.n_outputs}\n",
            f"{self._signature()};\n",
            *self.constants,
            *map(self._in_c, helpers),
            f"{self._signature()}\n{{\n{textwrap.indent(_lines(self.body), '    ')}}}\n",
        ]
        return "\n".join(filter(None, parts))

    def _signature(self) -> str:
        returned = "void" if self._returns() is None else "int"
        name = f"{self.prefix}_predict"
        return f"{returned} {name}(const {self.real} *x, {self.real} *{self.output})"

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
        n_stack = self.n_buffers * self.widest * network.dtype.itemsize
        library = "<math.h>, so link with -lm" if needs_math else "no library at all"
        about = {
            "x": f"{macro}_N_INPUTS finite numbers",
            self.output: f"{macro}_N_OUTPUTS numbers that are written, apart from x",
            "returns": self._returns(),
        }
        width = max(map(len, about)) + 2
        layers = ", ".join(type(layer).__name__ for *_, layer in network.steps)
        lines = [
            *textwrap.wrap(f"A {network}: {layers}.", 92),
            f"Written by fastnn {__version__}.",
            "",
            f"{self._signature()};",
            "",
            *(f"    {name.ljust(width)}{says}" for name, says in about.items() if says),
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
        call = f"{self.prefix}_predict(x, {output})"
        says = f'printf("%d\\n", {call})' if self._returns() else call
        return [
            "#include <stdio.h>",
            f'#include "{self.file_name}"',
            "",
            "int main(void)",
            "{",
            f"    const {real} x[{macro}_N_INPUTS] = {{0}};",
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
        network = self.network
        dense = [
            i for i, (_, operation, _) in enumerate(network.steps) if operation == Operation.DENSE
        ]
        self.values, self.width = "x", network.n_inputs
        self.n_buffers, self.widest = 0, 0
        for i, (place, operation, layer) in enumerate(network.steps):
            if operation == Operation.DENSE:
                self._write_dense(place, layer, is_last=i == dense[-1])
            elif operation != Operation.IDENTITY:
                if self.values == "x":
                    self._copy_inputs()
                _OPERATIONS[operation](self, layer, place)
        self._write_answer()
        if self.n_buffers:
            names = ", ".join(f"{name}[{self.widest}]" for name in "ab"[: self.n_buffers])
            self.body[:0] = [f"{self.real} {names};", ""]

    def _take_buffer(self, width: int) -> str:
        """Return the buffer that the values at hand are not in."""
        name = "b" if self.values == "a" else "a"
        self.n_buffers = max(self.n_buffers, "ab".index(name) + 1)
        self.widest = max(self.widest, width)
        return name

    def _copy_inputs(self) -> None:
        target = self._take_buffer(self.width)
        self.body += [f"for (int i = 0; i < {self.width}; i++)", f"    {target}[i] = x[i];"]
        self.values = target

    def _write_dense(self, place: int, layer: Any, *, is_last: bool) -> None:
        n_inputs, n_outputs = layer.weights.shape
        weights = self.constant(
            f"weights_{place}", layer.weights, f"({n_inputs}, {n_outputs}), a row for each input"
        )
        biases = self.constant(f"biases_{place}", layer.biases, f"({n_outputs})")
        target = self.output if is_last else self._take_buffer(n_outputs)
        call = self.call("dense", target, self.values, weights, biases, n_inputs, n_outputs)
        self.body.append(f"{call};")
        self.values, self.width = target, n_outputs

    def each(self, name: str, *numbers: float) -> None:
        """Let a helper of one number change each value."""
        call = self.call(name, f"{self.values}[i]", *map(self.number, numbers))
        loop = f"for (int i = 0; i < {self.width}; i++)"
        self.body += [loop, f"    {self.values}[i] = {call};"]

    def rows(self, name: str, layer: Any, place: int, arrays: dict[str, Array], *rest: str) -> None:
        """Let a helper change all values, with arrays of constants."""
        names = [self.constant(f"{key}_{place}", array, key) for key, array in arrays.items()]
        self.body.append(f"{self.call(name, self.values, *names, self.width, *rest)};")

    def _write_answer(self) -> None:
        loss, n = self.network.loss, self.network.n_outputs
        if loss.task == "classes":
            self.body.append(f"const int label = {self.call('largest', self.output, n)};")
        elif self._returns():
            limit = self.number(loss.threshold)
            self.body.append(f"const int answer = {self.output}[0] > {limit};")
        if loss.finish == Operation.SOFTMAX:
            self.body.append(f"{self.call('softmax', self.output, n)};")
        elif loss.finish == Operation.SIGMOID:
            self.each("sigmoid")
        elif loss.finish == Operation.EXP:
            self.each("exponential")
        if self._returns():
            self.body.append(f"return {'label' if loss.task == 'classes' else 'answer'};")


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _hex(value: float) -> str:
    """Return a number in hexadecimal, exact, without zeros at the end."""
    mantissa, _, exponent = value.hex().partition("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{exponent}"


def _layer_norm(source: _Source, layer: Any, place: int) -> None:
    arrays = {"weights": layer.weights, "biases": layer.biases}
    source.rows("layer_norm", layer, place, arrays, source.number(layer.epsilon))


def _batch_norm(source: _Source, layer: Any, place: int) -> None:
    arrays = {"mean": layer.running_mean, "scale": scale_of(layer), "biases": layer.biases}
    source.rows("batch_norm", layer, place, arrays)


_OPERATIONS = {
    Operation.RELU: lambda source, layer, place: source.each("relu"),
    Operation.SOFTMAX: lambda source, layer, place: source.rows("softmax", layer, place, {}),
    Operation.SIGMOID: lambda source, layer, place: source.each("sigmoid"),
    Operation.TANH: lambda source, layer, place: source.each("tanh"),
    Operation.LEAKY_RELU: lambda source, layer, place: source.each(
        "leaky_relu", layer.negative_slope
    ),
    Operation.ELU: lambda source, layer, place: source.each("elu", layer.alpha),
    Operation.GELU: lambda source, layer, place: source.each("gelu"),
    Operation.GELU_TANH: lambda source, layer, place: source.each("gelu_tanh"),
    Operation.SILU: lambda source, layer, place: source.each("silu"),
    Operation.LAYER_NORM: _layer_norm,
    Operation.BATCH_NORM: _batch_norm,
}

_NEEDS = {
    "dense": ["columns_16", "columns_4", "columns_1"],
    "silu": ["sigmoid"],
    "gelu_tanh": ["sigmoid"],
}

_FUNCTIONS = re.compile(r"(?<![\w@])(exp|expm1|tanh|erfc|fabs|sqrt)\(")

# "@" stands for the prefix, REAL for the type; numbers with a point get its suffix, and functions
# of <math.h> too.


def _columns(width: int) -> str:
    """Return the helper that forms `width` sums side by side, which stay in registers."""
    fours = [range(i, min(i + 4, width)) for i in range(0, width, 4)]

    def lines(indent: int, text: str) -> str:
        rows = (" ".join(text.format(k) for k in four) for four in fours)
        return "".join(f"{' ' * indent}{row}\n" for row in rows)

    return f"""\
static void @columns_{width}(
    REAL *out, const REAL *in, const REAL *w, const REAL *biases, int n_in, int n_out)
{{
{lines(4, "REAL s{0} = biases[{0}];")}
    for (int i = 0; i < n_in; i++, w += n_out) {{
        const REAL x = in[i];

{lines(8, "s{0} += x * w[{0}];")}    }}
{lines(4, "out[{0}] = s{0};")}}}
"""


_HELPERS = {
    "columns_16": _columns(16),
    "columns_4": _columns(4),
    "columns_1": _columns(1),
    "dense": """\
/* out = in * weights + biases, each sum in the order of the inputs. */
static void @dense(
    REAL *out, const REAL *in, const REAL *weights, const REAL *biases, int n_in, int n_out)
{
    int o = 0;

    for (; o + 16 <= n_out; o += 16)
        @columns_16(out + o, in, weights + o, biases + o, n_in, n_out);
    for (; o + 4 <= n_out; o += 4)
        @columns_4(out + o, in, weights + o, biases + o, n_in, n_out);
    for (; o < n_out; o++)
        @columns_1(out + o, in, weights + o, biases + o, n_in, n_out);
}
""",
    "relu": """\
static REAL @relu(REAL x)
{
    return x <= 0.0 ? 0.0 : x;
}
""",
    "leaky_relu": """\
static REAL @leaky_relu(REAL x, REAL slope)
{
    return x > 0.0 ? x : slope * x;
}
""",
    "elu": """\
static REAL @elu(REAL x, REAL alpha)
{
    return x > 0.0 ? x : alpha * expm1(x);
}
""",
    "tanh": """\
static REAL @tanh(REAL x)
{
    return tanh(x);
}
""",
    "exponential": """\
static REAL @exponential(REAL x)
{
    return exp(x);
}
""",
    "sigmoid": """\
/* The logistic function: nothing overflows. */
static REAL @sigmoid(REAL x)
{
    const REAL e = exp(-fabs(x));

    return (x < 0.0 ? e : 1.0) / (1.0 + e);
}
""",
    "silu": """\
static REAL @silu(REAL x)
{
    return x * @sigmoid(x);
}
""",
    "gelu": f"""\
/* x times the probability that a standard normal number is at most x. */
static REAL @gelu(REAL x)
{{
    return 0.5 * x * erfc(-{math.sqrt(0.5)!r} * x);
}}
""",
    "gelu_tanh": f"""\
/* GELU with tanh, which is a sigmoid of twice the number. */
static REAL @gelu_tanh(REAL x)
{{
    return x * @sigmoid(x * ({2 * math.sqrt(2 / math.pi) * 0.044715!r} * x * x
                             + {2 * math.sqrt(2 / math.pi)!r}));
}}
""",
    "softmax": """\
/* Exponentials of the distances to the largest value: none overflows. */
static void @softmax(REAL *values, int n)
{
    REAL most = values[0], sum = 0.0;

    for (int i = 1; i < n; i++)
        most = values[i] > most ? values[i] : most;
    for (int i = 0; i < n; i++) {
        values[i] = exp(values[i] - most);
        sum += values[i];
    }
    for (int i = 0; i < n; i++)
        values[i] /= sum;
}
""",
    "largest": """\
/* The place of the largest value, the first of several. */
static int @largest(const REAL *values, int n)
{
    int best = 0;

    for (int i = 1; i < n; i++)
        if (values[i] > values[best])
            best = i;
    return best;
}
""",
    "layer_norm": """\
/* Large numbers are made smaller first, so that no square overflows; of numbers that are far from
   0 and close together the mean is corrected by their differences to it. */
static void @layer_norm(
    REAL *values, const REAL *weights, const REAL *biases, int n, REAL epsilon)
{
    REAL most = 0.0, factor = 1.0, mean = 0.0, shift = 0.0, variance = 0.0, scale;

    for (int i = 0; i < n; i++)
        most = fabs(values[i]) > most ? fabs(values[i]) : most;
    if (most > WIDEST)
        factor = SHRINK;
    for (int i = 0; i < n; i++) {
        values[i] *= factor;
        mean += values[i];
    }
    mean /= (REAL)n;
    for (int i = 0; i < n; i++) {
        values[i] -= mean;
        shift += values[i];
    }
    shift /= (REAL)n;
    for (int i = 0; i < n; i++) {
        values[i] -= shift;
        variance += values[i] * values[i];
    }
    variance /= (REAL)n;
    scale = variance > 0.0 ? sqrt(variance + epsilon * factor * factor) : sqrt(epsilon) * factor;
    scale = 1.0 / scale;
    for (int i = 0; i < n; i++)
        values[i] = values[i] * scale * weights[i] + biases[i];
}
""",
    "batch_norm": """\
static void @batch_norm(
    REAL *values, const REAL *mean, const REAL *scale, const REAL *biases, int n)
{
    for (int i = 0; i < n; i++)
        values[i] = (values[i] - mean[i]) * scale[i] + biases[i];
}
""",
}
