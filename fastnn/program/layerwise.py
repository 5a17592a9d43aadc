"""Training through the layers' own passes: for what cannot be compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels import table as t
from ..kernels.interruption import check_interruption
from ..nn.dropout import Dropout
from ..nn.optimizer import Optimizer, length_of
from ..types import Floats, Integers
from ..validation import NotFiniteError
from .trainer import Data, Epoch, Trainer, trained_arrays

if TYPE_CHECKING:
    from ..nn.network import Network


class LayerTrainer(Trainer):
    """Runs epochs through the layers' own passes: for a network with a layer of a user's own."""

    def __init__(
        self, model: Network, data: Data, n_used: int, batch_size: int, optimizer: Optimizer
    ) -> None:
        self.model, self.optimizer, self.loss = model, optimizer, model.loss
        self.penalised = any(any(layer.penalties) for layer in model._parametric if layer.trainable)
        self.load(data, n_used, batch_size)
        self.totals = np.full(t.N_TOTALS, 0.0)
        self.drops = [layer for layer in model._logit_layers() if isinstance(layer, Dropout)]

    @property
    def step(self) -> int:
        """As the one of the compiled trainer."""
        return int(self.totals[t.TOTAL_STEPS])

    def load(self, data: Data, n_used: int, batch_size: int) -> None:
        """Take the steps to come from `data`: at most `batch_size` of `n_used` samples a step."""
        self.data, self.batch_size = data, batch_size
        self.n_used, self.n_batches = n_used, -(-n_used // batch_size)

    def trained_arrays(self) -> list[Floats]:
        """Return the arrays for which the optimizer keeps a state each."""
        return trained_arrays(self.model, self.optimizer)

    def settle(self) -> None:
        """Nothing has to be brought home."""

    unpack = settle

    def run_epoch(self, epoch: Epoch) -> tuple[Any, int | None]:
        """Take the steps of an epoch from `self.step` on.

        Return (the dict of the epoch's curves, None or the batch that failed, from 1).
        """
        failed = self._run_batches(epoch, self.totals, self.step)
        totals, self.totals = self.totals, np.full(t.N_TOTALS, 0.0)
        return (None, failed) if failed else (self.curves(totals, self.n_used), None)

    def take(self, epoch: Epoch, totals: Floats) -> int | None:
        """As the one of the compiled trainer."""
        return self._run_batches(epoch, totals[0], 0)

    def _run_batches(self, epoch: Epoch, totals: Floats, begin: int) -> int | None:
        try:
            return self._take_batches(epoch, totals, begin)
        finally:
            for layer in self.drops:
                layer.place_masks(None)
            self._share_penalties(1.0)

    def _share_penalties(self, part: float) -> None:
        if self.optimizer.per_sample:
            for layer in self.model._parametric:
                layer.share_penalties(part)

    def _take_batches(self, epoch: Epoch, totals: Floats, begin: int) -> int | None:
        """Take the steps of an epoch; return None or the batch that failed, from 1."""
        for batch in range(begin, self.n_batches):
            check_interruption()
            self.check_model()
            indices = epoch.order[batch * self.batch_size : (batch + 1) * self.batch_size]
            for i, layer in enumerate(self.drops):
                layer.place_masks((epoch.key, i, epoch.first + batch))
            # A forward pass changes running moments. They belong to the step, as the update does.
            moments = self.model._buffer[self.model._parameters.size :]
            before = moments.copy()
            applied: list[Any] = []
            try:
                if not self._take_step(indices, totals, applied):
                    return batch + 1
            except BaseException:
                if not applied:
                    moments[...] = before
                raise
            self._end_batch(batch + 1, self.n_batches)
        return None

    def _take_step(self, indices: Integers, totals: Floats, applied: list[Any]) -> bool:
        """Take a step with the samples at `indices`; return whether all was finite.

        `applied` is no longer empty when the parameters have changed.
        """
        data, loss = self.data, self.loss
        wanted = data.wanted[indices]
        weights = data.weights[indices] if len(data.weights) else np.ones(len(indices))
        self._share_penalties(1 / float(weights.sum() or 1.0))
        try:
            rows = data.inputs.take(indices)
            rows[np.abs(rows) < np.finfo(rows.dtype).tiny] = 0  # as `kernels.train_steps` does
            outputs = self.model._forward_logits(rows, True, data.targets.shape[1])
            losses, gradient = loss.measure(outputs, wanted, weights)
            if not np.isfinite(losses).all():
                return False
            self.model._backward_logits(gradient)
        except NotFiniteError:  # a layer met what an earlier one made of finite samples
            return False
        penalty = self.model._penalty()
        arrays = list(self.model._trained_arrays())
        options = {}
        if self.optimizer.clip_norm is not None:
            options["length"] = length_of(gradients for _, gradients in arrays)
            if not np.isfinite(options["length"]):
                return False
        self.optimizer.update_all(arrays, applied, **options)
        totals[t.TOTAL_LOSS] += losses @ weights
        totals[t.TOTAL_WEIGHT] += weights.sum()
        hits = loss.hits(outputs, wanted, data.labels[indices])
        totals[t.TOTAL_RIGHT] += (hits * weights).sum()  # where all are right, all of the sum
        totals[t.TOTAL_PENALTY] += penalty * len(indices)
        totals[t.TOTAL_STEPS] += 1
        return True
