"""Training layer by layer, for networks that cannot be compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..kernels import table as t
from ..kernels.interruption import check_interruption
from ..nn.optimizer import Optimizer, length_of
from ..types import Floats, Integers
from ..validation import NotFiniteError
from . import trainer
from .program import Program
from .trainer import Data, Description, Epoch, Place, Totals, Watch, count_steps, no_totals


class LayerTrainer:
    """Takes steps by calling the `forward` and `backward` of the layers.

    The parameters are those of :class:`CompiledTrainer`, without the team: layers run in the
    calling thread.
    """

    epochs_ahead = 1

    def __init__(
        self,
        program: Program,
        data: Data,
        n_samples: int,
        batch_size: int,
        optimizer: Optimizer,
        description: Description | None = None,
    ) -> None:
        self.program, self.network = program, program.network
        self.loss, self.optimizer = self.network.loss, optimizer
        self.description, self.is_penalized = description, self.network.is_penalized
        self.load(data, n_samples, batch_size)
        self.totals = no_totals()[0]
        self.place_of_masks = 0, 0  # the key of dropout's masks, and the number of the batch

    def load(self, data: Data, n_samples: int, batch_size: int) -> None:
        """Take the steps to come from `data`: `n_samples` an epoch, at most `batch_size` a step."""
        self.data, self.batch_size = data, batch_size
        self.n_samples, self.n_batches = n_samples, -(-n_samples // batch_size)

    def check_unchanged(self) -> None:
        """Raise ValueError if the loss or a layer has been changed since training began."""
        if self.description is not None:
            trainer.check_unchanged(self.network, self.description)

    def trained_arrays(self) -> list[Floats]:
        """Return the arrays for which the optimizer keeps a state each."""
        return self.program.trained_arrays(self.optimizer)

    @property
    def step(self) -> int:
        """The steps that the epoch has taken, 0 between epochs."""
        return count_steps(self.totals)

    @property
    def place(self) -> Place:
        """Nothing: the data are arrays."""
        return {}

    def resume(self, totals: Floats, place: Place | None = None) -> None:
        """Continue within an epoch whose steps so far have these totals."""
        self.totals[...] = totals

    def store(self) -> None:
        """Do nothing: each step updates the states in their own arrays."""

    def take(self, epochs: Sequence[Epoch], watch: Watch | None = None) -> Totals:
        """Take the steps of one epoch after `step`."""
        (epoch,) = epochs
        try:
            failed = self._take_batches(epoch, watch)
        finally:
            self.network.release_dropout()
            self._share_penalties(1.0)
        totals, self.totals = self.totals, no_totals()[0]
        return Totals(totals[np.newaxis], failed)

    def _share_penalties(self, part: float) -> None:
        if self.optimizer.per_sample:
            self.network.share_penalties(part)

    def _take_batches(self, epoch: Epoch, watch: Watch | None) -> int | None:
        """Take the steps of an epoch; return None or the batch that failed, from 1."""
        for batch in range(self.step, self.n_batches):
            check_interruption()
            self.check_unchanged()
            indices = self._begin_batch(epoch, batch)
            self.place_of_masks = epoch.key, epoch.first + batch
            self.network.place_dropout(*self.place_of_masks)
            # A forward pass changes the running moments. If the step fails, they are restored.
            moments = self.network.moments
            before = moments.copy()
            applied: list[Any] = []
            try:
                if not self._take_step(indices, self.totals, applied):
                    return batch + 1
            except BaseException:
                if not applied:
                    moments[...] = before
                raise
            if watch is not None:
                watch.end_batch(batch + 1, self.n_batches)
        return None

    def _begin_batch(self, epoch: Epoch, batch: int) -> Integers:
        """Return where in `data` the samples of a batch are. They have been checked."""
        indices = self._indices_of(epoch, batch)
        self.data.check_maps()
        self.data.inputs.check_rows(indices, "X")
        return indices

    def _indices_of(self, epoch: Epoch, batch: int) -> Integers:
        return epoch.order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def _take_step(self, indices: Integers, totals: Floats, applied: list[Any]) -> bool:
        """Take a step with the samples at `indices`; return whether all values were finite.

        `applied` is filled as soon as the parameters have changed.
        """
        data, loss = self.data, self.loss
        targets, weights = data.loss_targets[indices], self._weights_of(indices)
        self._share_penalties(1 / float(weights.sum() or 1.0))
        try:
            outputs = self.network.logits(self._inputs_of(indices), True, data.targets.shape[1])
            losses, gradient = loss.measure(outputs, targets, weights)
            if not np.isfinite(losses).all():
                return False
            self.network.pull(gradient)
        except NotFiniteError:  # an earlier layer has overflowed
            return False
        if not self._descend(totals, len(indices), applied):
            return False
        totals[t.TOTAL_LOSS] += losses @ weights
        totals[t.TOTAL_WEIGHT] += weights.sum()
        hits = loss.hits(outputs, targets, data.labels[indices])
        totals[t.TOTAL_RIGHT] += (hits * weights).sum()  # in the order of weights.sum()
        return True

    def _weights_of(self, indices: Integers) -> Floats:
        """Return the weights of some samples, 1 by default."""
        weights = self.data.weights
        return weights[indices] if len(weights) else np.ones(len(indices))

    def _inputs_of(self, indices: Integers) -> Floats:
        """Return the inputs of some samples, with 0 for subnormal numbers."""
        rows: Floats = self.data.inputs.take(indices)
        rows[np.abs(rows) < np.finfo(rows.dtype).tiny] = 0  # as `kernels.train_steps` does
        return rows

    def _descend(self, totals: Floats, n_rows: int, applied: list[Any]) -> bool:
        """Update the parameters along the gradients; return whether the gradients are finite."""
        penalty = self.network.penalty()
        arrays = list(self.network.trained_arrays())
        options: dict[str, Any] = {}
        if self.optimizer.decays_in_part:
            options["masks"] = list(self.network.trained_masks())
        if self.optimizer.clip_norm is not None:
            options["length"] = length_of(gradients for _, gradients in arrays)
            if not np.isfinite(options["length"]):
                return False
        self.optimizer.update_all(arrays, applied, **options)
        totals[t.TOTAL_PENALTY] += penalty * n_rows
        totals[t.TOTAL_STEPS] += 1
        return True
