"""Models and parameters in safetensors files: arrays, and a description as JSON. No pickle."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import FileFormatError
from ..files import read, write
from ..types import Array, PathLike
from . import accuracy, layers, losses, optimizers

_MODEL, _PARAMETERS = "model of fastnn.nnfs", "parameters of fastnn.nnfs"

# The classes that a file may name.
_LAYERS = (
    layers.Layer_Dense, layers.Layer_Dropout, layers.Activation_ReLU, layers.Activation_Softmax,
    layers.Activation_Sigmoid, layers.Activation_Linear,
)  # fmt: skip
_LOSSES = (
    losses.Loss_CategoricalCrossentropy, losses.Loss_BinaryCrossentropy,
    losses.Loss_MeanSquaredError, losses.Loss_MeanAbsoluteError,
)  # fmt: skip
_OPTIMIZERS = (
    optimizers.Optimizer_SGD, optimizers.Optimizer_Adagrad, optimizers.Optimizer_RMSprop,
    optimizers.Optimizer_Adam,
)  # fmt: skip
_ACCURACIES = accuracy.Accuracy_Categorical, accuracy.Accuracy_Regression
_PARTS = {"loss": _LOSSES, "optimizer": _OPTIMIZERS, "accuracy": _ACCURACIES}

# Attributes that are not arguments, or have another value than the argument of that name.
_ATTRIBUTES = ("rate", "current_learning_rate", "iterations", "precision")
_SIZES = ("n_inputs", "n_neurons")  # given by the arrays
_AVERAGES = tuple(
    prefix + name for _, prefix in optimizers.KINDS for name in ("momentums", "cache")
)


def save_parameters(parameters: Sequence[tuple[Array, Array]], path: PathLike) -> None:
    """Write [(weights, biases), ...]."""
    tensors = {}
    for i, (weights, biases) in enumerate(parameters):
        tensors[f"{i}.weights"], tensors[f"{i}.biases"] = weights, biases
    write(path, {"kind": _PARAMETERS, "count": len(parameters)}, tensors)


def load_parameters(path: PathLike) -> list[tuple[Array, Array]]:
    """Return [(weights, biases), ...]."""
    description, tensors = _read(path, _PARAMETERS)
    with _file_errors(path):
        count = range(int(description["count"]))
        return [(tensors[f"{i}.weights"], tensors[f"{i}.biases"]) for i in count]


def save_model(model: Any, path: PathLike) -> None:
    """Write a model."""
    tensors, descriptions = {}, []
    for i, layer in enumerate(model.layers):
        descriptions.append(_describe(layer, f"layers[{i}]", _LAYERS))
        for name in ("weights", "biases", *_AVERAGES):
            if getattr(layer, name, None) is not None:
                tensors[f"{i}.{name}"] = getattr(layer, name)
    parts = {
        name: _describe(getattr(model, name), name, kinds)
        for name, kinds in _PARTS.items()
        if getattr(model, name) is not None
    }
    write(path, {"kind": _MODEL, "layers": descriptions, **parts}, tensors, finite=tensors)


def load_model(model: Any, path: PathLike) -> None:
    """Fill an empty model and finalize it."""
    description, tensors = _read(path, _MODEL)
    with _file_errors(path):
        for i, each in enumerate(description["layers"]):
            layer = _build(each, _LAYERS)
            if isinstance(layer, layers.Layer_Dense):
                _fill(layer, {k.partition(".")[2]: a for k, a in tensors.items() if _in(k, i)})
            model.add(layer)
        parts = {
            name: _build(description[name], kinds)
            for name, kinds in _PARTS.items()
            if name in description
        }
        model.set(**parts)
        model.finalize()


def _in(key: str, i: int) -> bool:
    return key.partition(".")[0] == str(i)


def _fill(layer: Any, arrays: dict[str, Array]) -> None:
    weights, biases = arrays["weights"], arrays["biases"]
    if weights.ndim != 2 or biases.shape != (1, weights.shape[1]) or not weights.size:
        raise ValueError(f"weights {weights.shape} and biases {biases.shape}")
    if weights.dtype not in (np.float32, np.float64) or biases.dtype != weights.dtype:
        raise ValueError(f"weights of {weights.dtype} and biases of {biases.dtype}")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} that are not finite")
    layer._weights, layer._biases = weights, biases
    for name in _AVERAGES:
        if name in arrays:
            parameters = weights if name.startswith("weight") else biases
            if arrays[name].shape != parameters.shape:
                raise ValueError(f"{name} of shape {arrays[name].shape}")
            setattr(layer, name, arrays[name].astype(parameters.dtype))


def _describe(value: Any, name: str, kinds: tuple[type[Any], ...]) -> dict[str, Any]:
    """Return {"class": ..., "arguments": ..., "attributes": ...} of an object of known class."""
    if type(value) not in kinds:
        known = ", ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{name} is {value!r}, expected one of {known}: no file holds a class")
    arguments = inspect.signature(type(value)).parameters
    attributes = {key: _plain(getattr(value, key)) for key in _ATTRIBUTES if hasattr(value, key)}
    return {
        "class": type(value).__name__,
        "arguments": {
            key: _plain(getattr(value, key))
            for key in arguments
            if key not in attributes and key not in _SIZES
        },
        "attributes": attributes,
    }


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _build(description: Any, kinds: tuple[type[Any], ...]) -> Any:
    kind = {kind.__name__: kind for kind in kinds}[description["class"]]
    arguments, attributes = dict(description["arguments"]), dict(description["attributes"])
    if kind is layers.Layer_Dense:
        arguments |= dict.fromkeys(_SIZES, 1)
    if kind is layers.Layer_Dropout:
        arguments["rate"] = 1 - attributes["rate"]
    state = np.random.get_state()  # noqa: NPY002
    try:  # loading does not change the numbers that a script draws
        value = kind(**arguments)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    for name, attribute in attributes.items():
        if name not in _ATTRIBUTES or not hasattr(value, name):
            raise ValueError(f"an attribute {name!r}")
        if attribute is not None and not isinstance(attribute, int | float):
            raise ValueError(f"{name} {attribute!r}")
        setattr(value, name, attribute)
    return value


@contextlib.contextmanager
def _file_errors(path: PathLike) -> Iterator[None]:
    """Raise FileFormatError for the errors of a bad description."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = f"is no file of fastnn.nnfs: {type(error).__name__}, {error}"
        raise FileFormatError(path, problem) from error


def _read(path: PathLike, kind: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the description and the arrays of a file of this kind."""
    description, arrays = read(path)
    if description.get("kind") != kind:
        raise FileFormatError(path, f"holds {description.get('kind')!r:.80}, expected {kind!r}")
    return description, {name: array.copy() for name, array in arrays.items()}
