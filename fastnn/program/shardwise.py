"""Training with the ranks of several processes in the compiled program, in chunks of steps."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from .. import kernels
from ..kernels.catalogue import Operation, depends_on_mode
from ..kernels.codes import N_NOTES, N_SCORES, Note
from ..kernels.interruption import check_interruption
from ..kernels.records import JOB, LINK
from ..memory import aligned_empty
from ..nn.optimizer import Optimizer, as_steps, length_of
from ..types import Floats, Integers, Records
from . import trainer
from .compiled import traits_of
from .doors import Door
from .feed import make_feed, smooth_rows
from .plan import make_plan
from .program import Program
from .ranks import Place, Ranks
from .rankwise import RanksTrainer
from .threads import ThreadTeam
from .trainer import Data, Description, Epoch, Watch


class ShardTrainer(RanksTrainer):
    """Takes the steps of :class:`RanksTrainer` in the compiled program, with the same bits.

    A call takes many steps. A step calls a function of Python for what the ranks exchange, if there
    are several: at its end, and for each BatchNorm. A step with penalties or with a limit of the
    norm of the gradient calls it too.

    Parameters
    ----------
    program : Program
        With steps. This and the next seven are as of :class:`RanksTrainer`.
    data : Data
    n_samples : int
    batch_size : int
    optimizer : Optimizer
    description : tuple
    ranks : Ranks
    check_signals : callable
    team : ThreadTeam
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
        team: ThreadTeam,
    ) -> None:
        samples = data, n_samples, batch_size
        super().__init__(program, *samples, optimizer, description, ranks, check_signals)
        network = self.network
        self.team, self.traits = team, traits_of(optimizer)
        self.state = optimizer.state_of(network.parameters)
        plan = self.plan = make_plan(
            program.steps, data.inputs.shape[1], batch_size, network.dtype.itemsize, training=True
        )
        self.draws_masks = any(map(depends_on_mode, plan.operations))
        self.workspace = aligned_empty(plan.workspace_size, network.dtype)
        self.workspace[...] = 0
        self.scores = np.zeros((N_SCORES, batch_size))
        self._nodes = np.array(ranks.own_nodes, np.int64)
        self._results = np.zeros((ranks.shards, 2))
        layers = plan.layers[plan.layers["operation"] == Operation.BATCH_NORM]
        width = 2 * int(layers["n_outputs"].max(initial=0))
        self._moments = np.zeros((len(ranks.own_shards) + 3, width))
        self._notes = np.zeros(N_NOTES)
        self._completes = self.is_penalized or optimizer.clip_norm is not None
        self.chunk_steps = max(1, trainer.FIRST_CHUNK // (batch_size * network.n_parameters))
        self._iterations = self.state.iterations  # before the first step of the epoch
        self.message_bytes = ranks.count_bytes(self.shard_gradients)
        if self.windows is None:
            self._take_from(data)

    def trained_arrays(self) -> list[Floats]:
        """Return the arrays for which the optimizer keeps a state each."""
        return [self.network.parameters]

    def _take_from(self, data: Data) -> None:
        super()._take_from(data)
        no_states = np.empty((0, self.network.n_parameters), self.network.dtype)
        self._feed = make_feed(
            smooth_rows(data, self.loss), self.loss, self.loss.number, self.plan.operations,
            no_states, columns=self.plan.columns,
        )  # fmt: skip

    def _take_batches(self, epoch: Epoch, watch: Watch | None) -> int | None:
        """As in the base class."""
        self._iterations = self.state.iterations - self.step
        try:
            failed = self._take_chunks(epoch, watch)
            self._count()
        except BaseException:  # such as Ctrl-C, which may have broken off `_count` too
            self._count()
            raise
        return failed

    def _count(self) -> None:
        """Count the steps that the program has taken."""
        self.state.iterations = self._iterations + self.step

    def _take_chunks(self, epoch: Epoch, watch: Watch | None) -> int | None:
        """Take the steps of an epoch after `step`; return None or the batch that failed."""
        step = self.step
        while step < self.n_batches:
            check_interruption()
            self.check_signals()
            stops = () if watch is None else watch.next_stops(step)
            last = min(step + self.chunk_steps, self.n_batches, *stops)
            indices, last = self._gather_indices(epoch, step, last)
            numbers = self.optimizer.numbers(self.state.iterations, last - step, self.network.dtype)
            # Nothing of a user's own runs between these checks and the kernel, but for the
            # exchange of a class of ranks.
            steps = as_steps(numbers, last - step)
            if self.traits != traits_of(self.optimizer):
                raise ValueError(
                    f"optimizer is now {self.optimizer!r}, expected its kind of step (momentum, "
                    "amsgrad, clip_norm, ...) to stay as it was when the run began"
                )
            self.check_unchanged()
            begin = time.perf_counter()
            reached = step + self._run(indices, epoch.key, epoch.first + step, steps)
            self._count()
            if reached < last:
                return reached + 1
            self.chunk_steps = trainer.next_chunk(self.chunk_steps, last - step, begin)
            step = last
            if watch is not None:
                watch.call(step)
        return None

    def _gather_indices(self, epoch: Epoch, first: int, last: int) -> tuple[Integers, int]:
        """Return where the samples of some batches are, and the last batch that `data` has."""
        if self.windows is not None:
            batches = [self._begin_batch(epoch, first)]
            last = min(last, self.windows.last)
            batches += [self.windows.indices_of(batch) for batch in range(first + 1, last)]
            return np.concatenate(batches), last
        self.data.check_maps()
        if self.data.inputs.pending is not None:
            for batch in range(first, last):
                self._begin_batch(epoch, batch)
        return epoch.order[first * self.batch_size : last * self.batch_size], last

    def _run(self, indices: Integers, key: int, number: int, steps: Records) -> int:
        """Take some steps; return how many were taken.

        `key` and `number` are those of the dropout masks of the first batch.
        """
        ranks, team, loss = self.ranks, self.team, self.loss
        smoothing = float(getattr(loss, "label_smoothing", 0))
        job = (
            0, len(steps), self.batch_size, loss.kernel_code, loss.number, smoothing,
            self.optimizer.rule, True,
        )  # fmt: skip
        task = np.array([job], JOB), steps
        keys = np.array([[key, number]]) if self.draws_masks else None
        notes, feed = self._notes, self._feed

        def pass_door(step: int) -> None:
            if step < 0:  # within a step, for a BatchNorm
                self._add_moments(-step)
                return
            batch = indices[step * self.batch_size : (step + 1) * self.batch_size]
            if ranks.size > 1:
                self._exchange()
            if self._completes and notes[Note.IS_FINITE]:
                self._complete(batch)

        def let_pass() -> None:
            notes[Note.STATUS] = 0

        address, door = 0, None
        if ranks.size > 1 or self._completes:
            door = Door(pass_door, let_pass)  # a name that lives as long as the call
            address = door.address
        link = np.array([(ranks.own_shards.start, ranks.shards, address)], LINK)
        memory = self.network.buffer, self.state._arrays, self.workspace, self.scores, team.gate
        arrays = self.shard_gradients, self._results, self._moments, notes
        shards = link, self._nodes, *arrays

        def run(thread: int) -> int:
            reached: int = kernels.train_shards(
                memory, self.plan.layers, feed.inputs, feed.extended, feed.answers, indices, keys,
                shards, task, self.totals, thread, team.size,
            )  # fmt: skip
            return reached

        reached = team.run(run)
        if door is not None:
            door.check()
        if notes[Note.STATUS]:  # Ctrl-C came before the function began: ctypes has shown it
            raise KeyboardInterrupt
        return reached

    def _add_moments(self, count: int) -> None:
        """Put the sum of the first `count` numbers of the shards of all ranks in the first row."""
        ranks, parts = self.ranks, self._moments[:-3, :count]
        if ranks.size > 1:
            self.check_signals()
            ranks.meet(Place.STEP, [1])
            self._moments[0, :count] = ranks.add_few_subtrees(parts)

    def _exchange(self) -> None:
        """Exchange the results of the shards, and put the sum of all gradients in the first row."""
        self.check_signals()
        notes, gradients = self._notes, self.shard_gradients
        is_finite = bool(notes[Note.IS_FINITE])
        total = self.ranks.add_in_step(is_finite, self._results, gradients)
        notes[Note.IS_FINITE] = total is not None
        if total is not None:
            gradients[0] = total
            self.ranks.note_first_step()

    def _complete(self, batch: Integers) -> None:
        """Add the slopes of penalties to the gradient, and measure what clips it."""
        network, notes = self.network, self._notes
        network.gradients[...] = self.shard_gradients[0]
        self._add_slopes(batch)
        notes[Note.PENALTY] = network.penalty()
        limit = self.optimizer.clip_norm
        if limit is not None:
            length = length_of(gradients for _, gradients in network.trained_arrays())
            notes[Note.IS_FINITE] = np.isfinite(length)
            notes[Note.SCALE] = min(1.0, limit / (length + 1e-6))
        self.shard_gradients[0] = network.gradients
