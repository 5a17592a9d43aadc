"""`Embedding` against one-hot columns, on tables with many categories.

    python benchmarks/embeddings.py [--splits 5] [--quick] [--write]

Each table is split at random, a quarter of the rows for the test. Two networks are trained on the
others, with the same layers behind the first ones, the same optimizer and the defaults of
`fastnn train` for so many rows. A fifth of the rows decides when training stops. One network gets
each category as a column of its own, the other as a code for an `Embedding` with its default
dimension. A category that the training rows do not have is a row of zeros, and the code 0. Scores
are R2 on the test rows.

Both train on one thread, in turn. The time is that of an epoch, the checks of the input included.
Needs pandas and vega_datasets. `--write` puts the table into `docs/training.md`.
"""

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from report import Table, digits, replace_marked

import fastnn
from fastnn.tables.defaults import settings_for

PAGE = Path(__file__).resolve().parent.parent / "docs" / "training.md"
_TEST, _HELD_OUT = 0.25, 0.2


class Problem(NamedTuple):
    """Numbers (N, K), categories (N, C) as whole numbers, and the number to predict (N,)."""

    numbers: np.ndarray
    categories: np.ndarray
    target: np.ndarray


def load_problems():
    """Return {name: Problem}."""
    from vega_datasets import local_data

    airports, cars = local_data.airports(), local_data.cars().dropna()
    airports = airports.dropna(subset=["state", "city"])
    barley = local_data.barley()
    return {
        "barley": _problem(barley, ["year"], ["site", "variety"], "yield"),
        "cars, with names": _problem(
            cars.assign(Year=cars["Year"].dt.year), ["Weight_in_lbs", "Horsepower", "Year"],
            ["Name", "Origin"], "Miles_per_Gallon",
        ),
        "airports, states": _problem(airports, [], ["state"], "latitude"),
        "airports, states and cities": _problem(airports, [], ["state", "city"], "latitude"),
        "synthetic, sums": make_problem(20_000, (2000, 300), products=False),
        "synthetic, products": make_problem(20_000, (2000, 300), products=True),
    }  # fmt: skip


def _problem(frame, numbers, categories, target):
    codes = [frame[name].astype("category").cat.codes for name in categories]
    values = frame[numbers].to_numpy(float).reshape(len(frame), len(numbers))
    return Problem(values, np.column_stack(codes), frame[target].to_numpy(float))


def make_problem(n_rows, counts, products):
    """Return rows of two categories, such as users and films, and of a number.

    Each category has 3 hidden numbers. The target is a sum of those, or the sum of the products of
    the two categories, plus the number and noise.
    """
    rng = np.random.default_rng(0)
    codes = np.column_stack([rng.integers(0, count, n_rows) for count in counts])
    first, second = (rng.standard_normal((count, 3))[codes[:, i]] for i, count in enumerate(counts))
    effect = (first * second if products else first + second).sum(axis=1)
    number = rng.standard_normal(n_rows)
    target = effect + number + 0.5 * rng.standard_normal(n_rows)
    return Problem(number[:, np.newaxis], codes, target)


def split(problem, seed):
    """Return the indices of the rows to train on, of those that stop it, and of the test."""
    order = np.random.default_rng(seed).permutation(len(problem.target))
    n_test = round(_TEST * len(order))
    n_held_out = round(_HELD_OUT * (len(order) - n_test))
    return order[n_test + n_held_out :], order[n_test : n_test + n_held_out], order[:n_test]


def codes_of(categories, rows):
    """Return codes (N, C), and their counts: 0 is for what `rows` do not have."""
    columns, counts = [], []
    for column in categories.T:
        known = np.unique(column[rows])
        place = np.searchsorted(known, column)
        is_known = known[np.minimum(place, len(known) - 1)] == column
        columns.append(np.where(is_known, place + 1, 0))
        counts.append(len(known) + 1)
    return np.column_stack(columns), counts


def inputs_of(kind, numbers, codes, counts):
    """Return the inputs (N, I) of a network, and its first layers."""
    if kind == "one-hot":
        hot = [np.eye(count)[:, 1:][column] for column, count in zip(codes.T, counts, strict=True)]
        return np.hstack([numbers, *hot]).astype(np.float32), []
    X = np.hstack([numbers, codes]).astype(np.float32)
    columns = {numbers.shape[1] + i: count for i, count in enumerate(counts)}
    return X, [fastnn.Embedding(X.shape[1], columns, rng=0)]


def train(kind, problem, seed):
    """Return the score of a network on the test rows, and the seconds of an epoch."""
    rows, held_out, test = split(problem, seed)
    codes, counts = codes_of(problem.categories, rows)
    numbers, target = problem.numbers, problem.target
    numbers = (numbers - numbers[rows].mean(axis=0)) / numbers[rows].std(axis=0)
    y = (target - target[rows].mean()) / target[rows].std()
    X, layers = inputs_of(kind, numbers, codes, counts)
    settings = settings_for("", len(rows))
    width, rng = layers[0].n_outputs if layers else X.shape[1], np.random.default_rng(seed)
    for n_neurons in settings.hidden:
        layers += [fastnn.Dense(width, n_neurons, rng=rng), fastnn.ReLU()]
        width = n_neurons
    layers.append(fastnn.Dense(width, 1, rng=rng, init=fastnn.scaled_normal(0.01)))
    model = fastnn.Sequential(layers, loss="mse")
    optimizer = fastnn.AdamW(settings.learning_rate, weight_decay=settings.weight_decay)
    stopping = fastnn.EarlyStopping("val_loss", patience=settings.patience)
    options = {"batch_size": settings.batch_size, "seed": seed, "threads": 1, "verbose": 0}
    model.clone().fit(X[rows], y[rows], optimizer=fastnn.AdamW(), **options)  # compiles
    begin = time.perf_counter()
    history = model.fit(
        X[rows], y[rows], epochs=settings.epochs, optimizer=optimizer,
        validation_data=(X[held_out], y[held_out]), callbacks=[stopping], **options,
    )  # fmt: skip
    seconds = (time.perf_counter() - begin) / len(history.loss)
    error = np.square(model.predict(X[test]) - y[test]).sum()
    return 1 - error / np.square(y[test] - y[test].mean()).sum(), seconds


def measure(problem, seeds):
    """Return {kind: (scores (splits,), seconds (splits,))}."""
    found = {"one-hot": [], "embedding": []}
    for seed in seeds:
        for kind, results in found.items():
            results.append(train(kind, problem, seed))
    return {kind: np.array(results).T for kind, results in found.items()}


def table(results, n_splits):
    """Return the Table of the results {name: (problem, what `measure` gives)}."""
    rows = []
    for name, (problem, found) in results.items():
        cells = [f"{100 * x.mean():.1f} ± {100 * x.std(ddof=1):.1f}" for x, _ in found.values()]
        (one_hot, slow), (embedded, fast) = found.values()
        gain = embedded - one_hot
        error = gain.std(ddof=1) / np.sqrt(n_splits)
        better = "embedding" if gain.mean() > error else "one-hot"
        better = better if abs(gain.mean()) > error else "equal"
        counts = " + ".join(f"{len(np.unique(each)):,}" for each in problem.categories.T)
        ratio = np.median(slow / fast)
        rows.append((name, f"{len(problem.target):,}", counts, *cells, better, f"{digits(ratio)}x"))
    text = (
        f"Held-out R2 in percent: mean and standard deviation of {n_splits} splits, a quarter of "
        "the rows for the test. The two networks differ in their first layer alone. *Better* is "
        "the one whose mean is higher by more than a standard error of the difference. *Faster* "
        "is how many times as fast an epoch with the embedding is; below 1 it is slower."
    )
    header = ("table", "rows", "categories", "one-hot", "embedding", "better", "faster")
    return Table("Embedding or one-hot columns", text, header, rows)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one table, a smoke test")
    parser.add_argument("--write", action="store_true", help="into docs/training.md")
    options = parser.parse_args()
    problems, n_splits = load_problems(), options.splits
    if options.quick:
        problems, n_splits = {"barley": problems["barley"]}, 2
    results = {}
    for name, problem in problems.items():
        results[name] = problem, measure(problem, range(n_splits))
        means = {kind: x.mean(axis=1).round(4).tolist() for kind, x in results[name][1].items()}
        print(f"{name}: {means}", flush=True)
    result = table(results, n_splits)
    print(f"\n{result.section()}")
    if options.write:
        text = PAGE.read_text(encoding="utf-8")
        block = result.section("####")
        PAGE.write_text(replace_marked(text, block, "embeddings"), encoding="utf-8")
        print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
