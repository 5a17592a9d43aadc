"""A network as it is at one moment, for short calls from Python and from jitted code."""

import numpy as np

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
    """

    def __init__(self, predictor):
        self._predictor = predictor
        self.n_inputs, self.n_outputs = predictor.n_inputs, predictor.n_outputs
        self.dtype = predictor.dtype
        # For jitted code (`jitted.py`): where the arrays are, and sizes.
        arrays = predictor.parameters, predictor.panels, predictor.table
        sizes = self.n_inputs, self.n_outputs, predictor.few_size, predictor.many_size
        self._header = np.array(
            [*map(_address, arrays), *(array.size for array in arrays), *sizes], np.int64
        )
        self._address = _address(self._header)

    def predict_proba(self, x):
        """Return the probabilities (C,) of one sample `x` (I,), or (N, C) of samples (N, I).

        Raises
        ------
        TypeError, ValueError
            Unless `x` is a C-contiguous array of finite numbers of the network's dtype, with I
            features. Jitted code gets numba's TypingError for a TypeError.
        """
        return self._outputs(x, True)

    def predict(self, x):
        """Return the label of one sample `x` (I,), or the labels (N,) of samples (N, I), int64.

        Errors as in `predict_proba`.
        """
        return self._outputs(x, False).argmax(axis=-1)

    def _outputs(self, x, normalise):
        rows = x[np.newaxis] if isinstance(x, np.ndarray) and x.ndim == 1 else x
        outputs = self._predictor.run_few(rows, normalise)
        if outputs is None:
            self._check(x)
            outputs = self._predictor.run(unlocked(rows), normalise, None)
            if outputs is None:
                refuse_not_finite(x, "x", x)
        return outputs if rows is x else outputs[0]

    def _check(self, x):
        if not isinstance(x, np.ndarray) or x.dtype != self.dtype:
            kind = getattr(x, "dtype", type(x).__name__)
            raise TypeError(f"x is {kind}, expected an array of {self.dtype}")
        if x.ndim not in (1, 2) or x.shape[-1] != self.n_inputs:
            raise ValueError(
                f"x has shape {x.shape}, expected ({self.n_inputs},) or (N, {self.n_inputs})"
            )
        if not (x.flags.c_contiguous and x.flags.aligned):
            raise ValueError(f"x has strides {x.strides}, expected a C-contiguous array")

    def __reduce__(self):
        return CompiledModel, (self._predictor,)  # the header holds addresses of this process

    def __repr__(self):
        return f"<CompiledModel of {self.n_inputs} inputs, {self.n_outputs} outputs, {self.dtype}>"


def _address(array):
    return array.__array_interface__["data"][0]
