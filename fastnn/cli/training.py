"""`fastnn train`: from a table to a network that has been measured on samples held out."""

import itertools
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastnn

from .. import datasets
from . import data, evaluating, machine, outputs, printing, report
from .arguments import DEFAULTS, RATES, Settings

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


class Prepared(NamedTuple):
    """A table, split, with everything that was fitted on its training part."""

    preprocessor: Any
    target: Any
    inputs: list
    """Features (N, I) of the two parts: training, held out."""

    wanted: list
    """Labels (N,), or numbers in the units of the target, of both."""

    lines: list
    """What there is to say."""


def run(options):
    """Load, split and prepare the data, train a network, and show what came of it."""
    if options.save:
        outputs.check(options.save, "--save", (".safetensors",))
    if options.plot:
        report.check(options.plot)
    split_rng, weights_rng, data_rng = np.random.default_rng(options.seed).spawn(3)
    prepared = _prepare(options, split_rng, data_rng)
    target = prepared.target
    settings = _settings(options, target)

    widths = (prepared.inputs[0].shape[1], *settings.hidden, _n_outputs(target))
    model = _network(widths, options, target, weights_rng)
    optimizer = _OPTIMIZERS[settings.optimizer](learning_rate=settings.learning_rate)
    if not options.json:
        first, *others = prepared.lines
        printing.say("data", first, *printing.wrapped(others))
        printing.say("network", *_network_lines(model, target))
        printing.say("training", *_training_lines(options, settings, optimizer))
    plain = settings.optimizer == "sgd" and options.activation == "relu"
    plain = plain and target.task == "classification"
    plain = plain and not (options.balanced or options.dropout)
    ready, _ = _timed(fastnn.warmup, model.dtype, plain=plain)
    taken, history = _timed(_fit, model, prepared, optimizer, settings, options)
    parts = {
        part: evaluating.assess(model, target, X, y, options.threads)
        for part, X, y in zip(
            ("training", "held out"), prepared.inputs, prepared.wanted, strict=True
        )
    }
    files = _write_files(options, model, prepared, history, parts)
    samples = len(history) * len(prepared.inputs[0])
    if options.json:
        printing.print_json(
            _as_json(options, settings, prepared, model, history, parts, ready, taken)
        )
        return
    evaluating.say_result(parts, target, "held out")
    if files:
        printing.say("files", *files)
    early = [_stopped(history, settings)] if len(history) < settings.epochs else []
    printing.say(
        "time",
        f"{taken:.3f} s, {printing.rounded(samples / taken)} samples/s, "
        "with a held-out measurement each epoch",
        *early,
        f"{ready:.3f} s before that, to compile or load the machine code",
    )
    printing.say("machine", machine.cpu_name(), machine.units(model.dtype))


# ---------------------------------------------------------------------- data


def _prepare(options, split_rng, data_rng):
    built_in = data.BUILT_IN.get(options.data)
    for name in ("target", "task", "drop", "categorical", "separator", "format"):
        given = getattr(options, name)
        if built_in and given:
            given = ",".join(given) if isinstance(given, list) else given
            raise ValueError(
                f"argument --{name}: {given!r} is for data files; {options.data} has labels"
            )
    table = data.load(options, data_rng)
    from .. import preprocessing  # polars is there, as the table has been read

    name = built_in or options.target
    if name is None:
        shown = ", ".join(map(repr, table.frame.columns[:20]))
        more = ", ..." if table.frame.width > 20 else ""
        raise ValueError(
            f"{table.source} needs --target COLUMN, the column to predict: one of {shown}{more}"
        )
    table.require(name, "target")
    if name in (*options.drop, *options.categorical):
        raise ValueError(f"target is {name!r}, expected a column that no other option names")
    kinds = preprocessing.infer_kinds(
        table, target=name, drop=options.drop, categorical=options.categorical
    )
    optional = kinds if options.missing != "refuse" else ()
    frame = preprocessing.read_features(table, kinds, optional)
    task, why = options.task, None
    if task is None:
        task, why = preprocessing.infer_task(table, name)
        why = None if built_in else why
    if task == "classification":
        target = preprocessing.Classes.fit(table, name)
        wanted = target.encode(table)
    else:
        wanted = preprocessing.read_quantity(table, name)
    parts = datasets.split(
        len(wanted), options.validation_fraction, split_rng,
        labels=wanted if task == "classification" else None,
    )  # fmt: skip
    frames, wanted = [frame[part] for part in parts], [wanted[part] for part in parts]
    if task == "regression":
        target = preprocessing.Quantity.fit(wanted[0], name)
    preprocessor = preprocessing.Preprocessor.fit(frames[0], options.missing)
    inputs = [preprocessor.transform(part, options.dtype) for part in frames]
    lines = [
        f"{table.source}: {printing.some(len(table.frame), 'sample')}, "
        f"{printing.some(inputs[0].shape[1], 'feature')}",
        *_target_lines(target, wanted, why),
        f"{len(wanted[0]):,} to train on, {len(wanted[1]):,} held out",
        *_feature_lines(preprocessor, frame, options.missing),
        *data.unknown_lines(preprocessor, frames[1]),
    ]
    return Prepared(preprocessor, target, inputs, wanted, lines)


def _target_lines(target, wanted, why):
    if target.task == "classification":
        shown = ", ".join(map(str, target.labels))
        yield printing.shortened(f"{len(target.labels):,} classes: {shown}")
    else:
        low, high = min(map(np.min, wanted)), max(map(np.max, wanted))
        yield f"target {target.name!r} from {low:,.6g} to {high:,.6g}"
    if why is not None:
        doubtful = target.task == "regression" or type(target.labels[0]) is int
        yield f"{target.task}: {why}{' (see --task)' if doubtful else ''}"


def _feature_lines(preprocessor, frame, missing):
    numeric = [column.name for column in preprocessor.columns if column.kind == "number"]
    categories = [column for column in preprocessor.columns if column.kind == "category"]
    if numeric and not categories:
        yield "features standardised by mean and deviation of the training part only"
    elif numeric:
        yield f"{printing.some(len(numeric), 'numeric column')}, standardised on the training part"
    if categories:
        count = sum(len(column.categories) for column in categories)
        columns = printing.some(len(categories), "column")
        yield (
            f"{columns} of categories, one-hot, {printing.some(count, 'feature')}: "
            + ", ".join(f"{column.name} ({len(column.categories)})" for column in categories)
        )
    if missing != "refuse":
        counts = {series.name: series.null_count() for series in frame if series.null_count()}
        shown = ", ".join(f"{name} ({count:,})" for name, count in counts.items())
        yield f"missing values, filled with the {missing} or most frequent: {shown or 'none'}"


# ---------------------------------------------------------------------- network and training


def _settings(options, target):
    by_task = {"classification": "classes", "regression": "numbers"}[target.task]
    settings = DEFAULTS.get(options.data, DEFAULTS[by_task])
    given = {name: getattr(options, name) for name in Settings._fields}
    if given["optimizer"] not in (None, settings.optimizer):
        settings = settings._replace(learning_rate=RATES[given["optimizer"]])
    return settings._replace(**{k: v for k, v in given.items() if v is not None})


def _n_outputs(target):
    return len(target.labels) if target.task == "classification" else 1


def _network(widths, options, target, rng):
    activation = _ACTIVATIONS[options.activation]
    layers = []
    for n_inputs, n_neurons in itertools.pairwise(widths):
        if layers:
            layers.append(activation())
            if options.dropout:
                layers.append(fastnn.Dropout(options.dropout))
        layers.append(fastnn.Dense(n_inputs, n_neurons, dtype=options.dtype, rng=rng))
    loss = None if target.task == "classification" else fastnn.MeanSquaredError()
    return fastnn.Sequential(layers, loss=loss)


def _fit(model, prepared, optimizer, settings, options):
    (X, X_held_out), (y, y_held_out) = prepared.inputs, prepared.wanted
    extra = {}
    if prepared.target.task == "regression":
        y, y_held_out = map(prepared.target.scaled, (y, y_held_out))
    elif options.balanced:
        counts = np.bincount(y, minlength=len(prepared.target.labels))
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


def _timed(function, *args, **kwargs):
    begin = time.perf_counter()
    result = function(*args, **kwargs)
    return time.perf_counter() - begin, result


# ---------------------------------------------------------------------- output


def _write_files(options, model, prepared, history, parts):
    """Write what was asked for; return a line for each file."""
    lines = []
    if options.save:
        notes = {
            "target": _target_notes(prepared.target),
            "preprocessing": prepared.preprocessor.to_list(),
            "result": {part: each.scores for part, each in parts.items()},
        }
        path = Path(options.save)
        model.save(path, notes=notes)
        lines.append(f"{path}: {path.stat().st_size:,} bytes, network and preprocessing")
    if options.plot:
        title = f"fastnn train {options.data}"
        report.write(options.plot, history, parts["held out"], prepared.target, title, "held out")
        lines.append(f"{Path(options.plot)}: picture")
    return lines


def _target_notes(target):
    from ..preprocessing import target_to_dict

    return target_to_dict(target)


def _network_lines(model, target):
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


def _training_lines(options, settings, optimizer):
    yield (
        f"{printing.some(settings.epochs, 'epoch')}, batches of {settings.batch_size:,}, "
        f"{type(optimizer).__name__} with learning rate {settings.learning_rate:g}, "
        f"seed {options.seed}"
    )
    if options.patience:
        yield f"until {printing.some(options.patience, 'epoch')} bring no better held-out loss"
    if options.balanced:
        yield "every class counts the same"


def _stopped(history, settings):
    best = int(np.argmin(history.val_loss)) + 1
    return f"stopped after {len(history)} of {settings.epochs} epochs; epoch {best} is kept"


def _as_json(options, settings, prepared, model, history, parts, ready, taken):
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
        "training": {**settings._asdict(), "seed": options.seed, "epochs": len(history)},
        "history": history.to_dict(),
        "result": {
            part.replace(" ", "_"): evaluating.as_json(each, target) for part, each in parts.items()
        },
        "files": {name: path for name in ("save", "plot") if (path := getattr(options, name))},
        "seconds": {"compilation": ready, "training": taken},
        "machine": {"cpu": machine.cpu_name(), "units": machine.units(model.dtype)},
    }
