"""Losses under the names of networks from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..kernels import catalogue
from ..nn import loss as base
from ..nn import losses
from ..validation import as_flag
from .layers import REGULARIZERS, Activation_Softmax

EPSILON = 1e-7  # probabilities are clipped to [EPSILON, 1 - EPSILON]


class RunningMean:
    """The mean of the values of the samples of many batches.

    Attributes
    ----------
    accumulated_sum : float
        The sum of the values since the last `new_pass`.
    accumulated_count : int
        The number of the values since the last `new_pass`.
    """

    accumulated_sum: float = 0
    accumulated_count = 0

    def new_pass(self) -> None:
        """Start a new mean."""
        self.accumulated_sum = 0
        self.accumulated_count = 0

    def accumulate(self, total: float, count: int) -> None:
        """Add `count` values, whose sum is `total`."""
        self.accumulated_sum += total
        self.accumulated_count += count

    def _mean(self) -> float:
        if not self.accumulated_count:
            raise ValueError("accumulated_count is 0, expected a calculate after new_pass")
        return self.accumulated_sum / self.accumulated_count


class Loss(RunningMean, base.Loss):
    """A loss. A subclass has `forward(y_pred, y_true)`, which returns a value for each sample.

    Attributes
    ----------
    trainable_layers : list of layers
        The layers whose penalties `regularization_loss` adds.

    Examples
    --------
    >>> from fastnn import nnfs
    >>> class AbsoluteError(nnfs.Loss):
    ...     def forward(self, y_pred, y_true):
    ...         return np.abs(y_pred - y_true)
    >>> float(AbsoluteError().calculate(np.array([1.0, 4.0]), np.array([2.0, 2.0])))
    1.5
    """

    trainable_layers: Sequence[Any] = ()

    def remember_trainable_layers(self, trainable_layers: Sequence[Any]) -> None:
        """Set the layers whose penalties are a part of the loss."""
        self.trainable_layers = trainable_layers

    def regularization_loss(self, layer: Any = None) -> float:
        """Return the penalties of the trainable layers, or of `layer`, which the loss adds."""
        total = 0.0
        for each in self.trainable_layers if layer is None else [layer]:
            # A layer of fastnn has `penalties`, one of your own the four attributes.
            factors = getattr(each, "penalties", None)
            if factors is None:
                factors = [getattr(each, name, 0) for name in REGULARIZERS]
            if any(factors):
                for values, l1, l2 in ((each.weights, *factors[:2]), (each.biases, *factors[2:])):
                    total += l1 * np.abs(values).sum() + l2 * np.square(values).sum()
        return total

    def calculate(  # type: ignore[override]  # the book's arguments
        self, output: ArrayLike, y: ArrayLike, *, include_regularization: bool = False
    ) -> Any:
        """Return the mean loss of a batch; with `include_regularization`, (loss, penalties)."""
        values = self.forward(output, y)
        self.accumulate(np.sum(values), len(values))
        return self._with_penalties(np.mean(values), include_regularization)

    def calculate_accumulated(self, *, include_regularization: bool = False) -> Any:
        """Return the mean loss of all samples since `new_pass`, as `calculate` does."""
        return self._with_penalties(self._mean(), include_regularization)

    def _with_penalties(self, mean: Any, include_regularization: bool) -> Any:
        if as_flag(include_regularization, "include_regularization"):
            return mean, self.regularization_loss()
        return mean

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))  # a copied model sets its own layers
        state.pop("trainable_layers", None)
        return state

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Loss_CategoricalCrossentropy(Loss, losses.CategoricalCrossEntropy):
    """Cross-entropy of probabilities, clipped at 1e-7.

    Examples
    --------
    >>> from fastnn import nnfs
    >>> loss = nnfs.Loss_CategoricalCrossentropy()
    >>> loss.forward([[0.7, 0.1, 0.2], [0.1, 0.5, 0.4]], [0, 1]).round(4)
    array([0.3567, 0.6931])
    """

    def __init__(self) -> None:
        super().__init__(epsilon=EPSILON)


class Loss_BinaryCrossentropy(Loss, losses.BinaryCrossEntropy):
    """Cross-entropy of yes-or-no questions, of probabilities clipped at 1e-7.

    Examples
    --------
    >>> from fastnn import nnfs
    >>> loss = nnfs.Loss_BinaryCrossentropy()
    >>> loss.forward([[0.9], [0.2]], [[1], [0]]).round(4)
    array([0.1054, 0.2231])
    """

    def __init__(self) -> None:
        super().__init__(from_logits=False, epsilon=EPSILON)


class Loss_MeanSquaredError(Loss, losses.MeanSquaredError):
    """(y_true - y_pred)**2, the mean over the outputs.

    Examples
    --------
    >>> from fastnn import nnfs
    >>> nnfs.Loss_MeanSquaredError().forward([[1.0], [4.0]], [[1.0], [2.0]])
    array([0., 4.])
    """


class Loss_MeanAbsoluteError(Loss, losses.MeanAbsoluteError):
    """|y_true - y_pred|, the mean over the outputs.

    Examples
    --------
    >>> from fastnn import nnfs
    >>> nnfs.Loss_MeanAbsoluteError().forward([[1.0], [4.0]], [[1.0], [2.0]])
    array([0., 2.])
    """


class Activation_Softmax_Loss_CategoricalCrossentropy(losses.SoftmaxCrossEntropy):
    """Softmax and cross-entropy with the gradient of both in one.

    Attributes
    ----------
    output : ndarray of shape (B, C)
        The probabilities of the last `forward`.

    Examples
    --------
    >>> from fastnn import nnfs
    >>> combined = nnfs.Activation_Softmax_Loss_CategoricalCrossentropy()
    >>> float(combined.forward([[0.0, 0.0], [1.0, 3.0]], [0, 1]).round(4))
    0.41
    >>> combined.backward(combined.output, [0, 1]).round(4)
    array([[-0.25  ,  0.25  ],
           [ 0.0596, -0.0596]])
    """

    def __init__(self) -> None:
        super().__init__()
        self.activation = Activation_Softmax()
        self.loss = Loss_CategoricalCrossentropy()

    def forward(  # type: ignore[override]  # the book's arguments
        self, inputs: ArrayLike, y_true: ArrayLike
    ) -> Any:
        """Return the mean loss of logits (B, C)."""
        self.output = self.activation.forward(inputs)
        return self.loss.calculate(self.output, y_true)

    calculate = forward  # type: ignore[assignment]  # likewise


class ProgramCrossEntropy(losses.SoftmaxCrossEntropy):
    """The loss of the compiled program for softmax and cross-entropy clipped at 1e-7."""

    kind = catalogue.Loss.SOFTMAX_CROSS_ENTROPY
    number = EPSILON
