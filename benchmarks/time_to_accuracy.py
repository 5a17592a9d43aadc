"""Seconds of training until a network is right on samples that it has not seen.

    python benchmarks/time_to_accuracy.py FOLDER           Fashion-MNIST and digits
    python benchmarks/time_to_accuracy.py                  digits alone
    python benchmarks/time_to_accuracy.py FOLDER --write   likewise, and into README

FOLDER has the IDX files of Fashion-MNIST; Debian has them as the package dataset-fashion-mnist.
Each library has a process of its own, and they take turns: a seed is a round. All start from the
same weights and take the same samples in the same order, with Adam at the same rate. Only training
counts: nothing is compiled, loaded or evaluated while the clock runs.
"""

import argparse
import contextlib
import datetime
import math
import shlex
import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from machine import facts, mkl
from networks import ADAM_RATE, Network
from peers import PEERS, PRECISIONS
from report import Table, replace_marked, times
from rounds import Library, Worker
from worker import usable_cpus

from fastnn.datasets import load_digits, load_idx

LIBRARIES = (
    "fastnn", *(f"fastnn.{each}" for each in PRECISIONS), "torch", "torch.medium", "torch.autocast",
    "jax", "keras.jax", "keras.torch", "sklearn",
)  # fmt: skip
_ROOT = Path(__file__).parent.parent
_PICTURE = "time_to_accuracy.png"


class Problem(NamedTuple):
    """What is learned, and how well."""

    name: str
    network: Network  # its steps are those from one point to the next
    points: int  # at which the accuracy is measured
    scale: float  # of the inputs
    target: float
    tolerance: float
    """How far, relative, the held-out losses of two libraries may be apart at the first point.

    Rounding grows there: all were within 0.02 % for digits, where another order of samples would
    show, and within 1.1 % for Fashion-MNIST, 0.6 % in float32.
    """


FASHION = Problem("Fashion-MNIST", Network((784, 512, 512, 10), 256, 58), 40, 1 / 255, 0.88, 0.03)
DIGITS = Problem("digits", Network((64, 64, 10), 32, 46), 40, 1 / 16, 0.97, 0.001)


class Outcome(NamedTuple):
    """What a library did: a curve for each seed, or why there is none."""

    curves: list  # of [(seconds, accuracy), ...]
    failure: str = ""


def main():
    options = _parse()
    problems = [DIGITS] if options.folder is None else [FASHION, DIGITS]
    if options.folder is None:
        _say("left out: Fashion-MNIST: no FOLDER with its IDX files")
    warm = 0.5
    if options.quick:
        problems = [
            each._replace(points=3, network=each.network._replace(steps=3)) for each in problems
        ]
        options.seeds, warm = min(options.seeds, 2), 0.0
    results, versions = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for problem in problems:
            path = Path(folder, f"{problem.name}.npz")
            load = load_digits_in_two if problem.name == DIGITS.name else load_fashion
            np.savez(path, **load(options.folder))
            results[problem] = measure(problem, path, options, warm, versions)
            print(f"\n{table(problem, results[problem]).section()}", flush=True)
    if options.write:
        for path in _write(options, results, versions):
            print(f"written: {path}")


def _parse():
    cpus = usable_cpus()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", help="of the IDX files of Fashion-MNIST")
    parser.add_argument("--seeds", type=int, default=5, help="how many (default 5)")
    parser.add_argument("--threads", type=int, default=min(2, cpus), help="for every library")
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES[1:], default=LIBRARIES[1:])
    parser.add_argument("--quick", action="store_true", help="a few steps, a smoke test")
    parser.add_argument(
        "--write", nargs="?", const=_ROOT, type=Path, metavar="FOLDER",
        help="also draw the curves, and write into FOLDER (default: the checkout)",
    )  # fmt: skip
    options = parser.parse_args()
    if not 1 <= options.threads <= cpus:
        parser.error(f"--threads is {options.threads}, expected 1 to {cpus}, the usable CPUs")
    if options.seeds < 1:
        parser.error(f"--seeds is {options.seeds}, expected at least 1")
    return options


def load_fashion(folder):
    """Return the arrays of Fashion-MNIST; its test images are held out."""
    (X, y), (X_test, y_test) = load_idx(folder)
    return {"X": X, "y": y, "X_test": X_test, "y_test": y_test}


def load_digits_in_two(_):
    """Return 1,500 digits to train on, and the 297 that are held out."""
    X, y = load_digits()
    order = np.random.default_rng(0).permutation(len(X))  # those of one writer are neighbors
    train, test = order[:1500], order[1500:]
    return {"X": X[train], "y": y[train], "X_test": X[test], "y_test": y[test]}


# ------------------------------------------------------------------ measuring


def measure(problem, path, options, warm, versions):
    """Return {name of a library: Outcome}, and add to `versions`."""
    names = ["fastnn", *options.libraries]
    outcomes, workers, losses = {name: Outcome([]) for name in names}, {}, {}
    with contextlib.ExitStack() as stack:
        for name in names:
            worker = Worker(Library(name, options.threads))
            stack.callback(worker.close)
            if "versions" in worker.hello:
                versions |= worker.hello["versions"]
                workers[name] = worker
            else:
                missing = "missing" in worker.hello
                reason = worker.hello["missing" if missing else "error"]
                _fail(outcomes, name, "not installed" if missing else "failed", reason)
        for name in list(workers):
            _say(f"{problem.name}: {PEERS[name][0]} gets ready")
            answer = workers[name].ask(prepare=_task(problem, path))
            if "error" in answer:
                _fail(outcomes, name, "failed", answer["error"])
                del workers[name]
            else:
                losses[name] = answer["values"][0]
        check_equal(losses, problem.tolerance)
        for seed in range(options.seeds):
            order = list(workers)
            shift = seed % len(order)  # so that none always follows the same one
            for name in order[shift:] + order[:shift]:
                _say(f"{problem.name}, seed {seed}: {PEERS[name][0]}")
                answer = workers[name].ask(seed=seed, warm=warm)
                if "error" in answer:
                    _fail(outcomes, name, "failed", answer["error"])
                    del workers[name]
                else:
                    outcomes[name].curves.append(answer["points"])
    return outcomes


def _task(problem, path):
    return {
        "kind": "accuracy",
        "data": str(path),
        "points": problem.points,
        "scale": problem.scale,
        **problem.network._asdict(),
    }


def _fail(outcomes, name, failure, reason):
    _say(f"{failure}: {PEERS[name][0]}: {reason}")
    if name == "fastnn":
        raise SystemExit("without fastnn there is nothing to compare")
    outcomes[name] = Outcome([], failure)


def check_equal(losses, tolerance):
    """Raise SystemExit where the first loss of a library is not that of fastnn."""
    for name, loss in losses.items():
        away = abs(loss / losses["fastnn"] - 1)
        if not away <= tolerance:
            raise SystemExit(
                f"the loss of {PEERS[name][0]} is {away:.2%} away from fastnn's, allowed "
                f"{tolerance:.1%}: unequal work is not compared"
            )


def _say(text):
    print(text, file=sys.stderr, flush=True)


# ------------------------------------------------------------------ showing


def first_time(curve, target):
    """Return the seconds after which a curve is at `target`; infinity where it never is."""
    return next((seconds for seconds, accuracy in curve if accuracy >= target), math.inf)


def median_time(outcome, target):
    """Return the median of the seconds over seeds; infinity where half of them never get there."""
    return statistics.median(first_time(curve, target) for curve in outcome.curves)


def median_curve(outcome):
    """Return [(seconds, accuracy), ...], both the medians over seeds."""
    return [
        tuple(map(statistics.median, zip(*points, strict=True)))
        for points in zip(*outcome.curves, strict=True)
    ]


def table(problem, outcomes):
    """Return the Table of {name: Outcome}."""
    network, base = problem.network, outcomes["fastnn"]
    n_seeds = len(base.curves)
    rows = [
        (PEERS[name][0], *_cells(problem, outcome, base))
        if outcome.curves
        else (PEERS[name][0], outcome.failure, *["-"] * 4)
        for name, outcome in outcomes.items()
    ]
    return Table(
        f"Time to accuracy: {problem.name}",
        f"Seconds of training until {problem.target:g} of the held-out samples are known: "
        f"{network.name}, Adam with a rate of {ADAM_RATE:g}, batch {network.batch}, measured every "
        f"{network.steps} steps. Medians over seeds, {n_seeds} of them; *fastnn is* how many times "
        "as fast, formed within seeds. Machine code was cached. All libraries start from the same "
        "weights, and take the same samples in the same order.",
        ("", "seconds", "fastnn is", "steps", "seeds", "accuracy at the end"),
        rows,
    )


def _cells(problem, outcome, base):
    network, target = problem.network, problem.target
    seconds = [first_time(curve, target) for curve in outcome.curves]
    own = [first_time(curve, target) for curve in base.curves]
    reached = sum(map(math.isfinite, seconds))
    middle = statistics.median(seconds)
    last = statistics.median(curve[-1][1] for curve in outcome.curves)
    end = f"{reached} of {len(seconds)}", f"{last:.4f}"
    if not math.isfinite(middle):
        return "not reached", "-", "-", *end
    steps = statistics.median(
        network.steps * (1 + [each for each, _ in curve].index(time))
        for curve, time in zip(outcome.curves, seconds, strict=True)
        if math.isfinite(time)
    )
    ratios = [a / b for a, b in zip(seconds, own, strict=True) if math.isfinite(b)]
    ratio = statistics.median(ratios) if ratios else math.nan
    compared = times(ratio) if outcome is not base and math.isfinite(ratio) else "-"
    return f"{middle:.3g}", compared, f"{steps:,.0f}", *end


def _write(options, results, versions):
    from pictures import draw_accuracy

    folder = options.write
    picture = folder / "benchmarks" / _PICTURE
    picture.parent.mkdir(parents=True, exist_ok=True)
    draw_accuracy(picture, [_panel(problem, results[problem]) for problem in results])
    yield picture
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8")
    block = readme_block(options, results, versions)
    readme.write_text(replace_marked(text, block, "time-to-accuracy"), encoding="utf-8")
    yield readme


def _panel(problem, outcomes):
    """Return (title, target, {name in the picture: (median curve, median time)})."""
    curves = {
        PEERS[name][0]: (median_curve(outcome), median_time(outcome, problem.target))
        for name, outcome in outcomes.items()
        if outcome.curves
    }
    return f"{problem.name}, {problem.network.name}", problem.target, curves


def readme_block(options, results, versions):
    """Return the part of README: the picture, the tables, and what they were measured on."""
    machine = dict(facts(versions))
    processor, vectors = list(machine.values())[:2]
    command = shlex.join(["python", "benchmarks/time_to_accuracy.py", *_shown_arguments(options)])
    parts = [f"![Held-out accuracy against seconds of training](benchmarks/{_PICTURE})"]
    if options.quick:
        parts.insert(0, "**A smoke test with --quick: these figures mean nothing.**")
    parts += [table(*each).section("####").strip() for each in results.items()]
    parts.append(
        f"{processor} ({vectors}), {datetime.date.today().isoformat()}. Every library in its own "
        f"process, {options.threads} threads, in turn; each trains for half a second just before "
        f"it is timed. {machine['Versions']}. {mkl()} To measure again: `{command}`."
    )
    return "\n\n".join(parts)


def _shown_arguments(options):
    """Return the arguments of this run; a folder of this machine means nothing to a reader."""
    return ["FOLDER" if each == options.folder else each for each in sys.argv[1:]]


if __name__ == "__main__":
    main()
