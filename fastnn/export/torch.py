"""PyTorch: the `state_dict` of an `nn.Sequential`, in a safetensors file, out and in.

PyTorch itself is not needed. The metadata of a file that `to_torch` writes say what a `state_dict`
leaves out: "modules" has the class and arguments of every module as JSON, "sequential" the same as
a line of Python, "loss" the loss of the model, as JSON; "format" is "pt", as PyTorch's own files
have it.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from ..errors import FileFormatError
from ..files import read_arrays, replace
from ..kernels import table as t
from ..model import Sequential
from ..nn import configs
from ..nn.activations import ELU, GELU, Activation, Identity, LeakyReLU, Sigmoid, SiLU, Tanh
from ..nn.classes import ACTIVATIONS, CLASSES
from ..nn.dropout import Dropout
from ..nn.layers import Dense, Layer, ParameterLayer, ReLU, Softmax
from ..nn.loss import Loss
from ..nn.normalization import BatchNorm, LayerNorm
from ..types import Array, DType, Floats, PathLike
from ..validation import DTYPES, as_choice, as_path
from .network import has_biases, read_layers

# The layer that a module is, and the names here of those of its arguments that are more than sizes.
_LAYERS = {
    "Linear": (Dense, {}),
    "ReLU": (ReLU, {}),
    "Softmax": (Softmax, {}),
    "Identity": (Identity, {}),
    "Sigmoid": (Sigmoid, {}),
    "Tanh": (Tanh, {}),
    "LeakyReLU": (LeakyReLU, {"negative_slope": "negative_slope"}),
    "ELU": (ELU, {"alpha": "alpha"}),
    "GELU": (GELU, {"approximate": "approximate"}),
    "SiLU": (SiLU, {}),
    "Dropout": (Dropout, {"p": "rate"}),
    "LayerNorm": (LayerNorm, {"eps": "epsilon"}),
    "BatchNorm1d": (BatchNorm, {"eps": "epsilon", "momentum": "momentum"}),
}
_RUNNING = "running_mean", "running_var"
_NAMES = {"bias": "biases", "running_mean": "running_mean", "running_var": "running_variance"}
_COUNTER = "num_batches_tracked"  # by a BatchNorm1d; nobody reads it where momentum is a number
_NAME = re.compile(rf"((?:.*\.)?)(\d{{1,6}})\.(weight|{'|'.join(_NAMES)}|{_COUNTER})", re.ASCII)


# ------------------------------------------------------------------ out


def to_torch(model: Sequential, path: PathLike) -> None:
    """Write the `state_dict` of the equivalent `torch.nn.Sequential` as a safetensors file.

    Module i is layer i. So a dense layer there is `i.weight` (O, I), the weights transposed, and
    `i.bias` (O,); without biases there is no `i.bias`. The modules give what `model.forward`
    gives: logits, unless the last layer is a :class:`Softmax` or :class:`Sigmoid`; after
    :class:`Poisson` logarithms of rates. In PyTorch::

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
        The file to write; one that is there is replaced.

    Raises
    ------
    TypeError, ValueError
        For a layer of your own, for parameters that are not finite.
    OSError
        Where the file cannot be written; the one that was there stays.

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
    steps, path = read_layers(model), as_path(path)
    modules, state = [], {}
    for i, operation, layer in steps:
        name, arguments = _MODULES[operation](layer)
        modules.append({"class": name, **arguments})
        for key, array in _state_of(layer, operation).items():
            state[f"{i}.{key}"] = np.require(array, requirements="C")
    metadata = {
        "format": "pt",
        "modules": json.dumps(modules),
        "sequential": f"nn.Sequential({', '.join(map(_in_python, modules))})",
    }
    if CLASSES.get(type(model.loss).__name__) is type(model.loss):
        metadata["loss"] = json.dumps(configs.describe(model.loss, "loss"))
    replace(path, _in_order(safetensors.numpy.save(state, metadata)))


def _in_order(data: bytes) -> bytes:
    """Return a safetensors file with its metadata sorted: safetensors writes them in any order."""
    header, arrays = _split(data)
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + arrays


def _split(data: bytes) -> tuple[Any, bytes]:
    """Return the header of a safetensors file, and the bytes of its arrays."""
    stop = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:stop]), data[stop:]


def _state_of(layer: Any, operation: int) -> dict[str, Array]:
    """Return {name: array} of a layer as PyTorch has them."""
    if operation == t.DENSE:
        biases = {"bias": layer.biases[0]} if has_biases(layer) else {}
        return {"weight": layer.weights.T, **biases}
    if operation not in (t.LAYER_NORM, t.BATCH_NORM):
        return {}
    state = {"weight": layer.weights[0], "bias": layer.biases[0]}
    if operation == t.BATCH_NORM:
        state["running_mean"] = layer.running_mean[0]
        state["running_var"] = layer.running_variance[0]
        state[_COUNTER] = np.array(0)
    return state


def _of_batch_norm(layer: Any) -> tuple[str, dict[str, Any]]:
    arguments = {"eps": float(layer.epsilon), "momentum": float(layer.momentum)}
    return "BatchNorm1d", {"num_features": layer.n_features, **arguments}


def _of_dense(layer: Any) -> tuple[str, dict[str, Any]]:
    arguments = {"in_features": layer.n_inputs, "out_features": layer.n_neurons}
    return "Linear", {**arguments, **({} if has_biases(layer) else {"bias": False})}


_MODULES: dict[int, Callable[[Any], tuple[str, dict[str, Any]]]] = {
    t.DENSE: _of_dense,
    t.RELU: lambda layer: ("ReLU", {}),
    t.SOFTMAX: lambda layer: ("Softmax", {"dim": 1}),
    t.IDENTITY: lambda layer: ("Identity", {}),
    t.SIGMOID: lambda layer: ("Sigmoid", {}),
    t.TANH: lambda layer: ("Tanh", {}),
    t.LEAKY_RELU: lambda layer: ("LeakyReLU", {"negative_slope": layer.negative_slope}),
    t.ELU: lambda layer: ("ELU", {"alpha": layer.alpha}),
    t.GELU: lambda layer: ("GELU", {"approximate": "none"}),
    t.GELU_TANH: lambda layer: ("GELU", {"approximate": "tanh"}),
    t.SILU: lambda layer: ("SiLU", {}),
    t.DROPOUT: lambda layer: ("Dropout", {"p": float(layer.rate)}),
    t.LAYER_NORM: lambda layer: (
        "LayerNorm", {"normalized_shape": layer.n_features, "eps": float(layer.epsilon)},
    ),
    t.BATCH_NORM: _of_batch_norm,
}  # fmt: skip


def _in_python(module: Mapping[str, Any]) -> str:
    """Return a module as Python has it: sizes by place, the rest by name."""
    by_place = "in_features", "out_features", "num_features", "normalized_shape", "p"
    arguments = [
        f"{value!r}" if name in by_place else f"{name}={value!r}"
        for name, value in module.items()
        if name != "class"
    ]
    return f"nn.{module['class']}({', '.join(arguments)})"


# ------------------------------------------------------------------ in


def from_torch(
    path: PathLike,
    layers: Sequence[Layer] | None = None,
    loss: Loss | None = None,
    *,
    activation: str | Layer | None = None,
) -> Sequential:
    """Return a :class:`Sequential` with the parameters in the `state_dict` of an `nn.Sequential`.

    The file is one of safetensors: `safetensors.torch.save_file(net.state_dict(), path)`. It has
    Linear, LayerNorm and BatchNorm1d modules, with names such as `0.weight`, `2.bias`; something
    may stand before all of them, such as `net.0.weight`. Which modules without parameters are
    between them, it does not say: that is for `activation` or `layers`, except in a file that
    `to_torch` has written.

    Parameters
    ----------
    path : path-like
    layers : list of layers, optional
        What has no parameters, in order: one for each number that is not in the file; any more
        stand behind the last. Or all layers of the network: then those with parameters, of the
        file's sizes and dtype, get them in order, whatever the numbers.
    loss : Loss, optional
        Of the model. By default the one that the file names, else :class:`SoftmaxCrossEntropy`.
    activation : str or layer, optional
        In place of `layers`, what is between two Linear modules: "relu", "tanh", "sigmoid",
        "leaky_relu", "elu", "gelu", "silu", "identity", or such as `fastnn.GELU("tanh")`. It takes
        the one place that is free between two numbers, or stands between them where none is.

    Returns
    -------
    Sequential
        Of float64 where the file is, else float32: halves and bfloat16 become float32.

    Raises
    ------
    FileFormatError
        A ValueError that says what is wrong: with a file that is no such `state_dict`.
    TypeError, ValueError
        For other arguments, and layers that do not fit.
    OSError
        Where the file cannot be read.

    Examples
    --------
    >>> layers = [fastnn.Dense(2, 3, rng=0), fastnn.ReLU(), fastnn.Dense(3, 2, rng=1)]
    >>> model = fastnn.Sequential(layers)
    >>> fastnn.export_torch(model, "model.safetensors")
    >>> fastnn.load_torch("model.safetensors", activation="relu")
    Sequential([
        Dense(2, 3, dtype=float32),
        ReLU(),
        Dense(3, 2, dtype=float32),
    ])
    """
    path = Path(as_path(path))
    if activation is not None and layers is not None:
        raise ValueError("activation is given, expected no layers beside it")
    bend: Any = activation
    if isinstance(activation, str):
        bend = ACTIVATIONS[as_choice(activation, "activation", ACTIVATIONS)]()
    elif not isinstance(activation, Activation | ReLU | None):
        raise TypeError(
            f'activation is {activation!r:.80}, expected a name such as "relu" or an activation'
        )
    arrays, metadata = read_arrays(path)
    try:
        modules = _find_modules(arrays)
        if loss is None and "loss" in metadata:
            loss = configs.build(json.loads(metadata["loss"]), "loss", Loss)
        named = layers is None and activation is None and "modules" in metadata
        if named:
            layers = _layers_as_named(modules, json.loads(metadata["modules"]))
    except (ValueError, TypeError, RecursionError) as error:
        raise FileFormatError(path, f"has no nn.Sequential that fastnn knows: {error}") from None
    if layers is None:
        return Sequential(_layers_between(modules, bend), loss)
    if named:
        return Sequential(layers, loss)
    return _fill(layers, modules, loss)


class _Module(NamedTuple):
    """A module with parameters: its number, fastnn's layer, and the arrays as that has them."""

    number: int
    kind: type[Any]
    arrays: dict[str, Array]

    @property
    def widths(self) -> tuple[int, int]:
        """The number of inputs, and of outputs."""
        n_inputs, n_outputs = self.arrays["weights"].shape
        return (n_inputs if self.kind is Dense else n_outputs), n_outputs

    @property
    def dtype(self) -> DType:
        return self.arrays["weights"].dtype

    def make(self, **arguments: Any) -> Any:
        """Return a new layer with the parameters."""
        sizes = self.widths if self.kind is Dense else self.widths[:1]
        if self.kind is Dense:
            arguments = {"use_bias": "biases" in self.arrays}
        layer = self.kind(*sizes, dtype=self.dtype, **arguments)
        self.copy_to(layer)
        return layer

    def copy_to(self, layer: Any) -> None:
        """Give a layer of the same kind and size the parameters."""
        for name, array in self.arrays.items():
            setattr(layer, name, array)


def _find_modules(state: Mapping[str, Array]) -> list[_Module]:
    """Return the modules of {name: array}, in order, checked."""
    groups: dict[int, dict[str, Array]] = {}
    places: dict[str, str] = {}
    dtypes: dict[Any, str] = {}
    for name in sorted(state):
        found = _NAME.fullmatch(name)
        if not found:
            raise ValueError(f"it has {name!r:.80}, expected names such as '0.weight', '2.bias'")
        start, number, part = found.groups()
        places.setdefault(start, name)
        group = groups.setdefault(int(number), {})
        if part != _COUNTER:
            group[part] = _as_numbers(state[name], name)
            dtypes.setdefault(group[part].dtype, name)
    if not groups:
        raise ValueError("it has no arrays")
    for names, what in ((places, "as the start of a name"), (dtypes, "as the dtype")):
        if len(names) > 1:
            first, second, *_ = names.values()
            raise ValueError(f"{first:.80} and {second:.80} differ, expected one {what}")
    modules = [_as_module(number, groups[number]) for number in sorted(groups)]
    for before, after in itertools.pairwise(modules):
        if before.widths[1] != after.widths[0]:
            raise ValueError(
                f"module {after.number} takes {after.widths[0]} inputs, "
                f"expected {before.widths[1]}, the outputs of module {before.number}"
            )
    return modules


def _as_numbers(array: Array, name: str) -> Floats:
    """Return an array as float32 or float64."""
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.dtype not in DTYPES:
        raise ValueError(f"{name:.80} has dtype {array.dtype}, expected float32 or float64")
    if not np.isfinite(array).all():
        raise ValueError(f"{name:.80} has numbers that are not finite")
    return array


def _as_module(number: int, arrays: dict[str, Array]) -> _Module:
    weight = arrays.get("weight", arrays.get("running_mean"))
    if weight is None:
        raise ValueError(f"{number}.weight is missing")
    if weight.ndim not in (1, 2) or not weight.size:
        raise ValueError(
            f"{number}.weight has shape {weight.shape}, expected (O, I) of a Linear "
            "or (D,) of a LayerNorm or BatchNorm1d"
        )
    is_batch_norm = weight.ndim == 1 and not arrays.keys().isdisjoint(_RUNNING)
    for part in _RUNNING if is_batch_norm else ():
        if part not in arrays:
            raise ValueError(f"{number}.{part} is missing, expected that of a BatchNorm1d")
    for part, array in arrays.items():
        if part in _RUNNING and not is_batch_norm:
            raise ValueError(f"{number}.{part} stands beside a matrix, expected weight and bias")
        if part != "weight" and array.shape != weight.shape[:1]:
            raise ValueError(
                f"{number}.{part} has shape {array.shape}, expected {weight.shape[:1]}"
            )
    if is_batch_norm and (arrays["running_var"] < 0).any():
        raise ValueError(f"{number}.running_var has numbers below 0")
    kind: type[ParameterLayer]
    if weight.ndim == 2:
        kind, named = Dense, {"weights": weight.T}
    else:
        kind = BatchNorm if is_batch_norm else LayerNorm
        named = {"weights": arrays.get("weight", np.ones_like(weight)).reshape(1, -1)}
    for part, name in _NAMES.items():
        if part in arrays:
            named[name] = arrays[part].reshape(1, -1)
    return _Module(number, kind, named)


def _layers_as_named(modules: list[_Module], named: Any) -> list[Any]:
    """Return the layers that the metadata name, which `to_torch` has written."""
    if not isinstance(named, list) or not all(isinstance(each, dict) for each in named):
        raise ValueError(f"modules is {named!r:.80}, expected a list of dicts")
    waiting = {module.number: module for module in modules}
    layers = []
    for i, arguments in enumerate(named):
        name = arguments.get("class")
        if not isinstance(name, str) or name not in _LAYERS:
            raise ValueError(f"modules[{i}] is {name!r:.80}, expected one of {', '.join(_LAYERS)}")
        kind, names = _LAYERS[name]
        given = {ours: arguments[theirs] for theirs, ours in names.items() if theirs in arguments}
        if kind in (Dense, LayerNorm, BatchNorm):
            module = waiting.pop(i, None)
            if module is None or module.kind is not kind:
                raise ValueError(f"modules[{i}] is {name}, expected its arrays, {i}.weight, ...")
            layers.append(module.make(**given))
        else:
            layers.append(kind(**given))
    if waiting:
        raise ValueError(
            f"modules has no entry {min(waiting)}, expected one for {min(waiting)}.weight"
        )
    return layers


def _layers_between(modules: list[_Module], activation: Layer | None) -> list[Any]:
    """Return the layers, with the activation behind each Linear module but the last."""
    layers: list[Any] = []
    place, waits = 0, False  # the next number; whether a Linear waits for activation
    for module in modules:
        unknown, place = module.number - place, module.number + 1
        behind_linear = waits and module.kind is Dense and isinstance(layers[-1], Dense)
        if unknown > 1 or unknown > waits:
            raise ValueError(
                f"activation is {activation!r}, expected layers=[...]: the file does not say what "
                f"the {unknown} modules before number {module.number} are"
            )
        if unknown or behind_linear:
            if activation is None:
                raise ValueError(
                    'activation is None, expected a name such as "relu", or layers=[...]: the file '
                    f"does not say what stands before module {module.number}"
                )
            layers.append(copy.deepcopy(activation))
            waits = False
        elif waits and module.kind is Dense:
            raise ValueError(
                f"activation is {activation!r}, expected layers=[...]: the numbers leave no place "
                f"for it before module {module.number}"
            )
        layers.append(module.make())
        waits = waits or module.kind is Dense
    return layers


def _fill(layers: Sequence[Layer], modules: list[_Module], loss: Loss | None) -> Sequential:
    """Return a model of the layers that the caller gives: all of them, or those in between."""
    if not isinstance(layers, list | tuple):
        raise TypeError(f"layers is {layers!r:.80}, expected a list of layers")
    takers = [(i, layer) for i, layer in enumerate(layers) if isinstance(layer, ParameterLayer)]
    if not takers:
        return Sequential(_layers_in_gaps(layers, modules), loss)
    if len(takers) != len(modules):
        raise ValueError(
            f"layers has {len(takers)} with parameters, expected {len(modules)}, as the file has"
        )
    for (i, layer), module in zip(takers, modules, strict=True):
        fits = isinstance(layer, module.kind) and layer.widths == module.widths
        fits = fits and layer.dtype == module.dtype
        if not fits or ("biases" in module.arrays and not layer.use_bias):
            raise ValueError(
                f"layers[{i}] is {layer!r:.80}, expected {module.make()!r}, "
                f"as module {module.number} of the file"
            )
    model = Sequential(layers, loss)
    for (_, layer), module in zip(takers, modules, strict=True):
        module.copy_to(layer)
    return model


def _layers_in_gaps(layers: Sequence[Layer], modules: list[_Module]) -> list[Layer]:
    """Return all layers: modules at their numbers, `layers` where these are free, then the rest."""
    known = {module.number: module for module in modules}
    gaps = [i for i in range(max(known)) if i not in known]
    if len(layers) < len(gaps):
        raise ValueError(
            f"layers has {len(layers)}, expected at least {len(gaps)}: "
            f"modules {', '.join(map(str, gaps[:9]))} have no parameters"
        )
    others = iter(layers)
    made = [known[i].make() if i in known else next(others) for i in range(max(known) + 1)]
    return [*made, *others]
