"""Samples of which each rank holds a part: the rows that a step needs go from rank to rank."""

from __future__ import annotations

import numpy as np

from ..types import Array, Floats, Integers, Records, Shape
from .ranks import Place, Ranks
from .samples import UNSCALED, Samples


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
        self.pending, self.is_ready = None, False

    @property
    def shape(self) -> Shape:
        """(N, I)."""
        return int(self.starts[-1]), self.own.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Array) -> Samples:
        raise TypeError("a part of the samples is on other ranks")

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
        sent = self.own.array[places] if self.as_they_are else self.own.take(places)
        # Another rank may have left instead. Nothing between this line and the next can fail.
        ranks.meet(Place.ROWS)
        received = ranks.deliver(sent, counts)
        result = np.zeros((max(1, len(received)), received.shape[1]), received.dtype)
        result[np.argsort(holders[readers == ranks.rank], kind="stable")] = received
        scaling = tuple(self.scaling) if self.as_they_are else UNSCALED
        return Samples(result, self.dtype, scaling)
