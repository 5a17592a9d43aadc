"""Fitted estimators for exporters, without scikit-learn, and a converter for skl2onnx."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ..requirements import missing
from .onnx_graph import Graph


def estimator_of(model: Any) -> Any:
    """Return `model` if it is a fitted MLPClassifier or MLPRegressor, else None.

    Raises ValueError for one that is not fitted.
    """
    base = sys.modules.get("fastnn.scikit.base")  # it is not imported for this
    if base is None or not isinstance(model, base.MLP):
        return None
    if getattr(model, "model_", None) is None:
        raise ValueError(f"model is {model!r:.80}, which is not fitted: expected one after fit")
    return model


def classes_of(estimator: Any) -> list[Any]:
    """Return the classes of an estimator whose answer is one of them, else an empty list."""
    if not hasattr(estimator, "classes_") or estimator._multilabel:
        return []
    classes = np.asarray(estimator.classes_).tolist()
    if len(classes) < 2:
        raise ValueError(f"model knows the class {classes[0]!r:.80} only, expected two classes")
    return list(classes)


def add_labels(graph: Graph, labels: list[Any], classes: str) -> None:
    """Add the output `label` (N,): the labels of class numbers (N,)."""
    array = np.array(labels, object if isinstance(labels[0], str) else None)
    kinds = {bool: "BOOL", int: "INT64", float: "DOUBLE", str: "STRING"}
    kind = getattr(graph.onnx.TensorProto, kinds[type(labels[0])])
    graph.output("label", kind, ["N"], "Gather", graph.array("output.labels", array), classes)


def add_answers(graph: Graph, classes: list[Any], outputs: str) -> None:
    """Add the outputs `label` (N,) and `probabilities` (N, C) of an estimator."""
    if len(classes) > 2:
        numbers = graph.add("ArgMax", outputs, axis=1, keepdims=0)
        probabilities = ("Softmax", [outputs], {"axis": 1})
    else:  # one logit
        axis = graph.array("constant.columns", np.array([1]))
        yes = graph.add("Squeeze", graph.add("Greater", outputs, 0), axis)
        numbers = graph.add("Cast", yes, to=graph.onnx.TensorProto.INT64)
        both = graph.add("Concat", graph.add("Neg", outputs), outputs, axis=1)
        probabilities = ("Sigmoid", [both], {})
    add_labels(graph, classes, numbers)
    operator, inputs, attributes = probabilities
    graph.add(operator, *inputs, output="probabilities", **attributes)
    graph.outputs.append(("probabilities", graph.real, ["N", len(classes)]))


def register(add_network: Callable[[Graph, str, list[Any]], None], read: Any) -> None:
    """Register the converters; see :func:`fastnn.export.register_skl2onnx`."""
    try:
        import onnx
        from skl2onnx import update_registered_converter
        from skl2onnx.common.shape_calculator import (
            calculate_linear_classifier_output_shapes,
            calculate_linear_regressor_output_shapes,
        )
    except ModuleNotFoundError:
        raise missing("register_skl2onnx needs", "skl2onnx", "onnx") from None
    from ..scikit.estimators import MLPClassifier, MLPRegressor

    def convert(scope: Any, operator: Any, container: Any) -> None:
        estimator = estimator_of(operator.raw_operator)
        network = read(estimator.model_)
        graph = Graph(onnx, network)
        graph.place = "input"
        x = graph.add("Cast", operator.inputs[0].full_name, to=graph.real)
        add_network(graph, x, classes_of(estimator))
        _hand_over(graph, scope, operator, container)

    shapes = {
        MLPClassifier: calculate_linear_classifier_output_shapes,
        MLPRegressor: calculate_linear_regressor_output_shapes,
    }
    for kind, shape in shapes.items():
        known = {
            "zipmap": [True, False, "columns"],
            "nocl": [False],
            "output_class_labels": [False],
        }
        options = known if kind is MLPClassifier else None
        update_registered_converter(kind, f"Fastnn{kind.__name__}", shape, convert, options=options)


def _hand_over(graph: Graph, scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes and constants of a graph to those of skl2onnx, under names of their own."""
    names: dict[str, str] = {operator.inputs[0].full_name: operator.inputs[0].full_name}
    for (name, _, shape), variable in zip(graph.outputs, operator.outputs, strict=True):
        kind = variable.type.__class__.__name__
        wanted = {
            "FloatTensorType": "FLOAT", "DoubleTensorType": "DOUBLE", "Int64TensorType": "INT64",
            "StringTensorType": "STRING", "BooleanTensorType": "BOOL",
        }.get(kind, "FLOAT")  # fmt: skip
        if name == "prediction" and len(shape) == 1:  # regressors of skl2onnx have columns
            column = graph.array("output.column", np.array([-1, 1]))
            name = graph.add("Reshape", name, column)
        to = getattr(graph.onnx.TensorProto, wanted)
        names[graph.add("Cast", name, to=to)] = variable.full_name
    for constant in graph.constants.values():
        names[constant.name] = scope.get_unique_variable_name(f"fastnn.{constant.name}")
        constant.name = names[constant.name]
        container.initializers.append(constant)
    for node in graph.nodes:
        for values in (node.input, node.output):
            for i, name in enumerate(values):
                if name not in names:
                    names[name] = scope.get_unique_variable_name(f"fastnn.{name}")
                values[i] = names[name]
        node.name = scope.get_unique_operator_name(f"fastnn.{node.name}")
        container.nodes.append(node)
    container.node_domain_version_pair_sets.add(("", 17))
