"""What a lower precision of products costs: accuracy on held-out samples, and loss of each step.

    python benchmarks/precision_accuracy.py [FOLDER] [--seeds 10] [--epochs 20] [--quick]

The data are the digits of scikit-learn, or Fashion-MNIST where a folder has its IDX files. Each
seed has first weights and an order of samples of its own, and for the digits also held-out
samples. They are the same in each precision. The speed of the machine does not change the result.
"""

import argparse
from typing import NamedTuple

import numpy as np
from report import Table

import fastnn
from fastnn.datasets import load_digits, split

_PRECISIONS = "highest", "high", "medium"
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
    losses: dict  # (steps,) of the first steps


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
    from fastnn.datasets import load_idx

    return [((X / np.float32(255)).astype(np.float32), y) for X, y in load_idx(folder)]


def run(problem, hidden, seed, epochs, steps):
    """Return the Result of one seed."""
    accuracies, losses = {}, {}
    for precision in _PRECISIONS:
        model = _make_model(problem, hidden, seed)
        model.fit(
            problem.X, problem.y, epochs=epochs, batch_size=_BATCH, seed=seed, verbose=0,
            optimizer=fastnn.Adam(_RATE), precision=precision,
        )  # fmt: skip
        scores = model.evaluate(problem.X_held_out, problem.y_held_out, precision=precision)
        accuracies[precision] = scores["accuracy"]
        losses[precision] = _first_losses(problem, hidden, seed, steps, precision)
    return Result(accuracies, losses)


def _make_model(problem, hidden, seed):
    rng = np.random.default_rng(seed)
    layers, n_inputs = [], problem.X.shape[1]
    for width in hidden:
        layers += [fastnn.Dense(n_inputs, width, rng=rng), fastnn.ReLU()]
        n_inputs = width
    return fastnn.Sequential([*layers, fastnn.Dense(n_inputs, 10, rng=rng)])


def _first_losses(problem, hidden, seed, steps, precision):
    """Return the loss of each of the first steps (steps,), on its own batch."""
    model, optimizer = _make_model(problem, hidden, seed), fastnn.Adam(_RATE)
    rng = np.random.default_rng(seed)
    losses = []
    for _ in range(steps):
        rows = rng.integers(0, len(problem.y), _BATCH)
        history = model.partial_fit(
            problem.X[rows], problem.y[rows], optimizer=optimizer, precision=precision
        )
        losses += history.loss
    return np.array(losses)


def table(name, hidden, epochs, results):
    """Return the Table of the results of all seeds."""
    rows = []
    for precision in _PRECISIONS:
        points, base = (
            100 * np.array([each.accuracies[key] for each in results])
            for key in (precision, "highest")
        )
        curves, base_curves = (
            np.array([each.losses[key] for each in results]) for key in (precision, "highest")
        )
        change = curves / base_curves - 1
        rows.append(
            (
                precision, f"{points.mean():.2f} ± {spread(points):.2f}",
                f"{(points - base).mean():+.2f} ± {spread(points - base):.2f}",
                f"{np.abs(change).max():.1e}",
            )
        )  # fmt: skip
    widths = "-".join(map(str, hidden))
    return Table(
        f"Accuracy in each precision, {name}",
        f"Hidden layers {widths}, Adam, batch {_BATCH}, {epochs} epochs, {len(results)} seeds: "
        "percent of held-out samples that are right, and the difference to highest, with standard "
        f"deviations over the seeds; the largest relative difference of the loss of the first "
        f"{len(results[0].losses['highest'])} steps.",
        ("precision", "accuracy", "difference", "loss"),
        rows,
    )


def spread(values):
    """Return the standard deviation of some values over the seeds."""
    return np.std(values, ddof=1) if len(values) > 1 else 0.0


if __name__ == "__main__":
    main()
