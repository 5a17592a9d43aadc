"""What a lower precision of products costs: accuracy on held-out samples, and loss of each step.

    python benchmarks/precision_accuracy.py [FOLDER] [--seeds 10] [--epochs 20] [--quick]

The data are the digits of scikit-learn, or Fashion-MNIST where a folder has its IDX files. Each
seed has first weights and an order of samples of its own, and for the digits also held-out
samples. They are the same in each precision. The speed of the machine does not change the result.
A network of float64 shows what rounding to float32 changes.
"""

import argparse
import itertools
from typing import NamedTuple

import numpy as np
from report import Table

import fastnn
from fastnn.datasets import load_digits, load_idx, split

_PRECISIONS = "float64", "highest", "high", "medium"
_ACTIVATIONS = {"ReLU": fastnn.ReLU, "Tanh": fastnn.Tanh}
_HIDDEN = 512, 512
_BATCH = 64
_RATE = 0.001
_STEPS = 200


class Problem(NamedTuple):
    """Samples to train on, and samples that are held out, in float32."""

    X: np.ndarray
    y: np.ndarray
    X_held_out: np.ndarray
    y_held_out: np.ndarray


class Result(NamedTuple):
    """What one seed gives, for each precision."""

    accuracies: dict  # of held-out samples
    losses: dict  # {activation: (steps,) of the first steps}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", help="of the IDX files of Fashion-MNIST")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="two short seeds, a smoke test")
    options = parser.parse_args()
    seeds, epochs, steps, hidden = options.seeds, options.epochs, _STEPS, _HIDDEN
    if options.quick:
        seeds, epochs, steps, hidden = 2, 1, 3, (32, 16)
    problems = {"digits": digits_of}
    if options.folder:
        train, test = _load_fashion(options.folder)
        problems = {"Fashion-MNIST": lambda _: Problem(*train, *test)}
    for name, make in problems.items():
        results = [run(make(seed), hidden, seed, epochs, steps) for seed in range(seeds)]
        print(table(name, hidden, epochs, results).section())


def digits_of(seed):
    """Return the digits, of which a fifth is held out."""
    X, y = load_digits()
    train, held_out = split(len(y), 0.2, labels=y, rng=seed)
    X = (X / 16).astype(np.float32)
    return Problem(X[train], y[train], X[held_out], y[held_out])


def _load_fashion(folder):
    return [((X / np.float32(255)).astype(np.float32), y) for X, y in load_idx(folder)]


def run(problem, hidden, seed, epochs, steps):
    """Return the Result of one seed."""
    accuracies, losses = {}, {}
    for precision in _PRECISIONS:
        of_products = "highest" if precision == "float64" else precision
        with fastnn.precision(of_products):
            model = _make_model(problem, hidden, seed, precision)
            model.fit(
                problem.X, problem.y, epochs=epochs, batch_size=_BATCH, seed=seed, verbose=0,
                optimizer=fastnn.Adam(_RATE),
            )  # fmt: skip
            scores = model.evaluate(problem.X_held_out, problem.y_held_out)
            accuracies[precision] = scores["accuracy"]
            losses[precision] = {
                name: _first_losses(
                    _make_model(problem, hidden, seed, precision, kind), problem, seed, steps
                )
                for name, kind in _ACTIVATIONS.items()
            }
    return Result(accuracies, losses)


def _make_model(problem, hidden, seed, precision, activation=fastnn.ReLU):
    dtype = np.float64 if precision == "float64" else np.float32
    rng = np.random.default_rng(seed)
    widths, layers = [problem.X.shape[1], *hidden, 10], []
    for n_inputs, n_outputs in itertools.pairwise(widths):
        layers += [activation()] if layers else []
        layers.append(fastnn.Dense(n_inputs, n_outputs, dtype=dtype, rng=0))
        shape = n_inputs, n_outputs
        layers[-1].weights = (rng.standard_normal(shape) * (2 / n_inputs) ** 0.5).astype(np.float32)
    return fastnn.Sequential(layers)


def _first_losses(model, problem, seed, steps):
    """Return the loss of each of the first steps (steps,), on its own batch."""
    optimizer, rng = fastnn.Adam(_RATE), np.random.default_rng(seed)
    losses = []
    for _ in range(steps):
        rows = rng.integers(0, len(problem.y), _BATCH)
        losses += model.partial_fit(problem.X[rows], problem.y[rows], optimizer=optimizer).loss
    return np.array(losses)


def table(name, hidden, epochs, results):
    """Return the Table of the results of all seeds."""
    rows = []
    for precision in _PRECISIONS:
        points, base = (
            100 * np.array([each.accuracies[key] for each in results])
            for key in (precision, "highest")
        )
        rows.append(
            (
                precision, f"{points.mean():.2f} ± {spread(points):.2f}",
                f"{(points - base).mean():+.2f} ± {spread(points - base):.2f}",
                *(_largest_difference(results, precision, name) for name in _ACTIVATIONS),
            )
        )  # fmt: skip
    widths = "-".join(map(str, hidden))
    return Table(
        f"Accuracy in each precision, {name}",
        f"Hidden layers {widths}, Adam, batch {_BATCH}, {epochs} epochs, {len(results)} seeds: "
        "percent of held-out samples that are right, and the difference to highest, with standard "
        "deviations over the seeds. Behind them, for two activations, the largest relative "
        f"difference of the loss of any of the first {len(results[0].losses['highest']['ReLU'])} "
        "steps.",
        ("precision", "accuracy", "difference", *(f"loss, {name}" for name in _ACTIVATIONS)),
        rows,
    )


def _largest_difference(results, precision, activation):
    curves, base = (
        np.array([each.losses[key][activation] for each in results])
        for key in (precision, "highest")
    )
    return f"{np.abs(curves / base - 1).max():.0e}"


def spread(values):
    """Return the standard deviation of some values over the seeds."""
    return np.std(values, ddof=1) if len(values) > 1 else 0.0


if __name__ == "__main__":
    main()
