"""A network as it is at one moment, for short calls from Python and from jitted code."""

from __future__ import annotations

from typing import Any

import numpy as np

from .kernels.table import IDENTITY
from .losses import Loss
from .prediction import Predictor
from .types import Array, Floats
from .validation import refuse_not_finite, unlocked


class CompiledModel:
    """Answers as a model did when its `compiled()` was called, with a copy of its parameters.

    Both methods may also be called in `numba.njit` functions, to which the handle comes as an
    argument or as a global variable; they release the GIL there if the function does. Nothing is
    converted, so that the same call works in both worlds. Several threads may use one handle.

    Attributes
    ----------
    n_inputs, n_outputs : int
        I and C.
    dtype : float32 or float64
    loss : Loss
        The model's, which says what a prediction is.

    Examples
    --------
    >>> model = fastnn.Sequential([fastnn.Dense(2, 3, rng=0)])
    >>> handle = model.compiled()
    >>> handle
    <CompiledModel of 2 inputs, 3 outputs, float32>
    >>> sample = np.array([0.5, -1.0], np.float32)
    >>> print(handle.predict(sample), model.predict([sample]))
    1 [1]
    """

    def __init__(self, predictor: Predictor, loss: Loss) -> None:
        self._predictor, self.loss = predictor, loss
        self.n_inputs, self.n_outputs = predictor.n_inputs, predictor.n_outputs
        self.dtype = predictor.dtype
        # For jitted code (`jitted.py`): where the arrays are, and sizes.
        arrays: tuple[Any, ...] = (
            predictor.parameters, predictor.panels, predictor.table, predictor.plan_coefficients
        )  # fmt: skip
        sizes = self.n_inputs, self.n_outputs, predictor.few_size, predictor.many_size
        self._header = np.array(
            [*map(_address, arrays), *(array.size for array in arrays), *sizes], np.int64
        )
        self._address = _address(self._header)

    def predict_proba(self, x: Floats) -> Floats:
        """Return the probabilities (C,) of one sample `x` (I,), or (N, C) of samples (N, I).

        Raises
        ------
        TypeError, ValueError
            Unless `x` is a C-contiguous array of finite numbers of the network's dtype, with I
            features. Jitted code gets numba's TypingError for a TypeError.
        """
        if self.loss.task == "numbers":
            raise AttributeError(
                "the model predicts numbers, which have no probabilities: use predict"
            )
        return self._outputs(x, self.loss.finish)

    def predict(self, x: Floats) -> Array:
        """Return what the model's `predict` does, for one sample `x` (I,) or samples (N, I).

        Errors as in `predict_proba`.
        """
        return self.loss.decide(self._outputs(x, IDENTITY))

    def _outputs(self, x: Floats, finish: int) -> Floats:
        rows = x[np.newaxis] if isinstance(x, np.ndarray) and x.ndim == 1 else x
        outputs = self._predictor.run_few(rows, finish)
        if outputs is None:
            self._check(x)
            outputs = self._predictor.run(unlocked(rows), finish, None)
            if outputs is None:
                refuse_not_finite(x, "x", x)
        return outputs if rows is x else outputs[0]

    def _check(self, x: Floats) -> None:
        if not isinstance(x, np.ndarray) or x.dtype != self.dtype:
            kind = getattr(x, "dtype", type(x).__name__)
            raise TypeError(f"x is {kind}, expected an array of {self.dtype}")
        if x.ndim not in (1, 2) or x.shape[-1] != self.n_inputs:
            raise ValueError(
                f"x has shape {x.shape}, expected ({self.n_inputs},) or (N, {self.n_inputs})"
            )
        if not (x.flags.c_contiguous and x.flags.aligned):
            raise ValueError(f"x has strides {x.strides}, expected a C-contiguous array")

    def __reduce__(self) -> tuple[type[CompiledModel], tuple[Predictor, Loss]]:
        return CompiledModel, (
            self._predictor,
            self.loss,
        )  # the header holds addresses of this process

    def __repr__(self) -> str:
        return f"<CompiledModel of {self.n_inputs} inputs, {self.n_outputs} outputs, {self.dtype}>"


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])
