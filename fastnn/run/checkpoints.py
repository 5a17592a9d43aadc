"""Checkpoints: files from which a training run resumes, with the same bits."""

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
    """Writes the state of the run to a file regularly; `fit(..., resume=path)` resumes from it.

    A file holds all that the rest of the run depends on, so a resumed run ends with the same bits
    as one without an interruption. A new file replaces the old one only after it is complete on the
    disk: there is a complete file at any time, even if the process dies. A file is always written
    after the last epoch (not with `save_best_only`). `fastnn.load` reads the model in a file, with
    the parameters of that moment.

    Parameters
    ----------
    path : path-like
        One file, which is replaced each time; or a name with {epoch} in it for several files,
        as in "run-{epoch:03d}.safetensors". {epoch} is the epoch that has ended or is running, from
        1. {step} is the number of batches that the running epoch has taken, 0 at its end. Double a
        brace that is part of a file's name. `resume` takes the same path.
    every : int or float
        The number of units between two files.
    unit : {"epochs", "batches", "seconds"}
        "batches" also writes a file at the end of each epoch. With "seconds", the time is checked
        about every 0.05 seconds within an epoch.
    keep : int, optional
        For a name with {epoch}: the number of files of this run to keep. Older ones are removed.
        By default all files stay.
    save_best_only : bool
        Write only after an epoch in which the curve `monitor` has its best value so far. With
        `every`, no file is written for a best epoch that is not due, but later epochs are still
        compared with it.
    monitor : str
        As in :class:`EarlyStopping`.
    mode : {"auto", "min", "max"}
        As in :class:`EarlyStopping`.

    Attributes
    ----------
    best : float
        With `save_best_only`, the best value of the curve in any epoch; inf before there is one.
        Values that are not finite do not count.

    Notes
    -----
    A run may have several checkpoints, such as one for the last epoch and one for the best. All
    files are written after all callbacks have been called. So a run can resume from any of them,
    and its files end as those of a run without an interruption. The state in a file belongs to the
    `Checkpoint` with the same file name (in any folder) and the same `save_best_only`. A
    `Checkpoint` without a state in the file starts from the beginning.

    Raises
    ------
    TypeError, ValueError
        For bad arguments; in `fit`, before training, for an unknown curve.
    OSError
        In `fit`, if a file cannot be written. The earlier file stays.

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

    comes_last = writes = True
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
        """The number of batches after which a chunk has to end."""
        return self.every if self.unit == "batches" else None

    def on_fit_begin(self, run: Run) -> None:
        """Check that the curve and the folder of the files exist."""
        self.best, self._time = math.inf, time.monotonic()
        self._written: list[tuple[int, int]] = []
        self._to_remove: list[tuple[int, int]] = []
        self._is_due = False
        if self.save_best_only:
            self._sign = sign_of(self.monitor, self.mode, run.curve_names, run.metrics)
        path = Path(os.path.realpath(self._path_at(1, 0)))
        if path.is_dir() or not path.parent.is_dir():
            raise ValueError(f"path is {self.path!r}, expected a file in a folder that exists")
        files.remove_leftovers(path.parent, pattern_of(Path(self.path).name))

    def on_chunk_end(self, run: Run) -> None:
        """Request a file within an epoch if one is due."""
        if run.step == run.n_steps:  # `on_epoch_end` is next
            return
        if (self.unit == "batches" and run.step % self.every == 0) or self._is_late():
            self._request_file(run, run.step)

    def on_epoch_end(self, run: Run) -> None:
        """Request a file after an epoch if one is due."""
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
            self._request_file(run, 0)

    def state(self, run: Run) -> dict[str, Any]:
        """Return the best value, and the files of this run by (epoch, step).

        If "due", the last file of "written" is not written yet, and "gone" not removed.
        """
        return {
            "best": self.best, "written": self._written, "due": self._is_due,
            "gone": self._to_remove,
        }  # fmt: skip

    def restore(self, run: Run, state: Any) -> None:
        """Restore what `state` returned."""
        self.best = float(state["best"])
        self._written = _places(state["written"])
        self._to_remove = _places(state.get("gone", []))
        self._is_due = bool(state.get("due", False) and self._written)

    def _is_late(self) -> bool:
        return self.unit == "seconds" and time.monotonic() - self._time >= self.every

    def _path_at(self, epoch: int, step: int) -> Path:
        return Path(self.path.format(epoch=epoch, step=step))

    def _request_file(self, run: Run, step: int) -> None:
        """Let the session write a file after all callbacks have been called."""
        if not run._network.is_finite():  # the run is about to end with an error
            return
        self._written = [*self._written, (run.epoch, step)]
        if self.keep is not None:
            self._to_remove, self._written = (
                self._written[: -self.keep],
                self._written[-self.keep :],
            )
        self._is_due = True

    def _write(self, write: Callable[[Path], None]) -> None:
        """Call `write` with the path that is due; then remove the files that `keep` drops."""
        write(self._path_at(*self._written[-1]))
        names = {self._path_at(*each) for each in self._written}
        for path in {self._path_at(*each) for each in self._to_remove} - names:
            path.unlink(missing_ok=True)
        self._time = time.monotonic()

    def _clear_due(self) -> None:
        """Note that the files of all checkpoints are written."""
        self._is_due, self._to_remove = False, []


def _places(stored: Any) -> list[tuple[int, int]]:
    return [(int(epoch), int(step)) for epoch, step in stored]
