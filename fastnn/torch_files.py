"""PyTorch's `state_dict` of an `nn.Sequential` in a safetensors file, in and out.

Neither way needs PyTorch. Layer i of a model is module i there: `Dense` is `nn.Linear`, with its
weights transposed, `BatchNorm` is `nn.BatchNorm1d`, and `LayerNorm`, activations and `Dropout` have
the modules of the same names.
"""

import re

import numpy as np
import safetensors.numpy

from . import files
from .configs import CLASSES
from .dropout import Dropout
from .errors import FileFormatError
from .layers import Dense, Layer
from .model import Sequential
from .normalization import BatchNorm, LayerNorm
from .validation import as_path

_NAMES = {
    "weights": "weight", "biases": "bias", "running_mean": "running_mean",
    "running_variance": "running_var",
}  # fmt: skip


def export_torch(model, path):
    """Write the parameters of a model as `nn.Sequential` of the same layers takes them.

    In PyTorch `net.load_state_dict(safetensors.torch.load_file(path))`, where `net` has a module
    for each layer, with the same arguments (`nn.Linear(..., bias=False)` for a `Dense` with
    `use_bias=False`), and the dtype of the model. The outputs agree to rounding.

    Parameters
    ----------
    model : Sequential
    path : path-like

    Raises
    ------
    TypeError, ValueError
        For a layer that is of no class of fastnn; for parameters that are not finite.
    OSError
        Where the file cannot be written; the one that was there stays.
    """
    path = as_path(path)
    if not isinstance(model, Sequential):
        raise TypeError(f"model is {model!r:.80}, expected a fastnn.Sequential")
    if not model._is_finite():
        raise ValueError("model has parameters that are not finite, expected a trained model")
    arrays = {}
    for i, layer in enumerate(model.layers):
        if CLASSES.get(type(layer).__name__) is not type(layer):
            raise TypeError(f"layers[{i}] is {layer!r:.80}, expected a layer of fastnn's own")
        if isinstance(layer, Dense):
            arrays[f"{i}.weight"] = np.ascontiguousarray(layer.weights.T)
            if layer.use_bias:
                arrays[f"{i}.bias"] = layer.biases[0].copy()
        for name in layer.stored if isinstance(layer, BatchNorm | LayerNorm) else ():
            arrays[f"{i}.{_NAMES[name]}"] = getattr(layer, name)[0].copy()
        if isinstance(layer, BatchNorm):
            arrays[f"{i}.num_batches_tracked"] = np.array(0, np.int64)
    files.replace(path, safetensors.numpy.save(arrays, {"format": "pt"}))


def load_torch(path, layers=None, loss=None):
    """Return the model in a `state_dict` of an `nn.Sequential` of modules that fastnn knows.

    In PyTorch `safetensors.torch.save_file(net.state_dict(), path)`. The names are "0.weight",
    "0.bias", ..., with the same words before each number or none. What a file does not tell is
    taken to be as PyTorch has it by default: the epsilon of `nn.LayerNorm` and `nn.BatchNorm1d`.

    Parameters
    ----------
    path : path-like
    layers : list of layers, optional
        What has no parameters, in order: the file does not know, so there has to be one for each
        number that is not in it, and any more stand behind the last. None where all are in it.
    loss : Loss, optional
        As :class:`Sequential` takes it.

    Raises
    ------
    FileFormatError
        A ValueError: for any other file, also one with modules of other kinds.
    TypeError, ValueError
        For layers that do not fit.
    """
    path = as_path(path)
    arrays = files.read_arrays(path)
    try:
        modules = _find_modules(arrays)
    except ValueError as error:
        raise FileFormatError(path, f"has no nn.Sequential that fastnn knows: {error}") from None
    return Sequential(_fill(modules, _as_layers(layers)), loss)


def _find_modules(arrays):
    """Return {number: layer} of the modules with parameters."""
    found, prefixes = {}, set()
    for name, array in arrays.items():
        match = re.fullmatch(rf"(.*\.)?(\d{{1,6}})\.({'|'.join(_NAMES.values())}|{_COUNT})", name)
        if match is None:
            raise ValueError(f"{name:.80} is no array of a module that fastnn has")
        prefixes.add(match[1])
        own = found.setdefault(int(match[2]), {})
        if match[3] != _COUNT:
            own[match[3]] = _as_numbers(array, name)
    if len(prefixes) != 1:
        raise ValueError("its names do not begin alike" if prefixes else "it has no arrays")
    return {number: _as_layer(number, found[number]) for number in sorted(found)}


_COUNT = "num_batches_tracked"


def _as_layer(number, arrays):
    """Return the layer that has the arrays of a module."""
    weight = arrays.get("weight")
    kinds = {
        ("weight",): Dense,
        ("bias", "weight"): Dense,
        tuple(sorted(_NAMES.values())): BatchNorm,
    }
    kind = kinds.get(tuple(sorted(arrays)))
    if kind is Dense and weight.ndim == 1 and "bias" in arrays:
        kind = LayerNorm
    if kind is None or weight.ndim != 1 + (kind is Dense) or 0 in weight.shape:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"module {number} has {shapes}: no layer of fastnn is like this")
    for name, array in arrays.items():
        if name != "weight" and array.shape != weight.shape[:1]:
            raise ValueError(
                f"{number}.{name} has shape {array.shape}, expected {weight.shape[:1]}"
            )
    if kind is Dense:
        return _as_dense(weight, arrays.get("bias"))
    layer = kind(len(weight), dtype=weight.dtype)
    for name in layer.stored:
        setattr(layer, name, arrays[_NAMES[name]][np.newaxis])
    return layer


def _as_numbers(array, name):
    """Return an array as float32 or float64."""
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} has dtype {array.dtype}, expected float32 or float64")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has numbers that are not finite")
    return array


def _as_layers(layers):
    layers = [] if layers is None else layers
    if not isinstance(layers, list | tuple):
        raise TypeError(f"layers is {layers!r:.80}, expected a list of layers")
    for i, layer in enumerate(layers):
        if not isinstance(layer, Layer) or layer.stored:
            raise TypeError(
                f"layers[{i}] is {layer!r:.80}, expected a layer without parameters, "
                f"such as fastnn.ReLU() or fastnn.{Dropout.__name__}(0.5)"
            )
    return list(layers)


def _fill(modules, layers):
    """Return all layers in order: those of the file at their numbers, the others in the gaps."""
    last = max(modules)
    gaps = [i for i in range(last) if i not in modules]
    if len(layers) < len(gaps):
        raise ValueError(
            f"layers has {len(layers)}, expected at least {len(gaps)}: "
            f"modules {', '.join(map(str, gaps[:9]))} have no parameters"
        )
    others = iter(layers)
    made = [modules[i] if i in modules else next(others) for i in range(last + 1)]
    return [*made, *others]


def _as_dense(weight, bias):
    n_neurons, n_inputs = weight.shape
    layer = Dense(n_inputs, n_neurons, dtype=weight.dtype, init="zeros", use_bias=bias is not None)
    layer.weights = weight.T
    if bias is not None:
        layer.biases = bias[np.newaxis]
    layer.init = "he"
    return layer
