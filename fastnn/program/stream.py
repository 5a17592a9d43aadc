"""Training on batches that come one by one: `fit(batches=...)` and `partial_fit`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..kernels import table as t
from ..nn.optimizer import Optimizer
from ..types import Batch, BatchSource, Floats
from .compiled import traits_of
from .make import make_trainer
from .threads import ThreadTeam, resolve_threads
from .trainer import Data, Epoch, Trainer, trained_arrays

if TYPE_CHECKING:
    from ..run.request import Trainable

T = TypeVar("T")


class Stream:
    """Takes steps on batches of any size, in a workspace that grows to the largest.

    The steps are taken inside of `run`. Nothing else may change the parameters there.
    """

    def __init__(
        self,
        model: Trainable,
        optimizer: Optimizer,
        made_for: tuple[Any, ...],
        threads: int | None = None,
    ) -> None:
        self.model, self.optimizer, self.threads = model, optimizer, threads
        self.trainer: Any = None
        self.team: ThreadTeam | None = None
        self.capacity, self.goes_on = 0, False
        self.made_for, self.traits = made_for, traits_of(optimizer)

    def is_current(self, made_for: tuple[Any, ...]) -> bool:
        """Return whether the workspace was laid out for layers and a loss like these."""
        state = getattr(self.trainer, "state", None)
        kept = state is None or self.optimizer.state_of(self.model._show("parameters")) is state
        return kept and (self.made_for, self.traits) == (made_for, traits_of(self.optimizer))

    def run(self, work: Callable[[], T]) -> T:
        """Return work(), which may call `take`; the threads have ended by then."""
        try:
            result = work()
            self._settle()
            return result
        except BaseException:
            self._settle()  # which an exception of a signal handler may have broken off
            raise
        finally:
            # As in `with_team`: first an assignment, then twice what a signal may break off.
            team, self.team = self.team, None
            if team is not None:
                team.interruption.requested = True
                try:
                    team.end()
                finally:
                    team.end()

    def take(self, data: Data, epoch: Epoch, batch_size: int, totals: Floats) -> int | None:
        """Take the steps of an :class:`Epoch` on `data`; return None or the batch that failed."""
        n = len(data.inputs)
        batch_size = min(batch_size, n)
        if batch_size > self.capacity or self.team is None:
            self._make_room(data, n, batch_size)
        self.trainer.load(data, n, batch_size)
        failed: int | None = self.trainer.take(epoch, totals)
        return failed

    def _make_room(self, data: Data, n: int, batch_size: int) -> None:
        threads = resolve_threads(self.threads, 3 * batch_size * self.model._parameters.size)
        if self.team is None or threads > self.team.wanted:
            if self.team is not None:
                self.team.end()
            self.team = ThreadTeam(threads)
            self.team.start()
        if batch_size > self.capacity:
            self._settle()
            self.trainer = make_trainer(
                self.model, data, n, batch_size, self.optimizer, self.team, self.made_for
            )
            self.capacity = batch_size
        self.trainer.team, self.trainer.is_packed = self.team, False
        self.trainer.goes_on = self.goes_on

    def _settle(self) -> None:
        """Copy the optimizer's averages from the workspace to where they are kept."""
        if self.trainer is not None and self.trainer.is_packed:
            self.trainer.unpack()


class Batches:
    """The batches of one epoch after the other, as a user gives them."""

    def __init__(self, source: BatchSource, steps_per_epoch: int | None = None) -> None:
        if not hasattr(source, "__iter__") and not callable(source):
            raise TypeError(
                f"batches is {source!r}, expected an iterable of (X, y) or (X, y, sample_weight), "
                "or a function that returns one"
            )
        self.source, self.steps_per_epoch, self.epoch = source, steps_per_epoch, 0

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        """Yield (number, batch) of the next epoch, from 1."""
        source, self.epoch = self.source, self.epoch + 1
        if not hasattr(source, "__iter__"):
            source = source()
            if not hasattr(source, "__iter__"):
                raise TypeError(f"batches() is {source!r}, expected an iterable of batches")
        number = 0
        for number, batch in enumerate(itertools.islice(source, self.steps_per_epoch), start=1):
            yield number, batch
        if number == 0:
            raise ValueError(
                f"batches has nothing in epoch {self.epoch}, expected at least one batch; for "
                "several epochs give a list, or a function that returns an iterator"
            )


class BatchTrainer(Trainer):
    """Runs epochs of batches that come one by one; `as_data` checks one."""

    n_batches = n_used = step = 0

    def __init__(
        self, stream: Stream, batches: Batches, as_data: Callable[[int, Batch], Data]
    ) -> None:
        self.stream, self.batches, self.as_data = stream, batches, as_data
        self.optimizer, self.loss = stream.optimizer, stream.model.loss
        self.model, self.made_for = stream.model, stream.made_for
        stream.goes_on = True  # from one batch to the next
        layers = (layer for layer in stream.model._parametric if layer.trainable)
        self.penalised = any(any(layer.penalties) for layer in layers)
        self.totals = np.full(t.N_TOTALS, 0.0)

    def trained_arrays(self) -> list[Floats]:
        """Return the arrays for which the optimizer keeps a state each."""
        return trained_arrays(self.stream.model, self.optimizer)

    def settle(self) -> None:
        """Nothing has to be brought home between epochs."""

    def run_epoch(self, epoch: Epoch) -> tuple[Any, int | None]:
        """Return (the dict of the epoch's curves, None or the batch that failed, from 1)."""
        totals = np.full((1, t.N_TOTALS), 0.0)

        def take_batches() -> int | None:
            n = 0
            for number, batch in self.batches:
                try:
                    data = self.as_data(number, batch)
                except (TypeError, ValueError):
                    self.check_model()  # these may be targets of another loss
                    raise
                order = np.arange(len(data.inputs))
                part = Epoch(order, epoch.key, number - 1)
                if self.stream.take(data, part, len(order), totals):
                    return number
                n, self.n_batches = n + len(order), number
                self._end_batch(number)
            self.n_used = n
            return None

        failed = self.stream.run(take_batches)
        return (None, failed) if failed else (self.curves(totals[0], self.n_used), None)
