"""The base class of models: access to the network, its configuration and copies."""

from __future__ import annotations

import copy
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ..foreign import missing_attribute
from ..nn import configs
from ..nn.layer import Layer
from ..nn.loss import Loss
from ..nn.network import Network
from ..nn.optimizer import Optimizer
from ..nn.own_losses import LossLike
from ..nn.passes import run_backward, run_forward
from ..nn.residual import Residual
from ..nn.summary import Summary
from ..program.program import Program
from ..program.stream import Stream
from ..types import DType, Flags, Floats, OwnLayer, Seed
from ..validation import as_generator


class Model:
    """The layers, parameters and architecture of a network, for users.

    `PredictingModel` adds predictions, and :class:`Sequential` training and files.
    """

    def __init__(
        self, layers: Iterable[Layer | Residual | OwnLayer], loss: LossLike | None = None
    ) -> None:
        self._network = Network(layers, loss)
        self._program = Program(self._network)
        self._stream: Stream | None = None  # of the last `partial_fit`
        self._rng: np.random.Generator | None = None
        self.optimizer: Optimizer | None = None
        self.notes: dict[str, Any] = {}

    @property
    def layers(self) -> tuple[Any, ...]:
        """The layers. They cannot be replaced: create another model instead."""
        return self._network.layers

    @property
    def loss(self) -> Loss:
        """The loss that training minimizes. Another one may be assigned between two runs."""
        return self._network.loss

    @loss.setter
    def loss(self, value: LossLike) -> None:
        self._network.set_loss(value)
        self._program.refresh()

    @property
    def dtype(self) -> DType:
        """The dtype of the parameters and of all results."""
        return self._network.buffer.dtype  # one property, as each prediction asks for it

    @property
    def parameters(self) -> Floats:
        """The flat parameter buffer."""
        return self._network.expose_parameters()

    @parameters.setter
    def parameters(self, value: ArrayLike) -> None:
        self._network.set_parameters(value)

    @property
    def gradients(self) -> Floats:
        """The flat gradient buffer."""
        return self._network.gradients

    @property
    def bias_mask(self) -> Flags:
        """Which of the parameters are biases, or belong to a layer that normalizes."""
        return self._network.bias_mask

    # ------------------------------------------------------------------ layer by layer

    def forward(self, inputs: ArrayLike, training: bool = False) -> Floats:
        """Run `inputs` (B, I) through all layers, one by one, and return the last output."""
        output: Floats = run_forward(self.layers, inputs, training)
        return output

    def backward(self, dvalues: ArrayLike) -> Floats:
        """Propagate the gradient `dvalues` of the last output back through all layers."""
        dinputs: Floats = run_backward(self.layers, dvalues)
        return dinputs

    # ------------------------------------------------------------------ the architecture

    def to_config(self) -> dict[str, Any]:
        """Return the architecture, without parameters, as a dict that JSON can hold.

        "layers" and "loss" describe each part by {"class": name, argument: value, ...}; "dtype" and
        "n_features" follow from the layers. A callable `init` is included if it is a
        `scaled_normal`.

        Raises
        ------
        TypeError
            For a layer or loss of your own. The message names it.
        """
        return configs.describe_network(self._network)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return a new model, with new weights, from a dict that `to_config` returned.

        Raises
        ------
        TypeError, ValueError
            For unknown classes, unknown or missing arguments, bad values, and more parameters than
            fit into memory. It is raised before any array is allocated.
        """
        layers, loss = configs.build_network(config)
        model = cls(layers, loss)
        configs.check_network(config, model._network)
        return model

    # ------------------------------------------------------------------ copies and text

    def clone(self, rng: Seed = None) -> Self:
        """Return an independent copy, with the same layers and parameters.

        Parameters
        ----------
        rng : None, int or numpy.random.Generator
            With an int or a generator, the layers of the copy draw new parameters by their `init`.
        """
        result = copy.deepcopy(self)
        for layer in result.layers:
            if isinstance(layer, Layer):
                layer.forget_passes()
        if rng is not None:
            rng = as_generator(rng)
            for layer in result._network.parametric:
                layer.reset_parameters(rng)
        return result

    def summary(self) -> Summary:
        """Return a :class:`Summary` of the layers: outputs, parameters, bytes and operations."""
        return Summary(self._network)

    def __copy__(self) -> Self:
        return copy.deepcopy(self)  # two models on one buffer would train each other

    def __getstate__(self) -> dict[str, Any]:
        # Both use the parameters of this model, so a copy creates its own.
        return {**vars(self), "_stream": None, "_program": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._program = Program(self._network)

    def __repr__(self) -> str:
        layers = "".join(f"    {layer!r},\n" for layer in getattr(self, "layers", ()))
        loss = repr(getattr(self, "loss", "?"))
        loss = "" if loss == "SoftmaxCrossEntropy()" else f", loss={loss}"
        return f"{type(self).__name__}([\n{layers}]{loss})"

    if not TYPE_CHECKING:  # a type checker finds attributes that do not exist

        def __getattr__(self, name: str) -> Any:
            raise missing_attribute(self, name)

    def _repr_html_(self) -> str:
        table = self.summary()._repr_html_()
        return f"{table}<div>{html.escape(f'loss: {self.loss!r}')}</div>"


def network_of(model: Model) -> Network:
    """Return the network of a model, for other parts of fastnn."""
    return model._network


def program_of(model: Model) -> Program:
    """Return the program of a model, for other parts of fastnn."""
    model._program.refresh()
    return model._program


def as_notes(notes: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of notes, converted to JSON and back."""
    if not isinstance(notes, dict):
        raise TypeError(f"notes is {notes!r:.80}, expected a dict")
    try:
        plain: dict[str, Any] = json.loads(json.dumps(notes, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise type(error)(f"notes is {notes!r:.80}, expected what JSON can hold: {error}") from None
    return plain


def index_of(layers: Sequence[Layer | OwnLayer], layer: Any) -> int:
    """Return the index, at least 0, of one of the layers, which is it or its index."""
    for i, each in enumerate(layers):
        if each is layer:
            return i
    n = len(layers)
    whole = isinstance(layer, int | np.integer) and not isinstance(layer, bool)
    if not whole or not -n <= layer < n:
        raise ValueError(f"layer is {layer!r}, expected a number from {-n} to {n - 1} or a layer")
    return int(layer) % n
