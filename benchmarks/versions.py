"""Two versions of fastnn against each other: steps, predictions, calls and first fits.

    python benchmarks/versions.py OLD_PYTHON NEW_PYTHON --rounds 7

Each is the interpreter of a virtual environment with one version. They run in turn, each round in
processes of their own, so that both meet the same machine. Printed are medians, and the median of
the ratios new / old, which are formed within rounds: below 1 the new version is faster.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

NETWORKS = {
    "2-64-3": ((2, 64, 3), 32, 3000),
    "64-64-10": ((64, 64, 10), 32, 1500),
    "784-128-10": ((784, 128, 10), 128, 200),
    "784-2048-2048-10": ((784, 2048, 2048, 10), 512, 20),
    "784-512-512-10": ((784, 512, 512, 10), 256, 40),
}


def measure(quick):
    """Return {name: microseconds} of the fastnn that this interpreter imports."""
    import numpy as np

    import fastnn

    rounds, results = (1 if quick else 7), {}

    def median(calls, function, *arguments, **options):
        """Return the microseconds of a call, the median of some rounds."""
        function(*arguments, **options)
        times = []
        for _ in range(rounds):
            begin = time.perf_counter()
            for _ in range(calls):
                function(*arguments, **options)
            times.append((time.perf_counter() - begin) / calls)
        return statistics.median(times) * 1e6

    calls = 10 if quick else 2000
    for name, (widths, batch, usual) in NETWORKS.items():
        rng, steps = np.random.default_rng(0), 10 if quick else usual
        X = rng.standard_normal((10 * batch, widths[0])).astype(np.float32)
        y, layers = rng.integers(0, widths[-1], len(X)), []
        for i in range(len(widths) - 1):
            layers += [fastnn.Dense(widths[i], widths[i + 1], rng=i), fastnn.ReLU()]
        model = fastnn.Sequential(layers[:-1])
        for kind, optimizer in (("SGD", fastnn.SGD(1e-3)), ("Adam", fastnn.Adam(1e-5))):
            options = {"epochs": steps // 10, "batch_size": batch, "seed": 0, "verbose": 0}
            fitted = median(1, model.fit, X, y, optimizer=optimizer, **options)
            results[f"step {name} {kind}"] = fitted / steps
        if name == "64-64-10":
            results["one row"] = median(calls, model.predict_proba, X[:1].copy())
            model.partial_fit(X[:32], y[:32], optimizer=optimizer)
            results["partial_fit 64-64-10 Adam"] = median(calls, model.partial_fit, X[:32], y[:32])
    many = rng.standard_normal((100 if quick else 10_000, 784)).astype(np.float32)
    results[f"{len(many)} rows {name}"] = median(1, model.predict_proba, many)
    return results


FIRST = """
import time, numpy as np, numba
begin = time.perf_counter()
import fastnn
imported = time.perf_counter()
model = fastnn.Sequential([fastnn.Dense(4, 3, rng=0), fastnn.ReLU(), fastnn.Dense(3, 2, rng=1)])
model.fit(np.eye(4, dtype=np.float32), [0, 1, 0, 1], epochs=1, verbose=0, optimizer={optimizer})
print(imported - begin, time.perf_counter() - imported)
"""


def run(python, arguments, **variables):
    """Return what a process of one version prints."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
    command = [python, "-P", *arguments]
    result = subprocess.run(
        command, env=environment | variables, capture_output=True, text=True, check=False
    )
    if result.returncode:
        sys.exit(f"{python}:\n{result.stderr}")
    return result.stdout


def measure_first(python):
    """Return {name: microseconds} of imports and of first fits with nothing cached."""
    results = {}
    for kind, optimizer in (("SGD", "fastnn.SGD(0.1)"), ("Adam", "fastnn.Adam()")):
        text = run(python, ["-c", FIRST.format(optimizer=optimizer)], FASTNN_CACHE="0")
        imported, first = (float(each) * 1e6 for each in text.split())
        results |= {"import": imported, f"first fit {kind}": first}
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pythons", nargs="*", metavar="PYTHON", help="the old and the new one")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="only show that it runs")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.quick)))
        return
    if len(arguments.pythons) != 2:
        parser.error("expected two interpreters, of the old and of the new version")
    options = ["--measure", *(["--quick"] if arguments.quick else [])]
    results = {0: [], 1: []}
    for number in range(1 if arguments.quick else arguments.rounds):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            python = arguments.pythons[which]
            times = json.loads(run(python, [__file__, *options]))
            results[which].append(times if arguments.quick else times | measure_first(python))
    print(f"{'':28} {'old':>12} {'new':>12}  new / old")
    for name in results[0][0]:
        old, new = ([times[name] for times in results[which]] for which in (0, 1))
        ratios = [b / a for a, b in zip(old, new, strict=True)]
        before, after, ratio = map(statistics.median, (old, new, ratios))
        print(f"{name:28} {before:9.2f} us {after:9.2f} us  {ratio:.3f}")


if __name__ == "__main__":
    main()
