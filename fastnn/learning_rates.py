"""Finding a learning rate: the loss of a few steps whose rates grow."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .model import Sequential
from .nn.batches import generate_batch_indices
from .nn.optimizer import Optimizer
from .nn.optimizers import SGD
from .run.errors import NonFiniteLossError
from .types import Floats, Integers, Seed
from .validation import as_array, as_count, as_generator, as_positive

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SMOOTHING = 0.9  # the weight of the losses before in their moving average
_MOST = 4.0  # times the smallest smoothed loss: the steps end there
_LEAST_STEPS = 10
_MARGIN = 10.0  # between the suggestion and the rate of the smallest loss


class LearningRateFinder:
    """The losses of steps whose learning rate grows, and a rate to train with.

    A copy of the model takes some steps, each with a rate that is larger by the same factor. The
    loss falls, then rises where the rates are too large. The suggestion is a tenth of the rate of
    the smallest loss. The model itself does not change. Smith, "Cyclical Learning Rates for
    Training Neural Networks" (2017), section 3.3.

    Parameters
    ----------
    model : Sequential
        Is not changed.
    X : array-like of shape (N, I)
        As in :meth:`Sequential.fit`.
    y : array-like
        As in :meth:`Sequential.fit`.
    optimizer : Optimizer, optional
        The kind of step, by default `SGD()`; its own rate is not used, and it does not change.
    lowest : float
        The first rate.
    highest : float
        The last rate.
    steps : int
        The number of steps, at most.
    batch_size : int
        The number of samples of a step.
    seed : None, int or numpy.random.Generator
        Determines the order of samples.
    scale : float
        As in :meth:`Sequential.fit`.
    offset : float
        As in :meth:`Sequential.fit`.

    Attributes
    ----------
    rates : ndarray of shape (S,)
        The learning rate of each step. S is smaller than `steps` if the loss was no longer finite,
        or four times the smallest.
    losses : ndarray of shape (S,)
        The loss of the batch of each step, before the step.
    smoothed : ndarray of shape (S,)
        A moving average of the losses.
    suggestion : float
        The rate to train with.

    Raises
    ------
    TypeError, ValueError
        For bad arguments; and where fewer than ten steps have a finite loss.

    Examples
    --------
    >>> from fastnn.datasets import load_digits
    >>> X, y = load_digits()
    >>> layers = [fastnn.Dense(64, 64, rng=0), fastnn.ReLU(), fastnn.Dense(64, 10, rng=1)]
    >>> model = fastnn.Sequential(layers)
    >>> finder = fastnn.LearningRateFinder(model, X, y, fastnn.Adam(), seed=0, scale=1 / 16)
    >>> 1e-4 < finder.suggestion < 0.1
    True
    """

    rates: Floats
    losses: Floats
    smoothed: Floats
    suggestion: float

    def __init__(
        self,
        model: Sequential,
        X: ArrayLike,
        y: ArrayLike,
        optimizer: Optimizer | None = None,
        *,
        lowest: float = 1e-6,
        highest: float = 10.0,
        steps: int = 200,
        batch_size: int = 32,
        seed: Seed = None,
        scale: float = 1.0,
        offset: float = 0.0,
    ) -> None:
        if not isinstance(model, Sequential):
            raise TypeError(f"model is {model!r:.80}, expected a fastnn.Sequential")
        if optimizer is not None and not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer is {optimizer!r:.80}, expected a fastnn.Optimizer")
        lowest, highest = as_positive(lowest, "lowest"), as_positive(highest, "highest")
        if lowest >= highest:
            raise ValueError(f"lowest is {lowest}, expected less than highest, {highest}")
        steps, batch_size = as_count(steps, "steps"), as_count(batch_size, "batch_size")
        twin, rule = model.clone(), copy.copy(SGD() if optimizer is None else optimizer)
        inputs, targets = as_array(X, "X"), as_array(y, "y")
        if inputs.ndim == 0 or targets.ndim == 0 or len(inputs) != len(targets):
            raise ValueError(
                f"X and y have shapes {inputs.shape} and {targets.shape}, "
                "expected as many samples in both"
            )
        all_rates, losses = np.geomspace(lowest, highest, steps), []
        batches = _endless(len(inputs), batch_size, as_generator(seed))
        for rate in all_rates:
            rule.learning_rate = float(rate)
            indices = next(batches)
            try:
                history = twin.partial_fit(
                    inputs[indices], targets[indices], optimizer=rule, seed=0, scale=scale,
                    offset=offset,
                )  # fmt: skip
            except NonFiniteLossError:
                break
            losses.append(history.loss[0])
            smoothed = _smooth(losses)
            if len(losses) >= _LEAST_STEPS and smoothed[-1] > _MOST * smoothed.min():
                break
        self.losses, self.smoothed = np.array(losses), _smooth(losses)
        self.rates = all_rates[: len(losses)]
        self.suggestion = self._suggest()

    def _suggest(self) -> float:
        if len(self.losses) < _LEAST_STEPS:
            raise ValueError(
                f"the loss was finite for {len(self.losses)} steps, "
                f"expected at least {_LEAST_STEPS}: "
                "a smaller lowest rate, or standardized features, usually help"
            )
        most = self.rates[int(self.smoothed.argmin())] / _MARGIN
        allowed = self.rates[self.rates <= most]
        return float(allowed[-1] if len(allowed) else self.rates[0])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the losses against the rates, and the suggestion; return the axes.

        Needs matplotlib (the extra `plot`).
        """
        from .figures import COLORS, new_axes, tidy

        if ax is None:
            ax = new_axes(6.4, 4.0)
        ax.plot(self.rates, self.losses, ".", color=COLORS[0], alpha=0.35, label="of a batch")
        ax.plot(self.rates, self.smoothed, color=COLORS[0], label="moving average")
        ax.axvline(
            self.suggestion, color=COLORS[1], linestyle="--", label=f"rate {self.suggestion:.2g}"
        )
        ax.set_xscale("log")
        low, high = self.smoothed.min(), self.smoothed[0]
        ax.set_ylim(max(0.0, low - 0.2 * (high - low)), high + 0.4 * (high - low))
        ax.set_xlabel("learning rate")
        ax.set_ylabel("loss")
        ax.legend(frameon=False)
        tidy(ax)
        return ax

    def __repr__(self) -> str:
        return f"<LearningRateFinder: {len(self.rates)} steps, suggests {self.suggestion:.2g}>"


def _endless(n: int, batch_size: int, rng: np.random.Generator) -> Iterator[Integers]:
    """Yield the indices of shuffled batches, epoch after epoch."""
    while True:
        yield from generate_batch_indices(n, batch_size, rng)


def _smooth(losses: list[float]) -> Floats:
    """Return the moving average of the losses, without the bias of its beginning."""
    averages, average = [], 0.0
    for i, loss in enumerate(losses, start=1):
        average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
        averages.append(average / (1 - _SMOOTHING**i))
    return np.array(averages)
