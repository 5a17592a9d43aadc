"""Many small networks: `fit_many` on all CPUs against one network after the other.

    python benchmarks/many.py [--rounds 9] [--quick]

64 networks 64-64-10, batch 32, on 1,500 digits. Both ways end with the same bits, which is checked.
CPU time shows what threads cost: where they got in each other's way, or did work twice, it grows.
The last column is the bound of the machine: as many processes as threads, which share nothing, each
with its part of the networks.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import time

import numpy as np

import fastnn
from fastnn.datasets import load_digits
from fastnn.program.threads import usable_cpus

_MODELS, _SAMPLES = 64, 1500


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--quick", action="store_true", help="one short round, a smoke test")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.epochs)
        return
    if options.quick:
        options.rounds, options.epochs = 1, 2
    print(
        f"{_MODELS} networks 64-64-10, batch 32, {options.epochs} epochs, {options.threads} threads"
    )
    print(f"{'one by one':>22}{'at once':>22}   ratio   CPU ratio   processes")
    ratios, bounds = [], []
    measure(options.epochs, None)
    with contextlib.ExitStack() as stack:
        parts = [stack.enter_context(start(options)) for _ in range(options.threads)]
        for _ in range(options.rounds):
            compare(options, parts, ratios, bounds)
    medians = statistics.median(ratios), statistics.median(bounds)
    print("median ratio {:.2f}, of processes {:.2f}".format(*medians))


def compare(options, parts, ratios, bounds):
    """Measure one round, print it, and add to the two lists of ratios."""
    alone, together = measure(options.epochs, None), measure(options.epochs, options.threads)
    if not all(map(np.array_equal, alone.pop(), together.pop())):
        raise SystemExit("the parameters differ")
    for part in parts:
        print("go", file=part.stdin, flush=True)
    slowest = max(float(part.stdout.readline()) for part in parts)
    shown = "".join(f"{s:10.3f} s ({c:5.3f} s)" for s, c in (alone, together))
    ratios.append(alone[0] / together[0])
    bounds.append(alone[0] / slowest)
    print(f"{shown}{ratios[-1]:8.2f}{together[1] / alone[1]:12.3f}{bounds[-1]:12.2f}", flush=True)


def start(options):
    """Return a process that trains its part of the networks at each line, when it is warm."""
    command = [sys.executable, __file__, "--serve", str(_MODELS // options.threads)]
    part = subprocess.Popen(
        [*command, "--epochs", str(options.epochs)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    part.stdout.readline()
    return part


def serve(n_models, epochs):
    """Train so many networks at each line that comes, and say the seconds."""
    print(measure(epochs, None, n_models)[0], flush=True)
    for _ in sys.stdin:
        print(measure(epochs, None, n_models)[0], flush=True)


def measure(epochs, threads, n_models=_MODELS):
    """Return [seconds, seconds of CPU time, parameters of all models].

    Other models are trained for a quarter of the epochs just before.
    """
    X, y = load_digits()
    X, y = X[:_SAMPLES] / np.float32(16), y[:_SAMPLES]
    train([make_model(seed) for seed in range(n_models)], X, y, -(-epochs // 4), threads)
    models = [make_model(seed) for seed in range(n_models)]
    begin, cpu_begin = time.perf_counter(), time.process_time()
    train(models, X, y, epochs, threads)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu_begin
    return [seconds, cpu, [model.parameters for model in models]]


def train(models, X, y, epochs, threads):
    """Train one model after the other, or with `threads` all at once."""
    arguments = {"epochs": epochs, "batch_size": 32, "verbose": 0}
    if threads is None:
        for seed, model in enumerate(models):
            model.fit(X, y, seed=seed, optimizer=fastnn.SGD(0.1), threads=1, **arguments)
    else:
        fastnn.fit_many(
            models, X, y, seed=0, optimizer=fastnn.SGD(0.1), threads=threads, **arguments
        )


def make_model(seed):
    """Return a network of the benchmark."""
    layers = [fastnn.Dense(64, 64, rng=seed), fastnn.ReLU(), fastnn.Dense(64, 10, rng=seed + 1)]
    return fastnn.Sequential(layers)


if __name__ == "__main__":
    main()
