"""Checkpoints: a training run in a file, from which it goes on with the same bits."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from . import configs, files
from .callbacks import Callback, Mode, Run, as_mode, sign_of
from .errors import FileFormatError
from .kernels import table as t
from .paths import fields_of, pattern_of
from .paths import find_checkpoint as find_checkpoint
from .schedules import Schedule
from .types import Array, MaybeNone, PathLike, Rate, Snapshot
from .validation import as_choice, as_count, as_flag, as_path, as_positive, check_arrays, check_tree

if TYPE_CHECKING:
    from .training import Trainer

_UNITS = ("epochs", "batches", "seconds")


class Checkpoint(Callback):
    """Writes the run to a file again and again; `fit(..., resume=path)` goes on from it.

    A file holds all that the rest of the run depends on, so a resumed run ends with the same bits
    as one that was never disturbed. It is replaced when the new one is on the disk as a whole:
    whenever the process dies, a whole file is there. After the last epoch one is always written
    (not with `save_best_only`). `fastnn.load` takes the model out of a file, with the parameters
    of that moment.

    Parameters
    ----------
    path : path-like
        One file, or one for each time where the name has {epoch} in it, as in
        "run-{epoch:03d}.safetensors": the epoch that has ended or is running, from 1. {step} is
        how many batches the running epoch has taken, 0 at its end. A brace in the name of a file
        is written twice. `resume` takes the same path.
    every : int or float
        How many units lie between two files.
    unit : {"epochs", "batches", "seconds"}
        "batches": of an epoch, and at its end. "seconds": at the next occasion after that time,
        about every 0.05 seconds within an epoch.
    keep : int, optional
        Where the name has {epoch}: remove all but so many of the last files of this run. By
        default all stay.
    save_best_only : bool
        Write only after an epoch in which the curve `monitor` is better than ever before.
    monitor, mode : str
        As in :class:`EarlyStopping`.

    Attributes
    ----------
    best : float
        The best value of the curve, with `save_best_only`.

    Raises
    ------
    TypeError, ValueError
        For bad arguments; in `fit`, before training, for an unknown curve.
    OSError
        In `fit`, where a file cannot be written. The one that was there stays.

    Examples
    --------
    >>> def train(epochs, resume=None):
    ...     model = fastnn.Sequential([fastnn.Dense(2, 2, rng=0)])
    ...     writing = [fastnn.Checkpoint("run.safetensors", every=2)]
    ...     model.fit(np.eye(2), [0, 1], epochs=epochs, seed=0, callbacks=writing, resume=resume)
    ...     return model
    >>> model = train(4)
    >>> resumed = train(9, resume="run.safetensors")
    >>> np.array_equal(resumed.parameters, train(9).parameters)
    True
    """

    comes_last = True

    def __init__(
        self,
        path: PathLike,
        every: float = 1,
        *,
        unit: Literal["epochs", "batches", "seconds"] = "epochs",
        keep: int | None = None,
        save_best_only: bool = False,
        monitor: str = "val_loss",
        mode: Mode = "auto",
    ) -> None:
        self.path, self.unit = as_path(path), as_choice(unit, "unit", _UNITS)
        check: Callable[[Any, str], Any] = as_positive if unit == "seconds" else as_count
        self.every = check(every, "every")
        self.keep = None if keep is None else as_count(keep, "keep")
        self.save_best_only = as_flag(save_best_only, "save_best_only")
        self.monitor, self.mode = monitor, as_mode(mode)
        fields = fields_of(self.path)
        if fields_of(os.path.dirname(self.path)):
            raise ValueError(f"path is {self.path!r}, expected fields in the name of the file only")
        if self.keep not in (None, 1) and "epoch" not in fields:
            raise ValueError(f"keep is {keep}, expected a path with {{epoch}} in it beside that")
        if self.save_best_only and unit != "epochs":
            raise ValueError(f'unit is {unit!r}, expected "epochs" with save_best_only')

    @property
    def watches_chunks(self) -> bool:
        """Whether files are written within epochs."""
        return self.unit != "epochs"

    @property
    def chunk_steps(self) -> int | None:  # type: ignore[override]  # read-only here
        """After how many batches of an epoch a chunk has to end."""
        return self.every if self.unit == "batches" else None

    def on_fit_begin(self, run: Run) -> None:
        """Check that there is such a curve and a folder for the files."""
        self.best, self._time = math.inf, time.monotonic()
        self._written: list[tuple[int, int]] = []
        if self.save_best_only:
            self._sign = sign_of(self.monitor, self.mode, run)
        path = Path(os.path.realpath(self._path_at(1, 0)))
        if path.is_dir() or not path.parent.is_dir():
            raise ValueError(f"path is {self.path!r}, expected a file in a folder that exists")
        files.remove_leftovers(path.parent, pattern_of(Path(self.path).name))

    def on_chunk_end(self, run: Run) -> None:
        """Write within an epoch, where it is time."""
        if run.step == run.n_steps:  # `on_epoch_end` is next
            return
        if (self.unit == "batches" and run.step % self.every == 0) or self._is_late():
            self._write(run, run.step)

    def on_epoch_end(self, run: Run) -> None:
        """Write after an epoch, where it is time."""
        if self.unit == "seconds":
            due = self._is_late()
        else:
            due = self.unit == "batches" or run.epoch % self.every == 0
        due = due or run.stopped or run.epoch == run.epochs
        if self.save_best_only:
            value = run.history.latest()[self.monitor]
            first = self.best == math.inf
            better = first or self._sign * value < self._sign * self.best
            if not (due and better) or math.isnan(value):
                return
            self.best = value
        if due:
            self._write(run, 0)

    def state(self, run: Run) -> dict[str, Any]:
        """Return what a resumed run has to know: the best value, and which files there are."""
        return {"best": self.best, "written": self._written}

    def restore(self, run: Run, state: Any) -> None:
        """Take over what `state` returned."""
        self.best = float(state["best"])
        self._written = [(int(epoch), int(step)) for epoch, step in state["written"]]

    def _is_late(self) -> bool:
        return self.unit == "seconds" and time.monotonic() - self._time >= self.every

    def _path_at(self, epoch: int, step: int) -> Path:
        return Path(self.path.format(epoch=epoch, step=step))

    def _write(self, run: Run, step: int) -> None:
        if not run.model._is_finite():  # the run is about to end with an error
            return
        before, self._written = self._written, [*self._written, (run.epoch, step)]
        kept, gone = self._written, []
        if self.keep is not None:
            kept, gone = self._written[-self.keep :], self._written[: -self.keep]
        self._written = kept
        try:
            run._session.write(self._path_at(run.epoch, step))
        except BaseException:
            self._written = before
            raise
        names = {self._path_at(*each) for each in kept}
        for path in {self._path_at(*each) for each in gone} - names:
            path.unlink(missing_ok=True)
        self._time = time.monotonic()


class Session:
    """A training run with all that it changes: what a file keeps and brings back.

    Parameters
    ----------
    run : Run
    trainer : CompiledTrainer or LayerTrainer
    rng : numpy.random.Generator
        Of the order of samples.
    callbacks : list of Callback
    settings : dict
        What else has to be the same when the run goes on: the data's sizes.
    """

    def __init__(
        self,
        run: Run,
        trainer: Trainer,
        rng: np.random.Generator,
        callbacks: Sequence[Callback],
        settings: dict[str, Any],
    ) -> None:
        self.run, self.trainer, self.rng, self.settings = run, trainer, rng, settings
        self.callbacks, self.optimizer = callbacks, trainer.optimizer
        # As it is before training: a callback may change it on the way.
        self.optimizer_config = configs.describe(self.optimizer, "optimizer", own=True)
        self.start: Snapshot | MaybeNone = None
        self.random: Mapping[str, Any] | None = None

    def begin_epoch(self) -> None:
        """Take note of where an epoch begins: no file in the middle of it can do without."""
        if not self.trainer.step:
            self.start = self.run.model._snapshot()
            self.random = self.rng.bit_generator.state

    # ------------------------------------------------------------------ to a file

    def write(self, path: PathLike) -> None:
        """Write the run as it stands, between two steps of an epoch or after one."""
        run = self.run
        arrays: dict[str, Array] = {}
        state = self._state()
        state["callbacks"] = [
            {"class": type(each).__name__, "state": each.state(run)}
            for each in self.callbacks
            if _has_state(each)
        ]
        tree = files.pack(state, "state", arrays)
        learned = run.model._stored_arrays()
        description = {"kind": "checkpoint", **self._describe(), "notes": run.model.notes}
        files.write(path, {**description, "state": tree}, arrays | learned, finite=learned)

    def _describe(self) -> dict[str, Any]:
        """Return what has to be the same when the run goes on."""
        return {
            "model": configs.describe_network(self.run.model, own=True),
            "optimizer": self.optimizer_config,
            "data": self.settings,
            "curves": self.run.curve_names,
        }

    def _state(self) -> dict[str, Any]:
        run, trainer = self.run, self.trainer
        within = trainer.step > 0
        if within:
            trainer.settle()
        rate, history = self.optimizer.learning_rate, run.history
        return {
            "epoch": run.epoch - within,
            "step": trainer.step,
            "stopped": bool(run.stopped),
            "totals": trainer.totals,
            "start": self.start if within else None,
            "random": self.random if within else self.rng.bit_generator.state,
            "history": {
                "epochs": np.array(history.epochs, np.int64),
                "curves": {k: np.array(v, np.float64) for k, v in history.curves.items()},
            },
            "optimizer": [
                {"iterations": state.iterations, "arrays": state.arrays}
                for state in map(self.optimizer.state_of, trainer.trained_arrays())
            ],
            "learning_rate": rate.state() if isinstance(rate, Schedule) else _number(rate),
        }

    # ------------------------------------------------------------------ from a file

    def read(self, path: PathLike) -> Callable[[], None]:
        """Let the run stand where a file left it; return a function that does the rest.

        The history and the epoch are there when callbacks begin; that function then restores the
        callbacks, the model, the optimizer and the random state.

        Raises
        ------
        FileFormatError
            For a file that is not a whole checkpoint.
        ValueError
            For one of another run. Nothing has changed then.
        """
        description, arrays = files.read(path)
        if description.get("kind") != "checkpoint":
            raise FileFormatError(path, "is a model, expected a checkpoint; fastnn.load reads it")
        for name, here in self._describe().items():
            # As JSON gives back what it was given: lists for tuples.
            found = configs.find_difference(here, description.get(name), _TITLES[name])
            if found:
                what, value, wanted = found
                raise ValueError(f"{what} is {value!r:.80}, expected {wanted!r:.80}, as in {path}")
        model = self.run.model
        expected = {k: (each.shape, each.dtype) for k, each in model._stored_arrays().items()}
        stored = {name: arrays.pop(name) for name in [*arrays] if name[:1].isdigit()}
        try:
            check_arrays(stored, expected)
            state = files.unpack(description.get("state"), arrays)
            check_tree(state, self._form(), "state")
            random = self._check(state)
            if arrays:
                raise ValueError(f"the array {min(arrays):.80} belongs to nothing")
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise FileFormatError(path, f"is not a checkpoint to go on from: {error}") from None
        if state["epoch"] + (state["step"] > 0) > self.run.epochs:
            raise ValueError(
                f"epochs is {self.run.epochs}, expected at least "
                f"{state['epoch'] + (state['step'] > 0)}, as in {path}"
            )
        pairs = self._pair_callbacks(state["callbacks"], path)
        self._restore_run(state)

        def restore() -> None:
            for callback, kept in pairs:
                try:
                    callback.restore(self.run, kept)
                except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
                    kind = type(callback).__name__
                    raise FileFormatError(path, f"has no state for {kind}: {error!r}") from None
            self._restore_rest(state, stored, random)

        return restore

    def _form(self) -> dict[str, Any]:
        """Return a tree like the one of a file; what is `any` is looked at later."""
        rest = dict.fromkeys(("start", "random", "callbacks"), any)
        return {**self._state(), **rest, "history": {"epochs": any, "curves": any}}

    def _check(self, state: Any) -> Any:
        """Check what a file says beyond its form; return a bit generator in its state."""
        n_steps, dtype = self.trainer.n_batches, self.run.model.dtype
        if not (0 <= state["epoch"] < 2**31 and 0 <= state["step"] < n_steps):
            raise ValueError(f"it stands at epoch {state['epoch']}, step {state['step']}")
        totals = state["totals"]
        if not np.isfinite(totals).all() or totals[t.TOTAL_STEPS] != state["step"]:
            raise ValueError("its totals are not those of its step")
        if state["step"]:
            check_tree(state["start"], self.run.model._snapshot(), "state.start")
        for each in state["optimizer"]:
            if not 0 <= each["iterations"] < 2**53:
                raise ValueError(f"the optimizer's iterations are {each['iterations']}")
        if state["learning_rate"] is not None:
            trial = copy.copy(self.optimizer)
            trial.learning_rate = copy.copy(trial.learning_rate)
            _restore_rate(trial, state["learning_rate"])
            trial.rates(max([0, *(each["iterations"] for each in state["optimizer"])]), 1, dtype)
        self._check_history(state["history"])
        return self._as_bit_generator(state["random"])

    def _check_history(self, history: Any) -> None:
        curves = history["curves"]
        if not isinstance(curves, dict) or (curves and list(curves) != self.run.curve_names):
            raise ValueError("its history has other curves")
        check_tree(history["epochs"], np.empty(len(history["epochs"]), np.int64), "epochs")
        for name, curve in curves.items():
            check_tree(curve, np.empty(len(history["epochs"])), name)

    def _as_bit_generator(self, random: Any) -> Any:
        """Return a new bit generator of the kind in use, in a state of a file."""
        made = copy.deepcopy(self.rng.bit_generator)
        form, kept = made.state, random.get("bit_generator") if isinstance(random, dict) else None
        if kept != form["bit_generator"]:
            raise ValueError(
                f"seed is a {form['bit_generator']}, expected a Generator of {kept!s:.80}"
            )
        check_tree(random, form, "state.random")
        # NumPy believes these numbers, with which it reads its buffers.
        places = (random["state"].get("pos", 0), 624), (random.get("buffer_pos", 0), 4)
        if any(not 0 <= place <= size for place, size in places):
            raise ValueError("its random state is not one")
        made.state = random
        return made

    def _pair_callbacks(self, kept: Any, path: PathLike) -> list[tuple[Callback, Any]]:
        """Return [(callback, its state), ...]; callbacks that the file does not know begin anew."""
        pairs, free = [], [each for each in self.callbacks if _has_state(each)]
        if not isinstance(kept, list):
            raise FileFormatError(path, f"has callbacks {kept!r:.80}")
        for each in kept:
            name = each.get("class") if isinstance(each, dict) else None
            match = [callback for callback in free if type(callback).__name__ == name]
            if match:
                free.remove(match[0])
                pairs.append((match[0], each.get("state")))
            elif name != "Checkpoint":
                raise ValueError(f"callbacks has no {name!s:.80}, expected one, as in {path}")
        return pairs

    def _restore_run(self, state: Any) -> None:
        run, history = self.run, state["history"]
        run.epoch, run.step, run.stopped = state["epoch"], state["step"], state["stopped"]
        run.history.epochs = history["epochs"].tolist()
        run.history.curves = {name: each.tolist() for name, each in history["curves"].items()}

    def _restore_rest(self, state: Any, stored: dict[str, Array], random: Any) -> None:
        model, optimizer = self.run.model, self.optimizer
        for name, array in model._stored_arrays().items():
            array[...] = stored[name]
        for trained, kept in zip(self.trainer.trained_arrays(), state["optimizer"], strict=True):
            own = optimizer.state_of(trained)
            own.iterations, own.arrays[...] = kept["iterations"], kept["arrays"]
        _restore_rate(optimizer, state["learning_rate"])
        self.rng.bit_generator.state = random.state
        self.random, self.start = random.state, state["start"]
        self.trainer.totals[...] = state["totals"]


# The names under which a user knows what is described.
_TITLES = {"model": "", "optimizer": "optimizer", "data": "", "curves": "curves"}


def _restore_rate(optimizer: Any, kept: Any) -> None:
    """Give an optimizer the learning rate, or its schedule the state, of a file."""
    if isinstance(kept, dict):
        optimizer.learning_rate.restore(kept)
    elif kept is not None:
        optimizer.learning_rate = kept


def _number(rate: Rate) -> float | None:
    """Return a learning rate that is a number; None for a function."""
    return None if callable(rate) else float(rate)


def _has_state(callback: Callback) -> bool:
    return type(callback).state is not Callback.state
