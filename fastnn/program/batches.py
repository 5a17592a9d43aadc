"""`fit(batches=...)`: the batches of an epoch, one after the other, whole or cut into steps."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import numpy as np

from ..kernels import table as t
from ..types import Batch, BatchSource, Floats, Integers
from . import trainer
from .stream import Stream
from .trainer import Data, Epoch, Place, Totals, Watch, count_steps, no_totals


class Batches:
    """The `batches` of a user, iterated or called anew for each epoch.

    `epoch` is the number of epochs that have begun before.
    """

    def __init__(self, source: BatchSource, epoch: int = 0) -> None:
        known = hasattr(source, "__iter__") or hasattr(source, "of_epoch") or callable(source)
        if not known:
            raise TypeError(
                f"batches is {source!r}, expected an iterable of (X, y) or (X, y, sample_weight), "
                "or a function that returns one"
            )
        self.source, self.epoch = source, epoch

    @property
    def can_start_again(self) -> bool:
        """Whether an epoch can be iterated again, which an iterator cannot."""
        return not hasattr(self.source, "__next__")

    def go_to(self, epoch: int) -> None:
        """Let `iterate` go on after the epoch `epoch`."""
        self.epoch = epoch

    def iterate(self, first: int = 0) -> Generator[tuple[int, Batch]]:
        """Yield (position, batch) for the batches of the next epoch, without `first` of them.

        Positions begin at 1.
        """
        self.epoch += 1
        position = first
        with contextlib.ExitStack() as stack:
            for position, batch in enumerate(self._begin(first, stack), start=first + 1):
                yield position, batch
        if position == 0:
            raise ValueError(
                f"batches has nothing in epoch {self.epoch}, expected at least one batch; for "
                "several epochs give a list, or a function that returns an iterator"
            )

    def raise_placed(self, error: Exception, position: int) -> None:
        """Raise an error about a batch with the row of the source, where that is known."""
        row: int | None = None
        cause: BaseException | None = error
        while row is None and cause is not None:
            row, cause = getattr(cause, "row", None), cause.__cause__
        row_of = getattr(self.source, "row_of", None)
        if row is not None and row_of is not None:
            place = row_of(self.epoch, position, row)
            text = f"{error}. Row {row} of the batch is row {place} of the source"
            raise type(error)(text) from error

    def _begin(self, first: int, stack: contextlib.ExitStack) -> Iterable[Batch]:
        source: Any = self.source
        if hasattr(source, "of_epoch"):
            batches: Iterable[Batch] = source.of_epoch(self.epoch, first)
            if hasattr(batches, "close"):  # such as a generator that reads ahead
                stack.callback(batches.close)
            return batches
        if not hasattr(source, "__iter__"):
            source = source()
            if not hasattr(source, "__iter__"):
                raise TypeError(f"batches() is {source!r}, expected an iterable of batches")
        if first and isinstance(source, Sequence):  # which may read where it is indexed
            return (source[i] for i in range(first, len(source)))
        return itertools.islice(source, first, None)


class BatchTrainer:
    """Takes the steps of epochs whose batches arrive one by one.

    Parameters
    ----------
    stream : Stream
    batches : Batches
    as_data : callable
        Takes (position, batch) and returns the checked :class:`Data`.
    as_order : callable
        Takes (position, number of rows, `shuffle_key` of the epoch) and returns the order of the
        rows of a batch.
    batch_size : int, optional
        The rows of a step. By default each batch is one step.
    steps_per_epoch : int, optional
        The largest number of steps of an epoch.
    threads : int, optional
        As in `fit`.
    """

    epochs_ahead = 1
    n_batches = n_samples = 0

    def __init__(
        self,
        stream: Stream,
        batches: Batches,
        as_data: Callable[[int, Batch], Data],
        as_order: Callable[[int, int, int | None], Integers],
        batch_size: int | None = None,
        steps_per_epoch: int | None = None,
        threads: int | None = None,
    ) -> None:
        self.stream, self.batches, self.as_data, self.as_order = stream, batches, as_data, as_order
        self.batch_size, self.steps_per_epoch = batch_size, steps_per_epoch
        self.threads, self.optimizer = threads, stream.optimizer
        self.network = stream.program.network
        self.loss, self.is_penalized = self.network.loss, self.network.is_penalized
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._window, self._steps, self._n_samples = 0, 0, 0
        self._before = no_totals()[0]  # of the batches that have had all of their steps
        self._resumed = no_totals()[0]  # of the one in which the run goes on
        self._is_within = False  # a batch, whose totals the trainer of the stream has

    @property
    def _sums(self) -> Floats:
        within = self._resumed
        if self._is_within and self.stream.trainer is not None:
            within = self.stream.trainer.totals
        return np.stack([self._before, within])

    @property
    def totals(self) -> Floats:
        """The sums of the current epoch, (N_TOTALS,): all 0 between epochs."""
        before, within = self._sums
        result: Floats = before + within
        return result

    @property
    def step(self) -> int:
        """The steps that the epoch has taken, 0 between epochs."""
        return count_steps(self.totals)

    @property
    def place(self) -> Place:
        """Where it stands in the batches."""
        return {
            "epoch": self.batches.epoch - (self.step > 0), "window": self._window,
            "sums": self._sums, "n_samples": self._n_samples,
            "last": [self.n_batches, self.n_samples],
        }  # fmt: skip

    def resume(self, totals: Floats, place: Place | None = None) -> None:
        """Continue at a place in the batches."""
        assert place is not None
        self.batches.go_to(place["epoch"])
        self._window, self._n_samples = place["window"], place["n_samples"]
        self._before, self._resumed = place["sums"]
        self._steps = count_steps(self._before)
        self.n_batches, self.n_samples = place["last"]

    def check_unchanged(self) -> None:
        """Raise ValueError if the loss or a layer has been changed since training began."""
        trainer.check_unchanged(self.network, self.stream.description)

    def trained_arrays(self) -> list[Floats]:
        """Return the arrays for which the optimizer keeps a state each."""
        return self.stream.program.trained_arrays(self.optimizer)

    def store(self) -> None:
        """Copy the states of the optimizer from packed arrays to their own."""
        self.stream.store()

    def take(self, epochs: Sequence[Epoch], watch: Watch | None = None) -> Totals:
        """Take the steps of one epoch after `step`."""
        (epoch,) = epochs

        def take_batches() -> int | None:
            if self.step == self.steps_per_epoch:  # as the run was when it was broken off
                return None
            # Closed at once, as a thread may read ahead for it.
            with contextlib.closing(self.batches.iterate(self._window)) as batches:
                for position, batch in batches:
                    failed = self._take_batch(position, batch, epoch, watch)
                    if failed is not None:
                        return failed
                    if self._steps == self.steps_per_epoch:
                        break
            return None

        failed = self.stream.run(take_batches)
        totals = self.totals[np.newaxis]
        if failed is None and not totals[0, t.TOTAL_WEIGHT] > 0:
            raise ValueError(
                f"batches: the weights of the samples sum to 0 in epoch {self.batches.epoch}, "
                "expected some weight above 0"
            )
        self.n_batches, self.n_samples = self._steps, self._n_samples
        self._begin_epoch()
        return Totals(totals, failed)

    def _take_batch(
        self, position: int, batch: Batch, epoch: Epoch, watch: Watch | None
    ) -> int | None:
        """Take the steps of one batch; return None or the step that failed, from 1."""
        try:
            data = self.as_data(position, batch)
        except (TypeError, ValueError) as error:
            self.check_unchanged()  # the targets may be for a loss set meanwhile
            self.batches.raise_placed(error, position)
            raise
        first = self._steps
        n, size = len(data.inputs), self.batch_size
        if size is None:
            order = np.arange(n)
        else:
            order = self.as_order(position, n, epoch.shuffle_key)
            if self.steps_per_epoch is not None:
                order = order[: (self.steps_per_epoch - first) * size]
        within = None if watch is None or size is None else watch
        if within is not None:
            within.count_from(first)
        part = Epoch(order, epoch.key, first)
        self._is_within = True
        sums, failed = self.stream.take(
            data, part, n if size is None else size, self.threads, watch=within,
            totals=self._resumed,
        )  # fmt: skip
        self._is_within = False
        self._before = self._before + sums[0]
        self._resumed = no_totals()[0]
        if failed is not None:
            return first + failed
        self._window, self._n_samples = self._window + 1, self._n_samples + len(order)
        self._steps += int(sums[0, t.TOTAL_STEPS])
        if watch is not None and size is None:
            watch.end_batch(first + 1)
        return None
