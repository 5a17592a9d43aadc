"""PyTorch: the `state_dict` of an `nn.Sequential`, in a safetensors file. `torch_reader` reads it.

PyTorch itself is not needed. The metadata of a file say what a `state_dict` leaves out: "modules"
has the class and arguments of every module as JSON, "sequential" the same as a line of Python,
"loss" the loss of the model, as JSON; "format" is "pt", as in PyTorch's own files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import safetensors.numpy

from ..files import replace
from ..kernels import catalogue
from ..kernels.catalogue import Operation
from ..nn import configs
from ..nn.classes import CLASSES
from ..types import Array, PathLike
from ..validation import as_path
from .inference import has_biases, read_layers

if TYPE_CHECKING:
    from ..model import Sequential

COUNTER = "num_batches_tracked"  # by a BatchNorm1d, which reads it only if momentum is None


def to_torch(model: Sequential, path: PathLike) -> None:
    """Write the `state_dict` of the equivalent `torch.nn.Sequential` as a safetensors file.

    Module i is layer i. A dense layer is `i.weight` (O, I), the weights transposed, and `i.bias`
    (O,), or no `i.bias` if it has no biases. The modules return what `model.forward` returns:
    logits, unless the last layer is a :class:`Softmax` or :class:`Sigmoid`; with the loss
    :class:`Poisson`, logarithms of rates. In PyTorch::

        from safetensors import safe_open
        from safetensors.torch import load_file

        with safe_open("digits.safetensors", "pt") as file:
            print(file.metadata()["sequential"])  # nn.Sequential(nn.Linear(64, 32), ...)
        net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        net.load_state_dict(load_file("digits.safetensors"))
        net.eval()

    Parameters
    ----------
    model : Sequential
    path : path-like
        The file to write. An existing file is replaced.

    Raises
    ------
    TypeError, ValueError
        For a layer of your own, and for parameters that are not finite.
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
    >>> fastnn.export_torch(model, "model.safetensors")
    """
    layers, path = read_layers(model, OPERATIONS, "to_torch"), as_path(path)
    modules, state = [], {}
    for i, operation, layer in layers:
        module = OPERATIONS[operation](layer)
        modules.append({"class": module.name, **module.arguments})
        for key, array in module.state.items():
            state[f"{i}.{key}"] = np.require(array, requirements="C")
    metadata = {
        "format": "pt",
        "modules": json.dumps(modules),
        "sequential": f"nn.Sequential({', '.join(map(_in_python, modules))})",
    }
    if CLASSES.get(type(model.loss).__name__) is type(model.loss):
        metadata["loss"] = json.dumps(configs.describe(model.loss, "loss"))
    replace(path, _in_order(safetensors.numpy.save(state, metadata)))


class _Module(NamedTuple):
    """A PyTorch module: the name of its class, its arguments, and the arrays of its state."""

    name: str
    arguments: dict[str, Any]
    state: dict[str, Array]


def _module(name: str, **arguments: Any) -> _Module:
    """Return a module without arrays."""
    return _Module(name, arguments, {})


def _dense(layer: Any) -> _Module:
    arguments = {"in_features": layer.n_inputs, "out_features": layer.n_neurons}
    if has_biases(layer):
        return _Module("Linear", arguments, {"weight": layer.weights.T, "bias": layer.biases[0]})
    return _Module("Linear", {**arguments, "bias": False}, {"weight": layer.weights.T})


def _layer_norm(layer: Any) -> _Module:
    arguments = {"normalized_shape": layer.n_features, "eps": float(layer.epsilon)}
    return _Module("LayerNorm", arguments, {"weight": layer.weights[0], "bias": layer.biases[0]})


def _batch_norm(layer: Any) -> _Module:
    arguments = {"eps": float(layer.epsilon), "momentum": float(layer.momentum)}
    state = {
        "weight": layer.weights[0],
        "bias": layer.biases[0],
        "running_mean": layer.running_mean[0],
        "running_var": layer.running_variance[0],
        COUNTER: np.array(0),
    }
    return _Module("BatchNorm1d", {"num_features": layer.n_features, **arguments}, state)


# The activations that PyTorch has by the same name and with the same arguments.
SHARED_ACTIVATIONS = "Identity", "Sigmoid", "Tanh", "LeakyReLU", "ELU", "GELU", "SiLU", "Softplus"


def _activation(name: str) -> Callable[[Any], _Module]:
    """Return the function that makes the module of the activation with this name."""
    arguments = configs.arguments_of(name)
    return lambda layer: _module(name, **{key: getattr(layer, key) for key in arguments})


# {operation: the module of a layer}
OPERATIONS: dict[int, Callable[[Any], _Module]] = {
    Operation.DENSE: _dense,
    Operation.RELU: lambda layer: _module("ReLU"),
    Operation.SOFTMAX: lambda layer: _module("Softmax", dim=1),
    Operation.DROPOUT: lambda layer: _module("Dropout", p=float(layer.rate)),
    Operation.LAYER_NORM: _layer_norm,
    Operation.BATCH_NORM: _batch_norm,
    **{
        row.code: _activation(row.layer)
        for row in catalogue.ACTIVATIONS
        if row.layer in SHARED_ACTIVATIONS
    },
}


def _in_order(data: bytes) -> bytes:
    """Return a safetensors file with sorted metadata, which safetensors writes in any order."""
    header, arrays = _split(data)
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + arrays


def _split(data: bytes) -> tuple[Any, bytes]:
    """Return the header of a safetensors file, and the bytes of its arrays."""
    stop = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:stop]), data[stop:]


def _in_python(module: Mapping[str, Any]) -> str:
    """Return the Python expression of a module. Sizes are positional arguments."""
    positional = "in_features", "out_features", "num_features", "normalized_shape", "p"
    arguments = [
        f"{value!r}" if name in positional else f"{name}={value!r}"
        for name, value in module.items()
        if name != "class"
    ]
    return f"nn.{module['class']}({', '.join(arguments)})"
