"""Many independent networks trained at once, one thread each, over the same data in memory."""

from __future__ import annotations

import contextlib
import copy
import inspect
import operator
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.interruption import Interruption, run_interruptible
from ..model import Sequential
from ..nn.optimizer import Optimizer
from ..program.samples import Samples, as_samples
from ..program.threads import WORK_PER_THREAD, ThreadTeam, resolve_threads, with_team
from ..program.trainer import Targets
from ..types import Seed
from ..validation import as_scaling
from .callbacks import Callback
from .errors import DivergedModelsError, NonFiniteLossError
from .history import History
from .progress import Bar, Verbose, as_progress

# What a model of its own has to be given, or is of no use to several.
_OWN = ("batches", "threads", "verbose", "optimizer", "seed", "callbacks", "X", "y")


def fit_many(
    models: Sequence[Sequential],
    X: ArrayLike,
    y: ArrayLike,
    *,
    optimizer: Optimizer | Sequence[Optimizer | None] | None = None,
    seed: Seed | Sequence[Seed] = None,
    callbacks: Sequence[Callback] | Sequence[Sequence[Callback]] = (),
    verbose: Verbose = "auto",
    threads: int | None = None,
    **options: Any,
) -> list[History]:
    """Train many independent models on the same samples, each in one thread.

    Every model ends with the same bits as after `model.fit(X, y, ..., threads=1)` alone. The
    samples are checked once, and shared.

    Parameters
    ----------
    models : list of Sequential
        Distinct ones; they may differ in layers, loss and dtype.
    X, y
        As in `fit`; `batches` can only train one model.
    optimizer : Optimizer, or list of them
        One is a pattern, of which each model gets a copy that has met no parameters yet. To go on
        where a call ended, give a list with one for each model.
    seed : None, int, or list of None, int or numpy.random.Generator
        An int is the seed of the first model, and those behind it have the numbers behind it.
    callbacks : list of Callback, or list of such lists
        One list is a pattern, of which each model gets a copy. To look at callbacks afterwards,
        or to write to a file for each model, give a list with a list for each.
    verbose : "auto", 0, 1 or 2
        Show a bar that counts models; "auto" does on a terminal.
    threads : int, optional
        Models that train at the same time: by default as `set_num_threads` says, else as many as
        the process may use CPUs.
    **options
        All others of `fit`, for every model: `epochs`, `batch_size`, `validation_data`, ...

    Returns
    -------
    list of History

    Raises
    ------
    TypeError, ValueError
        For bad arguments, before any training starts.
    DivergedModelsError
        When all is done, where some of the models diverged.

    Notes
    -----
    An error of a callback, Ctrl-C, or any exception of a signal handler ends all training within
    some hundredths of a second. Each model is then as its last whole step left it.

    Examples
    --------
    >>> from fastnn.datasets import make_spiral
    >>> X, y = make_spiral(100, 3, rng=0)
    >>> models = [fastnn.Sequential([fastnn.Dense(2, 3, rng=seed)]) for seed in range(8)]
    >>> histories = fastnn.fit_many(models, X, y, epochs=5, seed=0)
    >>> len(histories), len(histories[0].loss)
    (8, 5)
    """
    models = _as_models(models)
    n = len(models)
    given = {
        "optimizer": _for_each(optimizer, "optimizer", n, copy.deepcopy),
        "seed": _as_seeds(seed, n),
        "callbacks": _as_callback_lists(callbacks, n),
    }
    shown = bool(as_progress(verbose, ()))
    n_threads = min(n, resolve_threads(threads, n * WORK_PER_THREAD))
    for name in options:
        if name in _OWN or name not in inspect.signature(Sequential.fit).parameters:
            raise TypeError(f"{name} is given, expected arguments of fit_many or of fit")
    if options.get("resume") is not None and n > 1:
        raise ValueError("resume is one file, expected none for several models")
    shared, runs = _Shared(options), []
    for i, model in enumerate(models):
        own = {name: values[i] for name, values in given.items()}
        try:
            arguments = shared.arguments_for(model, X, y)
            runs.append(model._prepare_fit(**arguments | own))
        except (TypeError, ValueError) as error:
            error.add_note(f"of models[{i}]")
            raise
    return _Race(runs, shown).run(n_threads)


def _as_models(value: Any) -> list[Sequential]:
    models = list(value) if isinstance(value, list | tuple) else []
    if not models or not all(isinstance(model, Sequential) for model in models):
        raise TypeError(f"models is {value!r:.80}, expected a list of fastnn.Sequential")
    _check_distinct(models, "models")
    return models


def _check_distinct(values: Iterable[Any], name: str) -> None:
    seen: dict[int, int] = {}
    for i, value in enumerate(values):
        if seen.setdefault(id(value), i) != i:
            raise ValueError(f"{name}[{i}] is {name}[{seen[id(value)]}], expected distinct ones")


def _for_each(value: Any, name: str, n: int, copied: Callable[[Any], Any]) -> list[Any]:
    """Return a list of one for each model: given as such, or copies."""
    if not isinstance(value, list | tuple):
        return [copied(value) for _ in range(n)]
    _check_length(value, name, n)
    _check_distinct([each for each in value if each is not None], name)
    return list(value)


def _check_length(value: Any, name: str, n: int) -> None:
    if len(value) != n:
        raise ValueError(f"{name} has {len(value)} items, expected {n}, one for each model")


def _as_seeds(value: Any, n: int) -> list[Any]:
    if isinstance(value, list | tuple):
        _check_length(value, "seed", n)
        generators = [each for each in value if isinstance(each, np.random.Generator)]
        _check_distinct(generators, "seed")
        return list(value)
    if value is None:
        return [None] * n
    try:
        number: Any = None if isinstance(value, bool) else value
        first = operator.index(number)
    except TypeError:
        raise TypeError(
            f"seed is {value!r}, expected None, a whole number, or a list of one for each model"
        ) from None
    return [first + i for i in range(n)]


def _as_callback_lists(value: Any, n: int) -> list[Any]:
    if isinstance(value, list | tuple) and value and all(type(v) in (list, tuple) for v in value):
        _check_length(value, "callbacks", n)
        _check_distinct([each for callbacks in value for each in callbacks], "callbacks")
        return list(value)
    for each in value if isinstance(value, list | tuple) else ():
        if n > 1 and hasattr(each, "path"):
            raise ValueError(
                f"callbacks has {each!r}, to whose file all models would write: "
                "expected a list of callbacks for each model"
            )
    return [copy.deepcopy(value) for _ in range(n)]


class _Shared:
    """The arguments of `fit` that all models have, with the samples checked once for each kind."""

    def __init__(self, options: dict[str, Any]) -> None:
        signature = inspect.signature(Sequential.fit).parameters
        defaults = {name: each.default for name, each in signature.items() if name != "self"}
        self.options = defaults | options | {"verbose": 0, "threads": 1}
        self.found: dict[Any, Any] = {}

    def arguments_for(self, model: Sequential, X: ArrayLike, y: ArrayLike) -> dict[str, Any]:
        """Return the keyword arguments for one model."""
        given: dict[str, Any] = {"X": X, "y": y}
        given["X"], given["y"] = self._checked(model, X, y, "X", "y")
        held_out = self.options["validation_data"]
        if isinstance(held_out, list | tuple) and len(held_out) in (2, 3):
            names = "validation_data[0]", "validation_data[1]"
            pair = self._checked(model, *held_out[:2], *names)
            given["validation_data"] = (*pair, *held_out[2:])
        return self.options | given

    def _checked(
        self, model: Sequential, X: ArrayLike, y: ArrayLike, *names: str
    ) -> tuple[Samples, Targets]:
        scaling = as_scaling(self.options["scale"], self.options["offset"], model.dtype)
        dtype = model.dtype if model._parametric else None
        key: tuple[Any, ...] = names[0], dtype, model._n_features
        if key not in self.found:
            self.found[key] = as_samples(
                X, names[0], n_features=model._n_features, dtype=dtype, scaling=scaling,
                allow_empty=False,
            )  # fmt: skip
        samples = self.found[key]
        key = names[1], type(model.loss), model._n_classes(samples), dtype
        if key not in self.found:
            self.found[key] = Targets(*model._as_targets(y, names[1], samples))
        return samples, self.found[key]


class _Race:
    """Threads that take one run after the other until none is left."""

    def __init__(self, runs: list[Any], shown: bool) -> None:
        self.runs, self.shown = runs, shown
        self.histories: list[Any] = [None] * len(runs)
        self.diverged: dict[int, NonFiniteLossError] = {}
        self.left, self.lock = iter(range(len(runs))), threading.Lock()
        self.error: BaseException | None = None

    def run(self, n_threads: int) -> list[History]:
        """Run all with so many threads, this one included; return the histories."""
        with Bar(total=len(self.runs), unit=" models") if self.shown else _NoBar() as self.bar:
            with_team(n_threads, self._run_in)
        if self.error is not None:
            raise self.error
        if self.diverged:
            raise DivergedModelsError(self.diverged, self.histories)
        return self.histories

    def _run_in(self, team: ThreadTeam) -> None:
        stop = Interruption()
        try:
            team.run(lambda thread: run_interruptible(stop, self._work, stop))
        except BaseException:
            stop.requested = True
            raise

    def _work(self, stop: Interruption) -> None:
        number = None
        try:
            while not stop.requested:
                with self.lock:
                    number = next(self.left, None)
                if number is None:
                    break
                self._take(number)
        except BaseException as error:
            if not stop.requested:
                if number is not None and isinstance(error, Exception):
                    error.add_note(f"of models[{number}]")
                self.error = error
            stop.requested = True

    def _take(self, number: int) -> None:
        try:
            self.histories[number] = self.runs[number]()
        except NonFiniteLossError as error:
            self.diverged[number], self.histories[number] = error, error.history
        self.runs[number] = None  # what it holds can go
        with self.lock:
            self.bar.update()


class _NoBar(contextlib.nullcontext[Any]):
    """What stands for a bar that is not shown."""

    def __enter__(self) -> _NoBar:
        return self

    def update(self) -> None:
        """Show nothing."""
