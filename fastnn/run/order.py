"""The order of samples in each epoch."""

from __future__ import annotations

import numpy as np

from ..nn.batches import draw_order
from ..nn.dropout import draw_key
from ..program.trainer import Epoch
from ..types import Shuffle
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
