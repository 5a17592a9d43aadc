"""fastnn's estimators against scikit-learn's: the same parameters, samples and epochs.

    python benchmarks/estimators.py [--rounds 9] [--quick]

Each library has a process of its own; a round asks both in turn. The two start from the same
weights and take the samples in the same order, so their losses must be equal to rounding, and are
compared before any time is taken. The accuracy is that of ten seeds on digits that were held out.
The last table is a search over grids with threads: how many times as fast it is as one job alone.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
import warnings

import numpy as np
from networks import NETWORKS, make_data
from report import Table, digits, percent, times
from worker import environment, usable_cpus

LIBRARIES = ("fastnn", "scikit-learn")
_WARM = 0.2  # seconds before each fit that is timed
_ADAM = {"solver": "adam"}
_SGD = {"solver": "sgd", "learning_rate_init": 0.1}
_DIGITS = {"data": "digits", "hidden_layer_sizes": [64], "batch_size": 32}
_WIDE = {"data": "784-128-10", "hidden_layer_sizes": [128], "batch_size": 128}
CASES = {
    "digits, 64-64-10, Adam": {**_DIGITS, **_ADAM, "dtype": "float32"},
    "digits, Adam, early stopping": {
        **_DIGITS, **_ADAM, "dtype": "float32", "early_stopping": True,
    },
    "digits, momentum": {**_DIGITS, **_SGD, "dtype": "float32"},
    "digits, Adam, float64": {**_DIGITS, **_ADAM, "dtype": "float64"},
    "784-128-10, Adam": {**_WIDE, **_ADAM, "dtype": "float32"},
    "784-128-10, momentum": {
        **_WIDE, **_SGD, "learning_rate_init": 0.01, "dtype": "float32",  # 0.1 diverges
    },
    "784-128-10, Adam, float64": {**_WIDE, **_ADAM, "dtype": "float64"},
}  # fmt: skip


# ------------------------------------------------------------------ in a process of a library


def serve(library):
    """Answer the arguments of `fit`, in JSON, with seconds, losses and accuracy."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    if library == "fastnn":
        from fastnn import MLPClassifier
    else:
        from sklearn.neural_network import MLPClassifier
    for line in sys.stdin:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that all epochs were run
            print(json.dumps(fit(MLPClassifier, **json.loads(line))), file=answers)


def fit(Classifier, case, epochs, seed, warm=_WARM):
    """Fit, and return what came of it. The same is done for `warm` seconds just before."""
    options = dict(CASES[case])
    X, y = load(options.pop("data"), options.pop("dtype"))
    n = len(X) * 5 // 6
    options |= {"max_iter": epochs, "random_state": seed, "tol": 0.0, "n_iter_no_change": 10**6}
    begin = time.perf_counter()
    while time.perf_counter() - begin < warm:
        Classifier(**options).fit(X[:n], y[:n])
    model = Classifier(**options)
    begin = time.perf_counter()
    model.fit(X[:n], y[:n])
    seconds = time.perf_counter() - begin
    accuracy = float((model.predict(X[n:]) == y[n:]).mean())
    return {"seconds": seconds / epochs, "losses": model.loss_curve_, "accuracy": accuracy}


def load(name, dtype):
    """Return samples and labels; digits in an order in which those held out are like the rest."""
    if name == "digits":
        from sklearn.datasets import load_digits

        X, y = load_digits(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(X))
        return (X[order] / 16).astype(dtype), y[order]
    network = next(each for each in NETWORKS if each.name == name)
    X, y = make_data(network)
    return X.astype(dtype), y


# ------------------------------------------------------------------ rounds


class Peer:
    """A library in a process of its own."""

    def __init__(self, library):
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", library],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment(usable_cpus()),
        )  # fmt: skip

    def ask(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(rounds, epochs, warm=_WARM):
    """Return the Table of all cases; SystemExit where losses differ."""
    rows = []
    with contextlib.ExitStack() as stack:
        peers = [Peer(library) for library in LIBRARIES]
        for peer in peers:
            stack.callback(peer.close)
        for case in CASES:
            command = {"case": case, "epochs": epochs, "seed": 0, "warm": warm}
            # The first answers are the check.
            losses = [peer.ask(**command)["losses"] for peer in peers]
            # In float32 paths part after some epochs; Adam sees rounding in every small gradient.
            double = "64" in CASES[case]["dtype"]
            begin = [each if double else each[:5] for each in losses]
            if not np.allclose(*begin, rtol=1e-9 if double else 1e-2):
                raise SystemExit(f"{case}: the losses are {losses}, expected equal ones")
            seconds = [[peer.ask(**command)["seconds"] for peer in peers] for _ in range(rounds)]
            ours, theirs = (statistics.median(column) for column in zip(*seconds, strict=True))
            ratio = statistics.median(b / a for a, b in seconds)
            rows.append((case, digits(ours * 1e3), digits(theirs * 1e3), times(ratio)))
    return Table(
        "The estimators against scikit-learn's",
        f"Milliseconds an epoch: medians over {rounds} rounds of {epochs} epochs; ratios are "
        "formed within rounds. The losses are equal.",
        ("fit", *LIBRARIES, "faster"),
        rows,
    )


def accuracies(seeds, epochs):
    """Return the Table of the accuracies of both libraries."""
    peers = [Peer(library) for library in LIBRARIES]
    rows = []
    for library, peer in zip(LIBRARIES, peers, strict=True):
        case = "digits, 64-64-10, Adam"
        scores = [
            peer.ask(case=case, epochs=epochs, seed=seed, warm=0.0)["accuracy"]
            for seed in range(seeds)
        ]
        peer.close()
        rows.append(
            (
                library,
                f"{statistics.mean(scores):.4f}",
                f"{statistics.stdev(scores):.4f}",
            )
        )
    return Table(
        "Accuracy on held-out digits",
        f"Of {seeds} seeds, {epochs} epochs of Adam, float32.",
        ("", "mean", "standard deviation"),
        rows,
    )


# ------------------------------------------------------------------ a search in threads


def search(rounds, epochs):
    """Return the Table of searches with several jobs."""
    import joblib
    from sklearn.model_selection import GridSearchCV

    from fastnn import MLPClassifier

    X, y = load("digits", "float32")
    most, rows = usable_cpus(), []
    for count in (epochs // 20 or 1, epochs):
        model = MLPClassifier(64, batch_size=32, max_iter=count, random_state=0, tol=0.0)
        grid = {"alpha": list(np.logspace(-5, 0, 2 * most))}

        def measure(n_jobs, model=model, grid=grid):
            begin = time.perf_counter()
            with joblib.parallel_backend("threading"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                GridSearchCV(model, grid, cv=4, n_jobs=n_jobs, refit=False).fit(X, y)
            return time.perf_counter() - begin

        measure(most)
        jobs = sorted({1, 2, most})
        seconds = [[measure(n) for n in jobs] for _ in range(rounds)]
        for i, n in enumerate(jobs):
            ratio = statistics.median(row[0] / row[i] for row in seconds)
            a_fit = statistics.median(row[0] for row in seconds) / (8 * most)
            rows.append((digits(a_fit * 1e3), str(n), f"{ratio:.2f}x", percent(ratio / n)))
    return Table(
        "A grid search with threads",
        f"GridSearchCV over digits, {8 * most} fits, `n_jobs` threads: how many times as fast it "
        "is as one job.",
        ("ms a fit", "jobs", "faster", "of linear"),
        rows,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="short rounds, a smoke test")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    if options.quick:
        tables = compare(2, 2, warm=0.0), accuracies(2, 5), search(1, 10)
    else:
        tables = compare(options.rounds, 20), accuracies(10, 40), search(options.rounds, 200)
    for table in tables:
        print(table.section())


if __name__ == "__main__":
    main()
