"""PyTorch: networks from the `state_dict` of an `nn.Sequential`, in a safetensors file.

PyTorch itself is not needed. `torch` has the metadata of the files that it writes.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import FileFormatError
from ..files import read_arrays
from ..model import Sequential
from ..nn import configs
from ..nn.activations import Activation
from ..nn.classes import ACTIVATIONS, CLASSES
from ..nn.dropout import Dropout
from ..nn.layer import Layer, ParameterLayer
from ..nn.layers import Dense, ReLU, Softmax
from ..nn.loss import Loss
from ..nn.normalization import BatchNorm, LayerNorm
from ..types import Array, DType, Floats, PathLike
from ..validation import DTYPES, as_choice, as_path
from .torch import COUNTER, SHARED_ACTIVATIONS

# {class of a module: (class of the layer, {its argument: the layer's argument})}; sizes come from
# the arrays.
_LAYERS: dict[str, tuple[type[Layer], dict[str, str]]] = {
    "Linear": (Dense, {}),
    "ReLU": (ReLU, {}),
    "Softmax": (Softmax, {}),
    **{
        name: (CLASSES[name], {key: key for key in configs.arguments_of(name)})
        for name in SHARED_ACTIVATIONS
    },
    "Dropout": (Dropout, {"p": "rate"}),
    "LayerNorm": (LayerNorm, {"eps": "epsilon"}),
    "BatchNorm1d": (BatchNorm, {"eps": "epsilon", "momentum": "momentum"}),
}
_RUNNING = "running_mean", "running_var"
_NAMES = {"bias": "biases", "running_mean": "running_mean", "running_var": "running_variance"}
_NAME = re.compile(rf"((?:.*\.)?)(\d{{1,6}})\.(weight|{'|'.join(_NAMES)}|{COUNTER})", re.ASCII)


def from_torch(
    path: PathLike,
    layers: Sequence[Layer] | None = None,
    loss: Loss | None = None,
    *,
    activation: str | Layer | None = None,
) -> Sequential:
    """Return a :class:`Sequential` with the parameters in the `state_dict` of an `nn.Sequential`.

    The file is one of safetensors: `safetensors.torch.save_file(net.state_dict(), path)`. It has
    Linear, LayerNorm and BatchNorm1d modules, with names such as `0.weight`, `2.bias`, or all with
    the same prefix, such as `net.0.weight`. The file does not say which modules without parameters
    are between them: `activation` or `layers` does, except for a file that `to_torch` has written.

    Parameters
    ----------
    path : path-like
    layers : list of layers, optional
        The layers without parameters, in order: one for each index that is not in the file. Further
        layers follow the last module. Or all layers of the network: then the layers with parameters
        get those of the file in order, and the indices are ignored. Sizes and dtype have to fit.
    loss : Loss, optional
        Of the model. By default the one that the file names, else :class:`SoftmaxCrossEntropy`.
    activation : str or layer, optional
        In place of `layers`, the activation between two Linear modules: "relu", "leaky_relu" or
        the name of another activation, or a layer such as `fastnn.GELU("tanh")`.
        There may be one free index for it between the two, or none.

    Returns
    -------
    Sequential
        Of float64 if the file is, else of float32, which float16 and bfloat16 become.

    Raises
    ------
    FileFormatError
        A ValueError, for a file that is no such `state_dict`.
    TypeError, ValueError
        For bad arguments, and for layers that do not fit.
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
    between: Layer | None
    if isinstance(activation, str):
        between = ACTIVATIONS[as_choice(activation, "activation", ACTIVATIONS)]()
    elif isinstance(activation, Activation | ReLU | None):
        between = activation
    else:
        raise TypeError(
            f'activation is {activation!r:.80}, expected a name such as "relu" or an activation'
        )
    arrays, metadata = read_arrays(path)
    try:
        modules = _find_modules(arrays)
        if loss is None and "loss" in metadata:
            loss = configs.build(json.loads(metadata["loss"]), "loss", Loss)
        from_metadata = layers is None and activation is None and "modules" in metadata
        if from_metadata:
            layers = _layers_of_metadata(modules, json.loads(metadata["modules"]))
    except (ValueError, TypeError, RecursionError) as error:
        raise FileFormatError(path, f"has no nn.Sequential that fastnn knows: {error}") from None
    if layers is None:
        return Sequential(_layers_between(modules, between), loss)
    if from_metadata:
        return Sequential(layers, loss)
    return _fill(layers, modules, loss)


class _Module(NamedTuple):
    """A module with parameters: its position, the class of its layer, and the arrays of that."""

    position: int
    kind: type[Any]
    arrays: dict[str, Array]

    @property
    def widths(self) -> tuple[int, int]:
        """Return the number of inputs and of outputs."""
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
        """Copy the parameters to a layer of the same kind and size."""
        for name, array in self.arrays.items():
            setattr(layer, name, array)


def _find_modules(state: Mapping[str, Array]) -> list[_Module]:
    """Return the modules of the `state_dict` {name: array}, checked, in order."""
    groups: dict[int, dict[str, Array]] = {}
    starts: dict[str, str] = {}
    dtypes: dict[Any, str] = {}
    for name in sorted(state):
        match = _NAME.fullmatch(name)
        if not match:
            raise ValueError(f"it has {name!r:.80}, expected names such as '0.weight', '2.bias'")
        start, index, part = match.groups()
        starts.setdefault(start, name)
        group = groups.setdefault(int(index), {})
        if part != COUNTER:
            group[part] = _as_floats(state[name], name)
            dtypes.setdefault(group[part].dtype, name)
    if not groups:
        raise ValueError("it has no arrays")
    for names, what in ((starts, "as the start of a name"), (dtypes, "as the dtype")):
        if len(names) > 1:
            first, second, *_ = names.values()
            raise ValueError(f"{first:.80} and {second:.80} differ, expected one {what}")
    modules = [_as_module(index, groups[index]) for index in sorted(groups)]
    for before, after in itertools.pairwise(modules):
        if before.widths[1] != after.widths[0]:
            raise ValueError(
                f"module {after.position} takes {after.widths[0]} inputs, "
                f"expected {before.widths[1]}, the outputs of module {before.position}"
            )
    return modules


def _as_floats(array: Array, name: str) -> Floats:
    """Return an array as float32 or float64."""
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.dtype not in DTYPES:
        raise ValueError(f"{name:.80} has dtype {array.dtype}, expected float32 or float64")
    if not np.isfinite(array).all():
        raise ValueError(f"{name:.80} has numbers that are not finite")
    return array


def _as_module(index: int, arrays: dict[str, Array]) -> _Module:
    """Return a checked module of {name in PyTorch: array}."""
    weight = arrays.get("weight", arrays.get("running_mean"))
    if weight is None:
        raise ValueError(f"{index}.weight is missing")
    if weight.ndim not in (1, 2) or not weight.size:
        raise ValueError(
            f"{index}.weight has shape {weight.shape}, expected (O, I) of a Linear "
            "or (D,) of a LayerNorm or BatchNorm1d"
        )
    is_batch_norm = weight.ndim == 1 and not arrays.keys().isdisjoint(_RUNNING)
    for part in _RUNNING if is_batch_norm else ():
        if part not in arrays:
            raise ValueError(f"{index}.{part} is missing, expected that of a BatchNorm1d")
    for part, array in arrays.items():
        if part in _RUNNING and not is_batch_norm:
            raise ValueError(f"{index}.{part} stands beside a matrix, expected weight and bias")
        if part != "weight" and array.shape != weight.shape[:1]:
            raise ValueError(f"{index}.{part} has shape {array.shape}, expected {weight.shape[:1]}")
    if is_batch_norm and (arrays["running_var"] < 0).any():
        raise ValueError(f"{index}.running_var has numbers below 0")
    kind: type[ParameterLayer]
    if weight.ndim == 2:
        kind, parameters = Dense, {"weights": weight.T}
    else:
        kind = BatchNorm if is_batch_norm else LayerNorm
        parameters = {"weights": arrays.get("weight", np.ones_like(weight)).reshape(1, -1)}
    for part, name in _NAMES.items():
        if part in arrays:
            parameters[name] = arrays[part].reshape(1, -1)
    return _Module(index, kind, parameters)


def _layers_of_metadata(modules: list[_Module], entries: Any) -> list[Any]:
    """Return the layers of the metadata "modules", which `to_torch` writes."""
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise ValueError(f"modules is {entries!r:.80}, expected a list of dicts")
    unused = {module.position: module for module in modules}
    layers = []
    for i, arguments in enumerate(entries):
        name = arguments.get("class")
        if not isinstance(name, str) or name not in _LAYERS:
            raise ValueError(f"modules[{i}] is {name!r:.80}, expected one of {', '.join(_LAYERS)}")
        kind, names = _LAYERS[name]
        settings = {
            ours: arguments[theirs] for theirs, ours in names.items() if theirs in arguments
        }
        if kind in (Dense, LayerNorm, BatchNorm):
            module = unused.pop(i, None)
            if module is None or module.kind is not kind:
                raise ValueError(f"modules[{i}] is {name}, expected its arrays, {i}.weight, ...")
            layers.append(module.make(**settings))
        else:
            layers.append(kind(**settings))
    if unused:
        raise ValueError(
            f"modules has no entry {min(unused)}, expected one for {min(unused)}.weight"
        )
    return layers


def _layers_between(modules: list[_Module], activation: Layer | None) -> list[Any]:
    """Return the layers, with the activation after each Linear module but the last."""
    layers: list[Any] = []
    # The next index; whether a Linear has no activation yet.
    next_index, is_open = 0, False
    for module in modules:
        unknown, next_index = module.position - next_index, module.position + 1
        behind_linear = is_open and module.kind is Dense and isinstance(layers[-1], Dense)
        if unknown > 1 or unknown > is_open:
            raise ValueError(
                f"activation is {activation!r}, expected layers=[...]: the file does not say what "
                f"the {unknown} modules before number {module.position} are"
            )
        if unknown or behind_linear:
            if activation is None:
                raise ValueError(
                    'activation is None, expected a name such as "relu", or layers=[...]: the file '
                    f"does not say what stands before module {module.position}"
                )
            layers.append(copy.deepcopy(activation))
            is_open = False
        elif is_open and module.kind is Dense:
            raise ValueError(
                f"activation is {activation!r}, expected layers=[...]: the numbers leave no place "
                f"for it before module {module.position}"
            )
        layers.append(module.make())
        is_open = is_open or module.kind is Dense
    return layers


def _fill(layers: Sequence[Layer], modules: list[_Module], loss: Loss | None) -> Sequential:
    """Return a model of the caller's layers: all of them, or only those without parameters."""
    if not isinstance(layers, list | tuple):
        raise TypeError(f"layers is {layers!r:.80}, expected a list of layers")
    parametric = [(i, layer) for i, layer in enumerate(layers) if isinstance(layer, ParameterLayer)]
    if not parametric:
        return Sequential(_layers_in_gaps(layers, modules), loss)
    if len(parametric) != len(modules):
        raise ValueError(
            f"layers has {len(parametric)} with parameters, expected {len(modules)}, "
            "as the file has"
        )
    for (i, layer), module in zip(parametric, modules, strict=True):
        fits = isinstance(layer, module.kind) and layer.widths == module.widths
        fits = fits and layer.dtype == module.dtype
        if not fits or ("biases" in module.arrays and not layer.use_bias):
            raise ValueError(
                f"layers[{i}] is {layer!r:.80}, expected {module.make()!r}, "
                f"as module {module.position} of the file"
            )
    model = Sequential(layers, loss)
    for (_, layer), module in zip(parametric, modules, strict=True):
        module.copy_to(layer)
    return model


def _layers_in_gaps(layers: Sequence[Layer], modules: list[_Module]) -> list[Layer]:
    """Return all layers: modules at their indices, `layers` at the free ones, then the rest."""
    known = {module.position: module for module in modules}
    gaps = [i for i in range(max(known)) if i not in known]
    if len(layers) < len(gaps):
        raise ValueError(
            f"layers has {len(layers)}, expected at least {len(gaps)}: "
            f"modules {', '.join(map(str, gaps[:9]))} have no parameters"
        )
    others = iter(layers)
    through_last = [known[i].make() if i in known else next(others) for i in range(max(known) + 1)]
    return [*through_last, *others]
