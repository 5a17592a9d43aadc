"""Training with the ranks of several processes, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..kernels import table as t
from ..nn.optimizer import Optimizer
from ..types import Floats, Integers
from ..validation import NotFiniteError
from .layerwise import LayerTrainer
from .program import Program
from .ranks import Place, Ranks
from .trainer import Data, Description


class RanksTrainer(LayerTrainer):
    """Takes steps whose gradients are those of all ranks together.

    Each rank has all samples, and takes the rows of its own shards of each batch through the
    layers. The gradient of a row is what it is in the whole batch: its share of the mean does not
    depend on the shard.

    Parameters
    ----------
    program, data, n_samples, batch_size, optimizer, description
        As of :class:`LayerTrainer`.
    ranks : Ranks
    check_signals : callable
        Raises the exception of a signal that has come.
    """

    def __init__(
        self,
        program: Program,
        data: Data,
        n_samples: int,
        batch_size: int,
        optimizer: Optimizer,
        description: Description,
        ranks: Ranks,
        check_signals: Callable[[], None],
    ) -> None:
        super().__init__(program, data, n_samples, batch_size, optimizer, description)
        self.ranks, self.check_signals = ranks, check_signals

    def trained_arrays(self) -> list[Floats]:
        """Return the arrays for which the optimizer keeps a state each."""
        return [getattr(owner, name) for owner, name, _ in self.network.trained_places()]

    def _take_step(self, indices: Integers, totals: Floats, applied: list[Any]) -> bool:
        """As in the base class; all ranks return the same."""
        ranks, network = self.ranks, self.network
        self.check_signals()
        own = ranks.own_shards
        slopes = np.zeros((len(own), network.n_parameters), network.dtype)
        scores = np.zeros((ranks.most_shards, 2))  # as many on each rank
        network.share_penalties(0.0)  # their slopes are added to the sum, once
        # Before the ranks meet: an exception in here is told to the others.
        is_finite = all(
            self._take_shard(indices, ranks.rows_of(shard, len(indices)), slopes[i], scores[i])
            for i, shard in enumerate(own)
        )
        told = ranks.meet(Place.STEP, [is_finite, *scores.ravel()])
        if not told[:, 0].all():
            return False
        gradients = network.gradients
        gradients[...] = ranks.add_shards(slopes)
        ranks.note_first_step()
        weights = self._weights_of(indices)
        network.share_penalties(1 / float(weights.sum() or 1.0) if self.optimizer.per_sample else 1)
        network.add_slopes()
        if not self._descend(totals, len(indices), applied):
            return False
        loss, right = ranks.add_scores(told[:, 1:].reshape(ranks.size, -1, 2))
        totals[t.TOTAL_LOSS] += loss
        totals[t.TOTAL_RIGHT] += right
        totals[t.TOTAL_WEIGHT] += weights.sum()
        return True

    def _take_shard(self, indices: Integers, rows: slice, slopes: Floats, scores: Floats) -> bool:
        """Write what the rows of a shard add to the gradient (P,), and their loss and hits (2,).

        Return whether all values were finite.
        """
        if rows.start == rows.stop:
            return True
        data, loss, network = self.data, self.loss, self.network
        targets, weights = data.loss_targets[indices], self._weights_of(indices)
        network.begin_dropout_at(rows.start)
        try:
            own = network.logits(self._inputs_of(indices[rows]), True, data.targets.shape[1])
            outputs = np.zeros((len(indices), own.shape[1]), own.dtype)
            outputs[rows] = own
            losses, gradient = loss.measure(outputs, targets, weights)
            if not np.isfinite(losses[rows]).all():
                return False
            network.pull(np.ascontiguousarray(gradient[rows]))
        except NotFiniteError:
            return False
        slopes[...] = network.gradients
        hits = loss.hits(outputs, targets, data.labels[indices])
        scores[...] = losses[rows] @ weights[rows], (hits * weights)[rows].sum()
        return True
