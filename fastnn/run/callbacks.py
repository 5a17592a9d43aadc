"""Callbacks: methods that `fit` calls between epochs, such as early stopping and logging."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias

from numpy.typing import ArrayLike

from ..files.contents import check_finite, check_tree
from ..metrics import Metric, MetricLike
from ..nn.loss import Loss
from ..nn.monitor import Mode, as_curve, as_mode, cost_of, sign_of
from ..nn.network import Network
from ..nn.optimizer import Optimizer
from ..nn.summary import Summary
from ..settings import Setting, non_negative
from ..types import Array, DType, Floats, PathLike, Precision, Seed, Snapshot
from ..validation import as_flag, as_number
from .history import History


class TrainedModel(Protocol):
    """What callbacks may use of the :class:`Sequential` that trains."""

    notes: dict[str, Any]
    optimizer: Optimizer | None

    @property
    def layers(self) -> tuple[Any, ...]: ...
    @property
    def loss(self) -> Loss: ...
    @property
    def dtype(self) -> DType: ...
    @property
    def parameters(self) -> Floats: ...
    @property
    def gradients(self) -> Floats: ...
    def forward(self, inputs: ArrayLike, training: bool = False) -> Floats: ...
    def predict(
        self,
        X: ArrayLike,
        *,
        batch_size: int | None = None,
        scale: float = 1.0,
        offset: float = 0.0,
        threads: int | None = None,
        precision: Precision | None = None,
    ) -> Array: ...
    def predict_proba(
        self,
        X: ArrayLike,
        *,
        batch_size: int | None = None,
        scale: float = 1.0,
        offset: float = 0.0,
        threads: int | None = None,
        precision: Precision | None = None,
    ) -> Floats: ...
    def activations(
        self,
        X: ArrayLike,
        layer: Any,
        *,
        scale: float = 1.0,
        offset: float = 0.0,
        precision: Precision | None = None,
    ) -> Floats: ...
    def evaluate(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        metrics: Sequence[MetricLike] = (),
        *,
        scale: float = 1.0,
        offset: float = 0.0,
        threads: int | None = None,
        precision: Precision | None = None,
    ) -> dict[str, float]: ...
    def summary(self) -> Summary: ...
    def to_config(self) -> dict[str, Any]: ...
    def save(self, path: PathLike, notes: dict[str, Any] | None = None) -> None: ...
    def clone(self, rng: Seed = None) -> Self: ...


class Run:
    """What a callback sees of a training run; `fit` makes it.

    Attributes
    ----------
    model : Sequential
    history : History
        The epochs so far.
    epoch : int
        The epoch that runs or has just ended, from 1.
    epochs : int
        The last epoch of the run.
    step : int
        The number of steps that the epoch has taken at the end of the last chunk.
    n_steps : int
        The number of steps of an epoch.
    n_samples : int
        The number of samples of an epoch.
    curve_names : list of str
        The names of the curves in the history.
    metrics : list of Metric
        The `metrics` of `fit`.
    stopped : bool
        A callback may set it to True: then no further epoch begins.
    exchange_part : float or None
        Which part of the time of the last epoch's steps this rank has exchanged with others, and
        waited for them. None without `ranks`.

    Examples
    --------
    >>> def stop_early(run: fastnn.Run):
    ...     run.stopped = run.epoch == 2
    >>> model = fastnn.Sequential([fastnn.Dense(2, 2, rng=0)])
    >>> callbacks = [fastnn.LambdaCallback(on_epoch_end=stop_early)]
    >>> len(model.fit(np.eye(2), [0, 1], epochs=100, callbacks=callbacks))
    2
    """

    def __init__(
        self,
        model: TrainedModel,
        network: Network,
        epochs: int,
        initial_epoch: int = 0,
        metrics: Iterable[Metric] = (),
        curve_names: Iterable[str] = (),
    ) -> None:
        self.model, self._network, self.history = model, network, History()
        self.epoch, self.epochs = initial_epoch, epochs
        self.step, self.n_steps, self.n_samples = 0, 0, 0
        self.curve_names, self.metrics = list(curve_names), list(metrics)
        self.stopped = False
        self.exchange_part: float | None = None

    def _add_training_curves(self, names: Iterable[str]) -> None:
        """Put the curves of the training samples before those of the evaluation."""
        self.curve_names[:0] = names

    def _set_sizes(self, n_steps: int, n_samples: int) -> None:
        """Set the size of an epoch. With `batches` it is known after the first one."""
        self.n_steps, self.n_samples = n_steps, n_samples

    def _begin_epoch(self, step: int = 0) -> None:
        """Go on to the next epoch; `step` is above 0 if a checkpoint was written within it."""
        self.epoch, self.step = self.epoch + 1, step

    def _set_step(self, step: int) -> None:
        """Set the number of steps that the epoch has taken."""
        self.step = step

    def _set_exchange_part(self, part: float) -> None:
        """Set the part of the time of the epoch's steps that exchanges with other ranks took."""
        self.exchange_part = part

    def _restore(self, epoch: int, step: int, stopped: bool) -> None:
        """Continue from the state of a checkpoint."""
        self.epoch, self.step, self.stopped = epoch, step, stopped


class Callback:
    """Base of callbacks: methods that `fit` calls, each with the :class:`Run`.

    An error that one raises ends the training; the model is as the last whole epoch left it, or
    within an epoch (`on_chunk_end`) the last whole step.

    Examples
    --------
    >>> class Count(fastnn.Callback):
    ...     epochs = 0
    ...
    ...     def on_epoch_end(self, run):
    ...         self.epochs += 1
    ...         run.stopped = self.epochs == 3
    >>> model, count = fastnn.Sequential([fastnn.Dense(2, 2, rng=0)]), Count()
    >>> history = model.fit(np.eye(2), [0, 1], epochs=100, callbacks=[count])
    >>> count.epochs
    3
    """

    def on_fit_begin(self, run: Run) -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, run: Run) -> None:
        """Before each epoch."""

    def on_epoch_end(self, run: Run) -> None:
        """After each epoch and its validation."""

    def on_chunk_end(self, run: Run) -> None:
        """After each part of an epoch that one compiled call has taken, about 0.05 seconds.

        Called only if a class overrides it, as the call costs some time.
        """

    def on_fit_end(self, run: Run) -> None:
        """After the last epoch, unless an error ended the run."""

    def close(self) -> None:
        """After everything else, even if an error ended the run."""

    def state(self, run: Run) -> dict[str, Any] | None:
        """Return the state for a checkpoint: None, or a dict of numbers, text and arrays.

        The dict may contain dicts and lists. A class that overrides `state` must also override
        `restore`.
        """

    def restore(self, run: Run, state: Any) -> None:
        """Restore what `state` returned, with lists for tuples; called after `on_fit_begin`.

        Raise ValueError if the value makes no sense: a file may hold anything.
        """

    def take_over(self, called: Callback) -> None:
        """Take over the attributes of a copy that another process has called, but for functions."""
        values = {name: value for name, value in vars(called).items() if not callable(value)}
        vars(self).update(values)

    # Whether it is called after all other callbacks, as a checkpoint needs their state.
    comes_last = False

    # Whether it writes for all ranks of a training: then only that of rank 0 is called.
    writes = False

    # A chunk also ends at each multiple of so many steps. None: only when its time is up.
    chunk_steps: int | None = None

    @property
    def watches_chunks(self) -> bool:
        """Whether the class overrides `on_chunk_end`."""
        return getattr(self.on_chunk_end, "__func__", None) is not Callback.on_chunk_end

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if k[0] != "_")
        return f"{type(self).__name__}({arguments})"


Hook: TypeAlias = Callable[[Run], Any]


class LambdaCallback(Callback):
    """Calls functions of the run: `LambdaCallback(on_epoch_end=lambda run: ...)`.

    Examples
    --------
    >>> show = fastnn.LambdaCallback(on_epoch_end=lambda run: print("epoch", run.epoch))
    >>> model = fastnn.Sequential([fastnn.Dense(2, 2, rng=0)])
    >>> history = model.fit(np.eye(2), [0, 1], epochs=2, callbacks=[show])
    epoch 1
    epoch 2
    """

    def __init__(
        self,
        on_fit_begin: Hook | None = None,
        on_epoch_begin: Hook | None = None,
        on_chunk_end: Hook | None = None,
        on_epoch_end: Hook | None = None,
        on_fit_end: Hook | None = None,
    ) -> None:
        hooks = {
            "on_fit_begin": on_fit_begin, "on_epoch_begin": on_epoch_begin,
            "on_chunk_end": on_chunk_end, "on_epoch_end": on_epoch_end, "on_fit_end": on_fit_end,
        }  # fmt: skip
        for name, function in hooks.items():
            if function is not None:
                if not callable(function):
                    raise TypeError(f"{name} is {function!r}, expected a function of the run")
                setattr(self, name, function)


def _as_baseline(value: float | None, name: str) -> float | None:
    return None if value is None else as_number(value, name, -math.inf)


class EarlyStopping(Callback):
    """Stops when a curve has not improved for some epochs.

    Parameters
    ----------
    monitor : str
        The name of the curve.
    patience : int
        The number of epochs in a row without an improvement after which the run ends, as in Keras
        and Lightning. 0 means the same as 1: the first epoch without an improvement is the last.
    min_delta : float
        How much better counts as an improvement.
    restore_best : bool
        Whether to restore the parameters of the best epoch at the end.
    mode : {"auto", "min", "max"}
        Whether lower or higher is better. "auto" works for losses, accuracy, fastnn's metrics and
        a :class:`Metric` with `higher_is_better`.
    baseline : float, optional
        An epoch that is not better than this counts as one without an improvement, even if it is
        the best so far.
    start_from_epoch : int
        The number of epochs at the beginning that are ignored.

    Attributes
    ----------
    best : float
        The best value of the last run; inf before the first epoch that counts. That epoch is the
        best so far whatever its value. Later, a value that is not finite is never an improvement.
    best_epoch : int
        The epoch of the best value; 0 before the first epoch that counts.

    Examples
    --------
    >>> from fastnn.datasets import make_spiral
    >>> X, y = make_spiral(100, 3, rng=0)
    >>> layers = [fastnn.Dense(2, 16, rng=0), fastnn.ReLU(), fastnn.Dense(16, 3, rng=1)]
    >>> model = fastnn.Sequential(layers)
    >>> stop = fastnn.EarlyStopping("loss", patience=5)
    >>> history = model.fit(X, y, epochs=500, optimizer=fastnn.Adam(0.1), seed=0, callbacks=[stop])
    >>> len(history), len(history) - stop.best_epoch
    (30, 5)
    """

    monitor, mode = Setting(as_curve), Setting(as_mode)
    patience, min_delta = Setting(non_negative), Setting(non_negative)
    restore_best, baseline = Setting(as_flag), Setting(_as_baseline)
    start_from_epoch = Setting(non_negative)

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 10,
        min_delta: float = 0.0,
        restore_best: bool = True,
        mode: Mode = "auto",
        baseline: float | None = None,
        start_from_epoch: int = 0,
    ) -> None:
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.restore_best, self.mode = restore_best, mode
        self.baseline, self.start_from_epoch = baseline, start_from_epoch

    def on_fit_begin(self, run: Run) -> None:
        """Check that there will be such a curve."""
        self._sign = sign_of(self.monitor, self.mode, run.curve_names, run.metrics)
        self.best, self.best_epoch, self._waited = math.inf, 0, 0
        self._parameters: Snapshot | None = None

    def on_epoch_end(self, run: Run) -> None:
        """Compare the value with the best one, and stop the run after `patience` epochs."""
        if run.epoch <= self.start_from_epoch:
            return
        value = run.history.latest()[self.monitor]
        improves = self.best_epoch == 0 or self._is_better(value, self.best)
        if improves:
            self.best, self.best_epoch = value, run.epoch
            if self.restore_best:
                self._parameters = run._network.snapshot()
        if self.baseline is not None:
            improves = improves and self._is_better(value, self.baseline)
        self._waited = 0 if improves else self._waited + 1
        if self._waited >= max(1, self.patience):
            run.stopped = True

    def _is_better(self, value: float, other: float) -> bool:
        return cost_of(value, self._sign) < cost_of(other, self._sign) - self.min_delta

    def state(self, run: Run) -> dict[str, Any]:
        """Return the best value, its epoch and its parameters, and the epochs waited since."""
        return {
            "best": self.best, "best_epoch": self.best_epoch, "waited": self._waited,
            "parameters": self._parameters,
        }  # fmt: skip

    def restore(self, run: Run, state: Any) -> None:
        """Restore what `state` returned."""
        if isinstance(state, dict) and "waited" not in state:  # of a file from before `baseline`
            state = {**state, "waited": run.epoch - state.get("best_epoch", 0)}
        form = {"best": 0.0, "best_epoch": 0, "waited": 0, "parameters": any}
        check_tree(state, form, "EarlyStopping")
        if state["parameters"] is not None:
            check_tree(state["parameters"], run._network.snapshot(), "EarlyStopping.parameters")
            check_finite(state["parameters"], "EarlyStopping.parameters")
        self.best, self.best_epoch = float(state["best"]), state["best_epoch"]
        self._waited, self._parameters = state["waited"], state["parameters"]

    def on_fit_end(self, run: Run) -> None:
        """Restore the best parameters."""
        if self._parameters is not None:
            run._network.restore(self._parameters)
            self._parameters = None


class CSVLogger(Callback):
    """Writes the curves to a CSV file, a line after each epoch.

    Parameters
    ----------
    path : path-like
        An existing file is replaced when the run begins. In a resumed run the new file begins with
        the earlier epochs.

    Examples
    --------
    >>> from pathlib import Path
    >>> model = fastnn.Sequential([fastnn.Dense(2, 2, rng=0, init="zeros")])
    >>> history = model.fit(np.eye(2), [0, 1], epochs=1, callbacks=[fastnn.CSVLogger("log.csv")])
    >>> print(Path("log.csv").read_text().splitlines()[0])
    epoch,loss,accuracy
    """

    writes = True

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)

    def on_fit_begin(self, run: Run) -> None:
        """Write the names of the curves, and the earlier epochs of a resumed run."""
        curves = [run.history.curves.get(name, []) for name in run.curve_names]
        rows = zip(run.history.epochs, *curves, strict=True)
        self._write("w", [["epoch", *run.curve_names], *rows])

    def on_epoch_end(self, run: Run) -> None:
        """Add the values of the epoch."""
        curves = run.history.latest()
        self._write("a", [[run.epoch, *(curves[name] for name in run.curve_names)]])

    def _write(self, mode: str, rows: Iterable[Iterable[Any]]) -> None:
        with self.path.open(mode, newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)


def as_callbacks(value: Sequence[Callback]) -> list[Callback]:
    """Return a list of callbacks."""
    callbacks = list(value) if isinstance(value, list | tuple) else None
    if callbacks is None or not all(isinstance(each, Callback) for each in callbacks):
        raise TypeError(f"callbacks is {value!r}, expected a list of fastnn.Callback objects")
    return callbacks
