"""Dropout: setting random values to zero in training."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .. import kernels
from ..foreign import Pointed
from ..settings import Setting, fraction, known
from ..types import Floats, Seed
from ..validation import as_generator, as_gradient, as_rows, unlocked
from .layer import Layer


class Dropout(Pointed, Layer):
    """In training, set each value to 0 with probability `rate`; else scale it by 1 / (1 - rate).

    Without `training` the output is the same as the inputs. Hinton and others, "Improving neural
    networks by preventing co-adaptation of feature detectors" (2012), scaled in training
    as PyTorch does.

    The random bits are Philox4x32-10 of a key and the place of a value: layer, step, row and
    column. So `fit` draws the same masks with any number of threads. In `fit` the key of every
    epoch comes from `seed`, and `rng` has no effect.

    Parameters
    ----------
    rate : float
        The fraction of values set to 0: at least 0 and below 1.
    rng : None, int or numpy.random.Generator
        Draws the key of the masks for direct calls of `forward`. Each call has another mask.

    Attributes
    ----------
    mask : ndarray of shape (B, I) or None
        Of the last `forward`: 0 or 1 / (1 - rate). None without `training`.
    inputs : ndarray of shape (B, I)
        The argument of the last `forward`; None before the first.
    output : ndarray of shape (B, I)
        The result of the last `forward`; None before the first.
    dinputs : ndarray of shape (B, I)
        The result of the last `backward`; None before the first.

    Raises
    ------
    TypeError, ValueError
        For a rate out of range; in `forward` for inputs that are not (B, I) finite numbers; in
        `backward` for `dvalues` unlike the output.
    RuntimeError
        In `backward` before `forward`.

    Examples
    --------
    >>> dropout = fastnn.Dropout(0.5, rng=0)
    >>> dropout.forward([[1.0, 2.0, 3.0, 4.0, 5.0]], training=True)
    array([[ 2.,  0.,  6.,  8., 10.]])
    >>> dropout.forward([[1.0, 2.0, 3.0, 4.0, 5.0]])
    array([[1., 2., 3., 4., 5.]])
    """

    rate = Setting(lambda value, name: float(fraction(value, name)))
    mask: Floats | None = None
    _of_passes = *Layer._of_passes, "mask"
    _first_row = 0

    def __init__(self, rate: float, rng: Seed = None) -> None:
        self.rate = rate
        self._key, self._step = draw_key(as_generator(rng)), 0
        self._place: tuple[int, int, int] | None = None

    def forward(self, inputs: ArrayLike, training: bool = False) -> Floats:
        """Return the inputs (B, I) times the mask."""
        inputs = as_rows(inputs, "inputs")
        if not training:
            self.inputs, self.mask, self.output = inputs, None, inputs.copy()
            return self.output
        first = self._first_row
        rows = inputs
        if first:  # the mask of a row depends on its place in the batch
            rows = np.zeros((first + len(inputs), inputs.shape[1]), inputs.dtype)
            rows[first:] = inputs
        output, mask = np.empty_like(rows), np.empty_like(rows)
        kernels.dropout_forward(output, mask, unlocked(rows), self.rate, *self._take_place())
        self.inputs, self.mask, self.output = inputs, mask[first:], output[first:]
        return self.output

    def _take_place(self) -> tuple[int, int, int]:
        """Return (key, layer, step) of the next mask."""
        if self._place is not None:  # in an epoch of `fit`
            return self._place
        self._step += 1
        return self._key, 0, self._step - 1

    def place_masks(self, place: tuple[int, int, int] | None) -> None:
        """Draw the next masks for (key, layer, step), or for the layer's own key if None."""
        self._place, self._first_row = place, 0

    def begin_masks_at(self, row: int) -> None:
        """Draw the next masks for the rows of a batch from `row` on, until `place_masks`."""
        self._first_row = row

    def backward(self, dvalues: ArrayLike) -> Floats:
        """Return `dvalues` (B, I) times the mask."""
        inputs = self.pass_array("inputs")
        dvalues = as_gradient(dvalues, "dvalues", inputs.shape, inputs.dtype)
        if self.mask is None:
            self.dinputs = dvalues.copy()
            return self.dinputs
        mask = as_gradient(self.mask, "mask", inputs.shape, inputs.dtype)
        dinputs = np.empty_like(inputs)
        kernels.dropout_backward(dinputs, unlocked(dvalues), unlocked(mask))
        self.dinputs = dinputs
        return dinputs

    def __repr__(self) -> str:
        return f"{type(self).__name__}({known(self, 'rate')})"


def draw_key(rng: np.random.Generator) -> int:
    """Return a key of 63 random bits."""
    return int(rng.integers(2**63))
