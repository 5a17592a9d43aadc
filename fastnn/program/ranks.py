"""Processes that train one network together, the ranks: what they exchange, and how it is added.

A batch is divided into `shards` runs of rows, and each rank has some neighboring ones. The
gradients of the runs are added in one binary tree over the shards, whoever has them. So the bits of
a result depend on the number of shards, and on no number of ranks.
"""

from __future__ import annotations

import json
import pickle
import zlib
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np

from ..nn.configs import find_difference
from ..types import Array, Floats, Integers
from ..version import __version__

T = TypeVar("T")


class RanksError(RuntimeError):
    """The ranks of a training cannot continue together."""


class RanksTimeoutError(RanksError, TimeoutError):
    """A rank did not come to an exchange within the time limit.

    It may have been stopped or killed, or the network between the hosts may be down. The process
    ends all ranks when it exits.
    """


class RankLeftError(RanksError):
    """Another rank has left the training with an exception."""


class RanksDifferError(RanksError, ValueError):
    """The ranks were given different networks, arguments or data."""


class DivergedRanksError(RanksError):
    """The ranks have different parameters after an epoch."""


class Place(IntEnum):
    """Where in a training a rank is when it meets the others."""

    LEAVING = 0
    BEGIN = 1
    STEP = 2
    EPOCH = 3
    END = 4
    CHECK = 5
    ORDER = 6
    ROWS = 7


_WORDS = {
    Place.LEAVING: "leaves the training", Place.BEGIN: "begins the training",
    Place.STEP: "takes a step", Place.EPOCH: "ends an epoch", Place.END: "ends the training",
    Place.CHECK: "checks arguments", Place.ORDER: "begins an epoch",
    Place.ROWS: "exchanges rows of X",
}  # fmt: skip

_BLOCK_BYTES = 2**22
"""Of an array that all ranks get, so many are exchanged at a time."""

_OPENING_BYTES = 256
"""The size of the first message of ranks; the sizes of all later ones depend on its content."""

_FIXED = "rank", "size", "shards", "timeout"

_SHOWN = 120  # characters of a value in a message


class Ranks:
    """The processes that train one network together, as one of them sees it.

    An engine overrides `exchange`, `spread` and `abandon`. They only move bytes: all additions are
    done here, in one order. An engine adds to `seconds` what they take.

    Parameters
    ----------
    rank : int
        The number of this process, from 0.
    size : int
        The number of processes.
    shards : int
        Into how many runs of rows each batch is divided, at least `size`.
    timeout : float, optional
        For how many seconds this rank waits for the others. By default it waits without a limit.
    opens : bool
        Whether all ranks are made at the same time, and compare their shards now. By default they
        do so when `fit` begins. An engine that opens can exchange before it calls this.

    Attributes
    ----------
    rank : int
        The number of this process, from 0. This and the next three cannot be assigned.
    size : int
        The number of processes.
    shards : int
        Into how many runs of rows each batch is divided.
    timeout : float or None
        For how many seconds this rank waits for the others. None: without a limit.
    seconds : float
        How long this rank has exchanged with the others so far, and waited for them.

    Raises
    ------
    ValueError
        If there are more ranks than shards.
    RanksDifferError
        With `opens`, on all ranks, if one has other shards or another version of fastnn.
    AttributeError
        If `rank`, `size`, `shards` or `timeout` is assigned.
    """

    rank: int
    size: int
    shards: int
    timeout: float | None

    def __init__(
        self,
        rank: int,
        size: int,
        shards: int,
        timeout: float | None = None,
        *,
        opens: bool = False,
    ) -> None:
        vars(self).update(rank=rank, size=size, shards=shards, timeout=timeout)
        self.seconds = 0.0
        self._has_opened = False
        if opens:
            self.open()
        if shards < size:
            raise ValueError(f"shards is {shards}, expected at least {size}, the number of ranks")
        nodes = [_nodes_of(self.shards_of(each), shards) for each in range(size)]
        self._own_nodes, self._most_nodes = nodes[rank], max(map(len, nodes))
        # Every rank sends as many parts as the one that has the most.
        self._nodes = [
            (*node, each, i) for each, parts in enumerate(nodes) for i, node in enumerate(parts)
        ]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED:
            raise AttributeError(
                f"{name} cannot be assigned, expected it to stay {getattr(self, name)!r}: "
                "make new ranks with other arguments"
            )
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in _FIXED:
            raise AttributeError(f"{name} cannot be deleted, expected it to stay")
        super().__delattr__(name)

    def exchange(self, pieces: Array) -> Array:
        """Send the row r of `pieces` (R, n) to rank r; return (R, n), the row r from rank r."""
        raise NotImplementedError

    def spread(self, piece: Array) -> Array:
        """Send `piece` (n,) to all ranks; return the pieces of all, (R, n)."""
        raise NotImplementedError

    def deliver(self, rows: Array, counts: Integers) -> Array:
        """Send each rank some of the `rows` (n, I); return those (m, I) that come from all ranks.

        counts (R, R): how many rows each rank sends to each; all ranks know it. The rows lie in the
        order of the ranks, on both sides.
        """
        width = rows.shape[1] * rows.dtype.itemsize
        pieces = np.zeros((self.size, max(1, counts.max()) * width), np.uint8)
        content = np.ascontiguousarray(rows).reshape(-1).view(np.uint8)
        ends = counts[self.rank].cumsum() * width
        for piece, begin, end in zip(pieces, [0, *ends], ends, strict=False):
            piece[: end - begin] = content[begin:end]
        received = self.exchange(pieces)
        sizes = counts[:, self.rank] * width
        parts = [piece[:size] for piece, size in zip(received, sizes, strict=True)]
        delivered: Array = np.concatenate(parts).view(rows.dtype).reshape(-1, rows.shape[1])
        return delivered

    def abandon(self) -> None:
        """See to it that all ranks end when this process does: it cannot reach them any more."""

    def note_first_step(self) -> None:
        """Note that all ranks have compiled what a step needs: a step is short from now on."""

    # -------------------------------------------------------------------------- shards

    def shards_of(self, rank: int) -> range:
        """Return the shards of a rank."""
        return range(self.shards * rank // self.size, self.shards * (rank + 1) // self.size)

    @property
    def own_shards(self) -> range:
        """The shards of this rank."""
        return self.shards_of(self.rank)

    def rows_of(self, shard: int, n_rows: int) -> slice:
        """Return the rows of a shard in a batch of `n_rows`; the last shards may have none."""
        length = -(-n_rows // self.shards)
        return slice(min(shard * length, n_rows), min((shard + 1) * length, n_rows))

    def count_rows(self, n_rows: int) -> Integers:
        """Return how many rows of a batch of `n_rows` each rank has, (R,): neighboring ones."""
        length = -(-n_rows // self.shards)
        limits = self.shards * np.arange(self.size + 1) // self.size
        counts: Integers = np.diff(np.minimum(limits * length, n_rows))
        return counts

    def add_shards(self, parts: Floats) -> Floats:
        """Return the sum (n,) over all shards of all ranks.

        parts (own shards, n): contents are changed. Each rank adds what its shards have in common
        in the tree. Then every rank adds one piece of all columns, and sends the sum to the others.
        """
        sums = self._add_own(parts)
        n = parts.shape[1]
        length = -(-n // self.size)
        pieces = np.zeros((self.size, self._most_nodes, length), parts.dtype)
        row = np.zeros(self.size * length, parts.dtype)
        for i, each in enumerate(sums):
            row[:n] = each
            pieces[:, i] = row.reshape(self.size, length)
        received = self.exchange(pieces.reshape(self.size, -1)).reshape(pieces.shape)
        total: Floats = self.spread(self._add_all(received)).reshape(-1)[:n]
        return total

    def add_few(self, parts: Floats) -> Floats:
        """As `add_shards`, with one exchange: every rank gets all columns, and adds them."""
        sums = self._add_own(parts)
        piece = np.zeros((self._most_nodes, parts.shape[1]), parts.dtype)
        piece[: len(sums)] = sums
        return self._add_all(self.spread(piece))

    def _add_own(self, parts: Floats) -> list[Floats]:
        """Return what the shards of this rank have in common in the tree."""
        first = self.own_shards.start
        for begin, end in self._own_nodes:
            add_tree(parts[begin - first : end - first])
        return [parts[begin - first] for begin, _ in self._own_nodes]

    def _add_all(self, received: Floats) -> Floats:
        """Return the sum (n,) of what all ranks have, (R, most nodes, n)."""
        values = {(begin, end): received[rank, i] for begin, end, rank, i in self._nodes}
        return _add_nodes(values, 0, self.shards)

    def add_scores(self, scores: Floats) -> Floats:
        """Return the sum (K,) over all shards of `scores` (ranks, most shards of a rank, K)."""
        counts = [len(self.shards_of(rank)) for rank in range(self.size)]
        rows = np.concatenate([scores[rank, :count] for rank, count in enumerate(counts)])
        add_tree(rows)
        total: Floats = rows[0]
        return total

    @property
    def most_shards(self) -> int:
        """The largest number of shards that a rank has."""
        return -(-self.shards // self.size)

    # -------------------------------------------------------------------------- meetings

    def open(self) -> None:
        """Compare what the sizes of all other messages depend on. Only the first call does it.

        Raises
        ------
        RanksDifferError
            On all ranks, if one has other shards or another version of fastnn.
        """
        if self._has_opened:
            return
        own = {"the version of fastnn": str(__version__), "shards": self.shards}
        message = json.dumps(own).encode()[:_OPENING_BYTES].ljust(_OPENING_BYTES)
        messages = self.spread(np.frombuffer(message, np.uint8))
        _check_same([json.loads(each.tobytes()) for each in messages])
        self._has_opened = True

    def gather(self, value: T) -> list[T]:
        """Return the values of all ranks, which are small objects that can be pickled."""
        message = np.frombuffer(pickle.dumps(value), np.uint8)
        sizes = self.spread(np.array([len(message)], np.int64))[:, 0]
        padded = np.zeros(sizes.max(), np.uint8)
        padded[: len(message)] = message
        messages = self.spread(padded)
        return [pickle.loads(row[:size]) for row, size in zip(messages, sizes, strict=True)]

    def join(self, array: Array, counts: Integers) -> Array:
        """Return the rows of the arrays of all ranks, one array after the other.

        array (n, ...): of the same dtype on all ranks. counts (R,): the rows of each.
        """
        shape = array.shape[1:]
        starts = counts.cumsum() - counts
        result = np.empty((counts.sum(), *shape), array.dtype)
        height = max(1, _BLOCK_BYTES // max(1, result[:1].nbytes))
        for first in range(0, int(counts.max()), height):
            block = np.zeros((height, *shape), array.dtype)
            part = array[first : first + height]
            block[: len(part)] = part
            for rank, content in enumerate(self.spread(block.reshape(-1).view(np.uint8))):
                n_rows = max(0, min(counts[rank] - first, height))
                begin = starts[rank] + first
                rows = content.view(array.dtype).reshape(height, *shape)
                result[begin : begin + n_rows] = rows[:n_rows]
        return result

    def meet(self, place: Place, values: Sequence[float] = ()) -> Floats:
        """Tell all ranks where this one is, with at most 1 + 2 * `most_shards` numbers.

        Return the numbers of all ranks, (R, n).

        Raises
        ------
        RankLeftError
            If another rank leaves.
        RanksError
            If another rank is at another place of the training.
        """
        message = np.zeros(2 + 2 * self.most_shards)
        message[0], message[1 : 1 + len(values)] = place, values
        messages = self.spread(message)
        places = messages[:, 0]
        if (places == Place.LEAVING).any():
            reasons = self.gather("")
            rank = int(np.argmax(places == Place.LEAVING))
            raise RankLeftError(f"rank {rank} has left the training: {reasons[rank]}")
        if (places != place).any():
            rank = int(np.argmax(places != place))
            there = _WORDS[Place(int(places[rank]))]
            raise RanksError(
                f"rank {rank} {there} where rank {self.rank} {_WORDS[place]}: "
                "expected all ranks to make the same calls"
            )
        return messages[:, 1 : 1 + len(values)]

    def leave(self, error: BaseException) -> None:
        """Tell the other ranks, where they meet next, that this one leaves with an exception."""
        message = np.zeros(2 + 2 * self.most_shards)
        message[0] = Place.LEAVING
        self.spread(message)
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        self.gather(text[:2000])


def add_tree(parts: Floats) -> None:
    """Add the rows of `parts` (n, ...) in a binary tree, into row 0; the others are changed."""
    span = 1
    while span < len(parts):
        for i in range(0, len(parts) - span, 2 * span):
            parts[i] += parts[i + span]
        span *= 2


def _add_nodes(values: dict[tuple[int, int], Floats], begin: int, end: int) -> Floats:
    """Return the sum over the shards [begin, end) as `add_tree` forms it, from sums of parts."""
    if (begin, end) in values:
        return values[begin, end]
    middle = begin + (1 << (end - begin - 1).bit_length() - 1)
    return _add_nodes(values, begin, middle) + _add_nodes(values, middle, end)


def _nodes_of(shards: range, n_shards: int) -> list[tuple[int, int]]:
    """Return the largest subtrees [begin, end) that some neighboring shards are made of."""
    nodes, begin = [], shards.start
    while begin < shards.stop:
        span = 1 << n_shards.bit_length()
        while begin % span or min(begin + span, n_shards) > shards.stop:
            span //= 2
        end = min(begin + span, n_shards)
        nodes.append((begin, end))
        begin = end
    return nodes


class OneRank(Ranks):
    """A single process, with the bits of any number of ranks that have as many shards."""

    def __init__(self, shards: int) -> None:
        super().__init__(0, 1, shards)

    def exchange(self, pieces: Array) -> Array:
        """Return the pieces."""
        return pieces

    def spread(self, piece: Array) -> Array:
        """Return the piece as the only row."""
        return piece[np.newaxis]


def digest_of(array: Array) -> int:
    """Return a number that tells arrays of other bits apart, of 32 bits."""
    return zlib.crc32(np.ascontiguousarray(array).data)


def compare(ranks: Ranks, values: dict[str, Any]) -> None:
    """Raise RanksDifferError on all ranks if a value is another one on a rank than on rank 0.

    values: {what it is: a tree of dicts and lists of small objects that can be pickled}. The
    message names the first place in the tree that differs.
    """
    _check_same(ranks.gather(values))


def _check_same(everywhere: list[dict[str, Any]]) -> None:
    """Raise RanksDifferError for the first value of a rank that is another one on rank 0."""
    first = everywhere[0]
    for rank, there in enumerate(everywhere):
        for key in dict.fromkeys([*first, *there]):
            value, expected = there.get(key), first.get(key)
            difference = None if value == expected else find_difference(value, expected, key)
            if difference is not None:
                name, *values = difference
                text, expected_text = _show_difference(*map(repr, values))
                raise RanksDifferError(
                    f"on rank {rank} {name} is {text}, expected {expected_text}, as on rank 0"
                )


def _show_difference(text: str, other: str) -> tuple[str, str]:
    """Return short forms of two texts: from their beginning, or from where they differ."""
    if text[:_SHOWN] != other[:_SHOWN]:
        return text[:_SHOWN], other[:_SHOWN]
    pairs = enumerate(zip(text, other, strict=False))
    same = next((i for i, (a, b) in pairs if a != b), min(len(text), len(other)))
    begin = same - _SHOWN // 4
    end = begin + _SHOWN
    return f"...{text[begin:end]}", f"...{other[begin:end]}"
