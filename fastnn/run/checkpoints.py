"""Checkpoints: a training run in a file, from which it goes on with the same bits."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from .. import files
from ..files.paths import fields_of, pattern_of
from ..files.paths import find_checkpoint as find_checkpoint
from ..nn.monitor import Mode, as_curve, as_mode, cost_of, sign_of
from ..settings import Setting
from ..types import PathLike
from ..validation import as_choice, as_count, as_flag, as_path, as_positive
from .callbacks import Callback, Run

_UNITS = ("epochs", "batches", "seconds")


def _as_unit(value: str, name: str) -> str:
    return as_choice(value, name, _UNITS)


def _as_number_of_files(value: int | None, name: str) -> int | None:
    return None if value is None else as_count(value, name)


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
        Write only after an epoch in which the curve `monitor` is better than ever before. With
        `every`, an epoch that is the best but not due is not written, and the later ones have to
        be better than it.
    monitor, mode : str
        As in :class:`EarlyStopping`.

    Attributes
    ----------
    best : float
        The best value of the curve in any epoch, with `save_best_only`; inf before there is one.
        A value that is not finite is none.

    Notes
    -----
    Several may write in one run, such as one the last epoch and one the best: all callbacks see
    the epoch, then the files are written. So any of the files is one to go on from, and the files
    of a resumed run end as those of one that was never disturbed. A file belongs to the callback
    that has the same name of a file (in whatever folder) and the same `save_best_only`; a
    `Checkpoint` that the file does not know begins anew.

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
    path: Setting[Any] = Setting(as_path)
    unit: Setting[str] = Setting(_as_unit)
    every: Setting[Any] = Setting(lambda value, name: value)  # checked together with the unit
    keep = Setting(_as_number_of_files)
    save_best_only, monitor = Setting(as_flag), Setting(as_curve)
    mode: Setting[Mode] = Setting(as_mode)

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
        self.path, self.unit, self.every = path, unit, every
        self.keep, self.save_best_only = keep, save_best_only
        self.monitor, self.mode = monitor, mode

    def _check_together(self, values: Mapping[str, Any]) -> None:
        path: str = values["path"]
        unit, keep = values.get("unit"), values.get("keep")
        if "every" in values:
            check: Callable[[Any, str], Any] = as_positive if unit == "seconds" else as_count
            check(values["every"], "every")
        fields = fields_of(path)
        if fields_of(os.path.dirname(path)):
            raise ValueError(f"path is {path!r}, expected fields in the name of the file only")
        if keep not in (None, 1) and "epoch" not in fields:
            raise ValueError(f"keep is {keep}, expected a path with {{epoch}} in it beside that")
        if values.get("save_best_only") and unit != "epochs":
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
        self._gone: list[tuple[int, int]] = []
        self._is_due = False
        if self.save_best_only:
            self._sign = sign_of(self.monitor, self.mode, run.curve_names, run.metrics)
        path = Path(os.path.realpath(self._path_at(1, 0)))
        if path.is_dir() or not path.parent.is_dir():
            raise ValueError(f"path is {self.path!r}, expected a file in a folder that exists")
        files.remove_leftovers(path.parent, pattern_of(Path(self.path).name))

    def on_chunk_end(self, run: Run) -> None:
        """Ask for a file within an epoch, where it is time."""
        if run.step == run.n_steps:  # `on_epoch_end` is next
            return
        if (self.unit == "batches" and run.step % self.every == 0) or self._is_late():
            self._ask(run, run.step)

    def on_epoch_end(self, run: Run) -> None:
        """Ask for a file after an epoch, where it is time."""
        if self.unit == "seconds":
            due = self._is_late()
        else:
            due = self.unit == "batches" or run.epoch % self.every == 0
        due = due or run.stopped or run.epoch == run.epochs
        if self.save_best_only:
            value = run.history.latest()[self.monitor]
            if not cost_of(value, self._sign) < cost_of(self.best, self._sign):
                return
            self.best = value
        if due:
            self._ask(run, 0)

    def state(self, run: Run) -> dict[str, Any]:
        """Return what a resumed run has to know: the best value, and which files there are.

        Where "due", the last of those "written" is about to be, and those "gone" to be removed.
        """
        return {
            "best": self.best, "written": self._written, "due": self._is_due, "gone": self._gone,
        }  # fmt: skip

    def restore(self, run: Run, state: Any) -> None:
        """Take over what `state` returned."""
        self.best = float(state["best"])
        self._written = _places(state["written"])
        self._gone = _places(state.get("gone", []))
        self._is_due = bool(state.get("due", False) and self._written)

    def _is_late(self) -> bool:
        return self.unit == "seconds" and time.monotonic() - self._time >= self.every

    def _path_at(self, epoch: int, step: int) -> Path:
        return Path(self.path.format(epoch=epoch, step=step))

    def _ask(self, run: Run, step: int) -> None:
        """Let the session write a file when all callbacks have seen what it is to hold."""
        if not run._network.is_finite():  # the run is about to end with an error
            return
        self._written = [*self._written, (run.epoch, step)]
        if self.keep is not None:
            self._gone, self._written = self._written[: -self.keep], self._written[-self.keep :]
        self._is_due = True

    def _write(self, write: Callable[[Path], None]) -> None:
        """Let `write` write the file that is due; then remove those that it replaces."""
        write(self._path_at(*self._written[-1]))
        names = {self._path_at(*each) for each in self._written}
        for path in {self._path_at(*each) for each in self._gone} - names:
            path.unlink(missing_ok=True)
        self._time = time.monotonic()


def _places(stored: Any) -> list[tuple[int, int]]:
    return [(int(epoch), int(step)) for epoch, step in stored]
