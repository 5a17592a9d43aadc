"""The training loop: epochs of shuffled mini-batches, and what happens between them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable

from ..kernels import table as t
from ..nn.schedules import ReduceOnPlateau
from ..program.make import make_trainer
from ..program.stream import BatchTrainer, Stream
from ..program.threads import ThreadTeam, resolve_threads, with_team
from ..program.trainer import Totals, Trainer, Watch, take_and_store
from ..types import Floats
from .callbacks import Callback, Run
from .data import as_batch
from .errors import NonFiniteLossError
from .history import History
from .request import Request
from .rollback import DivergedError, keep_state, undo_if_diverged
from .session import Session


def train(request: Request) -> History:
    """Take the epochs of a checked request; return their History."""
    program, optimizer, data = request.program, request.optimizer, request.data
    if data is None:
        stream = Stream(program, optimizer, request.description, stays_packed=True)
        check = functools.partial(as_batch, program, request.class_weight, request.scaling)
        return run_epochs(request, BatchTrainer(stream, request.batches, check, request.threads))
    batch_size = request.batch_size

    def train_with(team: ThreadTeam) -> History:
        trainer = make_trainer(
            program, data, request.n_used, batch_size, optimizer, team, request.description
        )
        return run_epochs(request, trainer)

    n_threads = 1
    if program.compiles(optimizer):
        n_threads = resolve_threads(request.threads, 3 * batch_size * program.network.n_parameters)
    return with_team(n_threads, train_with)


def run_epochs(request: Request, trainer: Trainer) -> History:
    """Train the epochs that are left; return their History.

    An epoch that diverges is undone and raises NonFiniteLossError.
    """
    run, network, observe = request.run, request.program.network, request.observe
    history = run.history
    run.curve_names[:0] = curve_names(trainer)
    run.n_steps, run.n_samples = trainer.n_batches, trainer.n_samples
    callbacks = sorted(request.callbacks, key=lambda each: each.comes_last)
    session = Session(run, network, trainer, request.order.rng, callbacks, request.settings)
    watch = _make_watch(run, callbacks, session)

    def call(hook: str) -> None:
        for callback in callbacks:
            getattr(callback, hook)(run)

    def take() -> Totals:
        totals = take_and_store(trainer, [request.order()], watch)
        run.n_steps, run.n_samples = trainer.n_batches, trainer.n_samples
        if totals.failed is not None:
            raise DivergedError(totals.failed)
        return totals

    with contextlib.ExitStack() as stack:
        for callback in callbacks:
            stack.callback(callback.close)
        stack.callback(network.note_change)
        _begin_schedule(trainer, run)
        restore = None if request.resume is None else session.read(request.resume)
        call("on_fit_begin")
        if restore is not None:
            restore()
        del restore  # with the arrays of the file
        may_run_ahead = observe is None and not callbacks
        while run.epoch < run.epochs and not run.stopped:
            if may_run_ahead:
                n_taken = _run_ahead(request, trainer)
                may_run_ahead = n_taken is not None
                if n_taken:
                    continue
            session.begin_epoch()
            run.epoch, run.step = run.epoch + 1, trainer.step
            call("on_epoch_begin")
            trainer.check_unchanged()
            try:
                totals = undo_if_diverged(take, network.is_finite, session.roll_back)
            except DivergedError as error:
                batch = trainer.n_batches if error.batch is None else error.batch
                raise NonFiniteLossError(
                    run.epoch, batch, history, at_end=error.batch is None
                ) from None
            trainer.check_unchanged()  # what is observed belongs to the same loss
            curves = curves_of(trainer, totals.sums[0], trainer.n_samples)
            history.append(run.epoch, curves if observe is None else {**curves, **observe()})
            tell = getattr(trainer.optimizer.learning_rate, "observe", None)
            if tell is not None:
                tell(history.latest())
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


def _run_ahead(request: Request, trainer: Trainer) -> int | None:
    """Take several short epochs in one call, where nothing is to happen between them.

    Return how many were taken. None: one has diverged, so that all were undone, and are to be taken
    one by one.
    """
    run, order, network = request.run, request.order, request.program.network
    count = min(trainer.epochs_ahead, run.epochs - run.epoch)
    if count < 2 or order.is_own or trainer.step:
        return 0
    states = [trainer.optimizer.state_of(array) for array in trainer.trained_arrays()]
    restore = keep_state(network, states, order.rng)

    def take() -> Totals:
        totals = take_and_store(trainer, [order() for _ in range(count)])
        if totals.failed is not None:
            raise DivergedError(totals.failed)
        return totals

    try:
        totals = undo_if_diverged(take, network.is_finite, restore)
    except DivergedError:
        return None
    for sums in totals.sums:
        run.epoch += 1
        run.history.append(run.epoch, curves_of(trainer, sums, trainer.n_samples))
    return count


def _make_watch(run: Run, callbacks: Iterable[Callback], session: Session) -> Watch | None:
    """Return what tells callbacks of the steps within an epoch; None where none wants to know."""
    watching = [each for each in callbacks if each.watches_chunks]
    if not watching:
        return None

    def on_chunk(step: int) -> None:
        run.step = step
        for callback in watching:
            callback.on_chunk_end(run)
        session.write_files()

    return Watch(on_chunk, [each.chunk_steps for each in callbacks if each.chunk_steps])


def curve_names(trainer: Trainer) -> list[str]:
    """Return the names of the curves of an epoch, in their order."""
    names = ["loss"] if trainer.loss.task == "numbers" else ["loss", "accuracy"]
    return [*names, "penalty"] if trainer.is_penalized else names


def curves_of(trainer: Trainer, sums: Floats, n_samples: int) -> dict[str, float]:
    """Return {name of a curve: its value} of an epoch whose `n_samples` add up to `sums`."""
    loss, curves = sums[t.TOTAL_LOSS] / sums[t.TOTAL_WEIGHT], {}
    if trainer.is_penalized:
        curves["penalty"] = float(sums[t.TOTAL_PENALTY] / n_samples)
        loss += curves["penalty"]
    if trainer.loss.task != "numbers":
        right = sums[t.TOTAL_RIGHT] / sums[t.TOTAL_WEIGHT]
        curves = {"accuracy": float(right), **curves}
    return {"loss": float(loss), **curves}
