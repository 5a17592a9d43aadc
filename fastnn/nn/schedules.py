"""Learning rate schedules: callables of the index of a step, from 0, for the optimizers.

Any other function of the step works too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..metrics import Metric
from ..settings import Setting, fraction, non_negative
from ..validation import as_count, as_index, as_positive
from .monitor import Mode, as_mode, cost_of, sign_of


class Schedule:
    """Base class of schedules: their `repr`, and their state for checkpoints."""

    changing: tuple[str, ...] = ()  # the attributes that training changes

    def state(self) -> dict[str, float]:
        """Return a dict of the attributes that training changes."""
        return {name: getattr(self, name) for name in self.changing}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        for name in self.changing:
            setattr(self, name, state[name])

    def __repr__(self) -> str:
        values = {
            name: value
            for name, value in vars(self).items()
            if name not in self.changing and name[0] != "_"
        }
        arguments = ", ".join(f"{name}={value!r}" for name, value in values.items())
        return f"{type(self).__name__}({arguments})"


class ConstantRate(Schedule):
    """The same rate at every step.

    Examples
    --------
    >>> rate = fastnn.ConstantRate(0.1)
    >>> [round(rate(step), 4) for step in (0, 10, 20)]
    [0.1, 0.1, 0.1]
    """

    rate = Setting(as_positive)

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, step: int) -> float:
        return self.rate


class StepRate(Schedule):
    """rate * factor ** (step // every).

    Parameters
    ----------
    rate : float
    every : int
        Steps between two drops.
    factor : float
        The factor of a drop.

    Examples
    --------
    >>> rate = fastnn.StepRate(0.1, every=10)
    >>> [round(rate(step), 4) for step in (0, 9, 10, 20)]
    [0.1, 0.1, 0.01, 0.001]
    """

    rate, every, factor = Setting(as_positive), Setting(as_count), Setting(as_positive)

    def __init__(self, rate: float, every: int, factor: float = 0.1) -> None:
        self.rate, self.every, self.factor = rate, every, factor

    def __call__(self, step: int) -> float:
        return self.rate * self.factor ** (step // self.every)


class ExponentialRate(Schedule):
    """rate * factor ** step.

    Examples
    --------
    >>> rate = fastnn.ExponentialRate(0.1, factor=0.9)
    >>> [round(rate(step), 4) for step in (0, 10, 20)]
    [0.1, 0.0349, 0.0122]
    """

    rate, factor = Setting(as_positive), Setting(as_positive)

    def __init__(self, rate: float, factor: float) -> None:
        self.rate, self.factor = rate, factor

    def __call__(self, step: int) -> float:
        return self.rate * self.factor**step


class InverseTimeRate(Schedule):
    """rate / (1 + decay * step): the decay of networks from scratch.

    Examples
    --------
    >>> rate = fastnn.InverseTimeRate(0.1, decay=0.1)
    >>> [round(rate(step), 4) for step in (0, 10, 20)]
    [0.1, 0.05, 0.0333]
    """

    rate, decay = Setting(as_positive), Setting(non_negative)

    def __init__(self, rate: float, decay: float) -> None:
        self.rate, self.decay = rate, decay

    def __call__(self, step: int) -> float:
        return self.rate / (1 + self.decay * step)


class CosineRate(Schedule):
    """A linear warm-up from 0, then half a cosine from `rate` down to `last`.

    Loshchilov, Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts" (2017), equation 5,
    without restarts. After `steps` it stays at `last`.

    Parameters
    ----------
    rate : float
        The highest rate, at the end of the warm-up.
    steps : int
        The number of steps of the whole run: epochs times batches.
    warm_up : int
        The number of steps of the warm-up, fewer than `steps`. Its step s has the rate
        rate * (s + 1) / (warm_up + 1).
    last : float
        The rate after `steps`.

    Examples
    --------
    >>> rate = fastnn.CosineRate(0.1, steps=20, warm_up=4)
    >>> [round(rate(step), 4) for step in (0, 4, 12, 20)]
    [0.02, 0.1, 0.05, 0.0]
    """

    rate, steps = Setting(as_positive), Setting(as_count)
    warm_up, last = Setting(non_negative), Setting(non_negative)

    def __init__(self, rate: float, steps: int, warm_up: int = 0, last: float = 0.0) -> None:
        self.rate, self.steps, self.warm_up, self.last = rate, steps, warm_up, last

    def _check_together(self, values: Mapping[str, Any]) -> None:
        warm_up = values.get("warm_up", 0)
        if warm_up and warm_up >= values["steps"]:
            raise ValueError(f"warm_up is {warm_up}, expected fewer than steps, {values['steps']}")

    def __call__(self, step: int) -> float:
        if step < self.warm_up:
            return self.rate * (step + 1) / (self.warm_up + 1)
        part = min(1.0, (step - self.warm_up) / (self.steps - self.warm_up))
        return self.last + (self.rate - self.last) * (1 + math.cos(math.pi * part)) / 2


def _as_two_or_more(value: int, name: str) -> int:
    count = as_count(value, name)
    if count < 2:
        raise ValueError(f"{name} is {count}, expected at least 2")
    return count


class OneCycleRate(Schedule):
    """Half a cosine up to `rate`, then one down to almost 0.

    Smith, Topin, "Super-Convergence" (2018), with the cosines and defaults that PyTorch's
    `OneCycleLR` has. After `steps` it stays at its last rate.

    Parameters
    ----------
    rate : float
        The highest rate.
    steps : int
        The number of steps of the whole run, epochs times batches; at least 2.
    rising : float
        The fraction of the steps with a rising rate, between 0 and 1.
    first : float
        The first rate is rate / first.
    last : float
        The last rate is rate / first / last.

    Examples
    --------
    >>> rate = fastnn.OneCycleRate(0.1, steps=20)
    >>> [round(rate(step), 4) for step in (0, 5, 10, 19)]
    [0.004, 0.1, 0.0717, 0.0]
    """

    rate, steps, rising = Setting(as_positive), Setting(_as_two_or_more), Setting(fraction)
    first, last = Setting(as_positive), Setting(as_positive)

    def __init__(
        self, rate: float, steps: int, rising: float = 0.3, first: float = 25.0, last: float = 1e4
    ) -> None:
        self.rate, self.steps, self.rising = rate, steps, rising
        self.first, self.last = first, last

    def __call__(self, step: int) -> float:
        low, step = self.rate / self.first, min(step, self.steps - 1)
        top = self.rising * self.steps - 1
        if step < top:
            return _cosine(low, self.rate, step / top)
        end = self.steps - 1
        return _cosine(self.rate, low / self.last, (step - max(top, 0)) / (end - max(top, 0)))


def _as_epochs(value: int, name: str) -> int:
    return as_index(value, name, 2**31)


class ReduceOnPlateau(Schedule):
    """A rate that falls when a curve of the history no longer improves.

    The rule, and the meaning of `patience`, are those of PyTorch's `ReduceLROnPlateau`. `fit` calls
    `observe` after each epoch. `partial_fit` does not: call it after each epoch of a stream.

    Parameters
    ----------
    rate : float
        The initial rate.
    factor : float
        Multiplies the rate each time, between 0 and 1.
    patience : int
        The number of epochs in a row without an improvement that are tolerated: the next one lowers
        the rate. 0 lowers it after the first. (:class:`EarlyStopping` stops one epoch earlier:
        after `patience` epochs without an improvement.)
    monitor : str
        The name of a curve.
    min_delta : float
        How much better counts as an improvement.
    last : float
        The lowest rate.
    mode : {"auto", "min", "max"}
        Whether lower or higher is better, as in :class:`EarlyStopping`.
    cooldown : int
        The number of epochs after a reduction that do not count.

    Attributes
    ----------
    current_rate : float
    best : float
        The best value so far, inf before there is one. Values that are not finite do not
        count.
    waited : int
        The epochs that count since the last improvement; below 0 within the cooldown.

    Examples
    --------
    >>> rate = fastnn.ReduceOnPlateau(0.5, factor=0.5, patience=1)
    >>> for loss in (1.0, 0.9, 0.9, 0.9):
    ...     rate.observe({"loss": loss})  # `fit` does so after each epoch
    >>> rate.current_rate
    0.25
    """

    changing = ("current_rate", "best", "waited")
    rate, factor, patience = Setting(as_positive), Setting(fraction), Setting(non_negative)
    min_delta, last = Setting(non_negative), Setting(non_negative)
    mode, cooldown = Setting(as_mode), Setting(_as_epochs)

    def __init__(
        self,
        rate: float,
        factor: float = 0.1,
        patience: int = 10,
        monitor: str = "loss",
        min_delta: float = 1e-4,
        last: float = 0.0,
        mode: Mode = "auto",
        cooldown: int = 0,
    ) -> None:
        self.rate, self.factor = rate, factor
        self.patience, self.monitor = patience, monitor
        self.min_delta, self.last = min_delta, last
        self.mode, self.cooldown = mode, cooldown
        self._sign: int | None = None  # set by `check_curves`
        self.reset()

    def __call__(self, step: int) -> float:
        return self.current_rate

    def check_curves(self, names: Iterable[str], metrics: Iterable[Metric] = ()) -> int:
        """Return 1 where lower values of the curve to watch are better, else -1.

        Raises ValueError if it is not among the `names`, or if its direction is unknown and `mode`
        is "auto".
        """
        self._sign = sign_of(self.monitor, self.mode, names, metrics)
        return self._sign

    def reset(self) -> None:
        """Start again with the initial rate."""
        self.current_rate, self.best, self.waited = self.rate, math.inf, 0

    def observe(self, curves: Mapping[str, float]) -> None:
        """Adapt the rate after an epoch; `curves` is {name: last value} of all curves."""
        sign = self._sign
        if sign is None or self.monitor not in curves:
            sign = self.check_curves(curves)
        value = curves[self.monitor]
        if cost_of(value, sign) < cost_of(self.best, sign) - self.min_delta:
            self.best, self.waited = value, min(self.waited + 1, 0)
            return
        self.waited += 1
        if self.waited > self.patience:
            self.current_rate = max(self.current_rate * self.factor, self.last)
            self.waited = -self.cooldown


def _cosine(start: float, stop: float, part: float) -> float:
    return stop + (start - stop) * (1 + math.cos(math.pi * part)) / 2
