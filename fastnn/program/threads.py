"""The number of threads, and the threads themselves.

Results do not depend on it: the same seed gives the same bits with 1 thread as with 8.
"""

from __future__ import annotations

import _thread
import contextlib
import contextvars
import functools
import math
import os
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..kernels.codes import BARRIER_SIZE, BarrierPlace
from ..kernels.interruption import POLL_SECONDS, Interruption, run_interruptible, wait_for
from ..validation import as_count

_chosen: contextvars.ContextVar[int | None] = contextvars.ContextVar(
    "fastnn_num_threads", default=None
)
_default: int | None = None

T = TypeVar("T")

# Multiply-adds of a step (or of a prediction) that outweigh the two barriers of another thread
# and the cache lines that cores fetch from each other: two threads won from about 7 million on
# (`benchmarks/compare.py --write` draws the default against one thread).
WORK_PER_THREAD = 4_000_000

# More threads than this only slow each other down; it also bounds a mistyped number.
MOST_THREADS = 4 * (os.cpu_count() or 16)


def set_num_threads(n: int | None) -> None:
    """Set how many threads `fit` and the predictions use where their `threads` says nothing.

    Parameters
    ----------
    n : int or None
        At least 1. None, the default, lets the work and the CPUs at hand decide each time.

    Raises
    ------
    TypeError, ValueError
        For anything else.

    Examples
    --------
    >>> fastnn.set_num_threads(2)
    >>> fastnn.set_num_threads(None)
    """
    global _default
    _default = None if n is None else as_count(n, "n")


@contextlib.contextmanager
def num_threads(n: int | None) -> Iterator[None]:
    """Use `n` threads inside a `with` block, in this thread of Python; see `set_num_threads`.

    Examples
    --------
    >>> model = fastnn.Sequential([fastnn.Dense(2, 2, rng=0)])
    >>> with fastnn.num_threads(1):
    ...     history = model.fit(np.eye(2), [0, 1])
    """
    token = _chosen.set(None if n is None else as_count(n, "n"))
    try:
        yield
    finally:
        _chosen.reset(token)


def resolve_threads(threads: int | None, work: int) -> int:
    """Return the number of threads for `work` multiply-adds that are done between two barriers."""
    if threads is not None:
        return min(as_count(threads, "threads"), MOST_THREADS)
    chosen = _chosen.get() or _default
    if chosen is not None:
        return min(chosen, MOST_THREADS)
    n_useful = work // WORK_PER_THREAD
    return min(usable_cpus(), n_useful) if n_useful > 1 else 1


def usable_cpus() -> int:
    """Return how many CPUs this process may use.

    This is the least of its affinity, the quota of its control group, and `OMP_NUM_THREADS`, by
    which joblib (loky), Dask, Ray and others limit each of their workers.
    """
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return max(1, math.ceil(min(count, _cgroup_cpus(), _openmp_threads())))


def _openmp_threads() -> float:
    """Return the limit of `OMP_NUM_THREADS`; infinity if it is unset or bad, as in OpenMP.

    OpenMP allows a list, with one number for each level of nested parallelism.
    """
    # Not cached: the variable may be set after the import, as `test_threads.py` does.
    outermost = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    limit = int(outermost) if outermost.isascii() and outermost.isdigit() else 0
    return limit if limit > 0 else math.inf


@functools.cache  # the files take 40 us to read: four times a prediction of one row
def _cgroup_cpus() -> float:
    """Return the CPU time that the control group may use a second, in seconds."""
    with contextlib.suppress(OSError, ValueError, IndexError):  # version 2
        group = next(
            line.rpartition(":")[2].strip().lstrip("/")
            for line in Path("/proc/self/cgroup").read_text().splitlines()
            if line.startswith("0::")
        )
        folder = Path("/sys/fs/cgroup", group)
        quotas = [math.inf]
        for place in (folder, *folder.parents):
            with contextlib.suppress(OSError, ValueError):
                limit, period = (place / "cpu.max").read_text().split()
                quotas.append(int(limit) / int(period))
        return min(quotas)
    with contextlib.suppress(OSError, ValueError):  # version 1
        folder = Path("/sys/fs/cgroup/cpu")
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        if quota > 0:
            return quota / int((folder / "cpu.cfs_period_us").read_text())
    return math.inf


class ThreadTeam:
    """Threads that run one function together, each with its own index; see `with_team`.

    `size` is how many there are. It is below `n_requested` if the system has no more threads.
    """

    def __init__(self, n_requested: int) -> None:
        self.n_requested, self.size = n_requested, 1
        self.gate = np.full(BARRIER_SIZE, 0, np.int64)
        """The barrier of the compiled calls."""
        self.interruption = Interruption()
        self._tasks: list[queue.SimpleQueue[Any]] = []
        self._done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._started: list[int] = []
        self._ended: list[_thread.LockType] = []

    def start(self) -> None:
        """Start the threads."""
        for index in range(1, self.n_requested):
            tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
            ended = threading.Lock()
            ended.acquire()
            self._tasks.append(tasks)
            self._ended.append(ended)
            try:
                # The built-in functions start a thread and keep a note of it in one step of
                # Python: no signal is handled between the two.
                start = map(_thread.start_new_thread, [self._work], [(index, tasks, ended)])
                self._started.extend(start)
            except RuntimeError:  # the system has no more
                break
        self.size = 1 + len(self._started)
        del self._tasks[self.size - 1 :], self._ended[self.size - 1 :]

    def _work(self, index: int, tasks: queue.SimpleQueue[Any], ended: _thread.LockType) -> None:
        try:
            run_interruptible(self.interruption, self._run_tasks, index, tasks)
        except BaseException as error:  # `run` raises it
            self.gate[BarrierPlace.LEAVE] = 1  # so that the others do not wait for this thread
            self._done.put(error)
        finally:
            ended.release()

    def _run_tasks(self, index: int, tasks: queue.SimpleQueue[Any]) -> None:
        while not self.interruption.requested:
            try:
                function = tasks.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if function is None:
                break
            function(index)
            self._done.put(None)

    def run(self, function: Callable[[int], T]) -> T:
        """Call function(0), ..., function(size - 1) in parallel; return the result of function(0).

        If one of them raises, its error is raised after all have returned. The team must then end.
        """
        try:
            for tasks in self._tasks:
                tasks.put(function)
            result = function(0)
            errors = [self._next_done() for _ in self._tasks]
        except BaseException:  # such as Ctrl-C: the other threads may wait at the barrier
            self.gate[BarrierPlace.LEAVE] = 1
            raise
        for error in errors:
            if error is not None:
                raise error
        return result

    def _next_done(self) -> BaseException | None:
        while True:
            with contextlib.suppress(queue.Empty):
                return self._done.get(timeout=POLL_SECONDS)

    def end(self) -> None:
        """End the threads and wait for them, even if signals arrive meanwhile."""
        for tasks in self._tasks:
            tasks.put(None)
        wait_for(self._ended[: len(self._started)])


def with_team(n_requested: int, work: Callable[[ThreadTeam], T]) -> T:
    """Return work(team) for a :class:`ThreadTeam` of `n_requested` threads.

    All threads have ended when it returns or raises. So none is alive in a later `fork`, which
    would break it.
    """
    team = ThreadTeam(n_requested)
    try:
        team.start()
        return work(team)
    finally:
        # A signal handler may raise when a function is entered, but not before an assignment. If it
        # interrupts the first call of `end`, the second call completes it.
        team.interruption.requested = True
        try:
            team.end()
        finally:
            team.end()
