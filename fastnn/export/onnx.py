"""ONNX: a network as a graph of standard operators.

Opset 17 (2022) in IR version 8, which ONNX Runtime reads from 1.12 on. Later opsets add nothing
that is needed here.

Where ONNX Runtime has an operator for float32 only, float64 is written in simpler operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import replace
from ..kernels.catalogue import Operation
from ..requirements import missing
from ..types import PathLike
from ..validation import as_path
from . import onnx_table
from .estimator import add_answers, add_labels, classes_of, estimator_of
from .inference import batch_norm_scale, has_biases, read_network, runs_of_columns
from .onnx_graph import Graph
from .table import read_table_model, table_model_of

if TYPE_CHECKING:
    from ..model import Sequential
    from ..tables.models import TableModel

_MOST_BYTES = 2**31 - 2**20  # of parameters: a protobuf message has less than 2 GiB


def to_onnx(model: Sequential | TableModel | Any, path: PathLike) -> None:
    """Write a model as an ONNX file, which ONNX Runtime and others run.

    The input is `X` (N, I) of the model's dtype, for any N. The outputs have the values, shapes and
    dtypes of the model's methods: `label` is the result of `predict`, and `probabilities` that of
    `predict_proba`, as scikit-learn's converter names them. For a regression, `prediction` is
    the result of `predict`. Sums are formed in another order than in fastnn, so values differ by
    rounding. Inputs that are not finite are not refused: the outputs become NaN.

    A model of a table (:func:`fastnn.tables.load`) has an input (N, 1) for each column, with the
    name of the column: float64 for numbers, NaN where they are missing, and texts for categories,
    "" where they are missing. A part of a date, such as "day: month", is an input of its own.
    `label` are classes, and `prediction` is float64 in the units of the target. `metadata_props`
    has the columns, in the order of the inputs, and the classes. A missing value that the model has
    nothing to fill in for is not refused: a number becomes NaN, and a category is none of the known
    ones.

    A fitted :class:`MLPClassifier` or :class:`MLPRegressor` has the input `X`; `label` and
    `probabilities` are the results of its `predict` and `predict_proba`. For pipelines see
    :func:`fastnn.register_skl2onnx`.

    Needs the library onnx (the extra `onnx`). The file has opset 17.

    Parameters
    ----------
    model : Sequential, TableModel or fitted estimator
    path : path-like
        The file to write. An existing file is replaced.

    Raises
    ------
    TypeError, ValueError
        For a layer of your own, no dense layer, and parameters that are not finite or take 2 GiB.
    ImportError
        If onnx is not installed.
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
    >>> fastnn.export.to_onnx(model, "model.onnx")
    """
    whole, estimator = table_model_of(model), estimator_of(model)
    table = None if whole is None else read_table_model(whole)
    plain: Any = model if whole is None else whole.without_notes()
    classes: list[Any] = []
    if estimator is not None:
        plain, classes = estimator.model_, classes_of(estimator)
    network, path = read_network(plain, OPERATIONS, "to_onnx"), as_path(path)
    if plain.parameters.nbytes > _MOST_BYTES:
        raise ValueError(
            f"model has {plain.parameters.nbytes:,} bytes of parameters, "
            f"expected at most {_MOST_BYTES:,}: an ONNX file has less than 2 GiB"
        )
    try:
        import onnx
    except ModuleNotFoundError:
        raise missing("to_onnx needs", "onnx", "onnx") from None
    onnx_model = _build(Graph(onnx, network, table), classes)
    onnx.checker.check_model(onnx_model, full_check=True)
    replace(path, onnx_model.SerializeToString())


def _build(graph: Graph, classes: list[Any]) -> Any:
    """Return the ONNX model of the network and the table of a graph, or of an estimator."""
    if graph.table is None:
        graph.take("X", graph.real, ["N", graph.network.n_inputs])
        x = "X"
    else:
        x = onnx_table.prepare(graph, graph.table)
    add_network(graph, x, classes)
    return graph.make_model()


def add_network(graph: Graph, x: str, classes: list[Any]) -> None:
    """Add the layers and the outputs of a network whose inputs are `x`."""
    outputs = x
    for i, operation, layer in graph.network.layers:
        graph.place = f"{i}"
        outputs = OPERATIONS[operation](graph, outputs, layer)
    graph.place = "output"
    if graph.table is not None and graph.table.task == "regression":
        onnx_table.value(graph, graph.table, outputs)
    elif classes:
        add_answers(graph, classes, outputs)
    else:
        _ANSWERS[graph.network.loss.task](graph, outputs)


# ------------------------------------------------------------------ layers


def _dense(graph: Graph, x: str, layer: Any) -> str:
    biases = [graph.stored(layer, "biases")] if has_biases(layer) else []
    weights = graph.array(f"{graph.place}.weights", layer.weights)
    return graph.add("Gemm", x, weights, *biases)


def _embedding(graph: Graph, x: str, layer: Any) -> str:
    parts, tables = [], layer.tables
    for start, count in runs_of_columns(layer):
        if start in tables:
            column = graph.array(f"{graph.place}.column_{start}", np.array(start))
            codes = graph.add("Gather", x, column, axis=1)
            codes = graph.add("Cast", codes, to=graph.onnx.TensorProto.INT64)
            table = graph.array(f"{graph.place}.table_{start}", tables[start])
            parts.append(graph.add("Gather", table, codes, axis=0))
        else:
            numbers = np.arange(start, start + count)
            columns = graph.array(f"{graph.place}.numbers_{start}", numbers)
            parts.append(graph.add("Gather", x, columns, axis=1))
    return graph.add("Concat", *parts, axis=1)


def _branch(graph: Graph, x: str, layer: Any) -> str:
    graph.branches.append(x)
    return x


def _add(graph: Graph, x: str, layer: Any) -> str:
    return graph.add("Add", x, graph.branches.pop())


def _leaky_relu(graph: Graph, x: str, layer: Any) -> str:
    if not graph.is_double:
        return graph.add("LeakyRelu", x, alpha=layer.negative_slope)
    below = graph.add("Mul", graph.add("Min", x, 0), layer.negative_slope)
    return graph.add("Add", graph.add("Relu", x), below)


def _elu(graph: Graph, x: str, layer: Any) -> str:
    if not graph.is_double:
        return graph.add("Elu", x, alpha=layer.alpha)
    below = graph.add("Sub", graph.add("Exp", graph.add("Min", x, 0)), 1)
    return graph.add("Add", graph.add("Relu", x), graph.add("Mul", below, layer.alpha))


def _gelu(graph: Graph, x: str, layer: Any) -> str:
    if graph.is_double:
        return _gelu_of_erfc(graph, x)
    twice_probability = graph.add("Add", graph.add("Erf", graph.add("Mul", x, math.sqrt(0.5))), 1)
    return graph.add("Mul", graph.add("Mul", x, twice_probability), 0.5)


def _gelu_of_erfc(graph: Graph, x: str) -> str:
    """Add Relu(x) - |x| erfc(|x| / sqrt(2)) / 2, with the polynomial of `kernels/elementary.py`."""
    from ..kernels.elementary import ERFC_FLOAT64  # not above: a reference run needs no numba

    size = graph.add("Abs", x)
    z = graph.add("Mul", size, math.sqrt(0.5))
    t = graph.add("Div", 2, graph.add("Add", z, 2))
    place = graph.add("Sub", graph.add("Add", t, t), 1)
    first, *factors = ERFC_FLOAT64
    series: str | float = first
    for factor in factors:
        series = graph.add("Add", graph.add("Mul", place, series), factor)
    decay = graph.add("Exp", graph.add("Neg", graph.add("Mul", z, z)))
    erfc = graph.add("Mul", graph.add("Mul", t, series), decay)
    half = graph.add("Mul", graph.add("Mul", size, erfc), 0.5)
    return graph.add("Sub", graph.add("Relu", x), half)


def _gelu_tanh(graph: Graph, x: str, layer: Any) -> str:
    """Add x * sigmoid(2 sqrt(2 / pi) (x + 0.044715 x**3)), the same as with tanh."""
    slope = 2 * math.sqrt(2 / math.pi)
    square = graph.add("Mul", graph.add("Mul", x, x), slope * 0.044715)
    argument = graph.add("Mul", x, graph.add("Add", square, slope))
    return _times_sigmoid(graph, x, argument)


def _silu(graph: Graph, x: str, layer: Any) -> str:
    return _times_sigmoid(graph, x, x)


def _times_sigmoid(graph: Graph, x: str, argument: str) -> str:
    """Add x / (1 + exp(-argument)): x would multiply the errors of ONNX Runtime's Sigmoid."""
    return graph.add("Div", x, graph.add("Add", graph.add("Exp", graph.add("Neg", argument)), 1))


def _softplus(graph: Graph, x: str, layer: Any) -> str:
    """Add Relu(x) + log(1 + e), e = exp(-|x|), where ONNX Runtime's Softplus has no small values.

    With u = 1 + e the logarithm is log(u) + (e - (u - 1)) / u.
    """
    e = graph.add("Exp", graph.add("Neg", graph.add("Abs", x)))
    u = graph.add("Add", e, 1)
    rest = graph.add("Div", graph.add("Sub", e, graph.add("Sub", u, 1)), u)
    return graph.add("Add", graph.add("Relu", x), graph.add("Add", graph.add("Log", u), rest))


def _layer_norm(graph: Graph, x: str, layer: Any) -> str:
    """Add simple operators: ONNX Runtime's LayerNormalization gives 0 where squares overflow.

    The formulas are those of wide rows in `kernels/layer_norm.py`.
    """
    weights, biases = (graph.stored(layer, name) for name in ("weights", "biases"))
    widest, shrink = (2.0**490, 2.0**-540) if graph.is_double else (2.0**50, 2.0**-80)
    most = graph.add("ReduceMax", graph.add("Abs", x), axes=[1])
    factor = graph.add("Where", graph.add("Greater", most, widest), shrink, 1)
    x = graph.add("Mul", x, factor)
    for _ in range(2):  # the second time subtracts the rounding error of the mean
        x = graph.add("Sub", x, graph.add("ReduceMean", x, axes=[1]))
    variance = graph.add("ReduceMean", graph.add("Mul", x, x), axes=[1])
    least = graph.add("Mul", factor, math.sqrt(layer.epsilon))
    deviation = graph.add("Sqrt", graph.add("Add", variance, graph.add("Mul", least, least)))
    deviation = graph.add("Max", deviation, least)  # the square of a small one is 0
    scaled = graph.add("Mul", graph.add("Div", x, deviation), weights)
    return graph.add("Add", scaled, biases)


def _batch_norm(graph: Graph, x: str, layer: Any) -> str:
    """Add simple operators: BatchNormalization may merge mean and biases, which loses digits."""
    scale = graph.array(f"{graph.place}.scale", batch_norm_scale(layer))
    centered = graph.add("Sub", x, graph.stored(layer, "running_mean"))
    return graph.add("Add", graph.add("Mul", centered, scale), graph.stored(layer, "biases"))


# {operation: the function that adds a layer}; dropout does nothing in a prediction.
OPERATIONS: dict[int, Callable[[Graph, str, Any], str]] = {
    Operation.DENSE: _dense,
    Operation.RELU: lambda graph, x, layer: graph.add("Relu", x),
    Operation.SOFTMAX: lambda graph, x, layer: graph.add("Softmax", x, axis=1),
    Operation.IDENTITY: lambda graph, x, layer: x,
    Operation.SIGMOID: lambda graph, x, layer: graph.add("Sigmoid", x),
    Operation.TANH: lambda graph, x, layer: graph.add("Tanh", x),
    Operation.LEAKY_RELU: _leaky_relu,
    Operation.ELU: _elu,
    Operation.GELU: _gelu,
    Operation.GELU_TANH: _gelu_tanh,
    Operation.SILU: _silu,
    Operation.SOFTPLUS: _softplus,
    Operation.LAYER_NORM: _layer_norm,
    Operation.BATCH_NORM: _batch_norm,
    Operation.EMBEDDING: _embedding,
    Operation.BRANCH: _branch,
    Operation.ADD: _add,
}


# ------------------------------------------------------------------ answers


def _answer_each(graph: Graph, name: str, values: str, **kind: Any) -> None:
    """Add an output of the values (N, O), as (N,) if O is 1."""
    if graph.network.n_outputs > 1:
        return graph.answer(name, "Identity", [values], **kind)
    columns = graph.array("constant.columns", np.array([1]))
    return graph.answer(name, "Squeeze", [values, columns], squeezed=True, **kind)


def _classes(graph: Graph, logits: str) -> None:
    if graph.table is None:
        graph.answer("label", "ArgMax", [logits], label=True, squeezed=True, axis=1, keepdims=0)
    else:
        classes = graph.add("ArgMax", logits, axis=1, keepdims=0)
        add_labels(graph, graph.table.labels, classes)
    graph.answer("probabilities", "Softmax", [logits], axis=1)


def _yes_or_no(graph: Graph, outputs: str) -> None:
    loss = graph.network.loss
    yes = graph.add("Greater", outputs, loss.threshold)
    label = graph.add("Cast", yes, to=graph.onnx.TensorProto.INT64)
    _answer_each(graph, "label", label, label=True)
    finish = "Sigmoid" if loss.finish == Operation.SIGMOID else "Identity"
    graph.answer("probabilities", finish, [outputs])


def _numbers(graph: Graph, outputs: str) -> None:
    if graph.network.loss.finish == Operation.EXP:
        outputs = graph.add("Exp", outputs)
    _answer_each(graph, "prediction", outputs)


_ANSWERS = {"classes": _classes, "answers": _yes_or_no, "numbers": _numbers}
