"""A table larger than memory: shuffled windows against a shuffle of all rows.

    python benchmarks/streaming.py [--gb 4] [--seconds 3] [--folder .] [--quick]

Images of 784 bytes lie in a file, sorted by class; before each way it leaves the page cache.
784-128-10, batch 128, plain gradient descent. Each way has a process of its own:

- "global": `fit(memory map)`, every row from anywhere. It stops after `--seconds`: later it gains
  where the page cache holds the file.
- "windows": `fit(batches=Windows(file))`, one epoch.
- "in memory": the same rows as an array in memory, as many as 1 GB; how fast the steps alone are.

Read/used is what the disk delivers for each byte that is trained on, from /proc (Linux). Memory is
what the process takes more at its largest than before the training. The losses are on other rows.
The last two lines compare them after as many rows; what is read there of a window that is not used
counts too. Losses of different seeds differ by a tenth. On a slow disk, take a smaller file.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import fastnn
from fastnn.streaming import Windows

FEATURES, CLASSES, BATCH = 784, 10, 128
IN_MEMORY = 10**9
LOSS_ROWS = 500_000


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gb", type=float, default=4.0)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--quick", action="store_true", help="a small file, a smoke test")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.gb, options.seconds = 0.02, 1.0
    if options.serve:
        print(json.dumps(measure(*json.loads(options.serve))))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder, "X.npy")
        n_rows = write(path, options.gb)
        print(f"{n_rows:,} rows, {path.stat().st_size / 1e9:.2f} GB, network 784-128-10, batch 128")
        print(
            f"{'':12}{'rows/s':>12}{'read/used':>11}{'memory MB':>11}{'windows MB':>12}{'loss':>8}"
        )
        everywhere = run(path, "global", options.seconds, None)
        run(path, "in memory", options.seconds, None)
        streamed = run(path, "windows", None, None)
        ratio = streamed["rows_per_second"] / everywhere["rows_per_second"]
        print(f"windows / global: {ratio:.1f} times the rows a second")
        most = min(LOSS_ROWS, n_rows) // BATCH * BATCH
        print(f"The same number of rows, {most:,}:")
        one, other = (run(path, way, None, most)["loss"] for way in ("global", "windows"))
        print(f"windows / global: {other / one:.3f} times the loss")


def write(path, gigabytes):
    """Write images that are sorted by class; return how many."""
    rng = np.random.default_rng(0)
    n_rows = int(gigabytes * 1e9 / FEATURES)
    X = np.lib.format.open_memmap(path, "w+", np.uint8, (n_rows, FEATURES))
    labels = make_labels(n_rows)
    for begin in range(0, n_rows, 2**15):
        X[begin : begin + 2**15] = draw(labels[begin : begin + 2**15], rng)
    X.flush()
    return n_rows


def make_labels(n_rows):
    """Return sorted labels."""
    return np.sort(np.arange(n_rows) % CLASSES)


def draw(labels, rng):
    """Return images: the faint pattern of a class in noise."""
    patterns = np.random.default_rng(1).integers(0, 24, (CLASSES, FEATURES), np.uint8)
    return rng.integers(0, 230, (len(labels), FEATURES), np.uint8) + patterns[labels]


def run(path, way, seconds, most):
    """Measure a way in a process of its own, print a line, and return the figures."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    command = [sys.executable, __file__, "--serve", json.dumps([str(path), way, seconds, most])]
    figures = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    print(
        f"{way:12}{figures['rows_per_second']:12,.0f}{figures['read_per_used']:11.2f}"
        f"{figures['memory'] / 1e6:11.0f}{figures['windows'] / 1e6:12.0f}{figures['loss']:8.4f}",
        flush=True,
    )
    return figures


def measure(path, way, seconds, most):
    """Return the figures of one way; `most` rows are trained on, or those of `seconds`."""
    mapped = np.load(path, mmap_mode="r")
    n_rows = len(mapped)
    labels = make_labels(n_rows)
    layers = [fastnn.Dense(FEATURES, 128, rng=0), fastnn.ReLU(), fastnn.Dense(128, CLASSES, rng=1)]
    model = fastnn.Sequential(layers)
    held_out = np.arange(20_000) % CLASSES
    X_held_out = draw(held_out, np.random.default_rng(2))
    warm = fastnn.Sequential([type(each)(*sizes(each)) for each in layers])
    warm.fit(X_held_out, held_out, batch_size=BATCH, scale=1 / 255, verbose=0)
    warm.fit(X_held_out, held_out, batch_size=BATCH, scale=1 / 255, verbose=0)
    steps = None if most is None else -(-most // BATCH)
    windows = 0
    if way == "windows":
        stream = Windows(path, labels, seed=0)
        given = {"batches": stream}
        windows = (1 + stream.read_ahead) * stream.window_rows * (FEATURES + labels.itemsize)
    elif way == "global":
        given = {"X": mapped, "y": labels}
    else:
        n_rows = min(n_rows, IN_MEMORY // FEATURES)
        given = {"X": np.array(mapped[:n_rows]), "y": labels[:n_rows]}
    stop = Stop(seconds)
    before, memory, begin = read_bytes(), peak_memory(), time.perf_counter()
    try:
        model.fit(
            **given, batch_size=BATCH, seed=0, steps_per_epoch=steps, scale=1 / 255, verbose=0,
            optimizer=fastnn.SGD(0.05), callbacks=[stop],
        )  # fmt: skip
    except Enough:
        pass
    taken = time.perf_counter() - begin
    rows = min(n_rows, stop.steps * BATCH if steps is None or seconds else steps * BATCH)
    return {
        "rows": rows,
        "rows_per_second": rows / taken,
        "read_per_used": (read_bytes() - before) / (rows * FEATURES),
        "memory": peak_memory() - memory,
        "windows": windows,
        "loss": model.evaluate(X_held_out, held_out, scale=1 / 255)["loss"],
    }


def sizes(layer):
    """Return the arguments of a layer like this one."""
    return (layer.n_inputs, layer.n_neurons) if isinstance(layer, fastnn.Dense) else ()


class Enough(Exception):
    """The time is over."""


class Stop(fastnn.Callback):
    """Counts the steps of an epoch, and ends the training after some seconds."""

    def __init__(self, seconds):
        self.seconds, self.begin, self.steps = seconds, time.perf_counter(), 0

    def on_chunk_end(self, run):
        self.steps = run.step
        if self.seconds is not None and time.perf_counter() - self.begin > self.seconds:
            raise Enough


def read_bytes():
    """Return the bytes that the disk has delivered to this process."""
    lines = Path("/proc/self/io").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


def peak_memory():
    """Return the most bytes that this process has had in memory."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


if __name__ == "__main__":
    main()
