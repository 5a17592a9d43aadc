"""Training on batches that arrive one by one: `fit(batches=...)` and `partial_fit`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from ..nn.optimizer import Optimizer
from ..types import Batch, BatchSource, Floats
from . import trainer
from .compiled import CompiledTrainer, traits_of
from .layerwise import LayerTrainer
from .make import make_trainer
from .program import Program
from .threads import ThreadTeam, resolve_threads
from .trainer import Data, Description, Epoch, Totals, Watch, no_totals

T = TypeVar("T")


class Stream:
    """Takes steps on batches of any size, in a workspace that grows to the largest.

    The steps are taken inside of `run`. Nothing else may change the parameters there.

    Parameters
    ----------
    program : Program
    optimizer : Optimizer
    description : tuple
        What `describe_network` gave when the first data were checked.
    stays_packed : bool
        Whether weights and states stay packed from one batch to the next inside of `run`.
    """

    def __init__(
        self,
        program: Program,
        optimizer: Optimizer,
        description: Description,
        *,
        stays_packed: bool = False,
    ) -> None:
        self.program, self.optimizer = program, optimizer
        self.description, self.stays_packed = description, stays_packed
        self.traits, self.layout = traits_of(optimizer), program.layout
        self.trainer: CompiledTrainer | LayerTrainer | None = None
        self.team: ThreadTeam | None = None
        self.capacity = 0

    def is_current(self, program: Program, optimizer: Optimizer, description: Description) -> bool:
        """Return whether the workspace fits a program, an optimizer, layers and a loss."""
        if self.program is not program or self.optimizer is not optimizer:
            return False
        if self.layout != self.program.layout:
            return False
        state = getattr(self.trainer, "state", None)
        same = state is None or optimizer.state_of(self.program.network.parameters) is state
        return same and (self.description, self.traits) == (description, traits_of(optimizer))

    def run(self, work: Callable[[], T]) -> T:
        """Return work(), which may call `take`; the threads have ended by then."""
        try:
            result = work()
            self._store()
            return result
        except BaseException:
            self._store()  # a signal handler may have interrupted the first call
            raise
        finally:
            # As in `with_team`: first an assignment, then two calls, as a signal may interrupt one.
            team, self.team = self.team, None
            if team is not None:
                team.interruption.requested = True
                try:
                    team.end()
                finally:
                    team.end()

    def take(self, data: Data, epoch: Epoch, batch_size: int, threads: int | None = None) -> Totals:
        """Take the steps of an :class:`Epoch` on `data`, with threads as in `fit`."""
        n = len(data.inputs)
        batch_size = min(batch_size, n)
        self._make_room(data, batch_size, threads)
        assert self.trainer is not None
        self.trainer.load(data, n, batch_size)
        return self.trainer.take([epoch])

    def _make_room(self, data: Data, batch_size: int, threads: int | None) -> None:
        """Start threads, and make the workspace large enough for batches of this size."""
        if self.team is not None and batch_size <= self.capacity:
            return
        n_threads = resolve_threads(threads, 3 * batch_size * self.program.network.n_parameters)
        if self.team is None or n_threads > self.team.n_requested:
            if self.team is not None:
                self.team.end()
            self.team = ThreadTeam(n_threads)
            self.team.start()
        if batch_size > self.capacity:
            self._store()
            self.trainer = make_trainer(
                self.program, data, len(data.inputs), batch_size, self.optimizer, self.team,
                self.description, stays_packed=self.stays_packed,
            )  # fmt: skip
            self.capacity = batch_size
        elif isinstance(self.trainer, CompiledTrainer):
            self.trainer.work_with(self.team)

    def _store(self) -> None:
        if self.trainer is not None:
            self.trainer.store()


class Batches:
    """The `batches` of a user, iterated or called anew for each epoch."""

    def __init__(self, source: BatchSource, steps_per_epoch: int | None = None) -> None:
        if not hasattr(source, "__iter__") and not callable(source):
            raise TypeError(
                f"batches is {source!r}, expected an iterable of (X, y) or (X, y, sample_weight), "
                "or a function that returns one"
            )
        self.source, self.steps_per_epoch, self.epoch = source, steps_per_epoch, 0

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        """Yield (position, batch) for the batches of the next epoch; positions begin at 1."""
        source, self.epoch = self.source, self.epoch + 1
        if not hasattr(source, "__iter__"):
            source = source()
            if not hasattr(source, "__iter__"):
                raise TypeError(f"batches() is {source!r}, expected an iterable of batches")
        position = 0
        for position, batch in enumerate(itertools.islice(source, self.steps_per_epoch), start=1):
            yield position, batch
        if position == 0:
            raise ValueError(
                f"batches has nothing in epoch {self.epoch}, expected at least one batch; for "
                "several epochs give a list, or a function that returns an iterator"
            )


class BatchTrainer:
    """Takes the steps of epochs whose batches arrive one by one.

    Parameters
    ----------
    stream : Stream
    batches : Batches
    as_data : callable
        Takes (position, batch) and returns the checked :class:`Data`.
    threads : int, optional
        As in `fit`.
    """

    epochs_ahead = 1
    n_batches = n_samples = step = 0

    def __init__(
        self,
        stream: Stream,
        batches: Batches,
        as_data: Callable[[int, Batch], Data],
        threads: int | None = None,
    ) -> None:
        self.stream, self.batches, self.as_data = stream, batches, as_data
        self.threads, self.optimizer = threads, stream.optimizer
        self.network = stream.program.network
        self.loss, self.is_penalized = self.network.loss, self.network.is_penalized
        self.totals = no_totals()[0]

    def check_unchanged(self) -> None:
        """Raise ValueError if the loss or a layer has been changed since training began."""
        trainer.check_unchanged(self.network, self.stream.description)

    def trained_arrays(self) -> list[Floats]:
        """Return the arrays for which the optimizer keeps a state each."""
        return self.stream.program.trained_arrays(self.optimizer)

    def resume(self, totals: Floats) -> None:
        """Do nothing: checkpoints within an epoch of batches are not supported."""

    def store(self) -> None:
        """Do nothing: `take` stores the states itself."""

    def take(self, epochs: Sequence[Epoch], watch: Watch | None = None) -> Totals:
        """Take a step with each batch of one epoch."""
        (epoch,) = epochs
        totals = no_totals()

        def take_batches() -> int | None:
            n = 0
            for position, batch in self.batches:
                try:
                    data = self.as_data(position, batch)
                except (TypeError, ValueError):
                    self.check_unchanged()  # the targets may be for a loss set meanwhile
                    raise
                order = np.arange(len(data.inputs))
                part = Epoch(order, epoch.key, position - 1)
                sums, failed = self.stream.take(data, part, len(order), self.threads)
                totals[...] += sums
                if failed:
                    return position
                n, self.n_batches = n + len(order), position
                if watch is not None:
                    watch.end_batch(position)
            self.n_samples = n
            return None

        return Totals(totals, self.stream.run(take_batches))
