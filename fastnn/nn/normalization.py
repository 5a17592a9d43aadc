"""Normalization layers: mean 0 and variance 1 for every sample, or for every feature of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from .layer import ParameterLayer
from .runs import RunGradients, Runs


class _Norm(ParameterLayer):
    """Base class of both. The weights (1, D) start as 1, the biases (1, D) as 0."""

    spared = ("weights", "biases")

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

    def _backward_by(self, dvalues: ArrayLike, backward: Callable[..., None]) -> Floats:
        """Return the gradient of the inputs from a kernel, and keep those of the parameters."""
        normalized, dvalues = self._as_passes(dvalues)
        self._prepare_gradients()
        dinputs = np.empty_like(normalized)
        backward(
            dinputs, self._dweights, self._dbiases, unlocked(dvalues), unlocked(normalized),
            self._scales, self._weights,
        )  # fmt: skip
        self.dinputs = dinputs
        return dinputs

    def _as_passes(self, dvalues: ArrayLike) -> tuple[Floats, Floats]:
        """Return the normalized inputs of the last `forward`, and `dvalues` checked."""
        width, dtype = self._weights.shape[1], self._weights.dtype
        normalized = self.pass_array("normalized", n_features=width, dtype=dtype)
        self._check_normalized(normalized)
        return normalized, as_gradient(dvalues, "dvalues", normalized.shape, dtype)

    def _check_normalized(self, normalized: Floats) -> None:
        """Raise ValueError if a script has replaced `normalized` by an array of another shape."""
        n_scales = normalized.shape[0 if isinstance(self, LayerNorm) else 1]
        if self._scales is None or self._scales.size != n_scales:
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
    """Normalize each sample: (inputs - mean) / sqrt(variance + epsilon) * weights + biases.

    The mean and the variance (divided by D) are those of the features of a sample. Ba, Kiros,
    Hinton, "Layer Normalization" (2016), equation 4; defaults as in PyTorch.

    Parameters
    ----------
    n_features : int
        D, of inputs and outputs.
    epsilon : float
        Above 0, and a normal (not subnormal) number of the dtype.
    dtype : float32 or float64
        Of the parameters and of all results.
    trainable : bool
        False: `fit` leaves the parameters as they are.

    Attributes
    ----------
    weights : ndarray of shape (1, D)
        Start as 1. Assignment copies the values, as with :class:`Dense`.
    biases : ndarray of shape (1, D)
        Start as 0. Assignment copies the values.
    normalized : ndarray of shape (B, D)
        The normalized inputs of the last `forward`, before the weights.
    dweights : ndarray of shape (1, D)
        The gradient of the weights from the last `backward`; None before the first.
    dbiases : ndarray of shape (1, D)
        The gradient of the biases from the last `backward`; None before the first.
    inputs : ndarray of shape (B, D)
        The argument of the last `forward`; None before the first.
    output : ndarray of shape (B, D)
        The result of the last `forward`; None before the first.
    dinputs : ndarray of shape (B, D)
        The gradient of the inputs from the last `backward`; None before the first.

    Raises
    ------
    TypeError, ValueError
        As in :class:`Dense`.
    RuntimeError
        In `backward` before `forward`.

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
        return self._backward_by(dvalues, kernels.layer_norm_backward)

    def backward_runs(
        self, dvalues: Floats, gradients: Sequence[RunGradients], runs: Runs
    ) -> Floats:
        """Return the gradient of the inputs; write those of the parameters for each run of rows."""
        normalized, dvalues = self._as_passes(dvalues)
        dinputs = np.empty_like(normalized)
        scales: Any = self._scales
        for rows, dweights, dbiases in gradients:
            kernels.layer_norm_backward(
                dinputs[rows], dweights, dbiases, unlocked(dvalues)[rows],
                unlocked(normalized)[rows], scales[rows], self._weights,
            )  # fmt: skip
        self.dinputs = dinputs
        return dinputs

    def __repr__(self) -> str:
        return self._describe({"epsilon": 1e-5, "trainable": True})


def _as_momentum(value: float, name: str) -> float:
    momentum = float(as_number(value, name, 0))
    if momentum > 1:
        raise ValueError(f"{name} is {value}, expected a number from 0 to 1")
    return momentum


class BatchNorm(_Norm):
    """Normalize each feature: (inputs - mean) / sqrt(variance + epsilon) * weights + biases.

    In training, the mean and the variance (divided by B) are those of the batch. They update the
    running moments: running = (1 - momentum) * running + momentum * new, where the new variance is
    divided by B - 1. Without `training` the running moments are used instead. Ioffe, Szegedy,
    "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift"
    (2015), algorithms 1 and 2; momentum and defaults as in PyTorch.

    This layer costs more than others in two ways. First, the samples of a batch depend on each
    other, so the threads wait for each other once more in the forward and in the backward pass: a
    network with one such layer needs four barriers a step instead of two. Second, a batch of one
    sample cannot be normalized: `fit` raises ValueError for such a last batch, which
    `drop_last=True` leaves out.

    Parameters
    ----------
    n_features : int
        D, of inputs and outputs.
    momentum : float
        The weight of a new batch in the running moments, from 0 to 1.
    epsilon : float
        Above 0, and a normal (not subnormal) number of the dtype.
    dtype : float32 or float64
        Of the parameters and of all results.
    trainable : bool
        False: `fit` leaves weights and biases as they are, but still updates the running moments.

    Attributes
    ----------
    weights : ndarray of shape (1, D)
        Start as 1. Assignment copies the values, as with :class:`Dense`.
    biases : ndarray of shape (1, D)
        Start as 0. Assignment copies the values.
    running_mean : ndarray of shape (1, D)
        Starts as 0. Not a part of a model's `parameters`. Assignment copies the values.
    running_variance : ndarray of shape (1, D)
        Starts as 1. Not a part of a model's `parameters`. Assignment copies the values.
    normalized : ndarray of shape (B, D)
        The normalized inputs of the last `forward`, before the weights.
    dweights : ndarray of shape (1, D)
        The gradient of the weights from the last `backward`; None before the first.
    dbiases : ndarray of shape (1, D)
        The gradient of the biases from the last `backward`; None before the first.
    inputs : ndarray of shape (B, D)
        The argument of the last `forward`; None before the first.
    output : ndarray of shape (B, D)
        The result of the last `forward`; None before the first.
    dinputs : ndarray of shape (B, D)
        The gradient of the inputs from the last `backward`; None before the first.

    Raises
    ------
    TypeError, ValueError
        As in :class:`Dense`.
    RuntimeError
        In `backward` before `forward`.

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
        """The mean (1, D) that predictions use."""
        mean: Floats = self._show("running_mean")
        return mean

    @running_mean.setter
    def running_mean(self, value: ArrayLike) -> None:
        self._assign("running_mean", value)

    @property
    def running_variance(self) -> Floats:
        """The variance (1, D) that predictions use."""
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
            large for the dtype. The running moments then do not change.
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
        self._follow(means, variances, len(inputs))
        self.inputs, self.output = inputs, output
        self.normalized, self._scales = normalized, scales
        return output

    def forward_runs(self, inputs: Floats, runs: Runs) -> Floats:
        """Return what `forward` does in training, with the moments of the whole batch.

        They come from sums in float64 over the rows of all processes, of which these `inputs` are a
        part. The sums are exchanged twice, as the variance takes the differences from the mean.

        Raises
        ------
        NotFiniteError
            As `forward`, on all processes.
        """
        inputs, n_rows = self._as_inputs(inputs), runs.n_rows
        with np.errstate(over="ignore", invalid="ignore"):
            wide = inputs.astype(np.float64)
            mean = runs.add(runs.sums(wide)) / n_rows
            wide -= mean
            sums = runs.add(np.hstack([runs.sums(wide), runs.sums(wide, wide)]))
            shift, squares = np.split(sums / n_rows, 2)  # the shift: the mean was rounded
            wide -= shift
            variance = np.maximum(squares - np.square(shift), 0)
            scale = 1 / np.sqrt(variance + self.epsilon)
            means, variances, scales = (
                each.astype(self.dtype)[np.newaxis] for each in (mean + shift, variance, scale)
            )
        self._follow(means, variances, n_rows)
        normalized = (wide * scale).astype(self.dtype)
        output = normalized * self._weights + self._biases
        self.inputs, self.output = inputs, output
        self.normalized, self._scales = normalized, scales
        return output

    def _follow(self, means: Floats, variances: Floats, n_rows: int) -> None:
        """Update the running moments with those of a batch, if these are finite."""
        if not kernels.all_finite(variances):
            column = int(np.isfinite(variances).argmin())
            raise NotFiniteError(
                f"inputs has a variance in column {column} that is too large for {self.dtype}, "
                f"expected numbers whose squares add up to less than {np.finfo(self.dtype).max}"
            )
        if n_rows:
            kernels.running_update(
                self._running_mean, self._running_variance, means, variances, n_rows,
                self.momentum,
            )  # fmt: skip

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

        If the last `forward` was without `training`, the running moments count as constants.
        """
        if self._scales is not None:
            return self._backward_by(dvalues, kernels.batch_norm_backward)
        inputs = self.pass_array("inputs", n_features=self.n_features, dtype=self.dtype)
        dvalues = as_gradient(dvalues, "dvalues", inputs.shape, self.dtype)
        scales = 1 / np.sqrt(self._running_variance + self.dtype.type(self.epsilon))
        normalized = (inputs - self._running_mean) * scales
        self._prepare_gradients()
        # NumPy adds rows one by one: with many rows, float32 would lose digits.
        products = dvalues * normalized
        self._dweights[...] = products.sum(axis=0, keepdims=True, dtype=np.float64)
        self._dbiases[...] = dvalues.sum(axis=0, keepdims=True, dtype=np.float64)
        self.dinputs = dvalues * (self._weights * scales)
        return self.dinputs

    def backward_runs(
        self, dvalues: Floats, gradients: Sequence[RunGradients], runs: Runs
    ) -> Floats:
        """Return the gradient of the inputs; write those of the parameters for each run of rows.

        It needs the sums over the rows of all processes, which are exchanged once.
        """
        normalized, dvalues = self._as_passes(dvalues)
        with np.errstate(over="ignore", invalid="ignore"):
            wide = dvalues.astype(np.float64)
            sums = np.hstack([runs.sums(wide), runs.sums(wide, normalized)])
            for (_, dweights, dbiases), own in zip(gradients, sums, strict=True):
                dbiases[...], dweights[...] = np.split(own, 2)
            mean, slope = np.split(runs.add(sums) / runs.n_rows, 2)
            wide -= mean + normalized * slope
            scales: Any = self._scales
            dinputs: Floats = (wide * (self._weights * scales)).astype(self.dtype)
        self.dinputs = dinputs
        return dinputs

    def __repr__(self) -> str:
        return self._describe({"momentum": 0.1, "epsilon": 1e-5, "trainable": True})
