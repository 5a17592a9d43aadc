"""Samples of which each rank holds a part: the rows that a step needs go from rank to rank."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..types import Array, Floats, Integers, Records, Shape
from .ranks import Place, Ranks
from .samples import UNSCALED, Samples
from .sparse import SparseSamples


class PartSamples(Samples):
    """A table (N, I) that the ranks hold together: their parts, in the order of the ranks.

    Parameters
    ----------
    own : Samples
        The part of this rank.
    counts : ndarray of shape (R,)
        The number of rows of each part.
    ranks : Ranks
    as_they_are : bool
        Whether the rows go around in their own dtype, the same on all ranks. Else the rank that
        holds them converts them.
    """

    is_part = True

    def __init__(self, own: Samples, counts: Integers, ranks: Ranks, *, as_they_are: bool) -> None:
        self.own, self.ranks, self.as_they_are = own, ranks, as_they_are
        self.starts = np.concatenate([[0], counts.cumsum()])
        self.dtype, self.scaling = own.dtype, own.scaling
        self.pending, self.is_ready, self.categories = None, False, own.categories

    @property
    def shape(self) -> Shape:
        """(N, I)."""
        return int(self.starts[-1]), self.own.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Array) -> Samples:
        raise TypeError("a part of the samples is on other ranks")

    def check_map(self, name: str) -> None:
        """As of all samples, for the part of this rank."""
        self.own.check_map(name)

    def view(self) -> tuple[Array, Records]:
        """Raise TypeError: kernels take the rows that `fetch` returns."""
        raise TypeError("a part of the samples is on other ranks")

    def take(self, indices: Integers | list[int]) -> Floats:
        """Raise TypeError: `fetch` returns rows."""
        raise TypeError("a part of the samples is on other ranks")

    def fetch(self, rows: Integers, readers: Integers) -> Samples:
        """Return those of the `rows` (n,) of the table that this rank reads, in their order.

        If it reads none, they are one row of zeros.

        readers (n,): the rank that reads each of them. All ranks call this at the same time, with
        the same arguments.

        Raises
        ------
        NotFiniteError
            On the rank that holds a row with a number that is not finite; the others get
            RankLeftError.
        """
        ranks, size = self.ranks, self.ranks.size
        holders = np.searchsorted(self.starts, rows, "right") - 1
        counts = np.bincount(holders * size + readers, minlength=size**2).reshape(size, size)
        held = holders == ranks.rank
        # Stable: rows from one rank to another stay in their order.
        order = np.argsort(readers[held], kind="stable")
        places = rows[held][order] - self.starts[ranks.rank]
        self.own.check_rows(places, "X")
        sent = self._read(places)
        # Another rank may have left instead. Nothing between this line and the next can fail.
        ranks.meet(Place.ROWS)
        received = self._send(sent, counts)
        result = np.zeros((max(1, len(received)), received.shape[1]), received.dtype)
        result[np.argsort(holders[readers == ranks.rank], kind="stable")] = received
        scaling = tuple(self.scaling) if self.as_they_are else UNSCALED
        return Samples(result, self.dtype, scaling)

    def _read(self, places: Integers) -> Any:
        """Return some rows of the own part."""
        return self.own.array[places] if self.as_they_are else self.own.take(places)

    def _send(self, rows: Any, counts: Integers) -> Array:
        """Send rows to the ranks; return those that come from them. As `Ranks.deliver`."""
        return self.ranks.deliver(rows, counts)


class SparsePartSamples(PartSamples):
    """A sparse table that the ranks hold together: its numbers go around, and become dense there.

    Parameters
    ----------
    own : SparseSamples
    counts : ndarray
        As of :class:`PartSamples`.
    ranks : Ranks
        As of :class:`PartSamples`.
    """

    def __init__(self, own: SparseSamples, counts: Integers, ranks: Ranks) -> None:
        super().__init__(own, counts, ranks, as_they_are=False)
        self._matrix = own

    def _read(self, places: Integers) -> Any:
        return self._matrix.matrix[places]

    def _send(self, rows: Any, counts: Integers) -> Array:
        ranks, ends = self.ranks, counts[self.ranks.rank].cumsum()
        lengths = ranks.deliver(np.diff(rows.indptr).astype(np.int64)[:, np.newaxis], counts)
        own = np.diff(rows.indptr[np.concatenate([[0], ends])]).astype(np.int64)
        of_numbers = ranks.spread(own)  # how many numbers each rank sends to each
        numbers, columns = (
            ranks.deliver(each[:, np.newaxis], of_numbers)[:, 0]
            for each in (rows.data, rows.indices.astype(np.int64))
        )
        starts = np.concatenate([[0], lengths[:, 0].cumsum()])
        return self._matrix.as_rows(numbers, columns, starts)
