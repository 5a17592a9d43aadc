"""The interface of all trainers: their data, their results, and the calls between their steps.

A trainer takes steps with an optimizer. There are five: the compiled one, the one that trains
layer by layer, the one for batches that arrive one by one, and those of `nnfs` and of the
estimators, which are compiled too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypedDict

import numpy as np

from ..kernels import table as t
from ..memory import check_map
from ..nn.loss import Loss
from ..nn.network import Network
from ..nn.optimizer import Optimizer
from ..types import Array, Floats, Integers
from .plan import describe
from .samples import Samples

CHUNK_SECONDS = 0.05
"""A compiled call returns after about this time, so that Python can handle Ctrl-C."""

FIRST_CHUNK = 10_000_000
"""The first call takes about so many multiply-adds, which are short for any network."""


def next_chunk(chunk_steps: int, n_steps: int, begin: float) -> int:
    """Return how many steps the next call is to take, after one of `n_steps` since `begin`."""
    # Some clocks stand still for 16 ms.
    seconds = max(time.perf_counter() - begin, 1e-9) / n_steps
    return max(1, min(int(CHUNK_SECONDS / seconds), 2 * chunk_steps))


class Data(NamedTuple):
    """Checked samples to train or evaluate on."""

    inputs: Samples  # (N, I)
    labels: Integers  # (N,) int64
    targets: Floats  # (N, O), or (0, O) where `labels` has the classes
    weights: Floats  # (N,) float64, or (0,) where all are 1

    def check_maps(self) -> None:
        """Raise ValueError if samples lie in the map of a file that has become shorter."""
        self.inputs.check_map("X")
        check_map(self.targets, "y")
        check_map(self.weights, "sample_weight")

    @property
    def loss_targets(self) -> Array:
        """The targets as a loss takes them: rows of `targets`, or `labels`."""
        return self.targets if len(self.targets) else self.labels


class Epoch(NamedTuple):
    """The order of the samples of an epoch, and the key of its dropout masks."""

    order: Integers  # (M,) int64, of the samples
    key: int = 0  # of dropout's masks
    first: int = 0  # the index of its first batch, for dropout
    shuffle_key: int | None = None  # of the orders of rows in windows; None: they stay as they are


class Totals(NamedTuple):
    """The sums over the steps of some epochs."""

    sums: Floats  # (epochs, N_TOTALS) float64; the columns are those of `kernels.train_steps`
    failed: int | None  # the batch whose loss is not finite, from 1


class Watch:
    """Calls a function after each chunk of steps of an epoch.

    Parameters
    ----------
    call : callable
        Takes the number of steps that the epoch has taken so far.
    strides : iterable of int
        A chunk ends at each multiple of one of them, and after `CHUNK_SECONDS`.
    """

    def __init__(self, call: Callable[[int], None], strides: Iterable[int] = ()) -> None:
        self._call, self.strides, self._last = call, [*strides], -np.inf
        self._first = 0

    def count_from(self, first: int) -> None:
        """Take the steps of later calls as those after the step `first` of the epoch."""
        self._first = first

    def call(self, step: int) -> None:
        """Call the function after the step `step`."""
        self._call(self._first + step)

    def next_stops(self, step: int) -> list[int]:
        """Return the next multiple of each stride after `step`."""
        done = self._first + step
        return [(done // stride + 1) * stride - self._first for stride in self.strides]

    def end_batch(self, batch: int, n_batches: int | None = None) -> None:
        """End the chunk if it is time: at the end of the epoch, at a stride, or by the clock."""
        now = time.perf_counter()
        stops = [n_batches, *self.next_stops(batch - 1)]
        if batch in stops or now - self._last >= CHUNK_SECONDS:
            self._last = now
            self.call(batch)


class Place(TypedDict, total=False):
    """Where a run stands in batches that arrive one by one; {} where the data are arrays."""

    epoch: int
    """The epochs whose last step is taken."""
    window: int
    """How many batches of the epoch have had all of their steps."""
    sums: Floats
    """(2, N_TOTALS): the sums of these batches, and of the one that has had a part of its steps."""
    n_samples: int
    """How many samples these batches have."""
    last: list[int]
    """How many steps and samples the last whole epoch had, as far as it is known."""


class Trainer(Protocol):
    """Takes training steps on the data that it was created with."""

    loss: Loss
    optimizer: Optimizer
    is_penalized: bool
    """Whether the penalties of the layers are a part of the loss."""
    n_batches: int
    """The batches of an epoch; of batches that arrive one by one, those of the last epoch."""
    n_samples: int
    """The samples of an epoch, likewise."""

    @property
    def totals(self) -> Floats:
        """The sums of the current epoch, (N_TOTALS,): all 0 between epochs."""

    @property
    def step(self) -> int:
        """The steps that the epoch has taken, 0 between epochs."""

    @property
    def epochs_ahead(self) -> int:
        """How many epochs may be taken in one call."""

    @property
    def place(self) -> Place:
        """Where it stands in batches that arrive one by one."""

    def resume(self, totals: Floats, place: Place | None = None) -> None:
        """Continue within an epoch whose steps so far have these totals."""

    def take(self, epochs: Sequence[Epoch], watch: Watch | None = None) -> Totals:
        """Take the steps of some epochs; in the first one those after `step`."""

    def store(self) -> None:
        """Copy the states of the optimizer from packed arrays to their own; also within an epoch.

        A second call does no harm.
        """

    def trained_arrays(self) -> list[Floats]:
        """Return the arrays for which the optimizer keeps a state each."""

    def check_unchanged(self) -> None:
        """Raise ValueError if the loss or a layer has been changed since training began."""


def take_and_store(trainer: Trainer, epochs: Sequence[Epoch], watch: Watch | None = None) -> Totals:
    """Return trainer.take(epochs, watch), and call `store` even if an exception ends it."""
    try:
        totals = trainer.take(epochs, watch)
        trainer.store()
    except BaseException:  # such as Ctrl-C, which may have broken off `store` too
        trainer.store()
        raise
    return totals


def no_totals(n_epochs: int = 1) -> Floats:
    """Return totals (epochs, N_TOTALS) before any step: zeros."""
    return np.full((n_epochs, t.N_TOTALS), 0.0)


def count_steps(totals: Floats) -> int:
    """Return the number of steps in totals (..., N_TOTALS)."""
    return int(totals[..., t.TOTAL_STEPS].sum())


Description = tuple[Any, ...]
"""What `describe_network` returns."""


def describe_network(network: Network) -> Description:
    """Return the settings of the layers and the loss that a plan depends on.

    A script may change them: comparing two descriptions shows it.
    """
    loss = network.loss
    smoothing = getattr(loss, "label_smoothing", 0)
    return id(loss), loss.is_own, smoothing, describe(network.layers)


def check_unchanged(network: Network, description: Description) -> None:
    """Raise ValueError if a network no longer matches its description."""
    if describe_network(network) != description:
        raise ValueError(
            "a layer or the loss was changed during the run, "
            "expected them to stay as they were when it began"
        )
