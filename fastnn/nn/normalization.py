"""Normalization layers: mean 0 and variance 1 for every sample, or for every feature of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import kernels
from ..settings import Setting
from ..types import Floats, MaybeNone, Seed
from ..validation import (
    NotFiniteError,
    as_array,
    as_count,
    as_dtype,
    as_gradient,
    as_number,
    as_positive,
    as_rows,
    unlocked,
)
from .layers import ParameterLayer


class _Norm(ParameterLayer):
    """What both share: the weights start as 1, the biases as 0, both (1, D)."""

    epsilon = Setting(as_positive, predicts=True)
    normalized: Floats | MaybeNone = None
    _scales: Floats | None = None
    _of_passes = *ParameterLayer._of_passes, "normalized", "_scales"

    def __init__(self, n_features: int, epsilon: float, dtype: DTypeLike, trainable: bool) -> None:
        shape, dtype = (1, as_count(n_features, "n_features")), as_dtype(dtype)
        self._weights, self._biases = np.full(shape, 1, dtype), np.full(shape, 0, dtype)
        self.epsilon, self.trainable = epsilon, trainable

    def _check_together(self, values: Mapping[str, Any]) -> None:
        limits, epsilon = np.finfo(values["_weights"].dtype), values["epsilon"]
        if not float(limits.tiny) <= epsilon <= float(limits.max):
            raise ValueError(
                f"epsilon is {epsilon}, "
                f"expected {limits.tiny} to {limits.max}, the range of {limits.dtype}"
            )

    def reset_parameters(self, rng: Seed = None) -> None:
        """Set the weights to 1 and the biases to 0."""
        self._weights[...], self._biases[...] = 1, 0
        self._exposed = True

    @property
    def n_features(self) -> int:
        """D, the number of input features, and of outputs."""
        return self._weights.shape[1]

    @property
    def widths(self) -> tuple[int, int]:
        """The number of input features, and of outputs."""
        return self.n_features, self.n_features

    def _as_inputs(self, inputs: ArrayLike) -> Floats:
        width, dtype = self._weights.shape[1], self._weights.dtype
        return as_rows(inputs, "inputs", n_features=width, dtype=dtype)

    def _take_back(self, dvalues: ArrayLike, backward: Callable[..., None]) -> Floats:
        """Return the gradient of the inputs by a kernel, and keep those of the parameters."""
        width, dtype = self._weights.shape[1], self._weights.dtype
        normalized = self.pass_array("normalized", n_features=width, dtype=dtype)
        self._check_normalized(normalized)
        dvalues = as_gradient(dvalues, "dvalues", normalized.shape, dtype)
        self._prepare_gradients()
        dinputs = np.empty_like(normalized)
        backward(
            dinputs, self._dweights, self._dbiases, unlocked(dvalues), unlocked(normalized),
            self._scales, self._weights,
        )  # fmt: skip
        self.dinputs = dinputs
        return dinputs

    def _check_normalized(self, normalized: Floats) -> None:
        """Refuse an array of a script's that does not belong to the scales of the last forward."""
        wanted = normalized.shape[0 if isinstance(self, LayerNorm) else 1]
        if self._scales is None or self._scales.size != wanted:
            shape = None if self._scales is None else self._scales.shape
            raise ValueError(
                f"normalized has shape {normalized.shape}, expected what the last forward left "
                f"beside scales of shape {shape}"
            )

    def _describe(self, usual: Mapping[str, Any]) -> str:
        special = "".join(
            f", {name}={getattr(self, name)!r}"
            for name, value in usual.items()
            if getattr(self, name, value) != value
        )
        size, dtype = (getattr(self, name, "?") for name in ("n_features", "dtype"))
        return f"{type(self).__name__}({size}, dtype={dtype}{special})"


class LayerNorm(_Norm):
    """Each sample by itself: (inputs - mean) / sqrt(variance + epsilon) * weights + biases.

    Mean and variance, the one that divides by D, are over the features of a sample. Ba, Kiros,
    Hinton, "Layer Normalization" (2016), equation 4; defaults as in PyTorch.

    Parameters
    ----------
    n_features : int
        D, of inputs and outputs.
    epsilon : float
        Above 0, a normal number of the dtype.
    dtype : float32 or float64
        Of the parameters and of all results.
    trainable : bool
        False: `fit` leaves the parameters as they are.

    Attributes
    ----------
    weights, biases : ndarray of shape (1, D)
        Start as 1 and 0. Assigning copies the values, as with :class:`Dense`.
    normalized : ndarray of shape (B, D)
        What the weights are multiplied by, of the last `forward`.
    dweights, dbiases, inputs, output, dinputs
        As in :class:`Dense`, and so are the errors.

    Examples
    --------
    >>> fastnn.LayerNorm(3).forward([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]).round(2)
    array([[-1.22,  0.  ,  1.22],
           [-1.22,  0.  ,  1.22]], dtype=float32)
    """

    def __init__(
        self,
        n_features: int,
        epsilon: float = 1e-5,
        *,
        dtype: DTypeLike = np.float32,
        trainable: bool = True,
    ) -> None:
        super().__init__(n_features, epsilon, dtype, trainable)

    def forward(self, inputs: ArrayLike, training: bool = False) -> Floats:
        """Return the normalized inputs (B, D) * weights + biases."""
        inputs = self._as_inputs(inputs)
        output, normalized = np.empty_like(inputs), np.empty_like(inputs)
        scales = np.empty(len(inputs), inputs.dtype)
        kernels.layer_norm_forward(
            output, normalized, scales, unlocked(inputs), self._weights, self._biases, self.epsilon
        )
        self.inputs, self.output = inputs, output
        self.normalized, self._scales = normalized, scales
        return output

    def backward(self, dvalues: ArrayLike) -> Floats:
        """Return the gradient with respect to the inputs, (B, D); keep those of the parameters."""
        return self._take_back(dvalues, kernels.layer_norm_backward)

    def __repr__(self) -> str:
        return self._describe({"epsilon": 1e-5, "trainable": True})


def _as_momentum(value: float, name: str) -> float:
    momentum = float(as_number(value, name, 0))
    if momentum > 1:
        raise ValueError(f"{name} is {value}, expected a number from 0 to 1")
    return momentum


class BatchNorm(_Norm):
    """Each feature over a batch: (inputs - mean) / sqrt(variance + epsilon) * weights + biases.

    In training mean and variance, the one that divides by B, are those of the batch, and the
    running ones follow: running = (1 - momentum) * running + momentum * new, the new variance the
    one that divides by B - 1. Without `training` the running ones take their place. Ioffe, Szegedy,
    "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift"
    (2015), algorithms 1 and 2; momentum and defaults as in PyTorch.

    It has a price that no other layer has: samples depend on each other, so threads wait for each
    other once more on the way forward and once on the way back, four barriers a step in place of
    two for a network with one such layer. And a batch of one sample cannot be normalized: `fit`
    refuses such a last batch, which `drop_last=True` leaves out.

    Parameters
    ----------
    n_features : int
        D, of inputs and outputs.
    momentum : float
        The part of a new batch in the running moments, from 0 up to 1.
    epsilon : float
        Above 0, a normal number of the dtype.
    dtype : float32 or float64
        Of the parameters and of all results.
    trainable : bool
        False: `fit` leaves weights and biases as they are. The running moments still follow.

    Attributes
    ----------
    weights, biases : ndarray of shape (1, D)
        Start as 1 and 0. Assigning copies the values, as with :class:`Dense`.
    running_mean, running_variance : ndarray of shape (1, D)
        Start as 0 and 1. No part of a model's `parameters`; likewise for assigning.
    normalized : ndarray of shape (B, D)
        What the weights are multiplied by, of the last `forward`.
    dweights, dbiases, inputs, output, dinputs
        As in :class:`Dense`, and so are the errors.

    Examples
    --------
    >>> norm = fastnn.BatchNorm(2)
    >>> norm.forward([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]], training=True).round(2)
    array([[-1.22, -1.22],
           [ 0.  ,  0.  ],
           [ 1.22,  1.22]], dtype=float32)
    >>> norm.running_mean
    array([[0.2, 2. ]], dtype=float32)
    """

    stored = "weights", "biases", "running_mean", "running_variance"
    momentum = Setting(_as_momentum)

    def __init__(
        self,
        n_features: int,
        momentum: float = 0.1,
        epsilon: float = 1e-5,
        *,
        dtype: DTypeLike = np.float32,
        trainable: bool = True,
    ) -> None:
        super().__init__(n_features, epsilon, dtype, trainable)
        self.momentum = momentum
        self._running_mean = np.full_like(self._biases, 0)
        self._running_variance = np.full_like(self._biases, 1)

    def reset_parameters(self, rng: Seed = None) -> None:
        """Set weights and running variance to 1, biases and running mean to 0."""
        super().reset_parameters(rng)
        self._running_mean[...], self._running_variance[...] = 0, 1

    @property
    def running_mean(self) -> Floats:
        """The mean (1, D) that a prediction takes."""
        mean: Floats = self._show("running_mean")
        return mean

    @running_mean.setter
    def running_mean(self, value: ArrayLike) -> None:
        self._assign("running_mean", value)

    @property
    def running_variance(self) -> Floats:
        """The variance (1, D) that a prediction takes."""
        variance: Floats = self._show("running_variance")
        return variance

    @running_variance.setter
    def running_variance(self, value: ArrayLike) -> None:
        array = np.array(as_array(value, "running_variance"))
        if (array < 0).any():
            raise ValueError(
                f"running_variance goes down to {array.min()}, expected numbers of at least 0"
            )
        self._assign("running_variance", array)

    def forward(self, inputs: ArrayLike, training: bool = False) -> Floats:
        """Return the normalized inputs (B, D) * weights + biases.

        Raises
        ------
        TypeError, ValueError
            For other inputs; in training also for one row, and for a column whose variance is too
            large for the dtype. The running moments then stay.
        """
        inputs = self._as_inputs(inputs)
        if not training:
            return self._predict(inputs)
        if len(inputs) == 1:
            raise ValueError("inputs has one row, expected at least 2 to train BatchNorm with")
        output, normalized = np.empty_like(inputs), np.empty_like(inputs)
        scales, means, variances = (np.empty_like(self._weights) for _ in range(3))
        kernels.batch_norm_forward(
            output, normalized, scales, means, variances, unlocked(inputs),
            self._weights, self._biases, self.epsilon,
        )  # fmt: skip
        if not kernels.all_finite(variances):
            column = int(np.isfinite(variances).argmin())
            raise NotFiniteError(
                f"inputs has a variance in column {column} that is too large for {self.dtype}, "
                f"expected numbers whose squares add up to less than {np.finfo(self.dtype).max}"
            )
        if len(inputs):
            kernels.running_update(
                self._running_mean, self._running_variance, means, variances, len(inputs),
                self.momentum,
            )  # fmt: skip
        self.inputs, self.output = inputs, output
        self.normalized, self._scales = normalized, scales
        return output

    def _predict(self, inputs: Floats) -> Floats:
        output = np.empty_like(inputs)
        kernels.batch_norm_predict(
            output, unlocked(inputs), self._weights, self._biases,
            self._running_mean, self._running_variance, self.epsilon,
        )  # fmt: skip
        self.inputs, self.output = inputs, output
        self.normalized = self._scales = None
        return output

    def backward(self, dvalues: ArrayLike) -> Floats:
        """Return the gradient with respect to the inputs, (B, D); keep those of the parameters.

        Of the last `forward`: without `training` the running moments count as constants.
        """
        if self._scales is not None:
            return self._take_back(dvalues, kernels.batch_norm_backward)
        inputs = self.pass_array("inputs", n_features=self.n_features, dtype=self.dtype)
        dvalues = as_gradient(dvalues, "dvalues", inputs.shape, self.dtype)
        scales = 1 / np.sqrt(self._running_variance + self.dtype.type(self.epsilon))
        normalized = (inputs - self._running_mean) * scales
        self._prepare_gradients()
        # NumPy adds rows one by one, so many of them need float64.
        products = dvalues * normalized
        self._dweights[...] = products.sum(axis=0, keepdims=True, dtype=np.float64)
        self._dbiases[...] = dvalues.sum(axis=0, keepdims=True, dtype=np.float64)
        self.dinputs = dvalues * (self._weights * scales)
        return self.dinputs

    def __repr__(self) -> str:
        return self._describe({"momentum": 0.1, "epsilon": 1e-5, "trainable": True})
