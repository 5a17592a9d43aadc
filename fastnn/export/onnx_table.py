"""The part of an ONNX graph in front of the network and behind it, for a model of a table."""

from __future__ import annotations

import re

import numpy as np

from .onnx_graph import ML_DOMAIN, Graph
from .table import CategoryInput, ExportTable, NumberInput


def prepare(graph: Graph, table: ExportTable) -> str:
    """Add an input (N, 1) for each column; return the name of the features (N, I).

    Numbers are float64 as in training, and NaN where they are missing. Categories are texts, and
    "" where they are missing.
    """
    features = []
    for i, column in enumerate(table.inputs):
        graph.place = f"column.{i}"
        if isinstance(column, NumberInput):
            features.append(_number(graph, column))
        else:
            features.append(_category(graph, column))
    graph.place = "columns"
    x = graph.add("Concat", *features, axis=1)
    return graph.add("Cast", x, to=graph.real)


_OTHER_NAMES = re.compile(
    r"label|probabilities|prediction|(columns?|constant|output|\d+)\..*", re.S
)


def input_name(column: str) -> str:
    """Return the name of the input of a column, which no other value of the graph has."""
    return f"{column} of the table" if _OTHER_NAMES.fullmatch(column) else column


def _number(graph: Graph, column: NumberInput) -> str:
    x = input_name(column.name)
    graph.take(x, graph.onnx.TensorProto.DOUBLE, ["N", 1])
    if column.fill is not None:
        x = graph.add("Where", graph.add("IsNaN", x), _double(graph, column.fill), x)
    x = graph.add("Sub", x, _double(graph, column.shift))
    return graph.add("Div", x, _double(graph, column.scale))


def _category(graph: Graph, column: CategoryInput) -> str:
    x = input_name(column.name)
    graph.take(x, graph.onnx.TensorProto.STRING, ["N", 1])
    n = len(column.categories)
    codes = {category: i for i, category in enumerate(column.categories)}
    if column.fill is not None:
        codes[""] = column.fill
    code = graph.add(
        "LabelEncoder", x, domain=ML_DOMAIN, keys_strings=[*codes],
        values_int64s=[*codes.values()], default_int64=n if column.has_other else -1,
    )  # fmt: skip
    known = graph.array(f"{graph.place}.codes", np.arange(n + column.has_other))
    return graph.add("Cast", graph.add("Equal", code, known), to=graph.onnx.TensorProto.DOUBLE)


def value(graph: Graph, table: ExportTable, outputs: str) -> None:
    """Add the output `prediction` (N,), float64: network outputs (N, 1) in units of the target."""
    columns = graph.array("constant.columns", np.array([1]))
    outputs = graph.add("Squeeze", outputs, columns)
    outputs = graph.add("Cast", outputs, to=graph.onnx.TensorProto.DOUBLE)
    scaled = graph.add("Mul", outputs, _double(graph, table.scale))
    kind = graph.onnx.TensorProto.DOUBLE
    graph.output("prediction", kind, ["N"], "Add", scaled, _double(graph, table.shift))


def _double(graph: Graph, number: float) -> str:
    return graph.array(f"constant.double.{number!r}", np.array(number, np.float64))
