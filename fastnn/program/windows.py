"""The rows of a rank's shards in several batches, where `X` is no dense array in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..types import Array, Integers
from .ranks import Ranks
from .samples import Samples
from .trainer import Data, Epoch

WINDOW_BYTES = 32_000_000
"""Of the rows of a window, unless those of one batch are more."""


class Windows:
    """Brings the rows of this rank's shards, those of several batches at a time.

    The inputs are sparse, or other ranks hold a part of them. All labels, targets and weights are
    here.

    Parameters
    ----------
    data : Data
    ranks : Ranks
    batch_size : int
    """

    def __init__(self, data: Data, ranks: Ranks, batch_size: int) -> None:
        self.data, self.ranks, self.batch_size = data, ranks, batch_size
        # The same on all ranks, as all exchange their rows at the same time.
        n_bytes = ranks.count_rows(batch_size).max() * data.inputs.shape[1]
        n_bytes *= data.inputs.dtype.itemsize
        self.n_batches = max(1, WINDOW_BYTES // int(n_bytes))
        self._epoch: Epoch | None = None
        self._first = 0
        self._indices: Integers = np.arange(0)

    def load(self, epoch: Epoch, batch: int) -> Data | None:
        """Return the samples of the window that begins with a batch.

        None if the batch is in the window before.
        """
        if epoch is self._epoch and 0 <= batch - self._first < self.n_batches:
            return None
        begin, end = batch * self.batch_size, (batch + self.n_batches) * self.batch_size
        rows = epoch.order[begin:end]
        readers = self._readers_of(len(rows))
        own = readers == self.ranks.rank
        inputs = self._rows_of(rows, readers, own)
        self._epoch, self._first = epoch, batch
        # First the samples with inputs, then the others: labels and weights have one order.
        rows = np.concatenate([rows[own], rows[~own]])
        self._indices = np.empty(len(rows), np.int64)
        self._indices[own] = np.arange(own.sum())
        self._indices[~own] = np.arange(own.sum(), len(rows))
        _, labels, targets, weights = self.data
        return Data(
            inputs,
            labels[rows],
            targets[rows] if len(targets) else targets,
            weights[rows] if len(weights) else weights,
        )

    @property
    def last(self) -> int:
        """The batch behind the window."""
        return self._first + self.n_batches

    def indices_of(self, batch: int) -> Integers:
        """Return where in the window the samples of a batch are."""
        begin = (batch - self._first) * self.batch_size
        return self._indices[begin : begin + self.batch_size]

    def _readers_of(self, n_rows: int) -> Integers:
        """Return the rank that takes each row of a window through the network, (n_rows,)."""
        each = np.arange(self.ranks.size)
        whole, rest = divmod(n_rows, self.batch_size)
        readers = np.tile(np.repeat(each, self.ranks.count_rows(self.batch_size)), whole)
        return np.concatenate([readers, np.repeat(each, self.ranks.count_rows(rest))])

    def _rows_of(self, rows: Integers, readers: Integers, own: Array) -> Samples:
        """Return the rows of this rank; one that is not read if it has none."""
        inputs: Any = self.data.inputs
        if inputs.is_sparse:
            return Samples(inputs.take(rows[own] if own.any() else rows[:1]), inputs.dtype)
        samples: Samples = inputs.fetch(rows, readers)
        return samples
