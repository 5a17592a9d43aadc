"""Conversion of networks and their parts to plain dicts and back, for files.

A part becomes {"class": its name, argument: value, ...} with the arguments of its constructor. Each
class keeps every argument in an attribute of the same name.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import numbers
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..memory import physical_memory
from ..types import DType, Shape
from ..validation import as_dtype
from .classes import CLASSES
from .initializers import scaled_normal
from .layer import Layer
from .loss import Loss
from .optimizer import Optimizer
from .schedules import Schedule

if TYPE_CHECKING:
    from .network import Network

_NOT_STORED = ("rng",)  # it only drew the initial weights

_LATER_ARGUMENTS = ("spare_biases", "mask_nan", "pos_weight")
"""Arguments that early versions do not have. At their default they are not written, so that early
versions read the file too.
"""


Part: TypeAlias = tuple[Any, dict[str, Any]]
"""A class and the arguments of its constructor."""


def describe(part: Any, name: str, *, own: bool = False) -> dict[str, Any]:
    """Return the dict of a layer, loss, optimizer, schedule or initializer.

    A function of the user's own becomes {"function": its name}, as a learning rate, or is left
    out, as an `init`. With `own`, so do objects of a class of the user's own; else they raise
    TypeError.
    """
    if CLASSES.get(type(part).__name__) is not type(part):
        if own:
            return {"class": f"{type(part).__module__}.{type(part).__qualname__}"}
        raise TypeError(
            f"{name} is {part!r:.80}, expected one of fastnn's own classes: "
            "nothing but these can be described"
        )
    config: dict[str, Any] = {"class": type(part).__name__}
    kind: Any = type(part)
    for argument, parameter in _parameters(kind).items():
        default = parameter.default
        # Pickles of early versions do not have them either.
        if argument in _LATER_ARGUMENTS and vars(part).get(argument, default) == default:
            continue
        value = getattr(part, argument)
        if argument == "init" and callable(value) and not isinstance(value, scaled_normal):
            continue
        config[argument] = _plain(value, f"{name}.{argument}")
    return config


def _plain(value: Any, name: str) -> Any:
    """Return an argument as a value of JSON."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Mapping):  # of the columns of an Embedding
        return [[key, *size] for key, size in value.items()]
    if isinstance(value, Schedule | scaled_normal):
        return describe(value, name, own=True)
    return {"function": getattr(value, "__qualname__", type(value).__qualname__)}


def describe_network(network: Network, *, own: bool = False) -> dict[str, Any]:
    """Return the dict of a network; `own` as for `describe`."""
    return {
        "class": "Sequential",
        "n_features": network.n_features,
        "dtype": network.dtype.name,
        "layers": [
            describe(each, f"layers[{i}]", own=own) for i, each in enumerate(network.layers)
        ],
        "loss": describe(network.loss, "loss", own=own),
    }


def build(config: Mapping[str, Any], name: str, kind: type[Any] | tuple[type[Any], ...]) -> Any:
    """Return the object that `config` describes, an instance of `kind`.

    Raises
    ------
    TypeError, ValueError
        For anything that is not such a dict; they begin with `name`.
    """
    class_, arguments = _read(config, name, kind)
    return _make(class_, arguments, name)


def build_network(config: Mapping[str, Any]) -> tuple[list[Any], Loss | None]:
    """Return the (layers, loss) of a dict as `describe_network` gives it, with new weights.

    All names and the total size are checked before anything is allocated.
    """
    parts = _read_layers(config)
    n_bytes = sum(
        math.prod(shape) * dtype.itemsize
        for shapes in _shapes(parts)
        for shape, dtype in shapes.values()
    )
    if n_bytes > physical_memory():
        raise ValueError(
            f"config announces {n_bytes:,} bytes of parameters, "
            f"expected at most {physical_memory():,}, the memory of this machine"
        )
    layers = [_make(*part, f"layers[{i}]") for i, part in enumerate(parts)]
    loss = config.get("loss")
    return layers, None if loss is None else build(loss, "loss", Loss)


def stored_shapes(config: Mapping[str, Any]) -> dict[str, tuple[Shape, DType]]:
    """Return {"0.weights": (shape, dtype), ...} of the network that a dict describes."""
    return {
        f"{i}.{name}": expected
        for i, shapes in enumerate(_shapes(_read_layers(config)))
        for name, expected in shapes.items()
    }


def check_network(config: Mapping[str, Any], network: Network) -> None:
    """Raise ValueError where a built network has another input width or dtype than its dict."""
    for name, value in (("n_features", network.n_features), ("dtype", network.dtype.name)):
        if config.get(name, value) != value:
            raise ValueError(f"{name} is {config[name]!r:.80}, expected {value!r}, as in layers")


def find_difference(actual: Any, expected: Any, name: str) -> tuple[str, Any, Any] | None:
    """Return (name, actual, expected) of the first place where two dicts differ, or None.

    The `init` of layers is ignored. A missing argument, as in a file of an earlier version, counts
    as its default.
    """
    if isinstance(actual, dict) and isinstance(expected, dict):
        keys = dict.fromkeys([*expected, *actual])
        actual = _defaults(actual.get("class")) | actual
        expected = _defaults(expected.get("class")) | expected
        pairs = [
            (actual.get(key), expected.get(key), f"{name}.{key}" if name else key)
            for key in keys
            if key not in ("init", "class")
        ]
        pairs.insert(0, (actual.get("class"), expected.get("class"), f"the class of {name}"))
    elif isinstance(actual, list) and isinstance(expected, list) and len(actual) == len(expected):
        both = enumerate(zip(actual, expected, strict=True))
        pairs = [(one, other, f"{name}[{i}]") for i, (one, other) in both]
    elif _are_dicts(actual) and _are_dicts(expected):  # one is longer
        pairs = [(len(actual), len(expected), f"the number of {name}")]
    else:
        same = type(actual) is type(expected) and actual == expected
        return None if same else (name, actual, expected)
    return next(filter(None, (find_difference(*pair) for pair in pairs)), None)


def _are_dicts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _read_layers(config: Mapping[str, Any]) -> list[Part]:
    """Return [(class, arguments), ...] of the layers, with checked names."""
    names = "class", "n_features", "dtype", "layers", "loss"
    _check_keys(config, "config", names)
    if config.get("class", "Sequential") != "Sequential":
        raise ValueError(f'config.class is {config["class"]!r:.80}, expected "Sequential"')
    parts = config.get("layers")
    if not isinstance(parts, list) or not parts:
        raise ValueError(f"layers is {parts!r:.80}, expected a list of dicts")
    return [_read(part, f"layers[{i}]", Layer) for i, part in enumerate(parts)]


def _shapes(parts: Iterable[Part]) -> Iterator[dict[str, tuple[Shape, DType]]]:
    """Yield {name: (shape, dtype)} of what each layer stores."""
    for i, (class_, arguments) in enumerate(parts):
        defaults = {key: each.default for key, each in _parameters(class_).items()}
        values = {**defaults, **arguments}
        try:
            shapes = class_.stored_shapes(values)
            dtype = as_dtype(values.get("dtype", np.float32) if shapes else np.float32)
        except (TypeError, ValueError) as error:
            raise type(error)(f"layers[{i}].{error}") from None
        yield {name: (shape, dtype) for name, shape in shapes.items()}


def _read(config: Mapping[str, Any], name: str, kind: type[Any] | tuple[type[Any], ...]) -> Part:
    """Return (class, arguments) of a dict, with checked names."""
    if not isinstance(config, dict) or not isinstance(config.get("class"), str):
        raise TypeError(f'{name} is {config!r:.80}, expected a dict with "class"')
    known = {key: each for key, each in CLASSES.items() if issubclass(each, kind)}
    if config["class"] not in known:
        raise ValueError(f"{name}.class is {config['class']!r:.80}, {_expected(config, known)}")
    class_: Any = known[config["class"]]
    parameters = _parameters(class_)
    _check_keys(config, name, ("class", *parameters, *_NOT_STORED))
    for key, parameter in parameters.items():
        if key not in config and parameter.default is parameter.empty:
            raise ValueError(f"{name}.{key} is missing, expected an argument of {class_.__name__}")
    arguments = {key: value for key, value in config.items() if key != "class"}
    for key, value in arguments.items():
        if isinstance(value, dict) and "class" in value and issubclass(class_, Layer | Optimizer):
            arguments[key] = build(value, f"{name}.{key}", (Schedule, scaled_normal))
        elif key == "dtype" and value not in ("float32", "float64"):
            raise ValueError(f'{name}.dtype is {value!r:.80}, expected "float32" or "float64"')
        elif isinstance(value, dict) or (
            isinstance(value, list) and key not in getattr(class_, "_nested", ())
        ):
            raise TypeError(f"{name}.{key} is {value!r:.80}, expected a number, a flag or a name")
    return class_, arguments


def _make(class_: type[Any], arguments: dict[str, Any], name: str) -> Any:
    try:
        return class_(**arguments)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}.{error}") from None


@functools.cache
def _parameters(class_: Any) -> dict[str, inspect.Parameter]:
    """Return {name: Parameter} of the arguments of a class that are described."""
    if class_.__init__ is object.__init__:
        return {}
    parameters = inspect.signature(class_).parameters
    return {name: each for name, each in parameters.items() if name not in _NOT_STORED}


def arguments_of(name: str) -> tuple[str, ...]:
    """Return the names of the arguments that describe an object of a class, given by its name."""
    class_: Any = CLASSES[name]
    return tuple(_parameters(class_))


def _defaults(name: Any) -> dict[str, Any]:
    """Return {argument: its default} of a class as values of JSON; {} for anything else."""
    class_: Any = CLASSES.get(name) if isinstance(name, str) else None
    return {
        key: _plain(each.default, key)
        for key, each in (_parameters(class_).items() if class_ else ())
        if each.default is not each.empty
    }


def _check_keys(config: Mapping[str, Any], name: str, known: Collection[str]) -> None:
    if not isinstance(config, dict):
        raise TypeError(f"{name} is {config!r:.80}, expected a dict")
    for key in config:
        if key not in known:
            raise ValueError(f"{name} has {key!r:.80}, {_expected({'class': key}, known)}")


def _expected(config: Mapping[str, Any], known: Collection[str]) -> str:
    near = difflib.get_close_matches(str(config["class"])[:80], known, 1)
    return f"expected {near[0]!r}" if near else f"expected one of {', '.join(known)}"
