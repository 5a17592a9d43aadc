"""The state of a training run: written to a checkpoint, and restored from one."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..errors import FileFormatError
from ..files.contents import check_arrays, check_finite, check_tree
from ..kernels import table as t
from ..nn import configs
from ..nn.network import Network
from ..nn.optimizer import State
from ..nn.schedules import Schedule
from ..program.ranks import digest_of
from ..program.trainer import Trainer
from ..types import Array, Floats, MaybeNone, PathLike, Rate, Snapshot, StateSnapshot
from .averages import Averages
from .callbacks import Callback, EarlyStopping, Run
from .checkpoints import Checkpoint
from .digests import describe_callbacks, describe_metrics, digest_of_tree


class Session:
    """Writes the state of a training run to checkpoints, and restores it.

    Parameters
    ----------
    run : Run
    network : Network
    trainer : Trainer
    rng : numpy.random.Generator
        The generator that draws the order of samples.
    callbacks : list of Callback
    settings : dict
        What must be the same in a resumed run besides the model and the optimizer: the sizes of
        the data.
    averages : Averages
    """

    def __init__(
        self,
        run: Run,
        network: Network,
        trainer: Trainer,
        rng: np.random.Generator,
        callbacks: Sequence[Callback],
        settings: dict[str, Any],
        averages: Averages,
    ) -> None:
        self.run, self.network, self.trainer = run, network, trainer
        self.rng, self.settings = rng, settings
        self.callbacks, self.optimizer, self.averages = callbacks, trainer.optimizer, averages
        self.curve_names = [*run.curve_names]  # callbacks may add others when they begin
        # Described before training, as a callback may change the optimizer during it.
        self.optimizer_config = configs.describe(self.optimizer, "optimizer", own=True)
        self.start: Snapshot | MaybeNone = None
        self.states: list[StateSnapshot] | MaybeNone = None
        self.random: Mapping[str, Any] | None = None

    def begin_epoch(self) -> None:
        """Keep the state at the beginning of an epoch: a file within the epoch needs it."""
        if not self.trainer.step:
            self.start = self.network.snapshot()
            self.states = [state.snapshot() for state in self._optimizer_states()]
            self.random = self.rng.bit_generator.state

    def roll_back(self) -> None:
        """Restore the parameters and the optimizer of the beginning of the epoch."""
        self.network.restore(self.start)
        if self.states is None:  # resumed within an epoch from a file of an early version
            for array in self.trainer.trained_arrays():
                self.optimizer.forget(array)
            return
        for state, before in zip(self._optimizer_states(), self.states, strict=True):
            state.restore(before)

    def _optimizer_states(self) -> list[State]:
        return [self.optimizer.state_of(array) for array in self.trainer.trained_arrays()]

    # ------------------------------------------------------------------ to a file

    def write_files(self) -> None:
        """Write the files of all checkpoints that are due, after an epoch or between two steps.

        All these files are the same. They are written after every callback has been called, so that
        they hold the state of each callback after this epoch or step.
        """
        if any(each._is_due for each in self._writers()):
            with self.averages.shown():
                description, arrays = self._pack()
                finite = [*self.network.stored_arrays()]
                self._write_due(lambda path: files.write(path, description, arrays, finite))

    def _writers(self) -> list[Checkpoint]:
        return [each for each in self.callbacks if isinstance(each, Checkpoint)]

    def _write_due(self, write: Callable[[Path], None]) -> None:
        """Let every Checkpoint whose file is due `write` it.

        The files say which checkpoints were due. If the process dies between two files, the resumed
        run writes the missing ones. So the flags are cleared only after the last file.
        """
        for each in self._writers():
            if each._is_due:
                each._write(write)
        for each in self._writers():
            each._clear_due()

    def _pack(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return (description, arrays) of a file."""
        run = self.run
        arrays: dict[str, Array] = {}
        state = self._state()
        state["callbacks"] = [
            {"class": type(each).__name__, "which": _which(each), "state": each.state(run)}
            for each in self.callbacks
            if _has_state(each)
        ]
        tree = files.pack(state, "state", arrays)
        arrays |= self.network.stored_arrays()
        description = {"kind": "checkpoint", **self._describe(), "notes": run.model.notes}
        description["data"] = {
            name: value
            for name, value in self.settings.items()
            if name not in _LATER_SETTINGS or value != _LATER_SETTINGS[name]
        }
        return {**description, "state": tree}, arrays

    def _describe(self) -> dict[str, Any]:
        """Return what must be the same in a resumed run."""
        return {
            "model": configs.describe_network(self.network, own=True),
            "optimizer": self.optimizer_config,
            "data": self.settings,
            "curves": self.curve_names,
        }

    def describe_progress(self) -> dict[str, Any]:
        """Return what must be the same on all ranks when they begin."""
        optimizer = [
            (each.iterations, *map(digest_of, each.arrays)) for each in self._optimizer_states()
        ]
        parts, rate = self._describe(), self.optimizer.learning_rate
        return {
            **parts.pop("data"),
            **parts,
            "metrics": describe_metrics(self.run.metrics),
            "callbacks": describe_callbacks(self.callbacks, self.run),
            "the number of epochs": self.run.epochs,
            "the epoch at which the run stands": self.run.epoch,
            "the step at which the run stands": self.trainer.step,
            "the state of the optimizer": optimizer,
            "the state of the learning rate": digest_of_tree(
                rate.state() if isinstance(rate, Schedule) else _constant_rate(rate)
            ),
            "the class of the random generator of seed": type(self.rng).__name__,
            "the state of the random generator of seed": digest_of_tree(
                self.rng.bit_generator.state
            ),
        }

    def _state(self) -> dict[str, Any]:
        run, trainer = self.run, self.trainer
        within = trainer.step > 0
        if within:
            trainer.store()
        rate, history = self.optimizer.learning_rate, run.history
        place = {"place": trainer.place} if trainer.place else {}
        return {
            **place,
            "epoch": run.epoch - within,
            "step": trainer.step,
            "stopped": bool(run.stopped),
            "totals": trainer.totals,
            "start": [*self.start, self.states] if within else None,
            "random": self.random if within else self.rng.bit_generator.state,
            "history": {
                "epochs": np.array(history.epochs, np.int64),
                "curves": {k: np.array(v, np.float64) for k, v in history.curves.items()},
            },
            "optimizer": [
                {"iterations": state.iterations, "arrays": state.arrays}
                for state in self._optimizer_states()
            ],
            "learning_rate": rate.state() if isinstance(rate, Schedule) else _constant_rate(rate),
        }

    # ------------------------------------------------------------------ from a file

    def read(self, path: PathLike) -> Callable[[], None]:
        """Restore the epoch and the history from a file; return a function that restores the rest.

        Callbacks already see the epoch and the history in `on_fit_begin`. After that, the returned
        function restores the callbacks, the model, the optimizer and the random state, and writes
        the files that were due at the same time but are missing.

        Raises
        ------
        FileFormatError
            For a file that is not a whole checkpoint.
        ValueError
            For a checkpoint of another run. Nothing has changed then.
        """
        description, arrays = files.read(path)
        copied = {**description}, {**arrays}
        if description.get("kind") != "checkpoint":
            raise FileFormatError(path, "is a model, expected a checkpoint; fastnn.load reads it")
        for name, here in self._describe().items():
            there = description.get(name)
            if name == "data" and isinstance(there, dict):
                there = {**_LATER_SETTINGS, **there}
            # `find_difference` takes lists, as JSON has no tuples.
            difference = configs.find_difference(here, there, _TITLES[name])
            if difference:
                what, value, stored_value = difference
                raise ValueError(
                    f"{what} is {value!r:.80}, expected {stored_value!r:.80}, as in {path}"
                )
        own = self.network.stored_arrays()
        expected = {name: (each.shape, each.dtype) for name, each in own.items()}
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
            names = [*self.run.history.curves] or self.run.curve_names
            if names != self.run.curve_names:
                raise ValueError(
                    f"curves is {self.run.curve_names}, expected {names}, as in {path}"
                )
            for callback, callback_state in pairs:
                try:
                    callback.restore(self.run, callback_state)
                except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
                    kind = type(callback).__name__
                    raise FileFormatError(path, f"has no state for {kind}: {error}") from None
            self._restore_rest(state, stored, random)
            here = os.path.realpath(path)

            def write(other: Path) -> None:
                if os.path.realpath(other) != here:
                    files.write(other, *copied)

            self._write_due(write)

        return restore

    def _form(self) -> dict[str, Any]:
        """Return a tree of the form of a file's; `any` stands for parts that are checked later."""
        rest = dict.fromkeys(("start", "random", "callbacks"), any)
        return {**self._state(), **rest, "history": {"epochs": any, "curves": any}}

    def _check(self, state: Any) -> Any:
        """Check the values in the state of a file; return a bit generator in that state."""
        n_steps, dtype = self.trainer.n_batches, self.network.dtype
        if "place" in state:  # how many steps batches give is not known
            n_steps = 2**31
        if not (0 <= state["epoch"] < 2**31 and 0 <= state["step"] < n_steps):
            raise ValueError(f"it stands at epoch {state['epoch']}, step {state['step']}")
        totals = state["totals"]
        if not np.isfinite(totals).all() or totals[t.TOTAL_STEPS] != state["step"]:
            raise ValueError("its totals are not those of its step")
        if "place" in state:
            _check_place(state["place"], state["epoch"], totals)
        if state["step"]:
            self._check_start(state["start"])
        for each in state["optimizer"]:
            _check_iterations(each["iterations"])
        if state["learning_rate"] is not None:
            trial = copy.copy(self.optimizer)
            trial.learning_rate = copy.copy(trial.learning_rate)
            _restore_rate(trial, state["learning_rate"])
            trial.rates(max([0, *(each["iterations"] for each in state["optimizer"])]), 1, dtype)
        self._check_history(state["history"])
        return self._as_bit_generator(state["random"])

    def _check_start(self, start: Any) -> None:
        """Check the state at the beginning of the epoch in a file.

        In files of early versions it does not have the states of the optimizer.
        """
        form: list[Any] = [*self.network.snapshot()]
        if not isinstance(start, list | tuple) or len(start) != len(form):
            form.append([state.snapshot() for state in self._optimizer_states()])
        check_tree(start, form, "state.start")
        check_finite(start[:2], "state.start")
        for iterations, _ in start[2] if len(form) > 2 else ():
            _check_iterations(iterations)

    def _check_history(self, history: Any) -> None:
        curves = history["curves"]
        known = self.curve_names
        if not isinstance(curves, dict) or (curves and [*curves][: len(known)] != known):
            raise ValueError("its history has other curves")
        check_tree(history["epochs"], np.empty(len(history["epochs"]), np.int64), "epochs")
        for name, curve in curves.items():
            check_tree(curve, np.empty(len(history["epochs"])), name)

    def _as_bit_generator(self, random: Any) -> Any:
        """Return a new bit generator of the kind in use, in a state of a file."""
        generator = copy.deepcopy(self.rng.bit_generator)
        form = generator.state
        name = random.get("bit_generator") if isinstance(random, dict) else None
        if name != form["bit_generator"]:
            raise ValueError(
                f"seed is a {form['bit_generator']}, expected a Generator of {name!s:.80}"
            )
        check_tree(random, form, "state.random")
        # NumPy does not check these positions, and reads its buffers at them.
        places = (random["state"].get("pos", 0), 624), (random.get("buffer_pos", 0), 4)
        if any(not 0 <= place <= size for place, size in places):
            raise ValueError("its random state is not one")
        generator.state = random
        return generator

    def _pair_callbacks(self, stored: Any, path: PathLike) -> list[tuple[Callback, Any]]:
        """Return [(callback, its state), ...] of the callbacks that have a state in the file."""
        pairs, free = [], [each for each in self.callbacks if _has_state(each)]
        if not isinstance(stored, list):
            raise FileFormatError(path, f"has callbacks {stored!r:.80}")
        for each in stored:
            name = each.get("class") if isinstance(each, dict) else None
            match = [callback for callback in free if type(callback).__name__ == name]
            if isinstance(each, dict) and "which" in each:  # else it is of an older file
                match = [callback for callback in match if _which(callback) == each["which"]]
            if match:
                free.remove(match[0])
                pairs.append((match[0], each.get("state")))
            elif name != "Checkpoint":
                raise ValueError(
                    f"callbacks has no {_callback_name(name, each)}, expected one, as in {path}"
                )
        return pairs

    def _restore_run(self, state: Any) -> None:
        self.run._restore(state["epoch"], state["step"], state["stopped"])
        history = state["history"]
        curves = {name: each.tolist() for name, each in history["curves"].items()}
        self.run.history._restore(history["epochs"].tolist(), curves)

    def _restore_rest(self, state: Any, stored: dict[str, Array], random: Any) -> None:
        optimizer = self.optimizer
        for name, array in self.network.stored_arrays().items():
            array[...] = stored[name]
        for array, stored_state in zip(
            self.trainer.trained_arrays(), state["optimizer"], strict=True
        ):
            optimizer.state_of(array).restore((stored_state["iterations"], stored_state["arrays"]))
        self.averages.note_restored()
        _restore_rate(optimizer, state["learning_rate"])
        self.rng.bit_generator.state = random.state
        self.random = random.state
        if state["start"] is not None:
            self.start = state["start"][:2]
            self.states = state["start"][2] if len(state["start"]) > 2 else None
        self.trainer.resume(state["totals"], state.get("place"))


def _check_place(place: Any, epoch: int, totals: Floats) -> None:
    """Check a place in batches: of its epoch, and with sums that add up to the totals."""
    counts = [place["window"], place["n_samples"], *place["last"]]
    before, within = place["sums"]
    with np.errstate(invalid="ignore"):
        adds_up = np.array_equal(before + within, totals)
    if place["epoch"] != epoch or min(counts) < 0 or not adds_up or before[t.TOTAL_STEPS] < 0:
        raise ValueError("its place in the batches is not one")


def _check_iterations(value: int) -> None:
    if not 0 <= value < 2**53:
        raise ValueError(f"the optimizer's iterations are {value}")


_LATER_SETTINGS = {"precision": "highest", "shards": 1, "weight_average": None}
"""Settings that files of early versions do not have, with the value that these files mean.

A setting with this value is not written, so that early versions resume from the file too.
"""

# How messages call the parts of `Session._describe`.
_TITLES = {"model": "", "optimizer": "optimizer", "data": "", "curves": "curves"}


def _restore_rate(optimizer: Any, stored: Any) -> None:
    """Restore the learning rate of an optimizer, or the state of its schedule, from a file."""
    if isinstance(stored, dict):
        optimizer.learning_rate.restore(stored)
    elif stored is not None:
        optimizer.learning_rate = stored


def _constant_rate(rate: Rate) -> float | None:
    """Return a constant learning rate as a float, and None for a function."""
    return None if callable(rate) else float(rate)


def _has_state(callback: Callback) -> bool:
    return type(callback).state is not Callback.state


def _which(callback: Callback) -> dict[str, Any]:
    """Return what distinguishes a callback from others of its class in the same run."""
    if isinstance(callback, Checkpoint):
        return {"path": os.path.basename(callback.path), "best": callback.save_best_only}
    return {"monitor": callback.monitor} if isinstance(callback, EarlyStopping) else {}


def _callback_name(name: Any, stored: Any) -> str:
    """Return the name of a callback of a file, for an error message."""
    which = stored.get("which") if isinstance(stored, dict) else None
    arguments = ", ".join(f"{k}={v!r}" for k, v in which.items()) if isinstance(which, dict) else ""
    return f"{name!s:.80}" + (f"({arguments:.80})" if arguments else "")
