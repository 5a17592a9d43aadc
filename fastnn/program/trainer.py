"""What all trainers share: what they take, what they give back, and when they stop for a moment.

A trainer takes steps with an optimizer. There are five: the compiled one, one layer by layer, one
of batches that come one by one, and those of `nnfs` and of the estimators, which are compiled too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..kernels import table as t
from ..nn.loss import Loss
from ..nn.network import Network
from ..nn.optimizer import Optimizer
from ..types import Array, Floats, Integers
from .plan import describe
from .samples import Samples

CHUNK_SECONDS = 0.05
"""A compiled call returns after about so many seconds, so that Ctrl-C is answered."""

FIRST_CHUNK = 10_000_000
"""The first call takes about so many multiply-adds, which is soon for any network."""


class Data(NamedTuple):
    """Checked samples: what a trainer takes steps with."""

    inputs: Samples  # (N, I)
    labels: Integers  # (N,) int64
    targets: Floats  # (N, O), or (0, O) where the labels say all
    weights: Floats  # (N,) float64, or (0,) where all are 1

    @property
    def wanted(self) -> Array:
        """The targets as a loss takes them: rows, or labels."""
        return self.targets if len(self.targets) else self.labels


class Epoch(NamedTuple):
    """What the random generator gives for an epoch."""

    order: Integers  # (M,) int64, of the samples
    key: int = 0  # of dropout's masks
    first: int = 0  # the number of its first batch, for dropout


class Totals(NamedTuple):
    """What the steps of some epochs add up to: all that a trainer reports."""

    sums: Floats  # (epochs, N_TOTALS) float64; the columns are those of `kernels.train_steps`
    failed: int | None  # the batch whose loss is not finite, from 1


class Watch:
    """Tells a run how many steps an epoch has taken, each time that a chunk of them ends.

    Parameters
    ----------
    call : callable
        Takes the number of steps.
    strides : iterable of int
        A chunk ends after each multiple of one of them, and when its time is up.
    """

    def __init__(self, call: Callable[[int], None], strides: Iterable[int] = ()) -> None:
        self.call, self.strides, self._last = call, [*strides], -np.inf

    def next_stops(self, step: int) -> list[int]:
        """Return the next multiple behind `step` of each stride."""
        return [(step // stride + 1) * stride for stride in self.strides]

    def end_batch(self, batch: int, n_batches: int | None = None) -> None:
        """End a chunk after a batch if it is time: with the epoch, and now and then before."""
        now = time.perf_counter()
        stops = [n_batches, *self.next_stops(batch - 1)]
        if batch in stops or now - self._last >= CHUNK_SECONDS:
            self._last = now
            self.call(batch)


class Trainer(Protocol):
    """What takes steps. Its data are loaded when it is made, and some can load others."""

    loss: Loss
    optimizer: Optimizer
    is_penalized: bool
    """Whether the penalties of the layers are a part of the loss."""
    n_batches: int
    """How many an epoch has; of batches that come one by one, the last one had."""
    n_samples: int
    """How many an epoch takes, likewise."""
    totals: Floats
    """Of the epoch that runs, (N_TOTALS,): all 0 between epochs."""

    @property
    def step(self) -> int:
        """The steps that the epoch has taken, 0 between epochs."""

    @property
    def epochs_ahead(self) -> int:
        """How many epochs may be taken in one call."""

    def resume(self, totals: Floats) -> None:
        """Stand within an epoch, whose steps so far have these totals."""

    def take(self, epochs: Sequence[Epoch], watch: Watch | None = None) -> Totals:
        """Take the steps of some epochs; of the first one those behind `step`."""

    def store(self) -> None:
        """Bring the states of the optimizer to where they are kept; also within an epoch.

        It may be called twice.
        """

    def trained_arrays(self) -> list[Floats]:
        """Return the arrays for which the optimizer keeps a state each."""

    def check_unchanged(self) -> None:
        """Refuse another loss, or a layer that a script has changed meanwhile."""


def take_and_store(trainer: Trainer, epochs: Sequence[Epoch], watch: Watch | None = None) -> Totals:
    """Return trainer.take(epochs, watch); what it has learned is stored on every way out."""
    try:
        totals = trainer.take(epochs, watch)
        trainer.store()
    except BaseException:  # such as Ctrl-C, which may have broken off `store` too
        trainer.store()
        raise
    return totals


def no_totals(n_epochs: int = 1) -> Floats:
    """Return totals (epochs, N_TOTALS) of no step."""
    return np.full((n_epochs, t.N_TOTALS), 0.0)


def count_steps(totals: Floats) -> int:
    """Return the steps that totals (..., N_TOTALS) are of."""
    return int(totals[..., t.TOTAL_STEPS].sum())


Description = tuple[Any, ...]
"""What `describe_network` returns."""


def describe_network(network: Network) -> Description:
    """Return what a plan depends on beside the optimizer, and a script may change."""
    loss = network.loss
    smoothing = getattr(loss, "label_smoothing", 0)
    return id(loss), loss.is_own, smoothing, describe(network.layers)


def check_unchanged(network: Network, description: Description) -> None:
    """Refuse a network that is no longer as `describe_network` described it."""
    if describe_network(network) != description:
        raise ValueError(
            "a layer or the loss was changed during the run, "
            "expected them to stay as they were when it began"
        )
