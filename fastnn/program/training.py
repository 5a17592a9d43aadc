"""The training loop: epochs of shuffled mini-batches, compiled or layer by layer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import kernels
from ..errors import NonFiniteLossError
from ..kernels import table as t
from ..kernels.codes import N_SCORES, N_SUMS, Rule, depends_on_mode, is_basic
from ..kernels.interruption import check_interruption
from ..memory import aligned_empty
from ..nn.dropout import Dropout, draw_key
from ..nn.losses import Loss
from ..nn.optimizers import Optimizer, length_of
from ..nn.own import is_own, overrides
from ..nn.schedules import ReduceOnPlateau, Schedule
from ..run.callbacks import Callback, Run
from ..run.history import History
from ..run.session import Session
from ..types import Array, Floats, Integers, MaybeNone, PathLike, Shuffle
from ..validation import NotFiniteError, as_order, unlocked
from .plan import Plan, describe
from .samples import Samples
from .threads import Crew, finish

if TYPE_CHECKING:
    from ..nn.network import Network
    from ..run.request import Trainable

# A compiled call returns after about this many seconds, so that Ctrl-C is answered.
_CHUNK_SECONDS = 0.05

# The first one takes about so many multiply-adds, which is soon for any network.
_FIRST_CHUNK = 10_000_000


def run_epochs(
    run: Run,
    trainer: Trainer,
    order: Draws,
    observe: Callable[[], dict[str, float]] | None,
    settings: dict[str, Any],
    callbacks: Iterable[Callback] = (),
    resume: PathLike | None = None,
) -> History:
    """Train the epochs of `run` that are left and return its History.

    `order()` gives the next :class:`Epoch`; `observe()` the dict of the curves that are measured
    after it, unless it is None. A diverging epoch is undone and raises NonFiniteLossError. `resume`
    is the checkpoint to go on from, or None; `settings` has what is to be as it was there.
    """
    model, history = run.model, run.history
    run.curve_names[:0] = trainer.curve_names
    run.n_steps, run.n_samples = trainer.n_batches, trainer.n_used
    callbacks = sorted(callbacks, key=lambda each: each.comes_last)
    session = Session(run, trainer, order.rng, callbacks, settings)
    trainer.on_chunk = _chunk_hook(run, callbacks, session)
    trainer.strides = [each.chunk_steps for each in callbacks if each.chunk_steps]

    def call(hook: str) -> None:
        for callback in callbacks:
            getattr(callback, hook)(run)

    with contextlib.ExitStack() as stack:
        for callback in callbacks:
            stack.callback(callback.close)
        stack.callback(setattr, trainer, "on_chunk", None)  # which refers to the trainer
        stack.callback(model._note_change)
        _begin_schedule(trainer, run)
        restore = None if resume is None else session.read(resume)
        call("on_fit_begin")
        if restore is not None:
            restore()
        del restore  # with the arrays of the file
        alone = observe is None and not callbacks
        while run.epoch < run.epochs and not run.stopped:
            if alone and _run_ahead(run, trainer, order):
                continue
            session.begin_epoch()
            run.epoch, run.step = run.epoch + 1, trainer.step
            call("on_epoch_begin")
            trainer.check_model()
            try:
                # A weight that overflows shows in the loss of the next batch, or here at the end.
                with np.errstate(over="ignore", invalid="ignore"):
                    curves, failed = trainer.run_epoch(order())
                run.n_steps, run.n_samples = trainer.n_batches, trainer.n_used
                if failed is not None or not model._is_finite():
                    batch = trainer.n_batches if failed is None else failed
                    raise NonFiniteLossError(run.epoch, batch, history, at_end=failed is None)
            except BaseException as error:
                # Also where Ctrl-C came between the overflow and its discovery.
                if isinstance(error, NonFiniteLossError) or not model._is_finite():
                    finish(session.roll_back)
                raise
            trainer.check_model()  # what is observed belongs to the same loss
            history.append(run.epoch, curves if observe is None else {**curves, **observe()})
            watch = getattr(trainer.optimizer.learning_rate, "observe", None)
            if watch is not None:
                watch(history.latest())
            call("on_epoch_end")
            session.write_files()
        call("on_fit_end")
    return history


def _begin_schedule(trainer: Trainer, run: Run) -> None:
    """Check the curve that a schedule watches; begin it anew for a model that is new to it."""
    schedule = trainer.optimizer.learning_rate
    if isinstance(schedule, ReduceOnPlateau):
        schedule.check_curves(run.curve_names, run.metrics)
        states = map(trainer.optimizer.state_of, trainer.trained_arrays())
        if not any(state.iterations for state in states):
            schedule.reset()


def _run_ahead(run: Run, trainer: Any, order: Draws) -> bool:
    """Take several short epochs in one compiled call, if nothing is to happen between them.

    Return whether that was done. Where one diverges all are undone, to be taken one by one.
    """
    model, count = run.model, min(trainer.epochs_ahead, run.epochs - run.epoch)
    if count < 2 or order.is_own or trainer.step:
        return False
    generator = order.rng.bit_generator
    before = model._snapshot(), trainer.state.snapshot(), generator.state

    def roll_back() -> None:
        model._restore(before[0])
        trainer.state.restore(before[1])
        generator.state = before[2]

    try:
        with np.errstate(over="ignore", invalid="ignore"):
            curves, failed = trainer.run_epochs([order() for _ in range(count)])
    except BaseException:
        if not model._is_finite():
            finish(roll_back)
        raise
    if failed is not None or not model._is_finite():
        finish(roll_back)
        trainer.has_failed = True
        return False
    for row in curves:
        run.epoch += 1
        run.history.append(run.epoch, row)
    return True


def _chunk_hook(
    run: Run, callbacks: Iterable[Callback], session: Session
) -> Callable[[int], None] | None:
    """Return what a trainer is to call after each chunk with the steps taken; None for nothing."""
    wanted = [each for each in callbacks if each.watches_chunks]
    if not wanted:
        return None

    def on_chunk(step: int) -> None:
        run.step = step
        for callback in wanted:
            callback.on_chunk_end(run)
        session.write_files()

    return on_chunk


def _next_stops(strides: Iterable[int], step: int) -> list[int]:
    """Return the next multiple behind `step` of each stride: where a chunk has to end."""
    return [(step // stride + 1) * stride for stride in strides]


class Data(NamedTuple):
    """Checked samples: what a trainer takes from."""

    inputs: Samples  # (N, I)
    labels: Integers  # (N,) int64
    targets: Floats  # (N, O), or (0, O) where the labels say all
    weights: Floats  # (N,) float64, or (0,) where all are 1

    @property
    def wanted(self) -> Array:
        """The targets as a loss takes them: rows, or labels."""
        return self.targets if len(self.targets) else self.labels


class Targets(NamedTuple):
    """Targets that have been checked, for several models."""

    labels: Integers  # (N,) int64
    targets: Floats  # (N, O), or (0, O) where the labels say all


class Epoch(NamedTuple):
    """What the random generator gives for an epoch."""

    order: Integers  # (M,) int64, of the samples
    key: int = 0  # of dropout's masks
    first: int = 0  # the number of its first batch, for dropout


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


class Trainer:
    """What all share. They have a `loss`, an `optimizer`, and may be `penalised`."""

    loss: Any
    optimizer: Optimizer
    penalised: bool
    n_batches: int
    n_used: int
    totals: Floats
    on_chunk: Callable[[int], None] | None = None
    strides: Sequence[int] = ()
    epochs_ahead = 1
    model: Network | MaybeNone = None
    made_for: tuple[Any, ...] = ()
    _last_chunk = -np.inf

    if TYPE_CHECKING:  # each has its own

        @property
        def step(self) -> int: ...
        def trained_arrays(self) -> list[Floats]: ...
        def settle(self) -> None: ...
        def run_epoch(self, epoch: Epoch) -> tuple[Any, int | None]: ...

    def check_model(self) -> None:
        """Refuse another loss, or a layer that a script has changed meanwhile."""
        if self.model is not None:
            check_unchanged(self.model, self.made_for)

    @property
    def curve_names(self) -> list[str]:
        """The names of the curves of an epoch, in their order."""
        names = ["loss"] if self.loss.task == "numbers" else ["loss", "accuracy"]
        return [*names, "penalty"] if self.penalised else names

    def curves(self, totals: Floats, n: int) -> dict[str, float]:
        """Return the dict of the curves that belong to the totals of an epoch of `n` samples."""
        loss, curves = totals[t.TOTAL_LOSS] / totals[t.TOTAL_WEIGHT], {}
        if self.penalised:
            curves["penalty"] = float(totals[t.TOTAL_PENALTY] / n)
            loss += curves["penalty"]
        if self.loss.task != "numbers":
            right = totals[t.TOTAL_RIGHT] / totals[t.TOTAL_WEIGHT]
            curves = {"accuracy": float(right), **curves}
        return {"loss": float(loss), **curves}

    def _end_batch(self, batch: int, n_batches: int | None = None) -> None:
        """End a chunk if it is time: with the epoch, and now and then before."""
        if self.on_chunk is None:
            return
        now = time.perf_counter()
        stops = [n_batches, *_next_stops(self.strides, batch - 1)]
        if batch in stops or now - self._last_chunk >= _CHUNK_SECONDS:
            self._last_chunk = now
            self.on_chunk(batch)


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
        crew: Crew,
        parameters: Floats,
        data: Data,
        n_used: int,
        batch_size: int,
        loss: Loss,
        optimizer: Optimizer,
        *,
        buffer: Floats | None = None,
    ) -> None:
        self.plan, self.crew, self.parameters = plan, crew, parameters
        # The parameters, and behind them running moments where there are any.
        self.buffer = parameters if buffer is None else buffer
        self.loss, self.optimizer = loss, optimizer
        self.smoothing = float(getattr(loss, "label_smoothing", 0))
        self.traits = _traits_of(optimizer)
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
        self.steps = max(1, _FIRST_CHUNK // (batch_size * parameters.size))
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
            last = min(step + self.steps, n_steps, *_next_stops(self.strides, step))
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
            self.steps = max(1, min(int(_CHUNK_SECONDS / seconds), 2 * self.steps))
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
        if self.traits != _traits_of(self.optimizer):
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
        """Take some steps, with all threads of the crew; return the step that was reached."""
        data = self.data
        loss, number = self.loss.kind, self.loss.number
        states, coefficients, inputs, layout, scaling, weights = self.given

        def run(thread: int) -> int:
            reached: int = kernels.train_steps(
                self.buffer, states, self.workspace, self.scores, self.sums, self.crew.gate,
                self.plan.table, coefficients,
                inputs, layout, scaling, data.labels, data.targets, weights, orders,
                first, last, self.batch_size, keys,
                loss, number, self.smoothing,
                self.rule, numbers, totals, repack, thread, self.crew.size,
            )  # fmt: skip
            return reached

        return self.crew.run(run)


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
                layer._place = None
            self._share_penalties(1.0)

    def _share_penalties(self, part: float) -> None:
        if self.optimizer.per_sample:
            for layer in self.model._parametric:
                layer._penalty_part = part

    def _take_batches(self, epoch: Epoch, totals: Floats, begin: int) -> int | None:
        """Take the steps of an epoch; return None or the batch that failed, from 1."""
        for batch in range(begin, self.n_batches):
            check_interruption()
            self.check_model()
            indices = epoch.order[batch * self.batch_size : (batch + 1) * self.batch_size]
            for i, layer in enumerate(self.drops):
                layer._place = epoch.key, i, epoch.first + batch
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


def _traits_of(optimizer: Optimizer) -> tuple[Any, ...]:
    """Return what the layout of a workspace depends on, and a script may change."""
    return optimizer.rule, optimizer.is_plain, optimizer.clip_norm is None


def _steps_of(totals: Floats) -> int:
    """Return the steps that the compiled calls have applied."""
    return int(totals[:, t.TOTAL_STEPS].sum())


def describe_layers(model: Network) -> tuple[Any, ...]:
    """Return what a plan depends on beside the optimizer, and a script may change."""
    loss = model._loss
    smoothing = getattr(loss, "label_smoothing", 0)
    return id(loss), loss._is_own, smoothing, describe(model._layers)


def check_unchanged(model: Network, made_for: tuple[Any, ...]) -> None:
    """Refuse a model that is no longer as `describe_layers` found it."""
    if describe_layers(model) != made_for:
        raise ValueError(
            "a layer or the loss was changed during the run, "
            "expected them to stay as they were when it began"
        )


def make_trainer(
    model: Trainable,
    data: Data,
    n_used: int,
    batch_size: int,
    optimizer: Optimizer,
    crew: Crew,
    made_for: tuple[Any, ...],
) -> CompiledTrainer | LayerTrainer:
    """Return the trainer of a model: compiled where all layers, and the optimizer, are known.

    `made_for` is what `describe_layers` gave when `data` was checked.
    """
    trainer: CompiledTrainer | LayerTrainer
    if compiles(model, optimizer):
        trainer = model._compiled_trainer(crew, data, n_used, batch_size, optimizer)
    else:
        trainer = LayerTrainer(model, data, n_used, batch_size, optimizer)
    trainer.model, trainer.made_for = model, made_for
    trainer.check_model()
    return trainer


def compiles(model: Network, optimizer: Optimizer) -> bool:
    """Return whether the program has all layers, the loss and the optimizer's steps."""
    own = model.loss._is_own or overrides(optimizer, Optimizer, "update")
    return model._steps is not None and not own


def trained_arrays(model: Network, optimizer: Optimizer) -> list[Floats]:
    """Return the arrays for which the optimizer keeps a state each."""
    if compiles(model, optimizer):
        return [model._show("parameters")]
    return [getattr(owner, name) for owner, name, _ in model._trained_places()]
