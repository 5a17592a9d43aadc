"""Fitted estimators for exporters, without an import of scikit-learn."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

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
    if not hasattr(estimator, "classes_"):
        return []
    if estimator.out_activation_ == "logistic" and estimator.n_outputs_ > 1:  # several labels
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
