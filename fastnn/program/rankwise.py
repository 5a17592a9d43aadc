"""Training with the ranks of several processes, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..kernels import table as t
from ..nn.optimizer import Optimizer
from ..nn.runs import Runs
from ..types import Floats, Integers
from ..validation import NotFiniteError
from .layerwise import LayerTrainer
from .program import Program
from .ranks import Place, Ranks
from .trainer import Data, Description, Epoch
from .windows import Windows


class RanksTrainer(LayerTrainer):
    """Takes steps whose gradients are those of all ranks together.

    Each rank has all samples, and takes the rows of its own shards of each batch through the
    network. The gradient of a row is what it is in the whole batch: its share of the mean does not
    depend on the shard.

    This is the oracle of :class:`ShardTrainer`, which trains.

    Parameters
    ----------
    program : Program
        This and the next five are as of :class:`LayerTrainer`.
    data : Data
    n_samples : int
    batch_size : int
    optimizer : Optimizer
    description : tuple, optional
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
        self.windows = None
        if data.inputs.is_sparse or data.inputs.is_part:
            self.windows = Windows(data, ranks, batch_size)
        shape = len(ranks.own_shards), self.network.n_parameters
        self.shard_gradients = np.zeros(shape, self.network.dtype)
        """Those of the own shards (S, P)."""
        self.message_bytes = 0
        """How many bytes a message of a step has beside its numbers."""

    def trained_arrays(self) -> list[Floats]:
        """Return the arrays for which the optimizer keeps a state each."""
        return [getattr(owner, name) for owner, name, _ in self.network.trained_places()]

    def _begin_batch(self, epoch: Epoch, batch: int) -> Integers:
        """As in the base class; each rank checks the samples of its own shards."""
        if self.windows is None:
            self.data.check_maps()
            indices = self._indices_of(epoch, batch)
            runs = self._runs_of(indices)
            self.data.inputs.check_rows(indices[runs[0].start : runs[-1].stop], "X")
            return indices
        data = self.windows.load(epoch, batch)
        if data is not None:
            self._take_from(data)
        return self.windows.indices_of(batch)

    def _take_from(self, data: Data) -> None:
        """Take the samples of the next batches from these data."""
        self.data = data

    def _runs_of(self, indices: Integers) -> list[slice]:
        """Return the rows of each own shard in a batch."""
        return [self.ranks.rows_of(shard, len(indices)) for shard in self.ranks.own_shards]

    def _take_step(self, indices: Integers, totals: Floats, applied: list[Any]) -> bool:
        """As in the base class; all ranks return the same."""
        ranks, network = self.ranks, self.network
        self.check_signals()
        # An exception in here is told to the others where they meet next.
        scores = np.zeros((ranks.most_shards, 2))  # as many on each rank
        try:
            is_finite = self._form_gradients(indices, scores)
        except _FailedStepError:
            return False
        told = ranks.meet(Place.STEP, [is_finite, *scores.ravel()])
        if not told[:, 0].all():
            return False
        network.gradients[...] = ranks.add_shards(self.shard_gradients)
        ranks.note_first_step()
        self._add_slopes(indices)
        if not self._descend(totals, len(indices), applied):
            return False
        loss, right = ranks.add_scores(told[:, 1:].reshape(ranks.size, -1, 2))
        totals[t.TOTAL_LOSS] += loss
        totals[t.TOTAL_RIGHT] += right
        totals[t.TOTAL_WEIGHT] += self._weights_of(indices).sum()
        return True

    def _add_slopes(self, indices: Integers) -> None:
        """Add the slopes of penalties to the gradients of the network."""
        part = 1.0
        if self.optimizer.per_sample:
            part = 1 / float(self._weights_of(indices).sum() or 1.0)
        self.network.share_penalties(part)
        self.network.add_slopes()

    def _form_gradients(self, indices: Integers, scores: Floats) -> bool:
        """Form the gradients of all own shards; write the loss and the hits of each (S, 2).

        Return whether all values were finite.
        """
        runs = self._runs_of(indices)
        data, loss, network = self.data, self.loss, self.network
        targets, weights = data.loss_targets[indices], self._weights_of(indices)
        rows = slice(runs[0].start, runs[-1].stop)
        part = Runs(runs, len(indices), self._add_sums)
        network.begin_dropout_at(rows.start)
        try:
            inputs = self._inputs_of(indices[rows])
            own = network.logits(inputs, True, data.targets.shape[1], part)
            outputs = np.zeros((len(indices), own.shape[1]), own.dtype)
            outputs[rows] = own
            losses, gradient = loss.measure(outputs, targets, weights)
            if not np.isfinite(losses[rows]).all():
                return False
            network.pull_runs(np.ascontiguousarray(gradient[rows]), self.shard_gradients, part)
        except NotFiniteError:
            return False
        hits = loss.hits(outputs, targets, data.labels[indices]) * weights
        for run, score in zip(runs, scores, strict=False):
            score[...] = losses[run] @ weights[run], hits[run].sum()
        return True

    def _add_sums(self, sums: Floats) -> Floats:
        """Return the sum over all shards, in the middle of a step, if no rank has failed in it."""
        if not self.ranks.meet(Place.STEP, [True]).all():
            raise _FailedStepError
        return self.ranks.add_few(sums)


class _FailedStepError(Exception):
    """A value is not finite on another rank. All ranks know it, and take no step."""
