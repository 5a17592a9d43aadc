"""Training with the ranks of several processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import kernels
from ..kernels import table as t
from ..kernels.catalogue import Operation, Rule, depends_on_mode
from ..kernels.codes import N_SCORES, ScoreRow
from ..kernels.records import JOB
from ..memory import aligned_empty
from ..nn.optimizer import Optimizer
from ..nn.runs import Runs
from ..types import Floats, Integers
from ..validation import NotFiniteError
from .feed import make_feed, smooth_rows
from .layerwise import LayerTrainer
from .plan import make_plan
from .program import Program
from .ranks import Place, Ranks
from .threads import ThreadTeam
from .trainer import Data, Description, Epoch
from .windows import Windows


class ShardProgram:
    """Forms the gradients of some rows of a batch in the compiled program.

    Parameters
    ----------
    program : Program
        With steps, of which none is a BatchNorm.
    batch_size : int
    team : ThreadTeam
    """

    def __init__(self, program: Program, batch_size: int, team: ThreadTeam) -> None:
        network = self.network = program.network
        self.team = team
        plan = self.plan = make_plan(
            program.steps, network.n_features or 0, batch_size, network.dtype.itemsize,
            training=True,
        )  # fmt: skip
        self.workspace = aligned_empty(plan.workspace_size, network.dtype)
        self.workspace[...] = 0
        self.scores = np.zeros((N_SCORES, batch_size))
        self.draws_masks = any(map(depends_on_mode, plan.operations))

    def load(self, data: Data) -> None:
        """Take samples from `data`."""
        loss = self.network.loss
        smoothing = float(getattr(loss, "label_smoothing", 0))
        job = (
            0,
            0,
            self.scores.shape[1],
            loss.kernel_code,
            loss.number,
            smoothing,
            Rule.DESCENT,
            True,
        )
        self.job = np.array([job], JOB)
        states = np.empty((0, self.network.parameters.size), self.network.dtype)
        self.feed = make_feed(
            smooth_rows(data, loss),
            loss,
            loss.number,
            self.plan.operations,
            states,
            columns=self.plan.columns,
        )

    def form(
        self, indices: Integers, key: int, number: int, bounds: Sequence[int], gradients: Floats
    ) -> None:
        """Write the gradients (S, P) of neighboring runs of rows, and the scores of the rows.

        `key` and `number` are those of the dropout masks of the batch.
        """
        memory = self.network.buffer, self.workspace, self.scores, self.team.gate
        keys = np.array([[key, number]]) if self.draws_masks else None
        limits, feed = np.array(bounds, np.int64), self.feed

        def run(thread: int) -> int:
            is_done: int = kernels.shard_gradients(
                memory, self.plan.layers, feed.inputs, feed.extended, feed.answers, indices, keys,
                limits, self.job, gradients, thread, self.team.size,
            )  # fmt: skip
            return is_done

        self.team.run(run)


def make_shard_program(program: Program, batch_size: int, team: ThreadTeam) -> ShardProgram | None:
    """Return the compiled gradients of a network; None where it has a BatchNorm."""
    steps = program.steps
    if steps is None or any(operation == Operation.BATCH_NORM for operation, _ in steps):
        return None
    return ShardProgram(program, batch_size, team)


class RanksTrainer(LayerTrainer):
    """Takes steps whose gradients are those of all ranks together.

    Each rank has all samples, and takes the rows of its own shards of each batch through the
    network. The gradient of a row is what it is in the whole batch: its share of the mean does not
    depend on the shard. Networks with BatchNorm go through the layers one by one, the others
    through the compiled program, with the same bits.

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
    compiled : ShardProgram, optional
        By default the gradients are formed layer by layer.
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
        compiled: ShardProgram | None = None,
    ) -> None:
        super().__init__(program, data, n_samples, batch_size, optimizer, description)
        self.ranks, self.check_signals, self.compiled = ranks, check_signals, compiled
        self.windows = None
        if data.inputs.is_sparse or data.inputs.is_part:
            self.windows = Windows(data, ranks, batch_size)
        elif compiled is not None:
            compiled.load(data)
        shape = len(ranks.own_shards), self.network.n_parameters
        self._slopes = np.zeros(shape, self.network.dtype)

    def trained_arrays(self) -> list[Floats]:
        """Return the arrays for which the optimizer keeps a state each."""
        return [getattr(owner, name) for owner, name, _ in self.network.trained_places()]

    def _begin_batch(self, epoch: Epoch, batch: int) -> Integers:
        """As in the base class; each rank checks the samples of its own shards."""
        if self.windows is None:
            self.data.check_maps()
            indices = self._indices_of(epoch, batch)
            runs = [self.ranks.rows_of(shard, len(indices)) for shard in self.ranks.own_shards]
            self.data.inputs.check_rows(indices[runs[0].start : runs[-1].stop], "X")
            return indices
        data = self.windows.load(epoch, batch)
        if data is not None:
            self.data = data
            if self.compiled is not None:
                self.compiled.load(data)
        return self.windows.indices_of(batch)

    def _take_step(self, indices: Integers, totals: Floats, applied: list[Any]) -> bool:
        """As in the base class; all ranks return the same."""
        ranks, network = self.ranks, self.network
        self.check_signals()
        # An exception in here is told to the others where they meet next.
        try:
            is_finite, scores = self._form_gradients(indices)
        except _FailedStepError:
            return False
        told = ranks.meet(Place.STEP, [is_finite, *scores.ravel()])
        if not told[:, 0].all():
            return False
        gradients = network.gradients
        gradients[...] = ranks.add_shards(self._slopes)
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

    def _form_gradients(self, indices: Integers) -> tuple[bool, Floats]:
        """Form the gradients of all own shards.

        Return whether all values are finite, and the loss and hits of each shard: as many on each
        rank.
        """
        ranks = self.ranks
        scores = np.zeros((ranks.most_shards, 2))
        runs = [ranks.rows_of(shard, len(indices)) for shard in ranks.own_shards]
        if self.compiled is None:
            return self._form_by_layers(indices, runs, scores), scores
        bounds = [runs[0].start, *(run.stop for run in runs)]
        self.compiled.form(indices, *self.place_of_masks, bounds, self._slopes)
        own = self.compiled.scores[:, bounds[0] : bounds[-1]]
        for i, run in enumerate(runs):
            rows = self.compiled.scores[:, run]
            scores[i] = rows[ScoreRow.LOSS].sum(), rows[ScoreRow.RIGHT].sum()
        return bool(np.isfinite(own[ScoreRow.LOSS]).all()), scores

    def _form_by_layers(self, indices: Integers, runs: list[slice], scores: Floats) -> bool:
        """Form the gradients layer by layer; write the loss and the hits of each shard (S, 2).

        Return whether all values were finite.
        """
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
            network.pull_runs(np.ascontiguousarray(gradient[rows]), self._slopes, part)
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
