"""What every export takes of a model, checked: its layers, and what makes answers of outputs."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np

from ..errors import warn_of_prepared_inputs
from ..kernels import table as t
from ..model import Sequential, network_of
from ..nn.loss import Loss
from ..nn.own import is_own
from ..program.plan import operation_of
from ..types import DType, Floats


class Network(NamedTuple):
    """A network as it predicts: layers up to the outputs that the loss takes."""

    steps: list[
        tuple[int, int, Any]
    ]  # of (number in the model, operation of `kernels/table.py`, layer)
    n_inputs: int
    n_outputs: int
    dtype: DType
    loss: Loss

    @property
    def kind(self) -> str:
        """What the model is, in a word."""
        kinds = {"classes": "classifier", "answers": "yes-or-no model", "numbers": "regressor"}
        return kinds[self.loss.task]

    def __str__(self) -> str:
        sizes = [self.n_inputs]
        sizes += [layer.n_neurons for _, operation, layer in self.steps if operation == t.DENSE]
        return f"{'-'.join(map(str, sizes))} {self.kind}, {self.dtype}"


def read_network(model: Any) -> Network:
    """Return the :class:`Network` of a model, without what has no part in a prediction.

    Raises
    ------
    TypeError
        For what is no :class:`Sequential`, or has a layer, or a `decide` of its loss, of the user's
        own.
    ValueError
        For a network without a dense layer, for parameters that are not finite.
    """
    steps = read_layers(model, level=5)
    network = network_of(model)
    if network.n_features is None:
        raise ValueError("model has no Dense layer, expected one: the number of inputs is unknown")
    if is_own(model.loss, "decide"):
        raise TypeError(
            f"loss is {model.loss!r:.80}, expected one without a `decide` of your own: "
            "nothing but fastnn's can be exported"
        )
    steps = [step for step in steps[: len(network.logit_layers())] if step[1] != t.DROPOUT]
    n_outputs = [layer.n_neurons for _, operation, layer in steps if operation == t.DENSE][-1]
    return Network(steps, network.n_features, n_outputs, model.dtype, model.loss)


def read_layers(model: Any, level: int = 4) -> list[tuple[int, int, Any]]:
    """Return [(number, operation, layer), ...] of all layers of a model; errors as above.

    Warns the user, so many calls away, of a model of the command line. The layers are copies with
    arrays of their own: what is checked here is what is written, also where another thread trains.
    """
    if not isinstance(model, Sequential):
        hint = "its model_, a" if isinstance(getattr(model, "model_", None), Sequential) else "a"
        raise TypeError(f"model is {model!r:.80}, expected {hint} fastnn.Sequential")
    steps: list[Any] = [(i, operation_of(layer), layer) for i, layer in enumerate(model.layers)]
    for i, operation, layer in steps:
        if operation is None:
            raise TypeError(
                f"layers[{i}] is {layer!r:.80}, expected one of fastnn's own layers: "
                "nothing but these can be exported"
            )
    warn_of_prepared_inputs(model.notes, "model", level)
    return [(i, operation, _copied(layer, f"layers[{i}]")) for i, operation, layer in steps]


def _copied(layer: Any, title: str) -> Any:
    """Return a copy of a layer with finite arrays of its own."""
    twin = copy.copy(layer)
    twin.forget_passes()  # large, and of no use here
    twin = copy.deepcopy(twin)
    for name in twin.stored:
        if not np.isfinite(getattr(twin, name)).all():
            raise ValueError(f"{title}.{name} is not finite, expected finite numbers")
    return twin


def has_biases(layer: Any) -> bool:
    """Return whether a Dense adds biases: without use_bias they may be assigned all the same."""
    return layer.use_bias or bool(layer.biases.any())


def scale_of(layer: Any) -> Floats:
    """Return weights / sqrt(running_variance + epsilon) of a BatchNorm, (D,)."""
    variance = layer.running_variance[0].astype(np.float64)
    scale: Floats = layer.weights[0] / np.sqrt(variance + layer.epsilon)
    return scale.astype(layer.dtype)
