"""`fastnn bench`: the time of a training step, compared with the libraries that are installed.

Each library trains the same network on the same samples in the same order. It has a process of its
own, because idle threads of one library would slow down the next, and the processes take turns. A
library whose loss differs from fastnn's has done other work, and is left out.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any, Self

from ..program import threads as parallel
from . import bench_peers, machine, terminal
from .bench_peers import NETWORKS, PEERS

_ROUNDS = 5
_SECONDS = 0.2  # of one measurement
_TOLERANCE = 1e-3  # of the loss, relative


def run(options: Namespace) -> None:
    """Measure all libraries, and show their times as multiples of fastnn's."""
    threads = options.threads or parallel.usable_cpus()
    left_out, table = [], {}
    with contextlib.ExitStack() as stack:
        workers = {}
        for library in PEERS:
            worker = stack.enter_context(_Worker(library, threads))
            if "version" in worker.hello:
                workers[library] = worker
            else:
                left_out.append(f"{library}: {worker.hello.get('missing', 'does not start')}")
        if "fastnn" not in workers:
            raise RuntimeError(f"fastnn does not run in a process of its own: {left_out}")
        for index, network in enumerate(NETWORKS):
            _show_progress(f"measuring {network.name}: {', '.join(workers)} ...")
            table[network.name] = _measure(workers, index, left_out)
        _show_progress("")
    versions = {library: worker.hello["version"] for library, worker in workers.items()}
    if options.json:
        terminal.print_json(
            {
                "microseconds": table,
                "threads": threads,
                "versions": versions,
                "left_out": left_out,
                "machine": machine.cpu_name(),
            }
        )
        return
    terminal.say(
        "step",
        *_lines(table, versions),
        "microseconds of a training step: float32, plain gradient descent, shuffled",
        f"medians of {_ROUNDS} rounds in turn, {terminal.some(threads, 'thread')} for each library",
        "in parentheses: how many times as long as fastnn; below 1 fastnn is slower",
    )
    terminal.say("versions", *(f"{name:<14}{version}" for name, version in versions.items()))
    if left_out:
        terminal.say("left out", *terminal.wrapped(left_out))
    terminal.say("machine", machine.cpu_name())


def _lines(table: Any, versions: Mapping[str, str]) -> Iterator[str]:
    yield f"{'network, batch':<16}" + "".join(f"{name:>20}" for name in table)
    for library in versions:
        base = "fastnn" if library != "fastnn" else None
        cells = (_cell(row.get(library), row.get(base)) for row in table.values())
        yield f"{library:<16}" + "".join(f"{cell:>20}" for cell in cells)


def _cell(value: float | None, base: float | None) -> str:
    if value is None:
        return "-"
    figure = f"{value:.3g}" if value < 1000 else terminal.rounded(value)
    return figure if base is None else f"{figure} ({value / base:.2f}x)"


def _measure(workers: Mapping[str, _Worker], index: int, left_out: list[str]) -> dict[str, float]:
    """Return {library: microseconds of a step}, medians over rounds in which each has a turn."""
    losses: dict[str, float] = {}
    seconds: dict[str, list[float]] = {}
    for library, worker in workers.items():
        answer = worker.ask(prepare=index)
        if "loss" not in answer:
            left_out.append(f"{library}, {NETWORKS[index].name}: {answer['error']}")
            continue
        losses[library] = answer["loss"]
        if abs(answer["loss"] - losses["fastnn"]) <= _TOLERANCE * losses["fastnn"]:
            seconds[library] = []
        else:
            left_out.append(f"{library}, {NETWORKS[index].name}: its loss is {answer['loss']:.4f}")
    order = list(seconds)
    for turn in range(_ROUNDS):
        # Each round starts with another library, so that none always follows the same one.
        shift = turn % len(order)
        for library in order[shift:] + order[:shift]:
            answer = workers[library].ask(seconds=_SECONDS)
            if "step" in answer:
                seconds[library].append(1e6 * answer["step"])
    return {library: statistics.median(each) for library, each in seconds.items() if each}


def _show_progress(text: str) -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        print(f"\r{text:<{terminal.WIDTH}.{terminal.WIDTH}}", end="\r", file=sys.stderr, flush=True)


class _Worker:
    """A process that runs one library, as the parent sees it."""

    def __init__(self, library: str, threads: int) -> None:
        environment = dict(os.environ, JAX_PLATFORMS="cpu")
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"):
            environment[name] = str(threads)
        # Without -P, a numpy.py or torch.py in the current folder would be imported.
        self._process: Any = subprocess.Popen(
            [sys.executable, "-P", bench_peers.__file__, library, str(threads)],
            env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.hello = self._read()

    def _read(self) -> Any:
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": "its process has ended"}

    def ask(self, **command: Any) -> Any:
        """Send a command and return the answer; {"error": why} if there is none."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(command), file=self._process.stdin, flush=True)
        return self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        if error[0] is not None:  # Ctrl-C in the middle of a measurement
            self._process.kill()
        self._process.wait()
