"""A network: a sequence of layers whose parameters share one flat buffer."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import kernels
from ..memory import aligned_empty
from ..settings import shown
from ..types import Array, DType, Flags, Floats, MaybeNone, OwnLayer, Snapshot
from ..validation import DTYPES, as_array, as_matrix
from .dropout import Dropout
from .embedding import Embedding
from .layer import Layer, ParameterLayer
from .loss import Loss
from .losses import SoftmaxCrossEntropy
from .normalization import BatchNorm
from .own import overrides
from .own_losses import LossLike, as_loss
from .passes import call_backward, call_forward
from .residual import Residual, connect, flatten
from .runs import RunGradients, Runs


class Network:
    """A sequence of layers, and the loss of their outputs.

    All parameters lie in one buffer, and the layers hold views of it. A network runs its layers one
    by one and keeps their state. It knows nothing of the compiled program.

    Attributes
    ----------
    layers : tuple
        Those of a :class:`Residual` one by one.
    loss : Loss
    dtype : float32 or float64
        Of the parameters, and of all results.
    n_features : int or None
        I; None if it depends on a layer of a user's own class.
    buffer : ndarray
        The parameters (P,), followed by other arrays that training changes, such as running
        moments.
    parametric : list of ParameterLayer
        The layers that have parameters.
    version : int
        A count of the changes of all parameters at once.
    layout : int
        A count of the changes of the loss, and of settings of layers that predictions depend on.
    """

    def __init__(
        self, layers: Iterable[Layer | Residual | OwnLayer], loss: LossLike | None = None
    ) -> None:
        self.loss: Loss = as_loss(SoftmaxCrossEntropy() if loss is None else loss)
        try:
            self.layers: tuple[Any, ...] = tuple(flatten(layers))
        except TypeError:
            raise TypeError(f"layers is {layers!r}, expected a list of layers") from None
        self._exposed = False  # whether a script may change parameters at any time
        self.version = self.layout = 0
        self._check_layers()
        self._adopt()

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
                if isinstance(layer, Embedding) and i > 0:
                    raise ValueError(
                        f"layers[{i}] is an Embedding, expected it as layers[0]: its inputs are "
                        "codes of categories"
                    )
            elif not isinstance(layer, Layer):
                width = None  # a layer of the user's own may change it
            owner = getattr(layer, "_network", None)
            if owner is not None and owner() is not None:
                raise ValueError(f"layers[{i}] belongs to another model, expected a copy of it")
        connect(self.layers)

    def _count_features(self) -> int | MaybeNone:
        """Return I, or None if it depends on a layer of a user's own class."""
        for layer in self.layers:
            if isinstance(layer, ParameterLayer):
                return layer.widths[0]
            if not isinstance(layer, Layer):
                return None
        return None

    def _adopt(self) -> None:
        """Move the arrays of all layers into one buffer, and let the layers hold views of it.

        The parameters come first, then other arrays that training changes.
        """
        self.parametric: list[Any] = [
            layer for layer in self.layers if isinstance(layer, ParameterLayer)
        ]
        self.n_features: int | MaybeNone = self._count_features()
        self._gradients: Floats | MaybeNone = None
        self._bias_mask: Flags | None = None
        arrays = [
            (layer, name, getattr(layer, f"_{name}"))
            for part in range(3)
            for layer in self.parametric
            for name in _stored_names(layer)[part]
        ]
        dtype = self.parametric[0].dtype if self.parametric else np.dtype(np.float32)
        self.dtype: DType = dtype
        self.buffer = aligned_empty(sum(array.size for *_, array in arrays), dtype)
        n_parameters = sum(layer._weights.size + layer._biases.size for layer in self.parametric)
        self._pieces: list[tuple[Any, str, Floats]] = []
        self._parameters = self.buffer[:n_parameters]
        for (layer, name, array), view in zip(arrays, _cut(self.buffer, arrays), strict=True):
            view[...] = array
            setattr(layer, f"_{name}", view)
            self._pieces.append((layer, f"_{name}", view))
        for layer in self.layers:
            if isinstance(layer, Layer):
                layer._network = weakref.ref(self)
        self.check_arrays()

    @property
    def categories(self) -> dict[int, int]:
        """{column: number of categories} of the columns of the inputs that have codes."""
        first = self.layers[0]
        return first.categories if isinstance(first, Embedding) else {}

    def check_arrays(self) -> None:
        """Raise ValueError if a layer no longer has the arrays of this network."""
        for layer, name, view in self._pieces:
            if getattr(layer, name) is not view:
                raise ValueError(
                    f"layers[{self.layers.index(layer)}], {layer!r}, was made anew: "
                    "expected the layer that the network was made of"
                )

    def set_loss(self, loss: LossLike) -> None:
        """Replace the loss."""
        self.loss = as_loss(loss)
        self.note_layout()

    def note_layout(self) -> None:
        """Note that the loss, or a setting of a layer that predictions depend on, has changed."""
        self.check_arrays()
        self.layout += 1

    @property
    def n_parameters(self) -> int:
        """P."""
        return self._parameters.size

    @property
    def parameters(self) -> Floats:
        """The parameters (P,), as a view of the buffer."""
        return self._show("parameters")

    @property
    def moments(self) -> Floats:
        """The part of the buffer after the parameters."""
        return self.buffer[self._parameters.size :]

    def expose_parameters(self) -> Floats:
        """Return `parameters` for a script, which may change them at any time."""
        self._exposed = True
        return self.parameters

    def set_parameters(self, value: ArrayLike) -> None:
        """Copy values (P,) into the parameters.

        Raises
        ------
        TypeError, ValueError
            For another shape, and for what is not finite.
        """
        array = as_array(value, "parameters")
        if array.shape != self._parameters.shape:
            raise ValueError(
                f"parameters has shape {array.shape}, expected {self._parameters.shape}"
            )
        self._parameters[...] = as_matrix(array, "parameters", self.dtype)
        self.note_change()

    def _show(self, name: str) -> Floats:
        """Return a view of a private flat buffer: the same object at each call."""
        return shown(vars(self).setdefault("_shown", {}), name, getattr(self, f"_{name}"))

    def note_change(self) -> None:
        """Note that all parameters may have changed."""
        self.version += 1

    def may_be_changed(self) -> bool:
        """Return whether a script may hold a view of some parameters."""
        return self._exposed or any(layer._exposed for layer in self.parametric)

    @property
    def gradients(self) -> Floats:
        """The flat gradient buffer."""
        if self._gradients is None:
            self._gradients = aligned_empty(self._parameters.size, self.dtype)
            self._gradients[...] = 0
            arrays = self._parameter_arrays()
            for (layer, name, _), view in zip(arrays, _cut(self._gradients, arrays), strict=True):
                if (gradient := getattr(layer, f"_d{name}")) is not None:
                    view[...] = gradient
                setattr(layer, f"_d{name}", view)
        return self._show("gradients")

    @property
    def bias_mask(self) -> Flags:
        """Which of the parameters (P,) weight decay may spare."""
        if self._bias_mask is None:
            self._bias_mask = np.full(self._parameters.size, False)
            arrays = self._parameter_arrays()
            for (layer, name, _), part in zip(arrays, _cut(self._bias_mask, arrays), strict=True):
                part[...] = name in layer.spared
            self._bias_mask.flags.writeable = False
        return self._bias_mask

    def _parameter_arrays(self) -> list[tuple[Any, str, Floats]]:
        """Return (layer, name, array) of all parameters, in their order."""
        return [
            (layer, name, getattr(layer, f"_{name}"))
            for layer in self.parametric
            for name in ("weights", "biases")
        ]

    def logit_layers(self) -> tuple[Any, ...]:
        """Return the layers up to the outputs that the loss takes."""
        head, last = self.loss.probability_layer, self.layers[-1]
        fused = head is not None and isinstance(last, head)
        fused = fused and not overrides(last, head, "forward", "backward")
        return self.layers[:-1] if fused else self.layers

    # ------------------------------------------------------------------ layer by layer

    def logits(
        self,
        inputs: Any,
        training: bool,
        n_outputs: int | None = None,
        runs: Runs | None = None,
    ) -> Floats:
        """Return the outputs (B, O) that the loss takes, as an array that a kernel may change.

        `runs` says of which batch the inputs are a part, if other processes have the rest.

        Raises
        ------
        ValueError
            Where the last layer gives another shape than (B, `n_outputs`).
        """
        n_rows = len(inputs)
        for layer in self.logit_layers():
            if runs is not None and isinstance(layer, BatchNorm):
                inputs = layer.forward_runs(inputs, runs)
            else:
                inputs = call_forward(layer, inputs, training)
        logits = as_array(inputs, "the output of the last layer")
        width = logits.shape[1] if logits.ndim == 2 else 0
        if width == 0 or len(logits) != n_rows or width != (n_outputs or width):
            raise ValueError(
                f"the output of the last layer has shape {logits.shape}, "
                f"expected logits of shape ({n_rows}, {n_outputs or 'C'})"
            )
        dtype = np.float32 if logits.dtype == np.float32 else np.float64
        # A kernel overwrites it with the gradient, so it must be a plain, writeable array.
        return np.require(logits, dtype, ["C", "A", "W"])

    def pull(self, dvalues: Any) -> None:
        """Propagate the gradient (B, O) of the logits back through the layers."""
        for layer in reversed(self.logit_layers()):
            dvalues = call_backward(layer, dvalues)

    def pull_runs(self, dvalues: Floats, gradients: Floats, runs: Runs) -> None:
        """As `pull`; write what each run of rows adds to the gradient into `gradients` (S, P).

        The slopes of penalties are not added.
        """
        views = [list(_cut(each, self._parameter_arrays())) for each in gradients]
        for layer in reversed(self.logit_layers()):
            if isinstance(layer, ParameterLayer):
                at = 2 * self.parametric.index(layer)
                own = [
                    RunGradients(rows, *each[at : at + 2])
                    for rows, each in zip(runs.rows, views, strict=True)
                ]
                dvalues = layer.backward_runs(dvalues, own, runs)
            else:
                dvalues = call_backward(layer, dvalues)

    def trained_arrays(self) -> Iterator[tuple[Floats, Floats]]:
        """Yield (parameters, gradients) of trainable layers, then of a user's own layers."""
        for owner, name, slopes in self.trained_places():
            parameters, gradients = getattr(owner, name), np.asarray(getattr(owner, slopes))
            # As NumPy broadcasts in `parameters -= learning_rate * gradients`.
            gradients = np.broadcast_to(gradients, parameters.shape)
            yield parameters, gradients.astype(parameters.dtype, copy=False)

    def trained_places(self) -> Iterator[tuple[Any, str, str]]:
        """Yield (object, attribute of the parameters, attribute of the gradients)."""
        weights, biases = ("weights", "dweights"), ("biases", "dbiases")
        if self.parametric and all(layer.trainable and layer.use_bias for layer in self.parametric):
            self._exposed = True  # an optimizer of a user's own may keep them
            yield self, "parameters", "gradients"
        else:
            for layer in self.parametric:
                if layer.trainable:
                    yield layer, *weights
                    if layer.use_bias:
                        yield layer, *biases
        for layer in self.own_layers():
            yield layer, *weights
            yield layer, *biases

    def trained_masks(self) -> Iterator[Flags | bool]:
        """Yield which parameters of each of `trained_places` weight decay may spare."""
        for owner, name, _ in self.trained_places():
            if owner is self:
                yield self.bias_mask
            else:
                spared = owner.spared if isinstance(owner, ParameterLayer) else ("biases",)
                yield name in spared

    def own_layers(self) -> list[Any]:
        """Return the layers of a user's own class that have weights."""
        return [
            layer
            for layer in self.layers
            if not isinstance(layer, ParameterLayer) and hasattr(layer, "weights")
        ]

    def check_own_layers(self) -> None:
        """Raise TypeError where a layer of a user's own has no arrays to train."""
        for i, layer in enumerate(self.layers):
            if layer not in self.own_layers():
                continue
            for name in ("weights", "biases"):
                array = getattr(layer, name, None)
                if not isinstance(array, np.ndarray) or array.dtype not in DTYPES:
                    raise TypeError(
                        f"layers[{i}] has {name} {array!r:.60}, "
                        "expected an array of float32 or float64"
                    )

    @property
    def is_penalized(self) -> bool:
        """Whether a layer that trains has a penalty."""
        return any(any(layer.penalties) for layer in self.parametric if layer.trainable)

    def penalty(self) -> float:
        """Return the sum of the penalties of all layers."""
        return float(
            sum(
                layer._penalty_part * (l1 * np.abs(values).sum() + l2 * np.square(values).sum())
                for layer in self.parametric
                if layer.trainable and any(layer.penalties)
                for values, l1, l2 in (
                    (layer._weights, *layer.penalties[:2]),
                    (layer._biases, *layer.penalties[2:]),
                )
            )
        )

    def share_penalties(self, part: float) -> None:
        """Multiply the penalties by `part` in the next steps."""
        for layer in self.parametric:
            layer.share_penalties(part)

    def place_dropout(self, key: int, step: int) -> None:
        """Set the masks of all dropout layers to those of a step of the epoch with this key."""
        for i, layer in enumerate(self._dropouts()):
            layer.place_masks((key, i, step))

    def begin_dropout_at(self, row: int) -> None:
        """Draw the next masks for the rows of a batch from `row` on."""
        for layer in self._dropouts():
            layer.begin_masks_at(row)

    def add_slopes(self) -> None:
        """Add the slopes of all penalties to the gradients."""
        for layer in self.parametric:
            if layer.trainable and any(layer.penalties):
                layer._add_slopes()

    def release_dropout(self) -> None:
        """Let dropout layers draw their masks with their own keys again."""
        for layer in self._dropouts():
            layer.place_masks(None)

    def _dropouts(self) -> list[Dropout]:
        return [layer for layer in self.logit_layers() if isinstance(layer, Dropout)]

    # ------------------------------------------------------------------ the state

    def snapshot(self) -> Snapshot:
        """Return a copy of all that the network has learned."""
        own = [(layer.weights.copy(), layer.biases.copy()) for layer in self.own_layers()]
        return self.buffer.copy(), own

    def restore(self, snapshot: Snapshot) -> None:
        """Restore what `snapshot` returned."""
        self.buffer[...], own = snapshot
        self.version += 1
        for layer, (weights, biases) in zip(self.own_layers(), own, strict=True):
            layer.weights[...], layer.biases[...] = weights, biases

    def is_finite(self) -> bool:
        """Return whether all that the network has learned is finite."""
        own = (a for layer in self.own_layers() for a in (layer.weights, layer.biases))
        return kernels.all_finite(self.buffer) and all(np.isfinite(a).all() for a in own)

    def stored_arrays(self) -> dict[str, Floats]:
        """Return {"0.weights": array, ...}: what all layers have learned, not copied."""
        self.check_arrays()
        own = self.own_layers()
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

    def __getstate__(self) -> dict[str, Any]:
        # The layers have the parameters, and `_adopt` gathers them again. What it makes stays here.
        made = (
            "buffer", "parametric", "_parameters", "_pieces", "_gradients", "_shown", "_bias_mask",
        )  # fmt: skip
        state = {name: value for name, value in vars(self).items() if name not in made}
        return {**state, "loss": self.loss.without_results()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._check_layers()  # a script may have called a layer's __init__ again
        self._adopt()


def _stored_names(layer: ParameterLayer) -> tuple[tuple[str, ...], ...]:
    """Return the names of the parameters, of running moments, and of a subclass's own arrays."""
    known = BatchNorm.stored if isinstance(layer, BatchNorm) else ParameterLayer.stored
    own = tuple(name for name in type(layer).stored if name not in known)
    return known[:2], known[2:], own


def _cut(buffer: Array, arrays: Iterable[tuple[Any, str, Floats]]) -> Iterator[Array]:
    """Yield consecutive views of a buffer with the shapes of the arrays."""
    start = 0
    for *_, array in arrays:
        yield buffer[start : start + array.size].reshape(array.shape)
        start += array.size
