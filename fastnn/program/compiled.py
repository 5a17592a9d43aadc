"""Training in the compiled program, in chunks of steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import kernels
from ..kernels import table as t
from ..kernels.catalogue import Rule, depends_on_mode
from ..kernels.codes import N_SCORES, N_SUMS
from ..kernels.interruption import check_interruption
from ..kernels.records import JOB, PENALTIES
from ..memory import aligned_empty
from ..nn.optimizer import Optimizer, as_steps
from ..nn.own import is_own
from ..nn.schedules import Schedule
from ..types import Array, Floats, Integers, Records
from . import trainer
from .feed import make_feed, smooth_rows
from .plan import make_plan
from .program import Program
from .samples import Samples
from .threads import ThreadTeam
from .trainer import Data, Description, Epoch, Place, Totals, Watch, count_steps, no_totals


class CompiledTrainer:
    """Takes the steps of whole epochs in the compiled program.

    Parameters
    ----------
    program : Program
        With steps. Its precision is that of the products.
    data : Data
        As for `load`.
    n_samples : int
        As for `load`.
    batch_size : int
        As for `load`; later data may have batches that are as large, and no larger.
    optimizer : Optimizer
    team : ThreadTeam
    description : tuple, optional
        What `describe_network` gave when `data` was checked. Without it nothing else is to change
        the network meanwhile.
    stays_packed : bool
        Whether one call of `take` goes on with the weights and states that the one before has left
        packed in the workspace. Else each packs them anew.
    slope_at_zero : bool
        Whether the slope of a penalty |p| is 1 at 0, as in networks from scratch. Else it is 0.
    loss_parameter : float, optional
        How far from its target an answer of a squared or absolute error is right. By default the
        parameter of the loss.
    """

    def __init__(
        self,
        program: Program,
        data: Data,
        n_samples: int,
        batch_size: int,
        optimizer: Optimizer,
        team: ThreadTeam,
        description: Description | None = None,
        *,
        stays_packed: bool = False,
        slope_at_zero: bool = False,
        loss_parameter: float | None = None,
    ) -> None:
        network = self.network = program.network
        self.description, self.stays_packed = description, stays_packed
        self.loss, self.optimizer, self.team = network.loss, optimizer, team
        self.loss_parameter = self.loss.number if loss_parameter is None else loss_parameter
        self.parameters = network.parameters
        self.smoothing = float(getattr(self.loss, "label_smoothing", 0))
        self.traits = traits_of(optimizer)
        self.state = optimizer.state_of(self.parameters)
        clips = optimizer.clip_norm is not None
        plan = self.plan = make_plan(
            program.steps, data.inputs.shape[1], batch_size, network.dtype.itemsize, training=True,
            n_states=len(self.state.arrays), keep_gradients=clips, operands=program.operands,
        )  # fmt: skip
        trained = plan.layers[plan.layers["trains"]]
        self.is_penalized = any(trained[name].any() for name in PENALTIES)
        if slope_at_zero:  # as a factor below 0 says
            for name in ("weights_l1", "biases_l1"):
                plan.layers[name] *= -1
        self.draws_masks = any(map(depends_on_mode, plan.operations))
        self.rule = self._choose_rule(batch_size)
        self.load(data, n_samples, batch_size)
        self.workspace = aligned_empty(plan.workspace_size, network.dtype)
        self.workspace[...] = 0
        self.tiles: tuple[Array, Array] | None = None
        """The packed weights and operands of products in bfloat16."""
        if plan.tiles is not None:
            weights, packed = (aligned_empty(size, np.uint16) for size in plan.tiles)
            weights[...] = packed[...] = 0
            self.tiles = weights, packed
        self.scores = np.empty((N_SCORES, batch_size))
        summed = self.is_penalized or clips
        self.sums = np.full((N_SUMS, plan.n_sums if summed else 0), 0.0)
        self.chunk_steps = max(1, trainer.FIRST_CHUNK // (batch_size * network.n_parameters))
        """How many steps take about as long as a call of the program is to take."""
        self.totals = no_totals()[0]
        self.is_packed = False
        """Whether the workspace holds the parameters and states as they are now."""
        self._is_stored = True
        self._left: tuple[int, Floats | None] = 0, None  # the parameters after the last call
        self._totals = no_totals()  # of the running call of `take`, or of the last one
        self._first = 0  # its first step within the epoch
        self._iterations = self.state.iterations  # of the optimizer, before the epoch's first step

    def load(self, data: Data, n_samples: int, batch_size: int) -> None:
        """Take the steps to come from `data`: `n_samples` an epoch, at most `batch_size` a step."""
        data = smooth_rows(data, self.loss)
        self.data, self.batch_size = data, batch_size
        self.n_samples, self.n_batches = n_samples, -(-n_samples // batch_size)
        if not data.inputs.is_sparse:
            self._point_to(data)

    def _point_to(self, data: Data) -> None:
        """Let the program read these samples."""
        self._feed = make_feed(
            data, self.loss, self.loss_parameter, self.plan.operations, self.state._arrays,
            is_fused=self.rule == Rule.FUSED_DESCENT, columns=self.plan.columns,
        )  # fmt: skip

    def work_with(self, team: ThreadTeam) -> None:
        """Take the next steps with another team, with parameters that may have changed."""
        self.team = team
        self.repack()

    def repack(self) -> None:
        """Pack the parameters and states anew before the next step: they may have changed."""
        self.is_packed = False

    def _choose_rule(self, batch_size: int) -> int:
        owners = self.plan.layers[self.plan.layers["weights"] >= 0]
        # Longer batches are summed in blocks, for which the fused step has no code.
        plain = self.optimizer.is_plain and not self.is_penalized and batch_size <= t.SUM_ROWS
        plain = plain and bool((owners["trains"] & owners["has_biases"]).all())
        plain = plain and self.plan.tiles is None
        return Rule.FUSED_DESCENT if plain else self.optimizer.rule

    def check_unchanged(self) -> None:
        """Refuse another loss, or a layer that a script has changed meanwhile."""
        if self.description is not None:
            trainer.check_unchanged(self.network, self.description)

    def trained_arrays(self) -> list[Floats]:
        """Return the arrays for which the optimizer keeps a state each."""
        return [self.parameters]

    @property
    def step(self) -> int:
        """The steps that the epoch has taken, 0 between epochs."""
        return count_steps(self.totals)

    @property
    def epochs_ahead(self) -> int:
        """How many epochs fit into one compiled call, if the learning rates allow it."""
        rate = self.optimizer.learning_rate
        # One that observes needs each epoch's curves; a user's own function may do anything.
        known = isinstance(rate, Schedule) and not hasattr(rate, "observe")
        known = known and not is_own(rate, "__call__")
        if callable(rate) and not known:
            return 1
        return max(1, self.chunk_steps // self.n_batches)

    @property
    def place(self) -> Place:
        """Nothing: the data are arrays."""
        return {}

    def resume(self, totals: Floats, place: Place | None = None) -> None:
        """Stand within an epoch, whose steps so far have these totals."""
        self.totals[...] = totals

    def take(self, epochs: Sequence[Epoch], watch: Watch | None = None) -> Totals:
        """Take the steps of some epochs; of the first one those behind `step`.

        The states stay in the workspace until `store`.
        """
        totals = no_totals(len(epochs))
        self._first, self._iterations = self.step, self.state.iterations - self.step
        totals[0], self.totals, self._totals = self.totals, totals[0], totals
        if not self.stays_packed:
            self.is_packed = False
        try:
            failed = self._take_chunks(epochs, watch)
            self._count()
        except BaseException:  # such as Ctrl-C, which may have broken off `_count` too
            self._count()
            raise
        self.totals = no_totals()[0]
        return Totals(totals, failed)

    def _count(self) -> None:
        """Count the steps that the program has taken."""
        steps = count_steps(self._totals)
        self.state.iterations = self._iterations + steps
        self.is_packed = self.is_packed or steps > self._first

    def store(self) -> None:
        """Copy the optimizer's states from the workspace to their arrays."""
        if self._is_stored:  # and they may have been restored since
            return
        if self.is_packed and len(self.state._arrays):
            kernels.unpack_states(self.state._arrays, self.workspace, self.plan.layers, self.tiles)
        self._is_stored = True

    def _take_chunks(self, epochs: Sequence[Epoch], watch: Watch | None) -> int | None:
        """Take the steps of all epochs behind `_first`; return None or the batch that failed."""
        orders = epochs[0].order[np.newaxis]
        if len(epochs) > 1:
            orders = np.stack([epoch.order for epoch in epochs])
        keys = None
        if self.draws_masks:
            keys = np.array([[epoch.key, epoch.first] for epoch in epochs])
        step, n_steps = self._first, len(epochs) * self.n_batches
        while step < n_steps:
            check_interruption()
            stops = () if watch is None else watch.next_stops(step)
            last = min(step + self.chunk_steps, n_steps, *stops)
            if self.data.inputs.is_sparse:
                last = min(last, self._end_of_dense(step))
            self.data.check_maps()
            if self.data.inputs.pending is not None:
                self._check_rows(step, last, orders)
            numbers = self.optimizer.numbers(
                self._iterations + step, last - step, self.network.dtype
            )
            # Nothing of a user's own runs between these checks and the kernel.
            steps = as_steps(numbers, last - step)
            self._check_optimizer()
            self.check_unchanged()
            if self.is_packed and self._is_touched():
                self.store()
                self.is_packed = False
            begin, self._is_stored = time.perf_counter(), False
            if self.data.inputs.is_sparse:
                reached = self._run_sparse(step, last, orders, keys, steps)
            else:
                reached = self._run(step, last, orders, keys, steps, self._totals)
            self._count()
            if last < n_steps or self.stays_packed:
                self._remember()
            if reached < last:
                return reached % self.n_batches + 1
            self.chunk_steps = trainer.next_chunk(self.chunk_steps, last - step, begin)
            step = last
            if watch is not None:
                watch.call(step)
        return None

    def _check_rows(self, first: int, last: int, orders: Integers) -> None:
        """Check the samples of some steps."""
        for epoch in range(first // self.n_batches, -(-last // self.n_batches)):
            begin, end = (step - epoch * self.n_batches for step in (first, last))
            rows = orders[epoch, max(begin, 0) * self.batch_size : end * self.batch_size]
            self.data.inputs.check_rows(rows, "X")

    def _remember(self) -> None:
        """Keep the parameters as the program leaves them, where a script may change them."""
        if self.description is not None:
            network = self.network
            left = network.buffer.copy() if network.may_be_changed() else None
            self._left = network.version, left

    def _is_touched(self) -> bool:
        """Return whether the parameters may be others than the program has left.

        It goes on with the weights that it keeps packed, and would not see it.
        """
        if self.description is None:
            return False
        network, (version, left) = self.network, self._left
        if version != network.version:
            return True
        if not network.may_be_changed():
            return False
        bits = f"u{network.dtype.itemsize}"  # without a copy, and NaN equals itself
        return left is None or not np.array_equal(left.view(bits), network.buffer.view(bits))

    def _check_optimizer(self) -> None:
        """Refuse what the workspace was not laid out for: a kernel would write beside it."""
        if self.traits != traits_of(self.optimizer):
            raise ValueError(
                f"optimizer is now {self.optimizer!r}, expected its kind of step (momentum, "
                "amsgrad, clip_norm, ...) to stay as it was when the run began"
            )

    def _end_of_dense(self, step: int) -> int:
        """Return the last of the steps after `step` whose samples are dense at the same time."""
        inputs: Any = self.data.inputs
        count: int = inputs.count_dense(self.batch_size)
        return min(step + count, (step // self.n_batches + 1) * self.n_batches)

    def _run_sparse(
        self, first: int, last: int, orders: Integers, keys: Integers | None, steps: Records
    ) -> int:
        """Take some steps of an epoch on dense rows, as `_run` does."""
        epoch, begin = divmod(first, self.n_batches)
        end = begin + last - first
        rows = orders[epoch, begin * self.batch_size : end * self.batch_size]
        inputs, labels, targets, weights = self.data
        self._point_to(
            Data(
                Samples(inputs.take(rows), self.network.dtype),
                labels[rows],
                targets[rows] if len(targets) else targets,
                weights[rows] if len(weights) else weights,
            )
        )
        if keys is not None:
            keys = keys[epoch : epoch + 1] + np.array([[0, begin]])
        order, totals = np.arange(len(rows))[np.newaxis], self._totals[epoch : epoch + 1]
        return first + self._run(0, end - begin, order, keys, steps, totals)

    def _run(
        self,
        first: int,
        last: int,
        orders: Integers,
        keys: Integers | None,
        steps: Records,
        totals: Floats,
    ) -> int:
        """Take some steps, with all threads of the team; return the step that was reached."""
        team, loss = self.team, (self.loss.kernel_code, self.loss_parameter, self.smoothing)
        job = first, last, self.batch_size, *loss, self.rule, not self.is_packed
        jobs = np.array([job], JOB)
        memory = self.network.buffer, self.workspace, self.scores, self.sums, team.gate
        feed = self._feed

        def run(thread: int) -> int:
            reached: int = kernels.train_steps(
                memory, self.plan.layers, feed.inputs, feed.extended, self.tiles, feed.answers,
                orders, keys, (jobs, steps), totals, thread, team.size,
            )  # fmt: skip
            return reached

        return team.run(run)


def traits_of(optimizer: Optimizer) -> tuple[Any, ...]:
    """Return what the layout of a workspace depends on, and a script may change."""
    return optimizer.rule, optimizer.is_plain, optimizer.clip_norm is None
