"""Training in the compiled program, in chunks of steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import kernels
from ..kernels import table as t
from ..kernels.catalogue import Rule, depends_on_mode, is_basic
from ..kernels.codes import N_SCORES, N_SUMS
from ..kernels.interruption import check_interruption
from ..memory import aligned_empty
from ..nn.loss import Loss
from ..nn.optimizer import Optimizer
from ..nn.own import is_own
from ..nn.schedules import Schedule
from ..types import Floats, Integers
from ..validation import unlocked
from .plan import Plan
from .threads import ThreadTeam
from .trainer import Data, Epoch, Trainer, next_stops


class CompiledTrainer(Trainer):
    """Runs whole epochs in the compiled program, in chunks of steps."""

    has_failed = False
    given: tuple[Any, ...]
    is_packed = False
    """Whether the workspace holds the parameters and states as they are now."""
    goes_on = False  # whether the next call may begin with what the last one has left packed
    _left: tuple[int, Floats | None] = 0, None  # the parameters after the last call

    def __init__(
        self,
        plan: Plan,
        team: ThreadTeam,
        parameters: Floats,
        data: Data,
        n_used: int,
        batch_size: int,
        loss: Loss,
        optimizer: Optimizer,
        *,
        buffer: Floats | None = None,
    ) -> None:
        self.plan, self.team, self.parameters = plan, team, parameters
        # The parameters, and behind them running moments where there are any.
        self.buffer = parameters if buffer is None else buffer
        self.loss, self.optimizer = loss, optimizer
        self.smoothing = float(getattr(loss, "label_smoothing", 0))
        self.traits = traits_of(optimizer)
        self.state = optimizer.state_of(parameters)
        trains = plan.table[:, t.TRAINS] == 1
        self.penalised = bool(plan.coefficients[trains, : t.NUMBER].any())
        self.rule = self._choose_rule(batch_size)
        self.load(data, n_used, batch_size)
        self.workspace = aligned_empty(plan.workspace_size, parameters.dtype)
        self.workspace[...] = 0
        self.scores = np.empty((N_SCORES, batch_size))
        summed = self.penalised or optimizer.clip_norm is not None
        self.sums = np.full((N_SUMS, plan.n_sums if summed else 0), 0.0)
        self.steps = max(1, self.FIRST_CHUNK // (batch_size * parameters.size))
        self.draws = any(map(depends_on_mode, plan.table[:, t.OPERATION].tolist()))
        self.totals = np.full(t.N_TOTALS, 0.0)  # of the epoch that runs

    def load(self, data: Data, n_used: int, batch_size: int) -> None:
        """Take the steps to come from `data`: at most `batch_size` of `n_used` samples a step."""
        if len(data.targets) and self.loss.task == "classes":
            # Labels are smoothed on the way; rows beforehand.
            data = data._replace(targets=self.loss.smoothed(data.targets, data.targets))
        self.data, self.batch_size = data, batch_size
        self.n_used, self.n_batches = n_used, -(-n_used // batch_size)
        if self._is_bare():  # nothing is compiled that only other networks need
            self.given = None, None, unlocked(data.inputs.array), None, None, None
        else:
            inputs = *data.inputs.view(), data.inputs.scaling
            self.given = self.state._arrays, self.plan.coefficients, *inputs, data.weights

    def _choose_rule(self, batch_size: int) -> int:
        owners = self.plan.table[self.plan.table[:, t.WEIGHTS] >= 0]
        # Longer batches are summed in blocks, for which the fused step has no code.
        plain = self.optimizer.is_plain and not self.penalised and batch_size <= t.SUM_ROWS
        plain = plain and bool(owners[:, [t.TRAINS, t.HAS_BIASES]].all())
        return Rule.FUSED_DESCENT if plain else self.optimizer.rule

    def _is_bare(self) -> bool:
        """Return whether `kernels.train_steps` may go without some of its arguments."""
        basic = all(map(is_basic, self.plan.table[:, t.OPERATION].tolist()))
        by_label = self.loss.task == "classes" and not len(self.data.targets)
        return (
            self.rule == Rule.FUSED_DESCENT
            and by_label
            and self.data.inputs.is_ready
            and basic
            and not (self.smoothing or self.loss.number or len(self.data.weights))
        )

    @property
    def epochs_ahead(self) -> int:  # type: ignore[override]  # read-only here
        """How many epochs fit into one compiled call, if the learning rates allow it."""
        rate = self.optimizer.learning_rate
        # One that observes needs each epoch's curves; a user's own function may do anything.
        known = isinstance(rate, Schedule) and not hasattr(rate, "observe")
        known = known and not is_own(rate, "__call__")
        if self.has_failed or (callable(rate) and not known):
            return 1
        return max(1, self.steps // self.n_batches)

    @property
    def step(self) -> int:
        """The steps that the epoch has taken, 0 between epochs."""
        return int(self.totals[t.TOTAL_STEPS])

    def trained_arrays(self) -> list[Floats]:
        """Return the arrays for which the optimizer keeps a state each."""
        return [self.parameters]

    def run_epoch(self, epoch: Epoch) -> tuple[Any, int | None]:
        """Take the steps of an epoch from `self.step` on.

        Return (the dict of the epoch's curves, None or the batch that failed, from 1).
        """
        curves, failed = self.run_epochs([epoch])
        return (None, failed) if failed else (curves[0], None)

    def run_epochs(self, epochs: Sequence[Epoch]) -> tuple[list[dict[str, float]], int | None]:
        """As `run_epoch`, for a list of epochs; return a list of dicts."""
        totals = np.full((len(epochs), t.N_TOTALS), 0.0)
        self.first, self.taken = self.step, self.state.iterations - self.step
        totals[0], self.totals = self.totals, totals[0]
        try:
            failed = self.run_steps(epochs, totals)
            self.settle(_steps_of(totals))
        except BaseException:  # such as Ctrl-C, which may have broken off `settle` too
            self.settle(_steps_of(totals))
            raise
        self.totals = np.full(t.N_TOTALS, 0.0)
        return [self.curves(row, self.n_used) for row in totals], failed

    def settle(self, steps: int | None = None) -> None:
        """Bring the optimizer's states home from the workspace, after `steps` of the epoch."""
        steps = self.step if steps is None else steps
        self.state.iterations = self.taken + steps
        if steps > self.first:  # else they never were in there
            self.unpack()

    def unpack(self) -> None:
        """Copy the optimizer's states from the workspace to their arrays."""
        if len(self.state._arrays):
            kernels.unpack_states(self.state._arrays, self.workspace, self.plan.table)

    def take(self, epoch: Epoch, totals: Floats) -> int | None:
        """Take the steps of a part of an epoch; return None or the batch that failed, from 1.

        `load` has brought its samples. They add to `totals` (1, N_TOTALS); the states stay in the
        workspace until `unpack`.
        """
        before, self.first, self.taken = _steps_of(totals), 0, self.state.iterations
        try:
            failed = self.run_steps([epoch], totals, repack=not self.is_packed)
            self._count(_steps_of(totals) - before)
        except BaseException:  # such as Ctrl-C, which may have broken off `_count` too
            self._count(_steps_of(totals) - before)
            raise
        return failed

    def _count(self, steps: int) -> None:
        self.state.iterations = self.taken + steps
        self.is_packed = self.is_packed or steps > 0

    def run_steps(self, epochs: Sequence[Epoch], totals: Floats, repack: bool = True) -> int | None:
        """Take the steps of all epochs from `self.first` on, which is step `self.taken` of all.

        Return None or the batch that failed, from 1. `totals` (epochs, N_TOTALS) adds up what they
        find. Without `repack` the weights and states go on from the workspace, where the last call
        has left them; `unpack` fetches the states.
        """
        orders = epochs[0].order[np.newaxis]
        if len(epochs) > 1:
            orders = np.stack([epoch.order for epoch in epochs])
        keys = np.array([[epoch.key, epoch.first] for epoch in epochs]) if self.draws else None
        step, n_steps = self.first, len(epochs) * self.n_batches
        while step < n_steps:
            check_interruption()
            last = min(step + self.steps, n_steps, *next_stops(self.strides, step))
            numbers = self.optimizer.numbers(self.taken + step, last - step, self.buffer.dtype)
            # Nothing of a user's own runs between these checks and the kernel.
            self._check_optimizer(numbers, last - step)
            self.check_model()
            repack = repack and step == self.first
            if not repack and self._is_touched():
                self.unpack()
                repack = True
            begin = time.perf_counter()
            reached = self._run(step, last, orders, keys, numbers, totals, repack)
            if last < n_steps or self.goes_on:
                self._remember()
            if reached < last:
                return reached % self.n_batches + 1
            # Some clocks stand still for 16 ms.
            seconds = max(time.perf_counter() - begin, 1e-9) / (last - step)
            self.steps = max(1, min(int(self.CHUNK_SECONDS / seconds), 2 * self.steps))
            step = last
            if self.on_chunk is not None:
                self.on_chunk(step)
        return None

    def _remember(self) -> None:
        """Keep the parameters as the program leaves them, where a script may change them."""
        model = self.model
        if model is not None:
            left = self.buffer.copy() if model._may_be_changed() else None
            self._left = model._version, left

    def _is_touched(self) -> bool:
        """Return whether the parameters may be others than the program has left.

        It goes on with the weights that it keeps packed, and would not see it.
        """
        if self.model is None:
            return False
        version, left = self._left
        if version != self.model._version:
            return True
        if not self.model._may_be_changed():
            return False
        bits = f"u{self.buffer.itemsize}"  # without a copy, and NaN equals itself
        return left is None or not np.array_equal(left.view(bits), self.buffer.view(bits))

    def _check_optimizer(self, numbers: Floats, count: int) -> None:
        """Refuse what the workspace was not laid out for: a kernel would write beside it."""
        if numbers.shape != (count, t.N_NUMBERS) or numbers.dtype != np.float64:
            raise ValueError(
                f"optimizer.numbers gave {numbers.dtype} of shape {numbers.shape}, "
                f"expected float64 of ({count}, {t.N_NUMBERS})"
            )
        if self.traits != traits_of(self.optimizer):
            raise ValueError(
                f"optimizer is now {self.optimizer!r}, expected its kind of step (momentum, "
                "amsgrad, clip_norm, ...) to stay as it was when the run began"
            )

    def _run(
        self,
        first: int,
        last: int,
        orders: Integers,
        keys: Integers | None,
        numbers: Floats,
        totals: Floats,
        repack: bool,
    ) -> int:
        """Take some steps, with all threads of the team; return the step that was reached."""
        data = self.data
        loss, number = self.loss.kind, self.loss.number
        states, coefficients, inputs, layout, scaling, weights = self.given

        def run(thread: int) -> int:
            reached: int = kernels.train_steps(
                self.buffer, states, self.workspace, self.scores, self.sums, self.team.gate,
                self.plan.table, coefficients,
                inputs, layout, scaling, data.labels, data.targets, weights, orders,
                first, last, self.batch_size, keys,
                loss, number, self.smoothing,
                self.rule, numbers, totals, repack, thread, self.team.size,
            )  # fmt: skip
            return reached

        return self.team.run(run)


def traits_of(optimizer: Optimizer) -> tuple[Any, ...]:
    """Return what the layout of a workspace depends on, and a script may change."""
    return optimizer.rule, optimizer.is_plain, optimizer.clip_norm is None


def _steps_of(totals: Floats) -> int:
    """Return the steps that the compiled calls have applied."""
    return int(totals[:, t.TOTAL_STEPS].sum())
