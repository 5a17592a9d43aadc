"""A network as a file of C: how large it is, and how fast one row at a time.

    python benchmarks/exported_c.py [--rounds 9] [--quick]

The file of `fastnn.export.to_c` is compiled with -O2 for any CPU of this kind, and asked in a
loop of C; `predict_proba` is asked in a loop of Python, in turn. Their answers must be equal. It
needs a C compiler: `cc`, or what the environment variable CC names.
"""

import argparse
import ctypes
import os
import statistics
import subprocess
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from networks import NETWORKS, make_inputs
from report import Table, digits, microseconds

import fastnn

_N_ROWS = 64
_LOOP = """\
#include "network.c"

void ask(const float *rows, float *probabilities, int n, int times);

void ask(const float *rows, float *probabilities, int n, int times)
{
    for (int t = 0; t < times; t++)
        for (int i = 0; i < n; i++)
            model_predict(rows + i * MODEL_N_INPUTS, probabilities + i * MODEL_N_OUTPUTS);
}
"""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="two short rounds, a smoke test")
    options = parser.parse_args()
    rounds, seconds = (2, 0.01) if options.quick else (options.rounds, 0.2)
    print(table([measure(network, rounds, seconds) for network in NETWORKS]).section())


def measure(network, rounds, seconds):
    """Return (name, bytes of the source, of the object file, seconds a row in C, in Python)."""
    layers = [fastnn.Dense(*size, rng=seed) for seed, size in enumerate(pairwise(network.sizes))]
    for i in range(len(layers) - 1, 0, -1):
        layers.insert(i, fastnn.ReLU())
    model, rows = fastnn.Sequential(layers), make_inputs(_N_ROWS, network.sizes[0])
    with tempfile.TemporaryDirectory() as folder:
        fastnn.export.to_c(model, Path(folder, "network.c"))
        library = _compile(Path(folder))
        sizes = [Path(folder, name).stat().st_size for name in ("network.c", "network.o")]
    outputs = np.empty((_N_ROWS, network.sizes[-1]), np.float32)

    def ask_c(times):
        library.ask(
            *(ctypes.c_void_p(each.ctypes.data) for each in (rows, outputs)), _N_ROWS, times
        )

    def ask_python(times):
        for _ in range(times):
            for row in singles:
                model.predict_proba(row)

    singles = [rows[i : i + 1] for i in range(_N_ROWS)]
    ask_c(1)
    np.testing.assert_allclose(outputs, model.predict_proba(rows), rtol=0, atol=1e-5)
    turns = [[_time(ask, seconds) for ask in (ask_c, ask_python)] for _ in range(rounds)]
    return network.name, *sizes, *(statistics.median(column) for column in zip(*turns, strict=True))


def _compile(folder):
    (folder / "loop.c").write_text(_LOOP)
    command = [os.environ.get("CC", "cc"), "-std=c99", "-O2", "-fPIC"]
    for end in (["-c", "network.c"], ["-shared", "loop.c", "-o", "loop.so", "-lm"]):
        subprocess.run([*command, *end], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "loop.so"))


def _time(ask, seconds):
    """Return the seconds a row, from calls that take about `seconds` together."""
    times, spent = 1, 0.0
    while True:
        start = time.perf_counter()
        ask(times)
        spent = time.perf_counter() - start
        if spent >= seconds / 2:
            return spent / times / _N_ROWS
        times *= 2


def table(results):
    """Return the Table of what `measure` gave."""
    rows = [
        (
            name, f"{source:,}", f"{compiled:,}", microseconds(c), digits(1 / c),
            microseconds(python), digits(1 / python),
        )
        for name, source, compiled, c, python in results
    ]  # fmt: skip
    return Table(
        "A network as a file of C",
        "One row at a time, float32, one thread: the file of `to_c`, compiled with -O2 and asked "
        "from C, and `predict_proba`, asked from Python. Medians.",
        ("network", "source, bytes", "object file, bytes", "C, us a row", "rows a second",
         "predict_proba, us a row", "rows a second"),
        rows,
    )  # fmt: skip


if __name__ == "__main__":
    main()
