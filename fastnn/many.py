"""Many independent networks trained at once, one thread each, over the same data in memory."""

from __future__ import annotations

import contextlib
import copy
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .model import Sequential, program_of
from .nn.classes import as_optimizer
from .nn.optimizer import Optimizer, State
from .nn.optimizers import SGD
from .program.precision import resolve_precision
from .program.samples import Samples
from .program.threads import WORK_PER_THREAD, resolve_threads
from .run.callbacks import Callback
from .run.compilation import note_compilation
from .run.data import Targets, as_checked_targets, count_outputs
from .run.errors import DivergedModelsError, NonFiniteLossError
from .run.history import History
from .run.parallel import ParallelRuns
from .run.progress import Verbose, as_progress, make_bar
from .run.remote import as_executor, run_chunks, split_evenly
from .run.request import FitArguments, Request, check_request
from .types import Seed, Snapshot, StateSnapshot
from .validation import as_scaling

# Arguments of `fit` that `fit_many` sets itself, or that make no sense for several models.
_NOT_SHARED = (
    "batches", "threads", "verbose", "optimizer", "seed", "callbacks", "X", "y", "ranks",
    "parts",
)  # fmt: skip

# The optimizer, seed and callbacks of each model.
_ForEach: TypeAlias = dict[str, list[Any]]


def fit_many(
    models: Sequence[Sequential],
    X: ArrayLike,
    y: ArrayLike,
    *,
    optimizer: Optimizer | str | Sequence[Optimizer | str | None] | None = None,
    seed: Seed | Sequence[Seed] = None,
    callbacks: Sequence[Callback] | Sequence[Sequence[Callback]] = (),
    verbose: Verbose = "auto",
    threads: int | None = None,
    executor: Executor | None = None,
    **options: Any,
) -> list[History]:
    """Train many independent models on the same samples, each in one thread.

    Every model ends with the same bits as after its own `model.fit(X, y, ..., threads=1)`. All
    models share the samples, which are checked once.

    Parameters
    ----------
    models : list of Sequential
        Distinct ones; they may differ in layers, loss and dtype.
    X : array-like of shape (N, I)
        As in `fit`; `batches` can only train one model.
    y : array-like
        As in `fit`.
    optimizer : Optimizer or str, or list of them
        Each model gets a copy of a single optimizer, without its state. To continue training from
        an earlier call, pass a list with one optimizer for each model.
    seed : None, int, or list of None, int or numpy.random.Generator
        With an int `seed`, the models use `seed`, `seed + 1`, `seed + 2` and so on.
    callbacks : list of Callback, or list of such lists
        Each model gets a copy of the callbacks of a single list. To inspect callbacks after the
        call, or to write a file for each model, pass a list with one list for each model.
    verbose : "auto", 0, 1 or 2
        1 and 2 show a progress bar that counts models, 0 does not; "auto" shows it on a
        terminal and in a notebook.
    threads : int, optional
        How many models train at the same time. By default the number of `set_num_threads`, or
        the number of CPUs that the process may use. With an `executor`, how many each worker
        trains at the same time, by default 1.
    executor : concurrent.futures.Executor, optional
        Its workers train the models: those of `mpi4py.futures.MPIPoolExecutor`, of Dask's
        `client.get_executor()`, of loky, or of Python's `ProcessPoolExecutor`. Each worker gets
        the samples once and the models in chunks. Callbacks, metrics and functions of your own are
        called there, on copies. Where `optimizer`, `seed` or `callbacks` has one object for each
        model, the object has the state of its copy afterwards. A layer of your own has its
        `weights` and `biases`.
    **options
        Further arguments of `fit`, the same for every model: `epochs`, `batch_size`,
        `validation_data`, ...

    Returns
    -------
    list of History

    Raises
    ------
    TypeError, ValueError
        For bad arguments, before any training starts.
    DivergedModelsError
        After the training of all models, if some of them diverged.

    Notes
    -----
    An error in a callback, Ctrl-C, or an exception in a signal handler stops the training of all
    models within some hundredths of a second. Each model then has the parameters after its last
    complete step.

    With an `executor`, models and optimizers change only after all models are trained. So they are
    as before if an error of a worker or Ctrl-C ends the call: no further chunk is begun then. A
    note of the error names the model.

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
    for_each = {
        "optimizer": _as_optimizers(optimizer, n),
        "seed": _as_seeds(seed, n),
        "callbacks": _as_callback_lists(callbacks, n),
    }
    show_bar = bool(as_progress(verbose, ()))
    n_threads = min(n, resolve_threads(threads, n * WORK_PER_THREAD))
    for name in options:
        if name in _NOT_SHARED or name not in FitArguments._fields:
            raise TypeError(f"{name} is given, expected arguments of fit_many or of fit")
    if options.get("resume") is not None and n > 1:
        raise ValueError("resume is one file, expected none for several models")
    if executor is not None:
        return _train_remotely(
            as_executor(executor), models, X, y, for_each, options, threads, show_bar
        )
    with note_compilation(verbose):
        requests = [*_make_requests(models, X, y, for_each, options)]
        return ParallelRuns(requests, show_bar).run(n_threads)


def _make_requests(
    models: Sequence[Sequential],
    X: ArrayLike,
    y: ArrayLike,
    for_each: _ForEach,
    options: dict[str, Any],
    first: int = 0,
) -> Iterator[Request]:
    """Yield the checked request of each model; an error names it, as models[first] and so on."""
    shared = _Shared(FitArguments(**options, verbose=0, threads=1))
    for i, model in enumerate(models):
        own = {name: values[i] for name, values in for_each.items()}
        try:
            arguments = shared.arguments_for(model, X, y)._replace(**own)
            yield check_request(program_of(model), model, arguments)
        except (TypeError, ValueError) as error:
            error.add_note(f"of models[{first + i}]")
            raise


# ------------------------------------------------------------------ on workers


class _Chunk(NamedTuple):
    """Models that a worker trains, and what each of them has of its own."""

    first: int  # the index of the first one in `models`
    models: list[Sequential]
    for_each: _ForEach
    states: list[list[StateSnapshot]]  # of the optimizers, which pickles leave behind
    threads: int


class _Trained(NamedTuple):
    """What a worker returns of a model."""

    snapshot: Snapshot
    history: History
    error: NonFiniteLossError | None
    optimizer: Optimizer
    states: list[StateSnapshot]
    seed: Seed
    callbacks: Sequence[Callback]


def _train_remotely(
    executor: Executor,
    models: list[Sequential],
    X: ArrayLike,
    y: ArrayLike,
    for_each: _ForEach,
    options: dict[str, Any],
    threads: int | None,
    show_bar: bool,
) -> list[History]:
    for _ in _make_requests(models, X, y, for_each, options):
        pass  # all errors of arguments, before a worker begins
    for_each["optimizer"] = [each or SGD() for each in for_each["optimizer"]]
    threads = 1 if threads is None else threads
    precision = resolve_precision(options.get("precision"), np.dtype(np.float32)).precision
    options = {**options, "precision": precision}  # workers have a default of their own

    def make_chunk(part: range) -> _Chunk:
        here = slice(part.start, part.stop)
        own = {name: values[here] for name, values in for_each.items()}
        states = [
            [state.snapshot() for state in _states_of(model, optimizer)]
            for model, optimizer in zip(models[here], own["optimizer"], strict=True)
        ]
        # A copy, as a worker may be a thread of this process.
        chunk = _Chunk(part.start, models[here], own, states, threads)
        return copy.deepcopy(chunk)

    chunks = split_evenly(len(models), executor, threads)
    bar = make_bar(total=len(models), unit=" models") if show_bar else contextlib.nullcontext()
    with bar as shown:
        parts = run_chunks(executor, _train_chunk, (X, y, options), chunks, make_chunk, shown)
    results: list[_Trained] = [each for part in parts for each in part]
    for i, trained in enumerate(results):
        _take_over(models[i], {name: values[i] for name, values in for_each.items()}, trained)
    histories = [trained.history for trained in results]
    diverged = {i: each.error for i, each in enumerate(results) if each.error is not None}
    if diverged:
        raise DivergedModelsError(diverged, histories)
    return histories


def _train_chunk(
    chunk: _Chunk, X: ArrayLike, y: ArrayLike, options: dict[str, Any]
) -> list[_Trained]:
    """Train the models of a chunk, in a worker."""
    models, for_each = chunk.models, chunk.for_each
    optimizers = for_each["optimizer"]
    for model, optimizer, states in zip(models, optimizers, chunk.states, strict=True):
        _restore_states(model, optimizer, states)
        program_of(model).note_warning()  # the process that sent it has warned
    requests = [*_make_requests(models, X, y, for_each, options, chunk.first)]
    errors: dict[int, NonFiniteLossError] = {}
    try:
        histories = ParallelRuns(requests, False, chunk.first).run(min(len(models), chunk.threads))
    except DivergedModelsError as error:
        errors, histories = error.errors, error.histories
    return [
        _Trained(
            program_of(model).network.snapshot(), histories[i], errors.get(i), optimizers[i],
            [state.snapshot() for state in _states_of(model, optimizers[i])],
            for_each["seed"][i], for_each["callbacks"][i],
        )
        for i, model in enumerate(models)
    ]  # fmt: skip


def _states_of(model: Sequential, optimizer: Optimizer) -> list[State]:
    """Return the states that an optimizer has for the arrays of a model."""
    return [optimizer.state_of(each) for each in program_of(model).trained_arrays(optimizer)]


def _restore_states(model: Sequential, optimizer: Optimizer, states: list[StateSnapshot]) -> None:
    for state, snapshot in zip(_states_of(model, optimizer), states, strict=True):
        state.restore(snapshot)


def _take_over(model: Sequential, own: dict[str, Any], trained: _Trained) -> None:
    """Give a model, and what it has of its own, the results of a worker."""
    program_of(model).network.restore(trained.snapshot)
    own["optimizer"].take_over(trained.optimizer)
    _restore_states(model, own["optimizer"], trained.states)
    if isinstance(own["seed"], np.random.Generator):
        assert isinstance(trained.seed, np.random.Generator)
        own["seed"].bit_generator.state = trained.seed.bit_generator.state
    for callback, twin in zip(own["callbacks"], trained.callbacks, strict=True):
        callback.take_over(twin)


# ------------------------------------------------------------------ arguments


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


def _for_each(value: Any, name: str, n: int, copy_of: Callable[[Any], Any]) -> list[Any]:
    """Return a list with one item for each model: the list `value`, or copies of `value`."""
    if not isinstance(value, list | tuple):
        return [copy_of(value) for _ in range(n)]
    _check_length(value, name, n)
    _check_distinct([each for each in value if each is not None], name)
    return list(value)


def _as_optimizers(value: Any, n: int) -> list[Any]:
    """Return an optimizer, or None, for each model; names become optimizers."""
    if isinstance(value, list | tuple):
        value = [as_optimizer(each, f"optimizer[{i}]") for i, each in enumerate(value)]
    return _for_each(as_optimizer(value, "optimizer"), "optimizer", n, copy.deepcopy)


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
        seed: Any = None if isinstance(value, bool) else value
        first = operator.index(seed)
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
    """The arguments of `fit` that all models share.

    Samples are checked once for all models of the same dtype and number of features, and targets
    once for all that also have the same kind of loss.
    """

    def __init__(self, arguments: FitArguments) -> None:
        self.arguments = arguments
        self.checked: dict[Any, Any] = {}

    def arguments_for(self, model: Sequential, X: ArrayLike, y: ArrayLike) -> FitArguments:
        """Return the arguments for one model."""
        inputs, targets = self._check(model, X, y, "X", "y")
        arguments = self.arguments._replace(X=inputs, y=targets)
        held_out: Any = arguments.validation_data
        if isinstance(held_out, list | tuple) and len(held_out) in (2, 3):
            names = "validation_data[0]", "validation_data[1]"
            pair: Any = self._check(model, *held_out[:2], *names)
            arguments = arguments._replace(validation_data=(*pair, *held_out[2:]))
        return arguments

    def _check(
        self, model: Sequential, X: ArrayLike, y: ArrayLike, *names: str
    ) -> tuple[Samples, Targets]:
        program = program_of(model)
        network = program.network
        scaling = as_scaling(self.arguments.scale, self.arguments.offset, network.dtype)
        dtype = network.dtype if network.parametric else None
        key: tuple[Any, ...] = names[0], dtype, network.n_features
        if key not in self.checked:
            self.checked[key] = program.as_inputs(X, names[0], scaling=scaling, allow_empty=False)
        samples = self.checked[key]
        key = names[1], type(network.loss), count_outputs(network, samples), dtype
        if key not in self.checked:
            self.checked[key] = as_checked_targets(network, y, names[1], samples)
        return samples, self.checked[key]
