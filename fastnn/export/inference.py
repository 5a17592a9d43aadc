"""The layers of a model as every exporter takes them: checked, and in copies of their own."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..errors import warn_of_prepared_inputs
from ..kernels.catalogue import Operation
from ..model import Sequential, network_of
from ..nn.embedding import Embedding
from ..nn.loss import Loss
from ..nn.own import is_own
from ..program.plan import operation_of
from ..types import DType, Floats


class ExportLayer(NamedTuple):
    """A layer to write."""

    position: int  # in the model
    operation: int  # of `kernels/catalogue.py`
    layer: Any


class InferenceNetwork(NamedTuple):
    """What a prediction takes of a model: its layers up to the outputs that the loss takes."""

    layers: list[ExportLayer]
    n_inputs: int
    n_outputs: int
    dtype: DType
    loss: Loss

    @property
    def kind(self) -> str:
        """The kind of model, for its description."""
        kinds = {"classes": "classifier", "answers": "yes-or-no model", "numbers": "regressor"}
        return kinds[self.loss.task]

    def __str__(self) -> str:
        sizes = [self.n_inputs]
        sizes += [each.layer.n_neurons for each in self.layers if each.operation == Operation.DENSE]
        return f"{'-'.join(map(str, sizes))} {self.kind}, {self.dtype}"


def read_network(model: Any, operations: Collection[int], exporter: str) -> InferenceNetwork:
    """Return what `model` needs for a prediction: without dropout, and what follows the logits.

    Parameters
    ----------
    model : Sequential
    operations : collection of int
        The operations that the exporter can write.
    exporter : str
        Its name, for messages.

    Raises
    ------
    TypeError
        For a model that is not a :class:`Sequential`, for a layer that the exporter cannot write,
        and for a loss with a `decide` of the user's own.
    ValueError
        For a network without a dense layer, and for parameters that are not finite.
    """
    layers = read_layers(model, {*operations, Operation.DROPOUT}, exporter, level=5)
    network = network_of(model)
    if network.n_features is None:
        raise ValueError("model has no Dense layer, expected one: the number of inputs is unknown")
    if is_own(model.loss, "decide"):
        raise TypeError(
            f"loss is {model.loss!r:.80}, expected one without a `decide` of your own: "
            "nothing but fastnn's can be exported"
        )
    layers = layers[: len(network.logit_layers())]
    layers = [each for each in layers if each.operation != Operation.DROPOUT]
    n_outputs = [each.layer.n_neurons for each in layers if each.operation == Operation.DENSE][-1]
    return InferenceNetwork(layers, network.n_features, n_outputs, model.dtype, model.loss)


def read_layers(
    model: Any, operations: Collection[int], exporter: str, level: int = 4
) -> list[ExportLayer]:
    """Return all layers of a model; parameters and errors as of `read_network`.

    The layers are copies with arrays of their own: what is checked here is what is written, even if
    another thread trains the model. A model of the command line brings a warning at the stack level
    `level`, that of the user's call.
    """
    if not isinstance(model, Sequential):
        names = [
            each
            for each in ("model_", "model")
            if isinstance(getattr(model, each, None), Sequential)
        ]
        hint = f"its {names[0]}, a" if names else "a"
        raise TypeError(f"model is {model!r:.80}, expected {hint} fastnn.Sequential")
    checked: list[tuple[int, Any]] = []
    for i, layer in enumerate(model.layers):
        operation = operation_of(layer)
        if operation is None:
            raise TypeError(
                f"layers[{i}] is {layer!r:.80}, expected one of fastnn's own layers: "
                "nothing but these can be exported"
            )
        if operation not in operations:
            raise TypeError(
                f"layers[{i}] is {layer!r:.80}, expected a layer that {exporter} writes"
            )
        checked.append((operation, layer))
    warn_of_prepared_inputs(model.notes, "model", level)
    return [
        ExportLayer(i, operation, _copy_of(layer, f"layers[{i}]"))
        for i, (operation, layer) in enumerate(checked)
    ]


def _copy_of(layer: Any, title: str) -> Any:
    """Return a copy of a layer with arrays of its own; ValueError if one is not finite."""
    copied = copy.copy(layer)
    copied.forget_passes()  # which are large
    copied = copy.deepcopy(copied)
    for name in copied.stored:
        if not np.isfinite(getattr(copied, name)).all():
            raise ValueError(f"{title}.{name} is not finite, expected finite numbers")
    return copied


def has_biases(layer: Any) -> bool:
    """Return whether a Dense adds biases. They may be assigned even with use_bias=False."""
    return layer.use_bias or bool(layer.biases.any())


def batch_norm_scale(layer: Any) -> Floats:
    """Return weights / sqrt(running_variance + epsilon) of a BatchNorm, (D,)."""
    variance = layer.running_variance[0].astype(np.float64)
    scale: Floats = layer.weights[0] / np.sqrt(variance + layer.epsilon)
    return scale.astype(layer.dtype)


def runs_of_columns(layer: Embedding) -> Iterator[tuple[int, int]]:
    """Yield (first column, number of columns): neighboring numbers together, each code alone."""
    start = 0
    for column in [*layer.columns, layer.n_inputs]:
        if column > start:
            yield start, column - start
        if column < layer.n_inputs:
            yield column, 1
        start = column + 1
