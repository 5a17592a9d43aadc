"""PyTorch's `state_dict` of an `nn.Sequential` in a safetensors file, in and out.

Neither way needs PyTorch. Layer i of a model is module i there: `Dense` is `nn.Linear`, with its
weights transposed, and activations and `Dropout` have the modules of the same names.
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
from .validation import as_path


def export_torch(model, path):
    """Write the parameters of a model as `nn.Sequential` of the same layers takes them.

    In PyTorch `net.load_state_dict(safetensors.torch.load_file(path))`, where `net` has a module
    for each layer, `nn.Linear(..., bias=False)` for a `Dense` with `use_bias=False`, and the dtype
    of the model. The outputs agree to rounding.

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
        elif layer.stored:
            raise TypeError(f"layers[{i}] is {layer!r:.80}, which export_torch does not know")
    files.replace(path, safetensors.numpy.save(arrays, {"format": "pt"}))


def load_torch(path, layers=None, loss=None):
    """Return the model in a `state_dict` of an `nn.Sequential` of linear layers and activations.

    In PyTorch `safetensors.torch.save_file(net.state_dict(), path)`. The names are "0.weight",
    "0.bias", ..., with the same words before each number or none.

    Parameters
    ----------
    path : path-like
    layers : list of layers, optional
        What stands between and behind the linear layers, in order: the file does not know, so
        there has to be one for each number that has no parameters. None where all have.
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
    """Return {number: (weight, bias or None)} of the linear modules."""
    found, prefixes = {}, set()
    for name, array in arrays.items():
        match = re.fullmatch(r"(.*\.)?(\d{1,6})\.(weight|bias)", name)
        if match is None:
            raise ValueError(f"{name:.80} is neither a weight nor a bias")
        prefixes.add(match[1])
        found.setdefault(int(match[2]), {})[match[3]] = _as_numbers(array, name)
    if len(prefixes) != 1:
        raise ValueError("its names do not begin alike" if prefixes else "it has no arrays")
    modules = {}
    for number in sorted(found):
        weight, bias = found[number].get("weight"), found[number].get("bias")
        if weight is None or weight.ndim != 2 or 0 in weight.shape:
            shape = None if weight is None else weight.shape
            raise ValueError(f"{number}.weight has shape {shape}, expected (outputs, inputs)")
        if bias is not None and bias.shape != weight.shape[:1]:
            raise ValueError(f"{number}.bias has shape {bias.shape}, expected {weight.shape[:1]}")
        modules[number] = weight, bias
    return modules


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
    """Return all layers in order: dense ones at their numbers, the others where these are free."""
    last = max(modules)
    gaps = [i for i in range(last) if i not in modules]
    if len(layers) < len(gaps):
        raise ValueError(
            f"layers has {len(layers)}, expected at least {len(gaps)}: "
            f"modules {', '.join(map(str, gaps[:9]))} have no parameters"
        )
    others = iter(layers)
    made = [_as_dense(*modules[i]) if i in modules else next(others) for i in range(last + 1)]
    return [*made, *others]


def _as_dense(weight, bias):
    n_neurons, n_inputs = weight.shape
    layer = Dense(n_inputs, n_neurons, dtype=weight.dtype, init="zeros", use_bias=bias is not None)
    layer.weights = weight.T
    if bias is not None:
        layer.biases = bias[np.newaxis]
    layer.init = "he"
    return layer
