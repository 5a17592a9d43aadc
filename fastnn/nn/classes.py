"""The classes of layers, losses, optimizers, schedules and initializers, by their names."""

from typing import Any

from ..kernels import catalogue
from . import (
    activations,
    dropout,
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
from .layers import Layer, ParameterLayer
from .loss import Loss
from .optimizer import Optimizer
from .schedules import Schedule

_MODULES = (
    activations, dropout, initializers, layers, losses, normalization, optimizers,
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
