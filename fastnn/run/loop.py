"""The training loop: epochs of mini-batches, with evaluation and callbacks between them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable

from ..kernels import table as t
from ..nn.schedules import ReduceOnPlateau
from ..program.batches import BatchTrainer
from ..program.make import make_trainer
from ..program.ranks import Ranks
from ..program.rankwise import RanksTrainer, make_shard_program
from ..program.stream import Stream
from ..program.threads import ThreadTeam, resolve_threads, with_team
from ..program.trainer import Data, Totals, Trainer, Watch, take_and_store
from ..types import Floats
from .averages import Averages, averaging
from .callbacks import Callback, Run
from .data import as_batch
from .errors import NonFiniteLossError
from .history import History
from .meeting import Meeting
from .order import BatchOrders
from .request import Request
from .rollback import DivergedError, keep_state, undo_if_diverged
from .session import Session


def train(request: Request) -> History:
    """Train as a checked request says; return the History."""
    with averaging(request.optimizer, request.average_decay):
        return _train(request)


def _train(request: Request) -> History:
    program, optimizer, data = request.program, request.optimizer, request.data
    if data is None:
        stream = Stream(program, optimizer, request.description, stays_packed=True)
        batch_size, order = request.batch_size, request.order
        assert isinstance(order, BatchOrders)
        check = functools.partial(
            as_batch, program, request.class_weight, request.scaling, batch_size, order.drop_last
        )
        batches = BatchTrainer(
            stream, request.batches, check, order.of_batch, batch_size, request.steps_per_epoch,
            request.threads,
        )  # fmt: skip
        return run_epochs(request, batches)
    batch_size = request.batch_size
    assert batch_size is not None
    if request.ranks is not None and needs_exchange(request.ranks):
        return _train_with_ranks(request, request.ranks, data, batch_size)

    def train_with(team: ThreadTeam) -> History:
        trainer = make_trainer(
            program, data, request.n_used, batch_size, optimizer, team, request.description
        )
        return run_epochs(request, trainer)

    n_threads = 1
    if program.compiles(optimizer):
        n_threads = resolve_threads(request.threads, 3 * batch_size * program.network.n_parameters)
    return with_team(n_threads, train_with)


def needs_exchange(ranks: Ranks) -> bool:
    """Return whether ranks have anything to add: one shard trains as `fit` does without ranks."""
    return ranks.shards > 1


def _train_with_ranks(request: Request, ranks: Ranks, data: Data, batch_size: int) -> History:
    program = request.program
    n_threads = 1  # as the other ranks of this host have a core each
    if ranks.size == 1 or request.threads is not None:
        work = 3 * batch_size * program.network.n_parameters // ranks.size
        n_threads = resolve_threads(request.threads, work)

    def train_with(team: ThreadTeam) -> History:
        meeting = Meeting(ranks, program.network)
        with meeting.entered():
            trainer = RanksTrainer(
                program, data, request.n_used, batch_size, request.optimizer, request.description,
                ranks, meeting.check_signals, make_shard_program(program, batch_size, team),
            )  # fmt: skip
            return run_epochs(request, trainer, meeting)

    return with_team(n_threads, train_with)


def run_epochs(request: Request, trainer: Trainer, meeting: Meeting | None = None) -> History:
    """Train until the last epoch of the run, or until a callback stops it; return the History.

    `meeting` is that of the ranks that train together.

    If an epoch diverges, it is undone and NonFiniteLossError is raised.
    """
    run, network, observe = request.run, request.program.network, request.observe
    history = run.history
    run._add_training_curves(curve_names(trainer))
    run._set_sizes(trainer.n_batches, trainer.n_samples)
    callbacks = sorted(request.callbacks, key=lambda each: each.comes_last)
    averages = Averages(trainer)
    session = Session(
        run, network, trainer, request.order.rng, callbacks, request.settings, averages
    )
    watch = _make_watch(run, callbacks, session)

    def call(hook: str) -> None:
        for callback in callbacks:
            getattr(callback, hook)(run)

    def take_epoch() -> Totals:
        epoch = request.order()
        if meeting is not None:
            if request.order.may_differ:
                meeting.check_order(epoch.order, run.epoch)
            meeting.begin_steps()
        totals = take_and_store(trainer, [epoch], watch)
        if meeting is not None:
            run._set_exchange_part(meeting.find_exchange_part())
        run._set_sizes(trainer.n_batches, trainer.n_samples)
        if totals.failed is not None:
            raise DivergedError(totals.failed)
        return totals

    with contextlib.ExitStack() as stack:
        for callback in callbacks:
            stack.callback(callback.close)
        stack.callback(network.note_change)
        stack.callback(averages.show)
        _begin_schedule(trainer, run)
        restore = None if request.resume is None else session.read(request.resume)
        call("on_fit_begin")
        if restore is not None:
            restore()
        del restore  # frees the arrays of the file
        if meeting is not None and request.data is not None:
            meeting.begin(session.describe_progress(), request.data, observe)
        may_run_ahead = observe is None and not callbacks and meeting is None
        while run.epoch < run.epochs and not run.stopped:
            if may_run_ahead:
                n_epochs = _run_ahead(request, trainer)
                may_run_ahead = n_epochs is not None
                if n_epochs:
                    continue
            averages.show(False)
            session.begin_epoch()
            run._begin_epoch(trainer.step)
            call("on_epoch_begin")
            trainer.check_unchanged()
            try:
                totals = undo_if_diverged(take_epoch, network.is_finite, session.roll_back)
            except DivergedError as error:
                batch = trainer.n_batches if error.batch is None else error.batch
                raise NonFiniteLossError(
                    run.epoch, batch, history, at_end=error.batch is None
                ) from None
            trainer.check_unchanged()  # the evaluation uses the same loss as the training
            averages.show()
            curves = curves_of(trainer, totals.sums[0], trainer.n_samples)
            history.append(run.epoch, curves if observe is None else {**curves, **observe()})
            schedule_observe = getattr(trainer.optimizer.learning_rate, "observe", None)
            if schedule_observe is not None:
                schedule_observe(history.latest())
            call("on_epoch_end")
            if meeting is not None:
                run.stopped = meeting.end_epoch(run.epoch, run.stopped)
            session.write_files()
        averages.show()
        call("on_fit_end")
    return history


def _begin_schedule(trainer: Trainer, run: Run) -> None:
    """Check the curve that a schedule watches. Reset the schedule for an untrained optimizer."""
    schedule = trainer.optimizer.learning_rate
    if isinstance(schedule, ReduceOnPlateau):
        schedule.check_curves(run.curve_names, run.metrics)
        states = map(trainer.optimizer.state_of, trainer.trained_arrays())
        if not any(state.iterations for state in states):
            schedule.reset()


def _run_ahead(request: Request, trainer: Trainer) -> int | None:
    """Train several short epochs in one compiled call, if nothing has to happen between them.

    Return the number of epochs that were trained, 0 if it takes a call for each. Return None if one
    diverged: all were undone, and the caller trains them one by one to find out which.
    """
    run, order, network = request.run, request.order, request.program.network
    n_epochs = min(trainer.epochs_ahead, run.epochs - run.epoch)
    if n_epochs < 2 or order.is_own or trainer.step:
        return 0
    states = [trainer.optimizer.state_of(array) for array in trainer.trained_arrays()]
    restore = keep_state(network, states, order.rng)

    def take_epochs() -> Totals:
        totals = take_and_store(trainer, [order() for _ in range(n_epochs)])
        if totals.failed is not None:
            raise DivergedError(totals.failed)
        return totals

    try:
        totals = undo_if_diverged(take_epochs, network.is_finite, restore)
    except DivergedError:
        return None
    for sums in totals.sums:
        run._begin_epoch()
        run.history.append(run.epoch, curves_of(trainer, sums, trainer.n_samples))
    return n_epochs


def _make_watch(run: Run, callbacks: Iterable[Callback], session: Session) -> Watch | None:
    """Return the Watch that calls `on_chunk_end` within epochs, or None if no callback has it."""
    watching = [each for each in callbacks if each.watches_chunks]
    if not watching:
        return None

    def on_chunk(step: int) -> None:
        run._set_step(step)
        for callback in watching:
            callback.on_chunk_end(run)
        session.write_files()

    return Watch(on_chunk, [each.chunk_steps for each in callbacks if each.chunk_steps])


def curve_names(trainer: Trainer) -> list[str]:
    """Return the names of the curves of an epoch, in their order."""
    names = ["loss"] if trainer.loss.task == "numbers" else ["loss", "accuracy"]
    return [*names, "penalty"] if trainer.is_penalized else names


def curves_of(trainer: Trainer, sums: Floats, n_samples: int) -> dict[str, float]:
    """Return {name of a curve: its value} for the `sums` over the `n_samples` of an epoch."""
    loss, curves = sums[t.TOTAL_LOSS] / sums[t.TOTAL_WEIGHT], {}
    if trainer.is_penalized:
        curves["penalty"] = float(sums[t.TOTAL_PENALTY] / n_samples)
        loss += curves["penalty"]
    if trainer.loss.task != "numbers":
        right = sums[t.TOTAL_RIGHT] / sums[t.TOTAL_WEIGHT]
        curves = {"accuracy": float(right), **curves}
    return {"loss": float(loss), **curves}
