"""Measuring in turn: every library in its own process, one round of each after the other.

In one process the idle worker threads of one library spin on the cores of the next. Turn by turn
a slow minute of the machine hits all libraries, so ratios are formed within rounds.
"""

import contextlib
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from peers import PEERS
from worker import environment

_COMPARE = Path(__file__).parent / "compare.py"


class Library(NamedTuple):
    """A peer with a number of threads: one worker process."""

    peer: str
    threads: int

    @property
    def title(self):
        return PEERS[self.peer][0]


class Settings(NamedTuple):
    """How long to measure, in seconds."""

    rounds: int = 9
    first_warm_up: float = 1.0
    warm_up: float = 0.2  # of a later round: other libraries have had the caches
    seconds: float = 0.3


class Measurement:
    """The seconds of one task: one number for each library and round."""

    def __init__(self, seconds):
        self._seconds = seconds
        self.libraries = list(seconds)

    def __contains__(self, library):
        return library in self._seconds

    def median(self, library):
        return statistics.median(self._seconds[library])

    def ratio(self, library, base):
        """Return how many times the time of `base` `library` takes: the median over rounds."""
        pairs = zip(self._seconds[library], self._seconds[base], strict=True)
        return statistics.median(mine / other for mine, other in pairs)


class Worker:
    """The parent's end of a worker process."""

    def __init__(self, library):
        peer, threads = library
        self._process = subprocess.Popen(
            [sys.executable, _COMPARE, "--worker", peer, "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(threads),
        )
        self.hello = self._read()

    def ask(self, **command):
        with contextlib.suppress(BrokenPipeError):  # the process has ended, as _read will say
            print(json.dumps(command), file=self._process.stdin, flush=True)
        return self._read()

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            return {"error": f"its process ended with code {self._process.wait()}"}
        return json.loads(line)

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


class Pool:
    """Starts workers when they are first needed, and keeps them."""

    def __init__(self, settings, say):
        self._settings, self._say = settings, say
        self._workers = {}
        self.versions = {}

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for worker in self._workers.values():
            if worker is not None:
                worker.close()

    def _worker(self, library):
        """Return the worker of `library`, or None, said once, where it cannot run."""
        if library not in self._workers:
            worker = Worker(library)
            hello = worker.hello
            if "versions" in hello:
                self.versions |= hello["versions"]
            else:
                self._say(f"left out: {library.title}: {hello.get('missing') or hello['error']}")
                worker.close()
                worker = None
            self._workers[library] = worker
        return self._workers[library]

    def _failed(self, library, answer, task):
        if "error" in answer:
            self._say(f"left out: {library.title} in {task}: {answer['error']}")
        return "error" in answer

    def measure(self, task, libraries, tolerance=1e-4):
        """Return the Measurement of `task`; libraries that cannot do it are left out.

        Libraries must agree in the job's values to `tolerance` times the largest; SystemExit
        where one does not: it did other work.
        """
        values = {}
        for library in dict.fromkeys(libraries):
            worker = self._worker(library)
            if worker is None:
                continue
            answer = worker.ask(prepare=task)
            if not self._failed(library, answer, task) and answer["values"] is not None:
                values[library] = answer["values"]
        check_equal(values, tolerance, task)
        return self._take_rounds(task, list(values))

    def _take_rounds(self, task, libraries):
        seconds = {library: [] for library in libraries}
        for turn in range(self._settings.rounds):
            warm = self._settings.warm_up if turn else self._settings.first_warm_up
            # Every round starts with another library, so none always follows the same one.
            shift = turn % max(1, len(libraries))
            for library in libraries[shift:] + libraries[:shift]:
                if library not in seconds:
                    continue
                answer = self._workers[library].ask(warm=warm, seconds=self._settings.seconds)
                if self._failed(library, answer, task):
                    del seconds[library]
                else:
                    seconds[library].append(answer["seconds"])
        return Measurement(seconds)


def check_equal(values, tolerance, task):
    """Raise SystemExit unless all libraries have equal values; the peak of the machine has none."""
    answers = {library: each for library, each in values.items() if each}
    if not answers:
        return
    first, expected = next(iter(answers.items()))
    allowed = tolerance * max(map(abs, expected))
    for library, each in answers.items():
        pairs = zip(each, expected, strict=True)
        worst = max(abs(a - b) if math.isfinite(a) else math.inf for a, b in pairs)
        if not worst <= allowed:
            raise SystemExit(
                f"{task}: {library.title} differs from {first.title} by {worst:.3g}, "
                f"allowed {allowed:.3g}: unequal work is not compared"
            )
