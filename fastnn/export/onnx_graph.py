"""A graph of ONNX operators while it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .inference import InferenceNetwork
from .table import ExportTable

OPSET, IR_VERSION = 17, 8
ML_DOMAIN, ML_OPSET = "ai.onnx.ml", 3
"""The operators of preprocessing."""


class Graph:
    """The nodes and constants of a graph. `add` returns the name of the result of a node."""

    def __init__(
        self, onnx: Any, network: InferenceNetwork, table: ExportTable | None = None
    ) -> None:
        self.onnx, self.network, self.table = onnx, network, table
        self.real = onnx.helper.np_dtype_to_tensor_dtype(network.dtype)
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.inputs: list[tuple[str, Any, list[Any]]] = []
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

    def take(self, name: str, kind: Any, shape: list[Any]) -> None:
        """Add an input of the graph."""
        self.inputs.append((name, kind, shape))

    def output(self, name: str, kind: Any, shape: list[Any], operator: str, *inputs: str) -> None:
        """Add a node whose result is the output `name` of the graph."""
        self.add(operator, *inputs, output=name)
        self.outputs.append((name, kind, shape))

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

    def make_model(self) -> Any:
        """Return the ONNX model of what was added."""
        from ..version import __version__

        make_value = self.onnx.helper.make_tensor_value_info
        graph = self.onnx.helper.make_graph(
            self.nodes,
            "fastnn",
            [make_value(*each) for each in self.inputs],
            [make_value(*output) for output in self.outputs],
            list(self.constants.values()),
            doc_string=str(self.network),
        )
        make_opset = self.onnx.helper.make_opsetid
        opsets = [make_opset("", OPSET)]
        if self.table is not None:
            opsets.append(make_opset(ML_DOMAIN, ML_OPSET))
        model = self.onnx.helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=IR_VERSION,
            producer_name="fastnn",
            producer_version=__version__,
        )
        if self.table is not None:
            self.onnx.helper.set_model_props(model, self.table.metadata())
        return model
