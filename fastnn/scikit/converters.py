"""A converter of fastnn's estimators for skl2onnx, which writes pipelines as ONNX files."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..export.estimator import classes_of, estimator_of
from ..export.inference import read_network
from ..export.onnx import OPERATIONS, add_network
from ..export.onnx_graph import Graph
from ..requirements import missing
from .estimators import MLPClassifier, MLPRegressor


def register_skl2onnx() -> None:
    """Let skl2onnx convert pipelines in which :class:`MLPClassifier` or :class:`MLPRegressor` is.

    After it, `skl2onnx.to_onnx(pipeline, X[:1])` takes a pipeline of `StandardScaler`,
    `OneHotEncoder`, `ColumnTransformer` and other steps that skl2onnx knows, with one of fastnn's
    estimators at its end. It may be called again. It needs scikit-learn and skl2onnx.

    Raises
    ------
    ImportError
        Where one of them is not installed.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X = np.random.default_rng(0).normal(5, 2, (100, 3)).astype(np.float32)
    >>> model = make_pipeline(StandardScaler(), fastnn.MLPRegressor(max_iter=2000))
    >>> model = model.fit(X, X[:, 0])
    >>> import skl2onnx
    >>> fastnn.register_skl2onnx()
    >>> converted = skl2onnx.to_onnx(model, X[:1])
    >>> [each.name for each in converted.graph.input]
    ['X']
    """
    try:
        import onnx
        from skl2onnx import update_registered_converter
        from skl2onnx.common.shape_calculator import (
            calculate_linear_classifier_output_shapes,
            calculate_linear_regressor_output_shapes,
        )
    except ModuleNotFoundError:
        raise missing("register_skl2onnx needs", "skl2onnx", "onnx") from None

    def convert(scope: Any, operator: Any, container: Any) -> None:
        estimator = estimator_of(operator.raw_operator)
        network = read_network(estimator.model_, OPERATIONS, "register_skl2onnx")
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
