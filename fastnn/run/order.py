"""The order of samples in each epoch."""

from __future__ import annotations

import numpy as np

from ..nn.batches import draw_order
from ..nn.dropout import draw_key
from ..program.trainer import Epoch
from ..types import Integers, Shuffle
from ..validation import as_order


class EpochOrders:
    """Draws the order of the samples of one :class:`Epoch` after the other.

    Each call returns the next one, with the first `n_used` indices of the order. Without `shuffle`
    the order is that of the rows; a callable `shuffle` returns it. `has_dropout` says whether to
    draw a key for dropout masks too.
    """

    def __init__(
        self,
        n_samples: int,
        n_used: int,
        rng: np.random.Generator,
        shuffle: Shuffle,
        has_dropout: bool,
    ) -> None:
        self.n_samples, self.n_used, self.rng = n_samples, n_used, rng
        self.shuffle, self.has_dropout = shuffle, has_dropout

    def __call__(self) -> Epoch:
        n = self.n_samples
        if callable(self.shuffle):
            order = as_order(self.shuffle(n), n)
        else:
            order = draw_order(self.rng, n) if self.shuffle else np.arange(n)
            if type(self.rng) is not np.random.Generator:  # a subclass may give anything
                order = as_order(order, n, "what seed.permutation gave")
        return Epoch(order[: self.n_used], draw_key(self.rng) if self.has_dropout else 0)

    @property
    def is_own(self) -> bool:
        """Whether a function of the user returns the orders, so that they cannot be drawn again."""
        return callable(self.shuffle)

    @property
    def may_differ(self) -> bool:
        """Whether two processes with the same random state may draw other orders."""
        return self.is_own or type(self.rng) is not np.random.Generator


class BatchOrders(EpochOrders):
    """Draws what the orders of rows within the `batches` of an epoch depend on.

    `batch_size` is that of the steps into which batches are cut; None: each is one step, in its
    order. The order of the rows of a batch depends on the key of its epoch and its position alone,
    so that a run can go on with any of them.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        shuffle: Shuffle,
        has_dropout: bool,
        batch_size: int | None,
        drop_last: bool,
    ) -> None:
        super().__init__(0, 0, rng, shuffle if batch_size is not None else False, has_dropout)
        self.batch_size, self.drop_last = batch_size, drop_last

    def __call__(self) -> Epoch:
        shuffles = not callable(self.shuffle) and self.shuffle
        shuffle_key = draw_key(self.rng) if shuffles else None
        key = draw_key(self.rng) if self.has_dropout else 0
        return Epoch(np.arange(0), key, shuffle_key=shuffle_key)

    def of_batch(self, position: int, n: int, shuffle_key: int | None) -> Integers:
        """Return the order of the `n` rows of a batch of an epoch; `position` is from 1."""
        if callable(self.shuffle):
            order = as_order(self.shuffle(n), n)
        elif shuffle_key is None:
            order = np.arange(n)
        else:
            order = draw_order(np.random.default_rng([shuffle_key, position]), n)
        return order[: count_used(n, self.batch_size, self.drop_last)]


def count_used(n: int, batch_size: int | None, drop_last: bool) -> int:
    """Return how many of `n` samples are used: all, or those of batches that are full."""
    return n - n % min(batch_size, n) if batch_size is not None and drop_last else n
