"""Losses: of classes, of yes-or-no questions, and of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import kernels
from ..kernels import catalogue
from ..kernels.catalogue import Operation
from ..settings import Setting, fraction, small_epsilon
from ..types import Array, Floats, Integers, MaybeNone, Task
from ..validation import (
    as_flag,
    as_positive,
    as_rows,
    as_sample_weights,
    as_targets,
    unlocked,
)
from .activations import Sigmoid
from .layer import Layer
from .layers import Softmax
from .loss import Loss, OutputLoss, check_shape, weigh
from .own import is_own, measure_by_passes


class CategoricalCrossEntropy(Loss):
    """Cross-entropy of probabilities: -sum(y_true * log(y_pred)) for each sample.

    Targets are labels (B,), or rows (B, C) that are one-hot or soft distributions.

    Parameters
    ----------
    epsilon : float
        Probabilities are first moved into [epsilon, 1 - epsilon], so the loss is finite.

    Attributes
    ----------
    dinputs : ndarray of shape (B, C)
        From the last `backward`.

    Raises
    ------
    TypeError, ValueError
        For probabilities that are not (B, C) finite numbers, B above 0; for labels outside
        [0, C) or not whole, rows that are not distributions, or another number of targets.

    Examples
    --------
    >>> loss = fastnn.CategoricalCrossEntropy()
    >>> loss.forward([[0.7, 0.1, 0.2], [0.1, 0.5, 0.4]], [0, 1]).round(4)
    array([0.3567, 0.6931])
    >>> loss.backward([[0.7, 0.1, 0.2], [0.1, 0.5, 0.4]], [0, 1]).round(4) + 0.0
    array([[-0.7143,  0.    ,  0.    ],
           [ 0.    , -1.    ,  0.    ]])
    """

    epsilon = Setting(small_epsilon)

    def __init__(self, epsilon: float = 1e-7) -> None:
        self.epsilon = epsilon

    def forward(self, y_pred: ArrayLike, y_true: ArrayLike) -> Floats:
        """Return the losses (B,) of probabilities (B, C)."""
        y_pred, targets = _check(y_pred, "y_pred", y_true)
        losses = np.empty(len(y_pred), y_pred.dtype)
        kernels.cross_entropy_forward(losses, y_pred, targets, self.epsilon)
        return losses

    def backward(
        self, dvalues: ArrayLike, y_true: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Floats:
        """Return -y_true / dvalues / B, the gradient at the probabilities `dvalues` (B, C)."""
        y_pred, targets = _check(dvalues, "dvalues", y_true)
        dinputs = np.empty_like(y_pred)
        kernels.cross_entropy_backward(dinputs, y_pred, targets, self.epsilon)
        self.dinputs = self._weighted(dinputs, sample_weight)
        return dinputs


class SoftmaxCrossEntropy(Loss):
    """Softmax and cross-entropy in one: exact for logits of any size, and a simple gradient.

    Targets as for :class:`CategoricalCrossEntropy`.

    Parameters
    ----------
    label_smoothing : float
        At least 0 and below 1: this part of each target is spread over all classes. Szegedy and
        others, "Rethinking the Inception Architecture" (2016), section 7.

    Attributes
    ----------
    output : ndarray of shape (B, C)
        The probabilities of the last `forward`.
    dinputs : ndarray of shape (B, C)
        From the last `backward`.

    Raises
    ------
    TypeError, ValueError
        As :class:`CategoricalCrossEntropy`.

    Examples
    --------
    >>> loss = fastnn.SoftmaxCrossEntropy()
    >>> float(loss.forward([[0.0, 1000.0], [0.0, 0.0]], [0, 1]).round(4))
    500.3466
    >>> loss.backward(loss.output, [0, 1])
    array([[-0.5 ,  0.5 ],
           [ 0.25, -0.25]])
    """

    output: Floats | MaybeNone = None
    kind = catalogue.Loss.SOFTMAX_CROSS_ENTROPY
    number = 0.0
    task: Task = "classes"
    finish, threshold = Operation.SOFTMAX, 0.0
    probability_layer = Softmax
    label_smoothing = Setting(fraction)

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def forward(
        self, logits: ArrayLike, y_true: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> np.floating[Any]:
        """Return the mean loss: of logsumexp(logits) - logits[target] over the batch."""
        losses, self.output = self._losses(logits, y_true)
        if sample_weight is None:
            return np.mean(losses)
        return np.average(losses, weights=as_sample_weights(sample_weight, len(losses)))

    def calculate(
        self, logits: ArrayLike, y_true: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> np.floating[Any]:
        """Return the same as `forward`."""
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        mean: np.floating[Any] = self.forward(logits, y_true, **weights)
        return mean

    def _losses(self, logits: ArrayLike, y_true: ArrayLike) -> tuple[Floats, Floats]:
        """Return the losses (B,) and the probabilities (B, C)."""
        logits, targets = _check(logits, "logits", y_true)
        losses = np.empty(len(logits), logits.dtype)
        output = np.empty_like(logits)
        kernels.softmax_cross_entropy_forward(
            losses, output, logits, self.smoothed(targets, logits)
        )
        return losses, output

    def backward(
        self, probabilities: ArrayLike, y_true: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Floats:
        """Return (probabilities - y_true) / B, the gradient with respect to the logits."""
        probabilities, targets = _check(probabilities, "probabilities", y_true)
        dinputs = np.empty_like(probabilities)
        targets = self.smoothed(targets, probabilities)
        kernels.softmax_cross_entropy_backward(dinputs, probabilities, targets)
        self.dinputs = self._weighted(dinputs, sample_weight)
        return dinputs

    def decide(self, outputs: Floats) -> Integers:
        """Return the labels of logits (..., C)."""
        labels: Integers = outputs.argmax(axis=-1)
        return labels

    def measure(self, logits: Floats, targets: Array, weights: Floats) -> tuple[Floats, Floats]:
        """Return losses (B,) and the gradient of their weighted mean, without checks."""
        check_shape(targets, logits.shape if targets.ndim == 2 else logits.shape[:1])
        if targets.ndim == 2:
            targets = targets.astype(logits.dtype, copy=False)
        if is_own(self, "forward", "backward"):
            vars(self).pop("output", None)  # `forward` of a subclass may set it
            probabilities = np.empty_like(logits)
            kernels.softmax_forward(probabilities, logits)
            losses, gradient = measure_by_passes(self, logits, targets, weights, probabilities)
            return losses, weigh(gradient, weights)
        losses, gradient = np.empty(len(logits)), np.empty_like(logits)
        kernels.softmax_cross_entropy(losses, gradient, logits, self.smoothed(targets, logits))
        return losses, weigh(gradient, weights)

    def hits(self, logits: Floats, targets: Array, labels: Integers) -> Array:
        """Return for each sample whether the label of its logits is right, (B,)."""
        right: Array = logits.argmax(axis=1) == labels
        return right

    def smoothed(self, targets: Array, like: Array) -> Array:
        """Return the targets of a batch after smoothing; `like` (B, C) has the classes."""
        smoothing = getattr(self, "label_smoothing", 0)
        if not smoothing:
            return targets
        if targets.ndim == 1:
            targets = np.eye(like.shape[1], dtype=like.dtype)[targets]
        smoothed: Array = (1 - smoothing) * targets + smoothing / like.shape[1]
        return smoothed.astype(like.dtype)


class BinaryCrossEntropy(OutputLoss):
    """Cross-entropy of yes-or-no questions, one for each output: targets from 0 to 1.

    -(y log(p) + (1 - y) log(1 - p)), where p is the sigmoid of a logit, or the prediction itself.

    Parameters
    ----------
    from_logits : bool
        Predictions are logits, and the loss is exact for logits of any size. Else probabilities,
        which are first moved into [epsilon, 1 - epsilon].
    epsilon : float
        Above 0 and below 0.5.
    pos_weight : float
        Above 0, only with logits: how many times as much a yes counts as a no. The loss is
        -(pos_weight y log(p) + (1 - y) log(1 - p)), for all outputs. A value of (number of no) /
        (number of yes) makes both count as much. It is computed as max(z, 0) - z y +
        log(1 + e**-|z|) + (pos_weight - 1) y log(1 + e**-z) of a logit z, which cannot overflow;
        the last term is that of PyTorch's `BCEWithLogitsLoss`.
    mask_nan : bool
        Whether targets may be NaN, which leaves them out. See :class:`MeanSquaredError`.

    Examples
    --------
    >>> loss = fastnn.BinaryCrossEntropy()
    >>> loss.forward([[0.0], [1000.0]], [1, 0]).round(4)
    array([6.931e-01, 1.000e+03])
    >>> fastnn.BinaryCrossEntropy(pos_weight=3.0).forward([[0.0], [0.0]], [1, 0]).round(4)
    array([2.0794, 0.6931])
    """

    task: Task = "answers"
    # Networks with this loss are laid out for it, so it cannot change later.
    from_logits = Setting(as_flag, lasts=True)
    epsilon = Setting(small_epsilon)
    pos_weight = Setting(as_positive)

    def __init__(
        self,
        from_logits: bool = True,
        epsilon: float = 1e-7,
        pos_weight: float = 1.0,
        mask_nan: bool = False,
    ) -> None:
        super().__init__(mask_nan)
        self.from_logits, self.epsilon, self.pos_weight = from_logits, epsilon, pos_weight

    def _check_together(self, settings: dict[str, Any]) -> None:
        if settings.get("pos_weight", 1.0) != 1.0 and not settings.get("from_logits", True):
            raise ValueError(
                f"pos_weight is {settings['pos_weight']}, expected 1 for probabilities: it needs "
                "from_logits=True, and a model whose last layer gives logits"
            )

    @property
    def finish(self) -> int:  # type: ignore[override]  # read-only here
        """The operation that turns outputs into probabilities."""
        return Operation.SIGMOID if self.from_logits else Operation.IDENTITY

    @property
    def probability_layer(self) -> type[Layer] | None:  # type: ignore[override]  # read-only here
        """The layer that turns outputs into probabilities."""
        return Sigmoid if self.from_logits else None

    @property
    def threshold(self) -> float:  # type: ignore[override]  # read-only here
        """Outputs above it mean yes."""
        return 0.0 if self.from_logits else 0.5

    def decide(self, outputs: Floats) -> Array:
        """Return the answers to outputs (..., O), 0 or 1: (...) where O is 1."""
        return super().decide((outputs > self.threshold).astype(np.int64))

    @property
    def kind(self) -> int:  # type: ignore[override]  # read-only here
        """The code of the loss in the kernels."""
        return (
            catalogue.Loss.BINARY_FROM_LOGITS
            if self.from_logits
            else catalogue.Loss.BINARY_FROM_PROBABILITIES
        )

    @property
    def number(self) -> float:  # type: ignore[override]  # read-only here
        """The weight of a yes for logits, 0 where it is 1; the epsilon for probabilities."""
        if not self.from_logits:
            return self.epsilon
        weight = vars(self).get("pos_weight", 1.0)  # old pickles have none
        return 0.0 if weight == 1.0 else weight

    def as_targets(
        self, value: ArrayLike, name: str, n_rows: int, n_outputs: int, dtype: DTypeLike
    ) -> Floats:
        """Return targets of a batch as (B, O) numbers from 0 to 1."""
        targets = super().as_targets(value, name, n_rows, n_outputs, dtype)
        wrong = (targets < 0) | (targets > 1)
        return _refuse(wrong, targets, name, "numbers from 0 to 1")


class MeanSquaredError(OutputLoss):
    """(y_pred - y_true)**2, the mean over the outputs.

    Parameters
    ----------
    mask_nan : bool
        Whether targets may be NaN, for unknown. They count neither for the loss nor for its
        gradient. The loss of a sample is the mean over its known targets,
        sum(loss(y_pred[j], y_true[j]) for known j) / (number of known j). A sample without a known
        target has the weight 0, as if it were not there.

    Examples
    --------
    >>> fastnn.MeanSquaredError().forward([[1.0], [4.0]], [1.0, 2.0])
    array([0., 4.])
    >>> loss = fastnn.MeanSquaredError(mask_nan=True)
    >>> loss.forward([[1.0, 5.0], [4.0, 5.0]], [[1.0, 3.0], [2.0, np.nan]])
    array([2., 4.])
    """

    kind = catalogue.Loss.SQUARED_ERROR


class MeanAbsoluteError(OutputLoss):
    """|y_pred - y_true|, the mean over the outputs; its slope is 0 where they are equal.

    Parameters
    ----------
    mask_nan : bool
        Whether targets may be NaN, which leaves them out. See :class:`MeanSquaredError`.

    Examples
    --------
    >>> fastnn.MeanAbsoluteError().forward([[1.0], [4.0]], [1.0, 2.0])
    array([0., 2.])
    """

    kind = catalogue.Loss.ABSOLUTE_ERROR


class Huber(OutputLoss):
    """d**2 / 2 for errors d up to delta, and delta * (|d| - delta / 2) beyond.

    Huber, "Robust Estimation of a Location Parameter" (1964).

    Parameters
    ----------
    delta : float
        Above 0.
    mask_nan : bool
        Whether targets may be NaN, which leaves them out. See :class:`MeanSquaredError`.

    Examples
    --------
    >>> fastnn.Huber(delta=1.0).forward([[0.5], [10.0]], [0.0, 0.0])
    array([0.125, 9.5  ])
    """

    kind = catalogue.Loss.HUBER
    delta = Setting(as_positive)

    def __init__(self, delta: float = 1.0, mask_nan: bool = False) -> None:
        super().__init__(mask_nan)
        self.delta = delta

    @property
    def number(self) -> float:  # type: ignore[override]  # read-only here
        """Delta."""
        return self.delta


def _as_quantile(value: float, name: str) -> float:
    quantile = as_positive(value, name)
    if quantile >= 1:
        raise ValueError(f"{name} is {value}, expected a number below 1")
    return quantile


class Quantile(OutputLoss):
    """q * d where a prediction is too low by d, (1 - q) * d where it is too high by d.

    The quantile q of the targets minimizes it. Koenker, Bassett, "Regression Quantiles" (1978).

    Parameters
    ----------
    q : float
        Above 0 and below 1.
    mask_nan : bool
        Whether targets may be NaN, which leaves them out. See :class:`MeanSquaredError`.

    Examples
    --------
    >>> fastnn.Quantile(0.9).forward([[-1.0], [1.0]], [0.0, 0.0]).round(2)
    array([0.9, 0.1])
    """

    kind = catalogue.Loss.QUANTILE
    q = Setting(_as_quantile)

    def __init__(self, q: float = 0.5, mask_nan: bool = False) -> None:
        super().__init__(mask_nan)
        self.q = q

    @property
    def number(self) -> float:  # type: ignore[override]  # read-only here
        """Q."""
        return self.q


class Poisson(OutputLoss):
    """Half the Poisson deviance, for counts and other targets of at least 0.

    Predictions are logarithms of rates: z stands for the rate e**z. The loss is
    y log(y) - y z - y + e**z, and e**z where y is 0; for several outputs it is their mean. Its
    minimum is 0, at e**z = y, and its derivative is e**z - y. McCullagh, Nelder,
    "Generalized Linear Models" (1989), section 2.3.

    A model with this loss predicts rates, not their logarithms.

    Parameters
    ----------
    mask_nan : bool
        Whether targets may be NaN, which leaves them out. See :class:`MeanSquaredError`.

    Examples
    --------
    >>> loss = fastnn.Poisson()
    >>> loss.forward(np.log([[3.0], [2.0]]), [3.0, 0.0]).round(4) + 0.0
    array([0., 2.])
    >>> loss.backward(np.log([[3.0], [2.0]]), [3.0, 0.0]).round(4) + 0.0
    array([[0.],
           [1.]])
    """

    kind = catalogue.Loss.POISSON
    finish = Operation.EXP

    def decide(self, outputs: Floats) -> Array:
        """Return the rates of outputs (..., O): (...) where O is 1."""
        return super().decide(as_rates(outputs))

    def as_targets(
        self, value: ArrayLike, name: str, n_rows: int, n_outputs: int, dtype: DTypeLike
    ) -> Floats:
        """Return targets of a batch as (B, O) numbers of at least 0."""
        targets = super().as_targets(value, name, n_rows, n_outputs, dtype)
        return _refuse(targets < 0, targets, name, "numbers of at least 0")


def as_rates(outputs: Floats) -> Floats:
    """Return e**outputs (..., O), with the same bits as the compiled program."""
    rows = unlocked(np.ascontiguousarray(outputs).reshape(-1, outputs.shape[-1]))
    rates = np.empty_like(rows)
    kernels.activation_forward(rates, rows, Operation.EXP, 0.0)
    return rates.reshape(outputs.shape)


def _refuse(wrong: Array, targets: Floats, name: str, expected: str) -> Floats:
    """Return the targets; raise ValueError with the place of the first one that is wrong."""
    if wrong.any():
        at = tuple(np.argwhere(wrong)[0])
        place = f"{name}[{', '.join(map(str, at))}]"
        raise ValueError(f"{place} is {targets[at]}, expected {expected}")
    return targets


def _check(y_pred: ArrayLike, name: str, y_true: ArrayLike) -> tuple[Array, Array]:
    y_pred = as_rows(y_pred, name, allow_empty=False)
    targets = as_targets(y_true, "y_true", *y_pred.shape, y_pred.dtype)
    return unlocked(y_pred), unlocked(targets)
