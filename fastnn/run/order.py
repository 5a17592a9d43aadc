"""The order of samples in each epoch."""

from __future__ import annotations

import numpy as np

from ..nn.dropout import draw_key
from ..program.trainer import Epoch
from ..types import Shuffle
from ..validation import as_order


class Draws:
    """Draws one :class:`Epoch` after the other from a Generator, `n_used` of `n_samples` in each.

    Without `shuffle` they are the first ones, as they come; a function gives the order itself.
    `drops` where there is dropout.
    """

    def __init__(
        self, n_samples: int, n_used: int, rng: np.random.Generator, shuffle: Shuffle, drops: bool
    ) -> None:
        self.n_samples, self.n_used, self.rng = n_samples, n_used, rng
        self.shuffle, self.drops = shuffle, drops

    def __call__(self) -> Epoch:
        n = self.n_samples
        if callable(self.shuffle):
            order = as_order(self.shuffle(n), n)
        else:
            order = self.rng.permutation(n) if self.shuffle else np.arange(n)
            if type(self.rng) is not np.random.Generator:  # a subclass may give anything
                order = as_order(order, n, "what seed.permutation gave")
        return Epoch(order[: self.n_used], draw_key(self.rng) if self.drops else 0)

    @property
    def is_own(self) -> bool:
        """Whether a function of the user's own gives the orders, which cannot be drawn again."""
        return callable(self.shuffle)
