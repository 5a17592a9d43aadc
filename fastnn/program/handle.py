"""A snapshot of a network, for short calls from Python and from jitted code."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from ..kernels.catalogue import Operation
from ..kernels.codes import HeaderPlace
from ..kernels.records import COLUMN
from ..nn.loss import Loss
from ..types import Array, DType, Floats
from ..validation import as_anything, check_codes, refuse_not_finite, unlocked
from .prediction import Predictor


class CompiledModel:
    """The predictions of a model, with a copy of the parameters at the call of `compiled()`.

    Both methods may also be called in `numba.njit` functions. The handle may be an argument, a
    global variable, an item of a tuple, list or typed dict, or an attribute of a jitclass; each of
    these keeps it alive. The methods release the GIL there if the function does. They convert
    nothing, so that the same call works in Python and in jitted code. Several threads may use one
    handle.

    Attributes
    ----------
    n_inputs : int
        I, the number of input features. All attributes are read-only: assignment raises
        AttributeError.
    n_outputs : int
        C, the number of outputs.
    dtype : float32 or float64
        Of the parameters and of all results.
    loss : Loss
        The loss of the model, which determines the kind of prediction.

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

    # Machine code reads the memory of these arrays, so nothing may change after `__new__`.
    __slots__ = ("__weakref__", "_arrays", "_header", "_kind", "_loss", "_predictor")

    _predictor: Predictor
    _loss: Loss
    _arrays: tuple[Any, ...]
    _header: bytes
    _kind: tuple[Any, ...]

    def __new__(cls, predictor: Predictor, loss: Loss) -> CompiledModel:
        if type(predictor) is not Predictor:
            name = type(predictor).__name__
            raise TypeError(f"predictor is a {name}: a handle comes from model.compiled()")
        self = super().__new__(cls)
        assert predictor.packed is not None
        panels, tiles = predictor.packed
        weight_tiles = np.empty(0, np.uint16) if tiles is None else tiles
        columns = np.empty(0, COLUMN) if predictor.columns is None else predictor.columns
        arrays: tuple[Any, ...] = (
            predictor.parameters, panels, predictor.layers, weight_tiles, columns
        )  # fmt: skip
        names = "PARAMETERS", "PANELS", "LAYERS", "TILES", "COLUMNS"
        header = np.empty(len(HeaderPlace), np.int64)  # for jitted code (`jitted.py`)
        for name, array in zip(names, arrays, strict=True):
            header[getattr(HeaderPlace, name)] = _address(array)
            header[getattr(HeaderPlace, f"{name}_SIZE")] = array.size
        header[HeaderPlace.N_INPUTS] = predictor.n_inputs
        header[HeaderPlace.N_OUTPUTS] = predictor.n_outputs
        header[HeaderPlace.FEW_SIZE] = predictor.few_size
        header[HeaderPlace.MANY_SIZE] = predictor.many_size
        header[HeaderPlace.OPERANDS_SIZE] = 0 if predictor.tiles is None else predictor.tiles[1]
        kind = (
            predictor.dtype, loss.task, loss.finish, loss.threshold, predictor.n_outputs == 1,
            tiles is not None, predictor.columns is not None,
        )  # fmt: skip
        for name, value in {
            "_predictor": predictor,
            "_loss": loss,
            "_arrays": arrays,
            "_header": header.tobytes(),
            "_kind": kind,
        }.items():
            object.__setattr__(self, name, value)
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{name} cannot be set: a handle stays as compiled() made it")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{name} cannot be deleted: a handle stays as compiled() made it")

    @property
    def n_inputs(self) -> int:
        """I."""
        return self._predictor.n_inputs

    @property
    def n_outputs(self) -> int:
        """C."""
        return self._predictor.n_outputs

    @property
    def dtype(self) -> DType:
        """float32 or float64."""
        return self._predictor.dtype

    @property
    def loss(self) -> Loss:
        """The loss of the model."""
        return self._loss

    def predict_proba(self, x: Floats) -> Floats:
        """Return the probabilities (C,) of one sample `x` (I,), or (N, C) of samples (N, I).

        Raises
        ------
        TypeError, ValueError
            Unless `x` is a C-contiguous array of finite numbers of the network's dtype, with I
            features. Jitted code gets numba's TypingError for a TypeError.
        """
        loss = self._loss
        if loss.task == "numbers":
            raise AttributeError(
                "the model predicts numbers, which have no probabilities: use predict"
            )
        return self._outputs(x, loss.finish)

    def predict(self, x: Floats) -> Array:
        """Return the same as the model's `predict`, for one sample `x` (I,) or samples (N, I).

        Errors as in `predict_proba`.
        """
        return self._loss.decide(self._outputs(x, Operation.IDENTITY))

    def _outputs(self, x: Floats, finish: int) -> Floats:
        if type(x) is not np.ndarray:
            x = self._plain(x)
        rows = x[np.newaxis] if x.ndim == 1 else x
        outputs = self._predictor.run_few(rows, finish)
        if outputs is None:
            self._check(x)
            outputs = self._predictor.run(unlocked(rows), finish, None)
            if outputs is None:
                check_codes(rows, self._predictor.categories, "x")
                refuse_not_finite(x, "x", x)
        return outputs if rows is x else outputs[0]

    def _plain(self, x: object) -> Array:
        """Return an array of a subclass, such as a memory map, as a plain one."""
        if not isinstance(x, np.ndarray):
            kind = getattr(x, "dtype", type(x).__name__)
            raise TypeError(f"x is {kind}, expected an array of {self.dtype}")
        return as_anything(x, "x")

    def _check(self, x: Array) -> None:
        dtype, n_inputs = self._predictor.dtype, self._predictor.n_inputs
        if x.dtype != dtype:
            raise TypeError(f"x is {x.dtype}, expected an array of {dtype}")
        if x.ndim not in (1, 2) or x.shape[-1] != n_inputs:
            raise ValueError(
                f"x has shape {x.shape}, expected ({n_inputs},) or (n_samples, {n_inputs})"
            )
        if not (x.flags.c_contiguous and x.flags.aligned):
            raise ValueError(f"x has strides {x.strides}, expected a C-contiguous array")

    def __reduce__(self) -> tuple[type[CompiledModel], tuple[Predictor, Loss]]:
        # Without the header, which holds addresses of this process.
        return CompiledModel, (self._predictor, self._loss.without_results())

    def __repr__(self) -> str:
        return f"<CompiledModel of {self.n_inputs} inputs, {self.n_outputs} outputs, {self.dtype}>"


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])
