"""`fastnn train`: from a table to a network that has been measured on samples held out."""

from __future__ import annotations

import itertools
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import fastnn

from ..nn.monitor import cost_of
from ..nn.optimizer import Optimizer
from ..run.history import History
from . import evaluating, machine, outputs, printing, report
from .arguments import DEFAULTS, RATES, Settings
from .data import BUILT_IN
from .preparing import Prepared, prepare

if TYPE_CHECKING:
    from ..model import Sequential

_ACTIVATIONS = {
    "relu": fastnn.ReLU,
    "tanh": fastnn.Tanh,
    "sigmoid": fastnn.Sigmoid,
    "leaky_relu": fastnn.LeakyReLU,
    "elu": fastnn.ELU,
    "gelu": fastnn.GELU,
    "silu": fastnn.SiLU,
}
_OPTIMIZERS = {
    "sgd": fastnn.SGD,
    "adam": fastnn.Adam,
    "adamw": fastnn.AdamW,
    "rmsprop": fastnn.RMSprop,
    "adagrad": fastnn.AdaGrad,
}


class Trained(NamedTuple):
    """What training leaves behind."""

    prepared: Prepared
    settings: Settings
    model: Sequential
    history: fastnn.History
    parts: dict[str, evaluating.Assessment]
    """{"training": Assessment, "held out": Assessment}."""

    ready: float
    """Seconds to compile or load the machine code."""

    taken: float
    """Seconds of training."""


def run(options: Namespace) -> None:
    """Load, split and prepare the data, train a network, and show what came of it."""
    if options.save:
        outputs.check(options.save, "--save", (".safetensors",), {"DATA": options.data})
    if options.plot:
        report.check(options.plot)
    trained = _train(options)
    files: dict[str, str] = {}
    try:
        for name, line in _write_files(options, trained):
            files[name] = line
    finally:  # a result is not lost with a file
        if options.json:
            printing.print_json(_as_json(options, trained, files))
        else:
            _say_after(trained, files.values())


def _train(options: Namespace) -> Trained:
    """Return the Trained; what is known before training is shown before it."""
    split_rng, weights_rng, data_rng = np.random.default_rng(options.seed).spawn(3)
    prepared = prepare(options, split_rng, data_rng)
    target: Any = prepared.target
    if options.balanced and target.task == "regression":
        raise ValueError("argument --balanced: the target is a number, expected classes")
    settings = _settings(options, target)
    widths = (prepared.inputs[0].shape[1], *settings.hidden, _n_outputs(target))
    model = _network(widths, options, target, weights_rng)
    optimizer = _OPTIMIZERS[settings.optimizer](learning_rate=settings.learning_rate)
    if not options.json:
        _say_before(options, settings, prepared, model, optimizer)
    plain = _is_plain(options, settings, target)
    ready, _ = _timed(fastnn.warmup, model.dtype, plain=plain)
    taken, history = _timed(_fit, model, prepared, optimizer, settings, options)
    parts = {
        part: evaluating.assess(model, target, X, y, options.threads)
        for part, X, y in zip(
            ("training", "held out"), prepared.inputs, prepared.wanted, strict=True
        )
    }
    return Trained(prepared, settings, model, history, parts, ready, taken)


# ---------------------------------------------------------------------- network and training


def _settings(options: Namespace, target: Any) -> Settings:
    by_task = {"classification": "classes", "regression": "numbers"}[target.task]
    settings = DEFAULTS[options.data if options.data in BUILT_IN else by_task]
    given = {name: getattr(options, name) for name in Settings._fields}
    if given["optimizer"] not in (None, settings.optimizer):
        settings = settings._replace(learning_rate=RATES[given["optimizer"]])
    return settings._replace(**{k: v for k, v in given.items() if v is not None})


def _is_plain(options: Namespace, settings: Settings, target: Any) -> bool:
    """Return whether `warmup(plain=True)` compiles all that training needs."""
    return (
        settings.optimizer == "sgd"
        and options.activation == "relu"
        and target.task == "classification"
        and not (options.balanced or options.dropout)
    )


def _n_outputs(target: Any) -> int:
    return len(target.labels) if target.task == "classification" else 1


def _network(
    widths: Sequence[int], options: Namespace, target: Any, rng: np.random.Generator
) -> Sequential:
    activation = _ACTIVATIONS[options.activation]
    layers: list[Any] = []
    for n_inputs, n_neurons in itertools.pairwise(widths):
        if layers:
            layers.append(activation())
            if options.dropout:
                layers.append(fastnn.Dropout(options.dropout))
        layers.append(fastnn.Dense(n_inputs, n_neurons, dtype=options.dtype, rng=rng))
    loss = None if target.task == "classification" else fastnn.MeanSquaredError()
    return fastnn.Sequential(layers, loss=loss)


def _fit(
    model: Sequential,
    prepared: Prepared,
    optimizer: Optimizer,
    settings: Settings,
    options: Namespace,
) -> History:
    (X, X_held_out), (y, y_held_out) = prepared.inputs, prepared.wanted
    extra: dict[str, Any] = {}
    if prepared.target.task == "regression":
        y, y_held_out = map(prepared.target.standardize, (y, y_held_out))
    elif options.balanced:
        target: Any = prepared.target
        counts = np.bincount(y, minlength=len(target.labels))
        extra["class_weight"] = {
            k: len(y) / (len(counts) * count) if count else 0.0 for k, count in enumerate(counts)
        }
    if options.patience:
        extra["callbacks"] = [fastnn.EarlyStopping("val_loss", patience=options.patience)]
    return model.fit(
        X, y,
        epochs=settings.epochs, batch_size=settings.batch_size, optimizer=optimizer,
        seed=options.seed, validation_data=(X_held_out, y_held_out), threads=options.threads,
        **extra,
    )  # fmt: skip


def _timed(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = function(*args, **kwargs)
    return time.perf_counter() - begin, result


# ---------------------------------------------------------------------- output


def _write_files(options: Namespace, trained: Trained) -> Iterator[tuple[str, str]]:
    """Write what was asked for; return the option and a line for each file."""
    from ..tables.targets import target_to_dict  # needs polars

    prepared = trained.prepared
    if options.save:
        notes = {
            "target": target_to_dict(prepared.target),
            "preprocessing": prepared.preprocessor.to_list(),
            "result": {part: each.scores for part, each in trained.parts.items()},
        }
        path = Path(options.save)
        trained.model.save(path, notes=notes)
        yield "save", f"{path}: {path.stat().st_size:,} bytes, network and preprocessing"
    if options.plot:
        title = f"fastnn train {options.data}"
        held_out = trained.parts["held out"]
        report.write(options.plot, trained.history, held_out, prepared.target, title, "held out")
        yield "plot", f"{Path(options.plot)}: picture"


def _say_before(
    options: Namespace,
    settings: Settings,
    prepared: Prepared,
    model: Sequential,
    optimizer: Optimizer,
) -> None:
    first, *others = prepared.lines
    printing.say("data", first, *printing.wrapped(others))
    printing.say("network", *_network_lines(model, prepared.target))
    printing.say("training", *_training_lines(options, settings, optimizer))


def _say_after(trained: Trained, files: Iterable[str]) -> None:
    evaluating.say_result(trained.parts, trained.prepared.target, "held out")
    if files:
        printing.say("files", *files)
    samples = len(trained.history) * len(trained.prepared.inputs[0])
    printing.say(
        "time",
        f"{trained.taken:.3f} s, {printing.rounded(samples / trained.taken)} samples/s, "
        "with a held-out measurement each epoch",
        *_early_lines(trained.history, trained.settings),
        f"{trained.ready:.3f} s before that, to compile or load the machine code",
    )
    printing.say("machine", machine.cpu_name(), machine.units(trained.model.dtype))


def _network_lines(model: Sequential, target: Any) -> Iterator[str]:
    """Return the size of a network, and a line for each layer with its own."""
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
        yield "trained on the squared error of the standardised target"


def _training_lines(options: Namespace, settings: Settings, optimizer: Optimizer) -> Iterator[str]:
    yield (
        f"{printing.some(settings.epochs, 'epoch')}, batches of {settings.batch_size:,}, "
        f"{type(optimizer).__name__} with learning rate {settings.learning_rate:g}, "
        f"seed {options.seed}"
    )
    if options.patience:
        yield f"until {printing.some(options.patience, 'epoch')} bring no better held-out loss"
    if options.balanced:
        yield "every class counts the same"


def _early_lines(history: History, settings: Settings) -> Iterator[str]:
    if len(history) < settings.epochs:
        costs = [cost_of(value, 1) for value in history.val_loss]
        best = int(np.argmin(costs)) + 1  # as early stopping finds it
        yield f"stopped after {len(history)} of {settings.epochs} epochs; epoch {best} is kept"


def _as_json(options: Namespace, trained: Trained, files: Iterable[str]) -> dict[str, Any]:
    prepared, settings, model = trained.prepared, trained.settings, trained.model
    target = prepared.target
    return {
        "data": {
            "source": options.data,
            "samples": [len(part) for part in prepared.inputs],
            "features": prepared.preprocessor.feature_names,
            "notes": prepared.lines,
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
        "training": {**settings._asdict(), "seed": options.seed, "epochs": len(trained.history)},
        "history": trained.history.to_dict(),
        "result": {
            part.replace(" ", "_"): evaluating.as_json(each, target)
            for part, each in trained.parts.items()
        },
        "files": {name: getattr(options, name) for name in files},
        "seconds": {"compilation": trained.ready, "training": trained.taken},
        "machine": {"cpu": machine.cpu_name(), "units": machine.units(model.dtype)},
    }
