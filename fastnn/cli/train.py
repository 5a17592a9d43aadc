"""`fastnn train`: train a network on a table, and measure it on held-out samples."""

from __future__ import annotations

import contextlib
import copy
import functools
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import fastnn

from ..kernels.target import FEW_ROWS
from ..nn.classes import OPTIMIZERS
from ..nn.monitor import cost_of
from ..nn.optimizer import Optimizer
from ..program.precision import resolve_precision
from ..run.history import History
from ..run.progress import Verbose
from ..tables import defaults, training
from ..tables.defaults import Settings
from ..types import Precision
from . import assessment, baselines, cross_validation, machine, outputs, report, terminal
from .cross_validation import CrossValidation
from .data import BUILT_IN
from .dataset import Dataset, TrainingData, read_columns, split_columns
from .dataset_large import load_large_dataset
from .limits import find_large

if TYPE_CHECKING:
    from ..model import Sequential
    from ..tables.targets import Target


class Result(NamedTuple):
    """A network that has been trained, what it was trained with, and how good it is."""

    dataset: TrainingData
    settings: Settings
    precision: Precision
    model: Sequential
    history: fastnn.History
    parts: dict[str, assessment.Assessment]
    """{"training": Assessment, "held out": Assessment}."""

    baselines: dict[str, assessment.Assessment]
    """{"most frequent class" or "mean": Assessment, "linear model": Assessment}, held out."""

    final: Sequential | None
    """With `--final`: a network that was trained on all rows, as long as was best."""

    parts_in_turn: CrossValidation | None
    """With `--cv`: scores on parts that the networks have not seen."""

    compile_seconds: float
    """Seconds to compile or load the machine code."""

    train_seconds: float
    """Seconds of training."""


def run(options: Namespace) -> None:
    """Load and split the data, train a network, and show how good it is."""
    if options.save:
        outputs.check(options.save, "--save", (".safetensors",), {"DATA": options.data})
    if options.plot:
        report.check(options.plot)
    result = _train(options)
    files: dict[str, str] = {}
    try:
        for name, line in _write_files(options, result):
            files[name] = line
    finally:  # the result is shown even if a file cannot be written
        if options.json:
            terminal.print_json(_as_json(options, result, files))
        else:
            _say_after(result, files.values())


def _train(options: Namespace) -> Result:
    """Train, and return the Result. What is known before training is shown before it."""
    # The last two are drawn behind the others, whose numbers stay as they were.
    split_rng, weights_rng, data_rng, final_rng, parts_rng = np.random.default_rng(
        options.seed
    ).spawn(5)
    large = None if options.data in BUILT_IN else find_large(options)
    dataset: TrainingData
    columns = None
    if large is None:
        columns = read_columns(options, data_rng)
        dataset = split_columns(options, columns, split_rng)
    else:
        _refuse_in_memory_options(options)
        dataset = load_large_dataset(options, large, split_rng)
    for line in dataset.notes:
        terminal.note(line)
    target = dataset.target
    if options.balanced and target.task == "regression":
        raise ValueError("argument --balanced: the target is a number, expected classes")
    settings = _settings(options, dataset.sizes[0])
    model = _network(dataset, settings, options, weights_rng)
    precision = _precision(options, model)
    optimizer = _optimizer(settings)
    if not options.json:
        _say_before(options, settings, dataset, model, optimizer, precision)
    run = dataset, optimizer, settings, options
    compile_seconds, _ = _timed(compile_code, model, *run, precision)
    train_seconds, history = _timed(_fit, model, *run)
    parts = {
        part: dataset.assess(model, k, options.threads, precision)
        for k, part in enumerate(("training", "held out"))
    }
    others = _baselines(options, settings, dataset, precision)
    final, parts_in_turn = None, None
    if options.final:
        assert isinstance(dataset, Dataset)
        final = _fit_all(options, settings, dataset, history, final_rng)
    if options.cv:
        assert columns is not None
        parts_in_turn = cross_validation.cross_validate(
            options, columns, parts_rng, functools.partial(_fit_part, options)
        )
    return Result(
        dataset, settings, precision, model, history, parts, others, final, parts_in_turn,
        compile_seconds, train_seconds,
    )  # fmt: skip


def _refuse_in_memory_options(options: Namespace) -> None:
    for name, given in (("--cv", options.cv), ("--final", options.final)):
        if given:
            raise ValueError(
                f"argument {name}: {options.data} is larger than --max-memory, "
                "expected a table that is read as a whole"
            )


# ---------------------------------------------------------------------- network and training


def _settings(options: Namespace, n_samples: int) -> Settings:
    chosen = {name: getattr(options, name) for name in Settings._fields}
    return defaults.choose(defaults.settings_for(options.data, n_samples), chosen)


def compile_code(
    model: Sequential,
    dataset: TrainingData,
    optimizer: Optimizer,
    settings: Settings,
    options: Namespace,
    precision: Precision,
) -> None:
    """Compile, or load, the machine code of this run: train a copy of the model on a few rows.

    Unlike `warmup`, it compiles nothing else. For tables that takes a third of its time.
    """
    dataset = dataset.few(FEW_ROWS + 1)  # more rows than go one by one
    model, optimizer = model.clone(), copy.deepcopy(optimizer)
    with contextlib.suppress(fastnn.NonFiniteLossError):  # the training will tell
        _fit(model, dataset, optimizer, settings._replace(epochs=1), options, verbose=0)
    for k in (0, 1):
        dataset.assess(model, k, options.threads, precision)


def _precision(options: Namespace, model: Sequential) -> Precision:
    """Return the precision of the products: `--precision`, or that of the environment."""
    if options.precision not in (None, "highest") and model.dtype != np.float32:
        raise ValueError(
            f"argument --precision: {options.precision} needs --dtype float32, "
            f'expected "highest" with {model.dtype}'
        )
    return resolve_precision(options.precision, model.dtype).precision


def _optimizer(settings: Settings) -> Optimizer:
    kind = OPTIMIZERS[settings.optimizer]
    optimizer: Optimizer = kind(
        learning_rate=settings.learning_rate, weight_decay=settings.weight_decay
    )
    return optimizer


def _network(
    dataset: TrainingData, settings: Settings, options: Namespace, rng: np.random.Generator
) -> Sequential:
    target = dataset.target
    n_features = len(dataset.preprocessor.feature_names)
    return training.make_network(
        (n_features, *settings.hidden, training.n_outputs(target)), target,
        activation=options.activation, dropout=options.dropout, dtype=options.dtype,
        is_table=options.data not in defaults.BUILT_IN, rng=rng,
    )  # fmt: skip


def _fit(
    model: Sequential,
    dataset: TrainingData,
    optimizer: Optimizer,
    settings: Settings,
    options: Namespace,
    verbose: Verbose = "auto",
) -> History:
    extra = dataset.fit_arguments(options.seed)
    if options.balanced:
        counts = dataset.count_classes()
        n = dataset.sizes[0]
        extra["class_weight"] = {
            k: n / (len(counts) * count) if count else 0.0 for k, count in enumerate(counts)
        }
    if settings.patience:
        extra["callbacks"] = [fastnn.EarlyStopping("val_loss", patience=settings.patience)]
    return model.fit(
        epochs=settings.epochs, batch_size=settings.batch_size, optimizer=optimizer,
        threads=options.threads, precision=options.precision, verbose=verbose, **extra,
    )  # fmt: skip


def _baselines(
    options: Namespace, settings: Settings, dataset: TrainingData, precision: Precision
) -> dict[str, assessment.Assessment]:
    """Return how good one answer for all samples is on the held-out part, and a linear model."""
    return {
        title: dataset.assess(model, 1, options.threads, precision)
        for title, model in _fit_baselines(options, settings, dataset).items()
    }


def _fit_baselines(
    options: Namespace, settings: Settings, dataset: TrainingData
) -> dict[str, Sequential]:
    models = {_TITLES[dataset.target.task]: baselines.constant_model(dataset, options.dtype)}
    # Beside SGD, the rule of Adam would have to be compiled, which takes more than ten seconds.
    kind = "sgd" if settings.optimizer == "sgd" else "adam"
    optimizer = OPTIMIZERS[kind](learning_rate={"sgd": 0.1, "adam": 0.01}[kind])

    def fit(model: Sequential) -> None:
        _fit(model, dataset, optimizer, settings, options, verbose=False)

    linear = baselines.linear_model(dataset, options.dtype, fit)
    if linear is not None:
        models["linear model"] = linear
    return models


def _fit_part(options: Namespace, dataset: Dataset) -> dict[str, Sequential]:
    """Return {title: model} of the network and the baselines, trained for one part of `--cv`."""
    settings = _settings(options, dataset.sizes[0])
    model = _network(dataset, settings, options, np.random.default_rng(options.seed))
    _fit(model, dataset, _optimizer(settings), settings, options, verbose=False)
    return {"network": model, **_fit_baselines(options, settings, dataset)}


def _fit_all(
    options: Namespace,
    settings: Settings,
    dataset: Dataset,
    history: History,
    rng: np.random.Generator,
) -> Sequential:
    """Return a network that is trained on both parts, for as many epochs as were best."""
    model = _network(dataset, settings, options, rng)
    both = dataset._replace(
        inputs=[np.concatenate(dataset.inputs), dataset.inputs[1]],
        targets=[np.concatenate(dataset.targets), dataset.targets[1]],
    )
    settings = settings._replace(epochs=_best_epoch(history, settings), patience=0)
    _fit(model, both, _optimizer(settings), settings, options, verbose=False)
    return model


def _best_epoch(history: History, settings: Settings) -> int:
    """Return the epoch whose parameters are kept."""
    if not settings.patience:
        return len(history)
    costs = [cost_of(value, 1) for value in history.val_loss]
    return int(np.argmin(costs)) + 1  # as early stopping does


_TITLES = {"classification": "most frequent class", "regression": "mean of the target"}


def _timed(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = function(*args, **kwargs)
    return time.perf_counter() - begin, result


# ---------------------------------------------------------------------- output


def _write_files(options: Namespace, result: Result) -> Iterator[tuple[str, str]]:
    """Write the files that the options name; yield the option and a line for each."""
    from ..tables.models import TableModel  # needs polars

    dataset = result.dataset
    if options.save:
        scores = {part: each.scores for part, each in result.parts.items()}
        saved = TableModel(
            result.final or result.model, dataset.reading, dataset.preprocessor, dataset.target,
            scores=scores,
        )  # fmt: skip
        path = Path(options.save)
        saved.save(path)
        size = f"{path.stat().st_size:,} bytes"
        line = f"{terminal.harmless(str(path))}: {size}, network and preprocessing"
        if result.final is not None:
            epochs = terminal.some(_best_epoch(result.history, result.settings), "epoch")
            line += f",\n  trained on all {sum(dataset.sizes):,} samples for {epochs}"
        yield "save", line
    if options.plot:
        title = f"fastnn train {options.data}"
        held_out = result.parts["held out"]
        part = assessment.title(held_out, "held out", dataset.sizes[1])
        inspection = None
        if isinstance(dataset, Dataset):
            model = TableModel(result.model, dataset.reading, dataset.preprocessor, dataset.target)
            inspection = report.inspect(model, dataset.frame, dataset.targets[1])
        report.write(
            options.plot, result.history, held_out, dataset.target, title, part,
            inspection=inspection,
        )  # fmt: skip
        yield "plot", f"{terminal.harmless(str(Path(options.plot)))}: picture"


def _say_before(
    options: Namespace,
    settings: Settings,
    dataset: TrainingData,
    model: Sequential,
    optimizer: Optimizer,
    precision: Precision,
) -> None:
    first, *others = dataset.lines
    terminal.say("data", first, *terminal.wrapped(others))
    terminal.say("network", *_network_lines(model, dataset.target))
    terminal.say(
        "training", *terminal.wrapped(_training_lines(options, settings, optimizer, precision))
    )


def _say_after(result: Result, files: Iterable[str]) -> None:
    assessment.say_result(result.parts, result.dataset.target, "held out", result.baselines)
    if result.parts_in_turn is not None:
        cross_validation.say(result.parts_in_turn)
    if files:
        # A path stays in one line, so that it can be copied.
        terminal.say("files", *(part for line in files for part in line.split("\n")))
    samples = len(result.history) * result.dataset.sizes[0]
    rate = terminal.rounded(samples / result.train_seconds)
    terminal.say(
        "time",
        f"{result.train_seconds:.3f} s, {rate} samples/s, with a held-out measurement each epoch",
        *_early_lines(result.history, result.settings),
        f"{result.compile_seconds:.3f} s before that, to compile or load the machine code",
    )
    terminal.say("machine", machine.cpu_name(), machine.units(result.model.dtype))


def _network_lines(model: Sequential, target: Target) -> Iterator[str]:
    """Yield the size of a network, and a line for each layer."""
    yield f"{model.parameters.size:,} parameters, {model.parameters.dtype}"
    for layer in model.layers:
        if isinstance(layer, fastnn.Dense):
            shapes = f"weights {layer.weights.shape}, biases {layer.biases.shape}"
            yield f"{'Dense':<8}{shapes:<36}{layer.weights.size + layer.biases.size:>12,}"
        else:
            yield repr(layer).removesuffix("()")
    if target.task == "classification":
        yield "Softmax, trained on cross-entropy"
    else:
        yield "trained on the squared error of the standardized target"


def _training_lines(
    options: Namespace, settings: Settings, optimizer: Optimizer, precision: Precision
) -> Iterator[str]:
    yield (
        f"{terminal.some(settings.epochs, 'epoch')}, batches of {settings.batch_size:,}, "
        f"{type(optimizer).__name__} with learning rate {settings.learning_rate:g}"
        + (f" and weight decay {settings.weight_decay:.3g}" if settings.weight_decay else "")
        + f", seed {options.seed}"
    )
    if settings.patience:
        epochs = terminal.some(settings.patience, "epoch")
        yield f"stops after {epochs} without a better held-out loss; keeps the best"
    if options.balanced:
        yield "every class counts the same"
    if precision != "highest":
        yield f"matrix products in {precision} precision, by {machine.unit_of(precision)}"


def _early_lines(history: History, settings: Settings) -> Iterator[str]:
    if len(history) < settings.epochs:
        best = _best_epoch(history, settings)
        yield f"stopped after {len(history)} of {settings.epochs} epochs; epoch {best} is kept"


def _as_json(options: Namespace, result: Result, files: Iterable[str]) -> dict[str, Any]:
    dataset, settings, model = result.dataset, result.settings, result.model
    target = dataset.target
    return {
        "data": {
            "source": options.data,
            "samples": dataset.sizes,
            "features": dataset.preprocessor.feature_names,
            "notes": [*dataset.lines, *dataset.notes],
        },
        "task": target.task,
        "target": target.name,
        "labels": target.labels if target.task == "classification" else None,
        "network": {
            "hidden": settings.hidden,
            "activation": options.activation,
            "dropout": options.dropout,
            "parameters": model.parameters.size,
            "dtype": str(model.dtype),
        },
        "training": {
            **settings._asdict(),
            "seed": options.seed,
            "epochs": len(result.history),
            "precision": result.precision,
        },
        "history": result.history.to_dict(),
        "result": {
            part.replace(" ", "_"): assessment.as_json(each, target)
            for part, each in result.parts.items()
        },
        "baselines": {
            title.replace(" ", "_"): assessment.plain_scores(each)
            for title, each in result.baselines.items()
        },
        "cv": result.parts_in_turn and cross_validation.as_json(result.parts_in_turn),
        "warning": assessment.warning_of(result.parts["held out"], result.baselines),
        "files": {name: getattr(options, name) for name in files},
        "seconds": {"compilation": result.compile_seconds, "training": result.train_seconds},
        "machine": {"cpu": machine.cpu_name(), "units": machine.units(model.dtype)},
    }
