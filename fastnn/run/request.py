"""The arguments of `fit`, and their checks: the code that follows relies on them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import MissingClassWarning, SlowTrainingWarning
from ..memory import is_mapped
from ..metrics import MetricLike
from ..nn.classes import as_optimizer
from ..nn.dropout import Dropout
from ..nn.optimizer import Optimizer
from ..nn.optimizers import SGD
from ..nn.own import overrides
from ..nn.own_losses import OwnLoss
from ..program.batches import Batches
from ..program.plan import operation_of
from ..program.program import Program
from ..program.ranks import Ranks
from ..program.samples import Samples
from ..program.trainer import Data, Description, describe_network
from ..types import Batch, BatchSource, MaybeNone, PathLike, Precision, Scaling, Seed, Shuffle
from ..validation import (
    as_count,
    as_flag,
    as_generator,
    as_index,
    as_number,
    as_path,
    as_scaling,
)
from .agreement import Agreement
from .averages import find_average_decay
from .callbacks import Callback, Run, TrainedModel, as_callbacks
from .checkpoints import Checkpoint, find_checkpoint
from .data import (
    Targets,
    ValidationParts,
    as_data,
    as_validation,
    check_batches,
    missing_classes,
    split_off,
    with_class_weights,
)
from .evaluation import Observer, as_further_metrics
from .order import BatchOrders, EpochOrders, count_used
from .parts import join_parts
from .progress import Verbose, as_progress

BATCH_SIZE = 32
"""The rows of a step, by default."""


class FitArguments(NamedTuple):
    """The unchecked arguments of `Sequential.fit`; its docstring describes them."""

    X: ArrayLike | Samples | None = None
    y: ArrayLike | Targets | None = None
    batches: BatchSource | None = None
    epochs: int = 1
    batch_size: int | None = None
    optimizer: Optimizer | str | None = None
    seed: Seed = None
    validation_data: Batch | BatchSource | None = None
    validation_split: float = 0.0
    sample_weight: ArrayLike | None = None
    class_weight: Mapping[Any, float] | None = None
    shuffle: Shuffle = True
    drop_last: bool = False
    steps_per_epoch: int | None = None
    initial_epoch: int = 0
    metrics: Sequence[MetricLike] = ()
    callbacks: Sequence[Callback] = ()
    scale: float = 1.0
    offset: float = 0.0
    resume: PathLike | None = None
    verbose: Verbose = "auto"
    threads: int | None = None
    precision: Precision | None = None
    ranks: Ranks | None = None
    parts: bool = False


class Request(NamedTuple):
    """The checked arguments of a run, with all that it needs to begin."""

    program: Program
    description: Description  # of the network, for which the data were checked
    optimizer: Optimizer
    data: Data | None  # None: there are `batches`
    batches: Batches | MaybeNone
    class_weight: Mapping[Any, float] | None  # of `batches`
    scaling: Scaling
    batch_size: int | None  # None: each of the `batches` is one step
    steps_per_epoch: int | None
    order: EpochOrders
    observe: Observer | None  # None: no evaluation after an epoch
    run: Run
    callbacks: list[Callback]
    resume: PathLike | None  # a file that exists
    settings: dict[str, Any]  # must be the same in a resumed run
    threads: int | None
    ranks: Ranks | None  # that train together
    average_decay: float | None  # of the parameters over the steps; None: there is no average

    @property
    def n_used(self) -> int:
        """The number of samples of an epoch; 0 with `batches`."""
        return self.order.n_used


class _Samples(NamedTuple):
    """The samples that a run is trained and evaluated on."""

    data: Data | None
    batches: Batches | None
    validation: Data | ValidationParts | None
    n_samples: int
    n_used: int
    batch_size: int | None


def check_request(
    program: Program,
    model: TrainedModel,
    arguments: FitArguments,
    agreement: Agreement | None = None,
) -> Request:
    """Return the checked request of a call of `fit`; callbacks see `model`.

    `agreement` is that of the ranks, if the arguments have some.

    Raises
    ------
    TypeError, ValueError
        For bad arguments; nothing has changed then.
    """
    program.refresh()
    network, threads = program.network, arguments.threads
    description = describe_network(network)
    epochs = as_count(arguments.epochs, "epochs")
    batch_size = arguments.batch_size
    if batch_size is not None:
        batch_size = as_count(batch_size, "batch_size")
    optimizer = as_optimizer(arguments.optimizer, "optimizer")
    optimizer = SGD() if optimizer is None else optimizer
    check_training(program, optimizer, threads)
    program = program.at(arguments.precision, optimizer)
    shuffle = arguments.shuffle
    if not isinstance(shuffle, bool | np.bool_) and not callable(shuffle):
        raise TypeError(f"shuffle is {shuffle!r}, expected True, False or a callable of N")
    drop_last = as_flag(arguments.drop_last, "drop_last")
    steps_per_epoch = arguments.steps_per_epoch
    if steps_per_epoch is not None:
        steps_per_epoch = as_count(steps_per_epoch, "steps_per_epoch")
    as_number(arguments.validation_split, "validation_split", 0, 1)
    if arguments.validation_split and arguments.validation_data is not None:
        raise ValueError("validation_split is given, expected no validation_data beside it")
    initial_epoch = as_index(arguments.initial_epoch, "initial_epoch", epochs)
    ranks = check_ranks(program, optimizer, arguments)
    callbacks = as_callbacks(arguments.callbacks)
    average_decay = find_average_decay(callbacks, optimizer)
    callbacks += as_progress(arguments.verbose, callbacks)
    if ranks is not None and ranks.rank > 0:  # one rank writes for all
        callbacks = [each for each in callbacks if not each.writes]
    resume = None
    if arguments.resume is not None:
        resume = find_checkpoint(as_path(arguments.resume, "resume"))
    rng = as_generator(arguments.seed, "seed")
    scaling = as_scaling(arguments.scale, arguments.offset, network.dtype)
    validation = as_validation(program, arguments.validation_data, scaling)
    checked = arguments._replace(
        batch_size=batch_size, drop_last=drop_last, steps_per_epoch=steps_per_epoch,
        callbacks=callbacks,
    )  # fmt: skip
    has_dropout = any(isinstance(layer, Dropout) for layer in network.layers)
    order: EpochOrders
    if arguments.batches is None:
        samples = _check_samples(program, checked, scaling, validation, agreement)
        order = EpochOrders(samples.n_samples, samples.n_used, rng, shuffle, has_dropout)
    else:
        samples = _check_batches_only(checked, validation)
        order = BatchOrders(rng, shuffle, has_dropout, batch_size, drop_last)
    data, validation = samples.data, samples.validation

    if arguments.metrics and isinstance(validation, ValidationParts):
        raise ValueError("metrics is given, expected validation_data in one part beside it")
    at_once = validation if isinstance(validation, Data) else None
    # What other ranks hold of the samples is not measured.
    measured = at_once if arguments.parts else data or at_once
    metrics = as_further_metrics(arguments.metrics, network.loss, measured) if measured else []
    at_hand = None if arguments.parts else data
    observe = Observer(program, description, at_hand, validation, metrics, threads)
    curve_names = observe.find_curve_names()
    run = Run(model, network, epochs, initial_epoch, metrics, curve_names)
    if not isinstance(
        arguments.seed, np.random.Generator
    ):  # a Generator continues where the last run left it
        for _ in range(initial_epoch):
            order()
    warn_of_slow_training(program, optimizer, 4)
    settings: dict[str, Any] = {
        "n_samples": samples.n_samples, "samples_per_epoch": samples.n_used,
        "batch_size": samples.batch_size,
        "shuffle": "a function" if callable(order.shuffle) else bool(order.shuffle),
        "scale": float(arguments.scale), "offset": float(arguments.offset),
        "weighted": data is not None and len(data.weights) > 0,
        "precision": program.precision,
        "shards": 1 if ranks is None else ranks.shards,
        "weight_average": average_decay,
    }  # fmt: skip
    describe = getattr(arguments.batches, "describe", None)
    if describe is not None:
        settings["batches"] = describe()
    return Request(
        program, description, optimizer, data, samples.batches, arguments.class_weight, scaling,
        samples.batch_size, steps_per_epoch, order, observe if curve_names else None, run,
        callbacks, resume, settings, threads, ranks, average_decay,
    )  # fmt: skip


def _check_samples(
    program: Program,
    arguments: FitArguments,
    scaling: Scaling,
    validation: Data | ValidationParts | None,
    agreement: Agreement | None,
) -> _Samples:
    """Check `X`, `y` and the arguments that depend on them."""
    network, part = program.network, arguments.validation_split
    if arguments.X is None and arguments.y is None:
        raise TypeError("X and y are missing, expected both, or batches")
    if arguments.parts:
        assert arguments.ranks is not None
        assert agreement is not None
        data = join_parts(
            program, arguments.X, arguments.y, arguments.sample_weight, scaling, arguments.ranks,
            agreement,
        )  # fmt: skip
    else:
        # A mapped file may be larger than memory: its rows are looked at when they are read.
        finite: Literal[True, "later"] = "later" if is_mapped(arguments.X) else True
        data = as_data(
            program, arguments.X, arguments.y, arguments.sample_weight, scaling=scaling,
            finite=finite,
        )  # fmt: skip
    if part:
        whole = data.inputs
        data, validation = split_off(data, part)
        if whole.pending is not None:
            whole.check("X", len(data.inputs))
        _warn_of_missing_classes(missing_classes(data, validation, network.loss.task), part, 5)
    data = with_class_weights(data, arguments.class_weight, network.loss.task)
    n = len(data.inputs)
    batch_size = min(arguments.batch_size or BATCH_SIZE, n)
    n_used = count_used(n, batch_size, arguments.drop_last)
    if arguments.steps_per_epoch is not None:
        n_used = min(n_used, arguments.steps_per_epoch * batch_size)
    check_batches(network, n_used, batch_size)
    return _Samples(data, None, validation, n, n_used, batch_size)


def _check_batches_only(
    arguments: FitArguments, validation: Data | ValidationParts | None
) -> _Samples:
    """Check `batches`, and that no argument that needs `X` and `y` comes with it."""
    others = {
        "X": arguments.X, "y": arguments.y, "sample_weight": arguments.sample_weight,
        "validation_split": arguments.validation_split or None,
        "drop_last": (arguments.batch_size is None and arguments.drop_last) or None,
        "metrics": None if validation else arguments.metrics or None,
    }  # fmt: skip
    for name, value in others.items():
        if value is not None:
            raise ValueError(f"{name} is given, expected batches without it")
    assert arguments.batches is not None
    batches = Batches(arguments.batches, arguments.initial_epoch)
    window_rows = getattr(arguments.batches, "window_rows", None)
    if arguments.batch_size is None and window_rows is not None:
        raise ValueError(
            f"batch_size is None, expected the samples of a step: batches is "
            f"{arguments.batches!r}, and a step of a whole window is rarely meant; "
            f"batch_size={window_rows} takes one"
        )
    within = [each for each in arguments.callbacks if isinstance(each, Checkpoint)]
    if not batches.can_start_again:
        again = f"batches is {batches.source!r:.80}, which gives each batch once"
        other = "a list, or a function that returns an iterator"
        if arguments.resume is not None:
            raise ValueError(f"{again}: resume needs {other}")
        if any(each.watches_chunks for each in within):
            raise ValueError(f"{again}: a Checkpoint within epochs needs {other}")
    return _Samples(None, batches, validation, 0, 0, arguments.batch_size)


def check_training(program: Program, optimizer: Optimizer, threads: int | None) -> None:
    """Raise for an optimizer or a network that cannot train, and one without parameters."""
    network = program.network
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer is {optimizer!r}, expected one such as fastnn.SGD(...)")
    if network.parametric:
        optimizer.rates(0, 1, network.dtype)
    if threads is not None:
        as_count(threads, "threads")
    network.check_arrays()
    network.check_own_layers()
    if not network.parametric and not network.own_layers():
        raise ValueError("the model has no layer with parameters, so fit has nothing to train")


def as_ranks(value: object) -> Ranks:
    """Return `value` if it is Ranks; else raise TypeError."""
    if not isinstance(value, Ranks):
        raise TypeError(
            f"ranks is {value!r:.80}, expected what mpi_ranks or one of fastnn.distributed returns"
        )
    return value


def check_ranks(program: Program, optimizer: Optimizer, arguments: FitArguments) -> Ranks | None:
    """Return the checked `ranks`; raise for what cannot be trained with others."""
    ranks, parts = arguments.ranks, as_flag(arguments.parts, "parts")
    if ranks is None:
        if parts:
            raise ValueError("parts is True, expected ranks beside it")
        return None
    as_ranks(ranks)
    if arguments.batches is not None:
        raise ValueError("ranks is given, expected X and y beside it, not batches")
    if parts:
        if arguments.validation_split:
            raise ValueError(
                f"validation_split is {arguments.validation_split}, expected validation_data in "
                "its place with parts=True"
            )
        if arguments.metrics and arguments.validation_data is None:
            raise ValueError("metrics is given, expected validation_data beside it with parts=True")
    if arguments.seed is None:
        raise TypeError("seed is None, expected an int beside ranks: all draw the same order")
    if program.precision != "highest":
        raise ValueError(f'precision is "{program.precision}", expected "highest" beside ranks')
    if not program.compiles(optimizer):
        raise ValueError(
            "ranks is given, expected layers, a loss and an optimizer of fastnn beside it"
        )
    return ranks


def warn_of_slow_training(program: Program, optimizer: Optimizer, level: int) -> None:
    """Warn once that the network cannot be compiled, with the `stacklevel` of the user's call."""
    loss = program.network.loss
    optimizers = [optimizer] if overrides(optimizer, Optimizer, "update") else []
    losses = [loss] if loss.is_own else []
    layers = [each for each in program.network.logit_layers() if operation_of(each) is None]
    names = [
        f"{each.name if isinstance(each, OwnLoss) else type(each).__name__}, {kind} of your own"
        for kind, parts in (
            ("a layer", layers), ("an optimizer", optimizers), ("a loss", losses),
        )
        for each in parts
    ]  # fmt: skip
    if names and not program.has_warned:
        program.note_warning()
        warnings.warn(
            f"{names[0]}, cannot be compiled: the network trains layer by layer, "
            "several times as slowly where it is small",
            SlowTrainingWarning,
            stacklevel=level,
        )


def _warn_of_missing_classes(lines: Sequence[str], part: float, level: int) -> None:
    """Warn of classes that are in one part only, with the `stacklevel` of the user's call."""
    if lines:
        warnings.warn(
            f"validation_split is {part}, which holds out the last samples as they come: "
            f"{', '.join(lines)}. Shuffle the rows before, or give validation_data: "
            f"split(len(y), {part}, labels=y) of fastnn.datasets holds out some of each class",
            MissingClassWarning,
            stacklevel=level,
        )
