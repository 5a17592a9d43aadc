"""ONNX: a network as a graph of standard operators.

Opset 17 (2022) in IR version 8, which ONNX Runtime reads from 1.12 on. Later opsets add nothing
that is needed here.

Where ONNX Runtime has an operator for float32 only, float64 is written in simpler operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..files import replace
from ..kernels.catalogue import Operation
from ..requirements import missing
from ..types import PathLike
from ..validation import as_path
from .inference import InferenceNetwork, batch_norm_scale, has_biases, read_network

if TYPE_CHECKING:
    from ..model import Sequential

OPSET, IR_VERSION = 17, 8
_MOST_BYTES = 2**31 - 2**20  # of parameters: a protobuf message has less than 2 GiB


def to_onnx(model: Sequential, path: PathLike) -> None:
    """Write a model as an ONNX file, which ONNX Runtime and others run.

    The input is `X` (N, I) of the model's dtype, for any N. The outputs have the values, shapes and
    dtypes of the model's methods: `label` is the result of `predict`, and `probabilities` that of
    `predict_proba`, as scikit-learn's converter names them. For a regression, `prediction` is
    the result of `predict`. Sums are formed in another order than in fastnn, so values differ by
    rounding. Inputs that are not finite are not refused: the outputs become NaN.

    Needs the library onnx (the extra `onnx`). The file has opset 17.

    Parameters
    ----------
    model : Sequential
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
    network, path = read_network(model, OPERATIONS, "to_onnx"), as_path(path)
    if model.parameters.nbytes > _MOST_BYTES:
        raise ValueError(
            f"model has {model.parameters.nbytes:,} bytes of parameters, "
            f"expected at most {_MOST_BYTES:,}: an ONNX file has less than 2 GiB"
        )
    try:
        import onnx
    except ModuleNotFoundError:
        raise missing("to_onnx needs", "onnx", "onnx") from None
    onnx_model = _Graph(onnx, network).build()
    onnx.checker.check_model(onnx_model, full_check=True)
    replace(path, onnx_model.SerializeToString())


class _Graph:
    """The nodes and constants of a graph. `add` returns the name of the result of a node."""

    def __init__(self, onnx: Any, network: InferenceNetwork) -> None:
        self.onnx, self.network = onnx, network
        self.real = onnx.helper.np_dtype_to_tensor_dtype(network.dtype)
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.outputs: list[tuple[str, Any, list[Any]]] = []
        self.branches: list[str] = []  # values that an Add takes
        self.place = "input"  # the start of the names of nodes: the index of a layer

    @property
    def is_double(self) -> bool:
        return self.network.dtype == np.float64

    def add(self, operator: str, *inputs: Any, output: str | None = None, **attributes: Any) -> str:
        """Append a node; numbers among its inputs become constants of the network's dtype."""
        names = [each if isinstance(each, str) else self.scalar(each) for each in inputs]
        name = f"{self.place}.{operator}.{len(self.nodes)}"
        output = output or name
        self.nodes.append(self.onnx.helper.make_node(operator, names, [output], name, **attributes))
        return output

    def scalar(self, value: float) -> str:
        """Return the name of a constant of the network's dtype."""
        return self.array(f"constant.{float(value)!r}", np.array(value, self.network.dtype))

    def array(self, name: str, value: ArrayLike) -> str:
        """Add a constant, once; return its name."""
        if name not in self.constants:
            value = np.ascontiguousarray(value).reshape(np.shape(value))
            self.constants[name] = self.onnx.numpy_helper.from_array(value, name)
        return name

    def stored(self, layer: Any, name: str) -> str:
        """Add an array of a layer as a constant, (1, D) as (D,); return its name."""
        value = getattr(layer, name)
        return self.array(f"{self.place}.{name}", value if len(value) > 1 else value[0])

    def build(self) -> Any:
        """Return the ONNX model."""
        outputs = "X"
        for i, operation, layer in self.network.layers:
            self.place = f"{i}"
            outputs = OPERATIONS[operation](self, outputs, layer)
        self.place = "output"
        _ANSWERS[self.network.loss.task](self, outputs)
        return self._make_model()

    def answer(
        self,
        name: str,
        operator: str,
        result: Sequence[str],
        *,
        label: bool = False,
        squeezed: bool = False,
        **attributes: Any,
    ) -> None:
        """Add a node whose result is the output `name` of the graph, (N,) if squeezed."""
        self.add(operator, *result, output=name, **attributes)
        kind = self.onnx.TensorProto.INT64 if label else self.real
        self.outputs.append((name, kind, ["N"] if squeezed else ["N", self.network.n_outputs]))

    def _make_model(self) -> Any:
        from ..version import __version__

        make_value = self.onnx.helper.make_tensor_value_info
        graph = self.onnx.helper.make_graph(
            self.nodes,
            "fastnn",
            [make_value("X", self.real, ["N", self.network.n_inputs])],
            [make_value(*output) for output in self.outputs],
            list(self.constants.values()),
            doc_string=str(self.network),
        )
        return self.onnx.helper.make_model(
            graph,
            opset_imports=[self.onnx.helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="fastnn",
            producer_version=__version__,
        )


# ------------------------------------------------------------------ layers


def _dense(graph: _Graph, x: str, layer: Any) -> str:
    biases = [graph.stored(layer, "biases")] if has_biases(layer) else []
    weights = graph.array(f"{graph.place}.weights", layer.weights)
    return graph.add("Gemm", x, weights, *biases)


def _branch(graph: _Graph, x: str, layer: Any) -> str:
    graph.branches.append(x)
    return x


def _add(graph: _Graph, x: str, layer: Any) -> str:
    return graph.add("Add", x, graph.branches.pop())


def _leaky_relu(graph: _Graph, x: str, layer: Any) -> str:
    if not graph.is_double:
        return graph.add("LeakyRelu", x, alpha=layer.negative_slope)
    below = graph.add("Mul", graph.add("Min", x, 0), layer.negative_slope)
    return graph.add("Add", graph.add("Relu", x), below)


def _elu(graph: _Graph, x: str, layer: Any) -> str:
    if not graph.is_double:
        return graph.add("Elu", x, alpha=layer.alpha)
    below = graph.add("Sub", graph.add("Exp", graph.add("Min", x, 0)), 1)
    return graph.add("Add", graph.add("Relu", x), graph.add("Mul", below, layer.alpha))


def _gelu(graph: _Graph, x: str, layer: Any) -> str:
    if graph.is_double:
        return _gelu_of_erfc(graph, x)
    twice_probability = graph.add("Add", graph.add("Erf", graph.add("Mul", x, math.sqrt(0.5))), 1)
    return graph.add("Mul", graph.add("Mul", x, twice_probability), 0.5)


def _gelu_of_erfc(graph: _Graph, x: str) -> str:
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


def _gelu_tanh(graph: _Graph, x: str, layer: Any) -> str:
    """Add x * sigmoid(2 sqrt(2 / pi) (x + 0.044715 x**3)), the same as with tanh."""
    slope = 2 * math.sqrt(2 / math.pi)
    square = graph.add("Mul", graph.add("Mul", x, x), slope * 0.044715)
    argument = graph.add("Mul", x, graph.add("Add", square, slope))
    return _times_sigmoid(graph, x, argument)


def _silu(graph: _Graph, x: str, layer: Any) -> str:
    return _times_sigmoid(graph, x, x)


def _times_sigmoid(graph: _Graph, x: str, argument: str) -> str:
    """Add x / (1 + exp(-argument)): x would multiply the errors of ONNX Runtime's Sigmoid."""
    return graph.add("Div", x, graph.add("Add", graph.add("Exp", graph.add("Neg", argument)), 1))


def _softplus(graph: _Graph, x: str, layer: Any) -> str:
    """Add Relu(x) + log(1 + e), e = exp(-|x|), where ONNX Runtime's Softplus has no small values.

    With u = 1 + e the logarithm is log(u) + (e - (u - 1)) / u.
    """
    e = graph.add("Exp", graph.add("Neg", graph.add("Abs", x)))
    u = graph.add("Add", e, 1)
    rest = graph.add("Div", graph.add("Sub", e, graph.add("Sub", u, 1)), u)
    return graph.add("Add", graph.add("Relu", x), graph.add("Add", graph.add("Log", u), rest))


def _layer_norm(graph: _Graph, x: str, layer: Any) -> str:
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


def _batch_norm(graph: _Graph, x: str, layer: Any) -> str:
    """Add simple operators: BatchNormalization may merge mean and biases, which loses digits."""
    scale = graph.array(f"{graph.place}.scale", batch_norm_scale(layer))
    centered = graph.add("Sub", x, graph.stored(layer, "running_mean"))
    return graph.add("Add", graph.add("Mul", centered, scale), graph.stored(layer, "biases"))


# {operation: the function that adds a layer}; dropout does nothing in a prediction.
OPERATIONS: dict[int, Callable[[_Graph, str, Any], str]] = {
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
    Operation.BRANCH: _branch,
    Operation.ADD: _add,
}


# ------------------------------------------------------------------ answers


def _answer_each(graph: _Graph, name: str, values: str, **kind: Any) -> None:
    """Add an output of the values (N, O), as (N,) if O is 1."""
    if graph.network.n_outputs > 1:
        return graph.answer(name, "Identity", [values], **kind)
    columns = graph.array("constant.columns", np.array([1]))
    return graph.answer(name, "Squeeze", [values, columns], squeezed=True, **kind)


def _classes(graph: _Graph, logits: str) -> None:
    graph.answer("label", "ArgMax", [logits], label=True, squeezed=True, axis=1, keepdims=0)
    graph.answer("probabilities", "Softmax", [logits], axis=1)


def _yes_or_no(graph: _Graph, outputs: str) -> None:
    loss = graph.network.loss
    yes = graph.add("Greater", outputs, loss.threshold)
    label = graph.add("Cast", yes, to=graph.onnx.TensorProto.INT64)
    _answer_each(graph, "label", label, label=True)
    finish = "Sigmoid" if loss.finish == Operation.SIGMOID else "Identity"
    graph.answer("probabilities", finish, [outputs])


def _numbers(graph: _Graph, outputs: str) -> None:
    if graph.network.loss.finish == Operation.EXP:
        outputs = graph.add("Exp", outputs)
    _answer_each(graph, "prediction", outputs)


_ANSWERS = {"classes": _classes, "answers": _yes_or_no, "numbers": _numbers}
