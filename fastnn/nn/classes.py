"""The classes of layers, losses, optimizers, schedules and initializers, by their names."""

import difflib
from typing import Any

from ..foreign import LOSSES as LOSSES_ELSEWHERE
from ..kernels import catalogue
from . import (
    activations,
    dropout,
    embedding,
    initializers,
    layers,
    losses,
    normalization,
    optimizers,
    residual,
    schedules,
)
from .activations import Activation
from .initializers import scaled_normal
from .layer import Layer, ParameterLayer
from .loss import Loss
from .optimizer import Optimizer
from .schedules import Schedule

_MODULES = (
    activations, dropout, embedding, initializers, layers, losses, normalization, optimizers,
    residual, schedules,
)  # fmt: skip
_BASES = Layer, ParameterLayer, Activation, Loss, Optimizer, Schedule


# Any, not type[Any]: mypy does not take that for Hashable, and `configs` caches by class.
def _find_classes() -> dict[str, Any]:
    kinds = (*_BASES, scaled_normal)
    return {
        name: value
        for module in _MODULES
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, kinds) and value not in _BASES
        if value.__module__ == module.__name__ and name[0] != "_"
    }


CLASSES = _find_classes()

# {name: class} of the names that users may pass instead of objects.
ACTIVATIONS = {name: CLASSES[each] for name, each in catalogue.ACTIVATION_LAYERS.items()}
OPTIMIZERS = {name: CLASSES[each] for name, each in catalogue.OPTIMIZERS.items()}
LOSSES_OF_NUMBERS = {
    row.name: CLASSES[row.loss] for row in catalogue.LOSSES if row.task == "numbers"
}
LOSSES = {
    "softmax_cross_entropy": losses.SoftmaxCrossEntropy,
    "binary_cross_entropy": losses.BinaryCrossEntropy,
    "mean_squared_error": losses.MeanSquaredError,
    "mean_absolute_error": losses.MeanAbsoluteError,
    "mse": losses.MeanSquaredError,
    "mae": losses.MeanAbsoluteError,
    **{name: LOSSES_OF_NUMBERS[name] for name in ("huber", "quantile", "poisson")},
}


def as_optimizer(value: Any, name: str) -> Any:
    """Return a new optimizer for a name such as "adam"; any other `value` as it is."""
    if not isinstance(value, str):
        return value
    if value not in OPTIMIZERS:
        raise ValueError(_unknown(value, name, OPTIMIZERS))
    return OPTIMIZERS[value]()


def loss_named(value: str) -> Loss:
    """Return a new loss for a name such as "mse"."""
    if value not in LOSSES:
        raise ValueError(_unknown(value, "loss", LOSSES, LOSSES_ELSEWHERE.get(value)))
    loss: Loss = LOSSES[value]()
    return loss


def _unknown(value: str, name: str, known: dict[str, Any], meant: str | None = None) -> str:
    nearest = [meant] if meant else difflib.get_close_matches(value.lower(), known, 1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return f"{name} is {value!r}, expected one of {', '.join(known)}{hint}"
