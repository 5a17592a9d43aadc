"""The command `fastnn`: train a network on a data set, and say how well and how fast it learnt."""

import argparse
import contextlib
import itertools
import math
import os
import platform
import sys
import textwrap
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import (
    SGD,
    Dense,
    NonFiniteLossError,
    ReLU,
    Sequential,
    __version__,
    datasets,
    kernels,
    warmup,
)


class Settings(NamedTuple):
    """What a run uses where the command line says nothing."""

    hidden: tuple
    epochs: int
    batch_size: int
    learning_rate: float


# Held-out accuracy with seeds 0 to 15: digits 0.961 to 0.992, spiral 0.950 to 1.
DEFAULTS = {
    "digits": Settings((256,), epochs=50, batch_size=32, learning_rate=0.1),
    "spiral": Settings((64, 64), epochs=200, batch_size=32, learning_rate=0.1),
    "CSV file": Settings((64, 64), epochs=50, batch_size=32, learning_rate=0.05),
}


def main(argv=None):
    """Run the command with the arguments `argv`, by default those of the process.

    Returns
    -------
    int
        The exit code: 0, 1 where training diverges, 2 for bad input, 130 for Ctrl-C.
    """
    # A class name that the terminal cannot show is no reason to stop.
    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(errors="replace")
    try:
        _train(_parse(argv))
        return 0
    except NonFiniteLossError as error:
        return _fail(1, f"error: {error}")
    except BrokenPipeError:  # `fastnn train digits | head -1`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, ImportError, MemoryError) as error:
        return _fail(2, f"error: {str(error) or type(error).__name__}")
    except KeyboardInterrupt:
        return _fail(130, "interrupted")


def _fail(code, message):
    print("fastnn:", " ".join(message.split()), file=sys.stderr)
    return code


# ---------------------------------------------------------------------- arguments


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise ValueError(message)  # argparse would print the usage too


def _parse(argv):
    parser = _Parser(prog="fastnn", description="Dense neural networks, fast on a CPU.")
    parser.add_argument("--version", action="version", version=f"fastnn {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    command = commands.add_parser(
        "train",
        help="train a classifier, and measure it on samples held out of the training",
        description="Train a classifier, and measure it on samples held out of the training.",
        epilog=_defaults(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = command.add_argument
    add("data", metavar="DATA", help="digits, spiral, or the path of a CSV file")
    add("--target", metavar="COLUMN", help="column of the labels; a CSV file needs it")
    add("--hidden", metavar="N,N", type=_widths, help="neurons of the hidden layers")
    add("--epochs", metavar="N", type=_count, help="passes over the training samples")
    add("--batch-size", metavar="N", type=_count, help="samples of a gradient step")
    add("--learning-rate", metavar="X", type=_rate, help="factor of a gradient step")
    held_out = "part of the samples to hold out (default: %(default)s)"
    add("--validation-fraction", metavar="X", type=_fraction, default=0.2, help=held_out)
    seed = "the same seed gives the same numbers (default: %(default)s)"
    add("--seed", metavar="N", type=_seed, default=0, help=seed)
    dtype = "float32 or float64 (default: %(default)s)"
    add("--dtype", choices=("float32", "float64"), metavar="T", default="float32", help=dtype)
    return parser.parse_args(argv)


def _defaults():
    lines = ["defaults:     hidden  epochs  batch size  learning rate"]
    for name, (hidden, epochs, batch_size, rate) in DEFAULTS.items():
        widths = ",".join(map(str, hidden))
        lines.append(f"  {name:<8}{widths:>10}{epochs:>8}{batch_size:>12}{rate:>15}")
    return "\n".join(lines)


def _argument(convert, accepts, expected):
    """Return an argparse type: `convert(text)`, refused where it fails or `accepts` says no."""

    def argument(text):
        with contextlib.suppress(ValueError):
            if accepts(value := convert(text)):
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")

    return argument


_count = _argument(int, lambda n: n >= 1, "a whole number of at least 1")
_seed = _argument(int, lambda n: n >= 0, "a whole number of at least 0")
_rate = _argument(float, lambda x: 0 < x < math.inf, "a finite number above 0")
_fraction = _argument(float, lambda x: 0 < x < 1, "a number between 0 and 1")
_widths = _argument(
    lambda text: tuple(map(int, text.split(","))),
    lambda widths: min(widths) >= 1,
    "a list of whole numbers of at least 1, as in 64,64",
)


# ---------------------------------------------------------------------- training


def _train(options):
    """Load, split and standardise the data, train a network, and print what came of it."""
    split_rng, weights_rng, data_rng = np.random.default_rng(options.seed).spawn(3)
    settings, samples, labels = _load(options, data_rng)
    given = {name: getattr(options, name) for name in Settings._fields}
    settings = settings._replace(**{k: v for k, v in given.items() if v is not None})

    classes, y = np.unique(labels, return_inverse=True)
    train, held_out = datasets.split(len(y), options.validation_fraction, split_rng, labels=y)
    parts = datasets.standardise(samples[train], samples[held_out])
    X, X_held_out = (part.astype(options.dtype) for part in parts)
    y, y_held_out = y[train], y[held_out]
    _say(
        "data",
        f"{options.data}: {len(labels):,} samples, {_some(X.shape[1], 'feature')}",
        textwrap.shorten(f"{len(classes):,} classes: {', '.join(map(str, classes))}", 68),
        f"{len(y):,} to train on, {len(y_held_out):,} held out",
        "features standardised by mean and deviation of the training part only",
    )

    widths = (X.shape[1], *settings.hidden, len(classes))
    model = _network(widths, options.dtype, weights_rng)
    _say("network", *_layers(model))
    _say(
        "training",
        f"{_some(settings.epochs, 'epoch')}, batches of {settings.batch_size:,}, "
        f"SGD with learning rate {settings.learning_rate:g}, seed {options.seed}",
    )
    ready = _seconds(warmup, X.dtype, plain=True)
    taken = _seconds(
        model.fit, X, y,
        epochs=settings.epochs, batch_size=settings.batch_size,
        optimizer=SGD(learning_rate=settings.learning_rate),
        seed=options.seed, validation_data=(X_held_out, y_held_out),
    )  # fmt: skip
    rows = {"training": (X, y), "held out": (X_held_out, y_held_out)}
    scores = {name: model.evaluate(*part) for name, part in rows.items()}
    _say(
        "result",
        f"{'':8}{'loss':>10}{'accuracy':>10}",
        *(f"{name:8}{s['loss']:>10.4f}{s['accuracy']:>10.4f}" for name, s in scores.items()),
    )
    _say(
        "time",
        f"{taken:.3f} s, {_rounded(settings.epochs * len(y) / taken)} samples/s, "
        "with a held-out measurement each epoch",
        f"{ready:.3f} s before that, to compile or load the machine code",
    )
    _say("machine", _cpu_name(), _units(X.dtype))


def _load(options, rng):
    """Return default settings, samples (N, I) and labels (N,)."""
    if options.data in ("digits", "spiral") and options.target is not None:
        raise ValueError(
            f"argument --target: {options.target!r} is for CSV files; {options.data} has labels"
        )
    if options.data == "digits":
        return DEFAULTS["digits"], *datasets.load_digits()
    if options.data == "spiral":
        return DEFAULTS["spiral"], *datasets.make_spiral(rng=rng)
    if not Path(options.data).is_file():
        raise ValueError(f"no file {options.data!r}; expected digits, spiral, or a CSV file")
    if options.target is None:
        raise ValueError("a CSV file needs --target COLUMN, the column of the labels")
    # In float64 until standardised: a timestamp loses its minutes in float32.
    samples, labels, _ = datasets.read_csv(options.data, options.target, dtype=np.float64)
    return DEFAULTS["CSV file"], samples, labels


def _network(widths, dtype, rng):
    layers = []
    for n_inputs, n_neurons in itertools.pairwise(widths):
        layers += [Dense(n_inputs, n_neurons, dtype=dtype, rng=rng), ReLU()]
    return Sequential(layers[:-1])


def _seconds(function, *args, **kwargs):
    begin = time.perf_counter()
    function(*args, **kwargs)
    return time.perf_counter() - begin


# ---------------------------------------------------------------------- printing


def _say(title, *lines):
    for line in lines:
        print(f"{title:<10}{line}", flush=True)  # at once, also where `tee` reads
        title = ""


def _rounded(number):
    return f"{float(f'{number:.3g}'):,.0f}"


def _some(number, noun):
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _layers(model):
    """Return the size of a network, and a line for each layer with its own."""
    yield f"{model.parameters.size:,} parameters, {model.parameters.dtype}"
    for layer in model.layers:
        if isinstance(layer, Dense):
            shapes = f"weights {layer.weights.shape}, biases {layer.biases.shape}"
            yield f"{'Dense':<8}{shapes:<36}{layer.weights.size + layer.biases.size:>12,}"
        else:
            yield type(layer).__name__
    yield "Softmax, trained on cross-entropy"


def _units(dtype):
    """Return what the kernels compute with."""
    if kernels.dense_forward.__module__.endswith("reference"):
        return "NumPy in place of compiled kernels (FASTNN_REFERENCE)"
    from .kernels import target  # needs the compiler, which the reference kernels do without

    unit = target.current()
    return f"{unit.name}: vectors of {unit.vector_bytes // dtype.itemsize} {dtype}"


def _cpu_name():
    with contextlib.suppress(OSError):  # Linux, on most processors
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    with contextlib.suppress(ImportError):
        from llvmlite.binding import get_host_cpu_name

        return get_host_cpu_name()
    return platform.processor() or platform.machine()
