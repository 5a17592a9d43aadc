"""The training loop: epochs of shuffled mini-batches, and what happens between them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..kernels import table as t
from ..nn.dropout import draw_key
from ..nn.schedules import ReduceOnPlateau
from ..program.stream import Stream
from ..program.threads import finish
from ..program.trainer import Data, Epoch, Trainer, trained_arrays
from ..types import PathLike, Shuffle
from ..validation import as_order
from .callbacks import Callback, Run
from .errors import NonFiniteLossError
from .history import History
from .session import Session


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


def pass_over(stream: Stream, data: Data, batch_size: int, key: int) -> History:
    """Train once on `data`, in the order given; return the History of that."""
    model, totals, n = stream.model, np.full((1, t.N_TOTALS), 0.0), len(data.inputs)
    arrays = trained_arrays(model, stream.optimizer)
    states = [stream.optimizer.state_of(array) for array in arrays]
    before, kept = model._snapshot(), [state.snapshot() for state in states]

    def roll_back() -> None:
        model._restore(before)
        for state, snapshot in zip(states, kept, strict=True):
            state.restore(snapshot)

    def take() -> int | None:
        return stream.take(data, Epoch(np.arange(n), key), batch_size, totals)

    try:
        with np.errstate(over="ignore", invalid="ignore"):
            failed = stream.run(take)
        model._note_change()
        if failed or not model._is_finite():
            batch = failed or stream.trainer.n_batches
            raise NonFiniteLossError(1, batch, History(), at_end=not failed)
    except BaseException as error:
        if isinstance(error, NonFiniteLossError) or not model._is_finite():
            finish(roll_back)
        raise
    history = History()
    history.append(1, stream.trainer.curves(totals[0], n))
    return history
