"""A network: layers in a row, their parameters in one flat buffer, passes layer by layer."""

from __future__ import annotations

import copy
import inspect
import itertools
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from .. import kernels
from ..memory import aligned_empty
from ..program.plan import program_layers, runs_as
from ..program.prediction import Predictor
from ..program.stream import Stream
from ..settings import shown
from ..types import DType, Floats, MaybeNone, OwnLayer, Seed, Snapshot
from ..validation import DTYPES, as_array, as_generator, as_matrix
from .layers import Layer, ParameterLayer
from .loss import Loss
from .losses import SoftmaxCrossEntropy
from .normalization import BatchNorm
from .optimizer import Optimizer
from .own_losses import LossLike, as_loss
from .summary import Summary


class Network:
    """Layers that feed each other and a loss: what :class:`Sequential` is made of."""

    def __init__(self, layers: Iterable[Layer | OwnLayer], loss: LossLike | None = None) -> None:
        self._loss = as_loss(SoftmaxCrossEntropy() if loss is None else loss)
        self.optimizer: Optimizer | None = None
        self._rng: np.random.Generator | None = None
        try:
            self._layers: tuple[Any, ...] = tuple(layers)
        except TypeError:
            raise TypeError(f"layers is {layers!r}, expected a list of layers") from None
        self.notes: dict[str, Any] = {}
        self._exposed = False  # whether a script may change parameters at any time
        self._version = 0  # how often they were changed as a whole
        self._check_layers()
        self._adopt()

    @property
    def layers(self) -> tuple[Any, ...]:
        """The layers. They cannot be swapped: other layers make another network."""
        return self._layers

    def _check_layers(self) -> None:
        if not self.layers:
            raise ValueError("layers is empty, expected at least one layer")
        width, source, dtype, seen = None, None, None, set()
        for i, layer in enumerate(self.layers):
            passes = (getattr(layer, name, None) for name in ("forward", "backward"))
            if isinstance(layer, type) or not all(map(callable, passes)):
                raise TypeError(f"layers[{i}] is {layer!r}, expected forward and backward methods")
            if id(layer) in seen:
                raise ValueError(f"layers[{i}] is in the list twice, expected distinct layers")
            seen.add(id(layer))
            if isinstance(layer, ParameterLayer):
                n_inputs, n_outputs = layer.widths
                if width is not None and n_inputs != width:
                    raise ValueError(
                        f"layers[{i}] takes {n_inputs} inputs, "
                        f"expected {width}, the outputs of layers[{source}]"
                    )
                if dtype is not None and layer.dtype != dtype:
                    raise ValueError(f"layers[{i}] has dtype {layer.dtype}, expected {dtype}")
                width, source, dtype = n_outputs, i, layer.dtype
            elif not isinstance(layer, Layer):
                width = None  # a layer of the user's own may change it
            owner = getattr(layer, "_model", None)
            if owner is not None and owner() is not None:
                raise ValueError(f"layers[{i}] belongs to another model, expected a copy of it")

    def _count_features(self) -> int | MaybeNone:
        """Return I, or None where only a layer of the user's own knows it."""
        for layer in self.layers:
            if isinstance(layer, ParameterLayer):
                return layer.widths[0]
            if not isinstance(layer, Layer):
                return None
        return None

    def _adopt(self) -> None:
        """Move all that is trained into one buffer, and let the layers hold views of it.

        First come the parameters, and behind them what follows the data in another way.
        """
        self._parametric: list[Any] = [
            layer for layer in self.layers if isinstance(layer, ParameterLayer)
        ]
        self._n_features: int | MaybeNone = self._count_features()
        self._gradients: Floats | MaybeNone = None
        arrays = [
            (layer, name, getattr(layer, f"_{name}"))
            for part in range(3)
            for layer in self._parametric
            for name in _stored_names(layer)[part]
        ]
        dtype = self._parametric[0].dtype if self._parametric else np.dtype(np.float32)
        self._buffer = aligned_empty(sum(array.size for *_, array in arrays), dtype)
        n_parameters = sum(layer._weights.size + layer._biases.size for layer in self._parametric)
        self._pieces: list[tuple[Any, str, Floats]] = []
        self._parameters = self._buffer[:n_parameters]
        for (layer, name, array), view in zip(arrays, _cut(self._buffer, arrays), strict=True):
            view[...] = array
            setattr(layer, f"_{name}", view)
            self._pieces.append((layer, f"_{name}", view))
        for layer in self.layers:
            if isinstance(layer, Layer):
                layer._model = weakref.ref(self)
        self._warned = False
        self._plan_passes()

    def _plan_passes(self) -> None:
        """Choose the layers up to what the loss takes, and lay out predictions."""
        self._check_pieces()
        # Kept here, as a prediction of one row takes 1.5 us.
        self._task, self._finish = self._loss.task, self._loss.finish
        self._stream: Stream | None = None
        self._steps = program_layers(self._logit_layers())
        self._predictor: Predictor | MaybeNone = None
        if self._steps is not None:
            self._predictor = Predictor(self._steps, self._n_features, self._buffer)

    def _check_pieces(self) -> None:
        """Refuse a layer that no longer has the arrays of this network."""
        for layer, name, view in self._pieces:
            if getattr(layer, name) is not view:
                raise ValueError(
                    f"layers[{self.layers.index(layer)}], {layer!r}, was made anew: "
                    "expected the layer that the network was made of"
                )

    @property
    def loss(self) -> Loss:
        """What the network is trained on. Another one may be assigned between two runs."""
        return self._loss

    @loss.setter
    def loss(self, value: LossLike) -> None:
        self._loss = as_loss(value)
        self._plan_passes()

    @property
    def dtype(self) -> DType:
        """The dtype of the parameters and of all results."""
        return self._parameters.dtype

    @property
    def parameters(self) -> Floats:
        """The flat parameter buffer."""
        self._exposed = True
        return self._show("parameters")

    @parameters.setter
    def parameters(self, value: ArrayLike) -> None:
        array = as_array(value, "parameters")
        if array.shape != self._parameters.shape:
            raise ValueError(
                f"parameters has shape {array.shape}, expected {self._parameters.shape}"
            )
        self._parameters[...] = as_matrix(array, "parameters", self.dtype)
        self._version += 1

    def _show(self, name: str) -> Floats:
        """Return the view of a flat buffer that scripts and optimizers know it by."""
        return shown(vars(self).setdefault("_shown", {}), name, getattr(self, f"_{name}"))

    def _note_change(self) -> None:
        self._version += 1

    def _may_be_changed(self) -> bool:
        """Return whether a script has, or had, parameters in its hands."""
        return self._exposed or any(layer._exposed for layer in self._parametric)

    @property
    def gradients(self) -> Floats:
        """The flat gradient buffer."""
        if self._gradients is None:
            self._gradients = aligned_empty(self._parameters.size, self.dtype)
            self._gradients[...] = 0
            arrays = [
                (layer, name, getattr(layer, f"_{name}"))
                for layer in self._parametric
                for name in ("weights", "biases")
            ]
            for (layer, name, _), view in zip(arrays, _cut(self._gradients, arrays), strict=True):
                if (gradient := getattr(layer, f"_d{name}")) is not None:
                    view[...] = gradient
                setattr(layer, f"_d{name}", view)
        return self._show("gradients")

    def _logit_layers(self) -> tuple[Any, ...]:
        """Return the layers up to the outputs that the loss takes."""
        head = self.loss.probability_layer
        return self.layers[:-1] if head and runs_as(self.layers[-1], head) else self.layers

    # ------------------------------------------------------------------ layer by layer

    def forward(self, inputs: ArrayLike, training: bool = False) -> Floats:
        """Run `inputs` (B, I) through all layers, one by one, and return the last output."""
        values: Any = inputs
        for layer in self.layers:
            values = call_forward(layer, values, training)
        output: Floats = values
        return output

    def backward(self, dvalues: ArrayLike) -> Floats:
        """Take the gradient `dvalues` of the last output back through all layers."""
        values: Any = dvalues
        for layer in reversed(self.layers):
            values = call_backward(layer, values)
        dinputs: Floats = values
        return dinputs

    def _forward_logits(self, inputs: Any, training: bool, n_classes: int | None = None) -> Floats:
        n_rows = len(inputs)
        for layer in self._logit_layers():
            inputs = call_forward(layer, inputs, training)
        logits = as_array(inputs, "the output of the last layer")
        width = logits.shape[1] if logits.ndim == 2 else 0
        if width == 0 or len(logits) != n_rows or width != (n_classes or width):
            raise ValueError(
                f"the output of the last layer has shape {logits.shape}, "
                f"expected logits of shape ({n_rows}, {n_classes or 'C'})"
            )
        dtype = np.float32 if logits.dtype == np.float32 else np.float64
        # A copy where it is no plain array: a kernel takes the gradient in its place.
        return np.require(logits, dtype, ["C", "A", "W"])

    def _backward_logits(self, dvalues: Any) -> None:
        for layer in reversed(self._logit_layers()):
            dvalues = call_backward(layer, dvalues)

    def _trained_arrays(self) -> Iterator[tuple[Floats, Floats]]:
        """Yield (parameters, gradients): of the layers that train, then of a user's own ones."""
        for owner, name, slopes in self._trained_places():
            parameters, gradients = getattr(owner, name), np.asarray(getattr(owner, slopes))
            # As NumPy takes `parameters -= learning_rate * gradients`.
            gradients = np.broadcast_to(gradients, parameters.shape)
            yield parameters, gradients.astype(parameters.dtype, copy=False)

    def _trained_places(self) -> Iterator[tuple[Any, str, str]]:
        """Yield (object, attribute of the parameters, attribute of the gradients)."""
        weights, biases = ("weights", "dweights"), ("biases", "dbiases")
        if self._parametric and all(
            layer.trainable and layer.use_bias for layer in self._parametric
        ):
            yield self, "parameters", "gradients"
        else:
            for layer in self._parametric:
                if layer.trainable:
                    yield layer, *weights
                    if layer.use_bias:
                        yield layer, *biases
        for layer in self._own_layers():
            yield layer, *weights
            yield layer, *biases

    def _own_layers(self) -> list[Any]:
        return [
            layer
            for layer in self.layers
            if not isinstance(layer, ParameterLayer) and hasattr(layer, "weights")
        ]

    def _check_own_layers(self) -> None:
        for i, layer in enumerate(self.layers):
            if layer not in self._own_layers():
                continue
            for name in ("weights", "biases"):
                array = getattr(layer, name, None)
                if not isinstance(array, np.ndarray) or array.dtype not in DTYPES:
                    raise TypeError(
                        f"layers[{i}] has {name} {array!r:.60}, "
                        "expected an array of float32 or float64"
                    )

    def _penalty(self) -> float:
        """Return what the penalties of all layers add to the loss."""
        return float(
            sum(
                layer._penalty_part * (l1 * np.abs(values).sum() + l2 * np.square(values).sum())
                for layer in self._parametric
                if layer.trainable and any(layer.penalties)
                for values, l1, l2 in (
                    (layer._weights, layer.weights_l1, layer.weights_l2),
                    (layer._biases, layer.biases_l1, layer.biases_l2),
                )
            )
        )

    # ------------------------------------------------------------------ the state

    def _snapshot(self) -> Snapshot:
        own = [(layer.weights.copy(), layer.biases.copy()) for layer in self._own_layers()]
        return self._buffer.copy(), own

    def _restore(self, snapshot: Snapshot) -> None:
        self._buffer[...], own = snapshot
        self._version += 1
        for layer, (weights, biases) in zip(self._own_layers(), own, strict=True):
            layer.weights[...], layer.biases[...] = weights, biases

    def _is_finite(self) -> bool:
        own = (a for layer in self._own_layers() for a in (layer.weights, layer.biases))
        return kernels.all_finite(self._buffer) and all(np.isfinite(a).all() for a in own)

    def _stored_arrays(self) -> dict[str, Floats]:
        """Return {"0.weights": array, ...}: what all layers have learned, not copied."""
        self._check_pieces()
        own = self._own_layers()
        return {
            f"{i}.{name}": getattr(layer, f"_{name}" if isinstance(layer, ParameterLayer) else name)
            for i, layer in enumerate(self.layers)
            for name in (
                itertools.chain(*_stored_names(layer))
                if isinstance(layer, ParameterLayer)
                else ("weights", "biases")
                if layer in own
                else ()
            )
        }

    # ------------------------------------------------------------------ the object itself

    def clone(self, rng: Seed = None) -> Self:
        """Return a model of the same layers, with the same parameters, that shares nothing.

        Parameters
        ----------
        rng : None, int or numpy.random.Generator
            Where given, layers draw new parameters from it, as their `init` says.
        """
        twin = copy.deepcopy(self)
        for layer in twin.layers:
            if isinstance(layer, Layer):
                layer.forget_passes()
        if rng is not None:
            rng = as_generator(rng)
            for layer in twin._parametric:
                layer.reset_parameters(rng)
        return twin

    def summary(self) -> Summary:
        """Return a :class:`Summary`: layers, outputs, parameters, bytes, operations a sample."""
        return Summary(self)

    def __copy__(self) -> Self:
        return copy.deepcopy(self)  # two models on one buffer would train each other

    def __getstate__(self) -> dict[str, Any]:
        # A stream works on the parameters of this model, and views are on its memory.
        return {**vars(self), "_stream": None, "_shown": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._check_layers()  # a script may have made one anew
        self._adopt()

    def __repr__(self) -> str:
        layers = "".join(f"    {layer!r},\n" for layer in getattr(self, "layers", ()))
        loss = repr(getattr(self, "loss", "?"))
        loss = "" if loss == "SoftmaxCrossEntropy()" else f", loss={loss}"
        return f"{type(self).__name__}([\n{layers}]{loss})"


def _stored_names(layer: ParameterLayer) -> tuple[tuple[str, ...], ...]:
    """Return the names of parameters, of what else the program keeps, of a subclass's arrays."""
    known = BatchNorm.stored if isinstance(layer, BatchNorm) else ParameterLayer.stored
    own = tuple(name for name in type(layer).stored if name not in known)
    return known[:2], known[2:], own


def _cut(buffer: Floats, arrays: Iterable[tuple[Any, str, Floats]]) -> Iterator[Floats]:
    """Yield views of a buffer, one behind the other, of the shapes of (layer, name, array)."""
    start = 0
    for *_, array in arrays:
        yield buffer[start : start + array.size].reshape(array.shape)
        start += array.size


def call_forward(layer: Any, inputs: Any, training: bool) -> Any:
    """Call `forward` of a layer that may not know `training`, and may not return its output."""
    if "training" in inspect.signature(layer.forward).parameters:
        result = layer.forward(inputs, training=training)
    else:
        result = layer.forward(inputs)
    return layer.output if result is None else result


def call_backward(layer: Any, dvalues: Any) -> Any:
    result = layer.backward(dvalues)
    return layer.dinputs if result is None else result
