"""Start-up: what a fresh process waits for before its first result."""

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile

from report import Table, digits
from worker import environment

_IMPORT = """
import time
begin = time.perf_counter()
import {name}
print(time.perf_counter() - begin)
"""

# tqdm is counted: fastnn imports it. numba and NumPy are not.
_BEYOND_NUMBA = "import numba" + _IMPORT.format(name="fastnn")

_FIRST_FIT = """
import time
import numpy as np
import fastnn
rng = np.random.default_rng(0)
X, y = rng.standard_normal((320, 64), np.float32), rng.integers(0, 10, 320)
model = fastnn.Sequential([fastnn.Dense(64, 64, rng=0), fastnn.ReLU(), fastnn.Dense(64, 10, rng=1)])
begin = time.perf_counter()
model.fit(X, y, seed=0, verbose=False)
print(time.perf_counter() - begin)
"""


def _seconds(code, threads, **variables):
    """Return the number that `code` prints, run in a process of its own."""
    result = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=environment(threads) | variables,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(result.stdout)


def startup(bench, runs=9):
    def median(code, **variables):
        return statistics.median(_seconds(code, bench.threads, **variables) for _ in range(runs))

    rows = []
    for name in ("numba", "jax", "sklearn", "torch"):
        if importlib.util.find_spec(name):
            bench.say(f"import {name}")
            _seconds(_IMPORT.format(name=name), bench.threads)  # its files into the page cache
            rows.append((f"`import {name}`", digits(median(_IMPORT.format(name=name)))))
    bench.say("import fastnn, first fit")
    rows.append(("`import fastnn`, beyond numba", digits(median(_BEYOND_NUMBA))))
    cold = []
    with tempfile.TemporaryDirectory() as root:
        for number in range(max(1, runs // 3)):
            folder = f"{root}/{number}"
            cold.append(_seconds(_FIRST_FIT, bench.threads, FASTNN_CACHE_DIR=folder))
        if not os.path.isdir(folder) or not os.listdir(folder):
            raise SystemExit("the first fit left no machine code in FASTNN_CACHE_DIR")
        warm = median(_FIRST_FIT, FASTNN_CACHE_DIR=folder)
    rows.append(("first `fit`, nothing cached", digits(statistics.median(cold))))
    rows.append(("first `fit`, machine code cached", digits(warm)))
    return [
        Table(
            "Start-up",
            "Seconds in a fresh process; imports with their files in the page cache. The network "
            "of the first `fit` is 64-64-10.",
            ("", "seconds"),
            rows,
        )
    ]
