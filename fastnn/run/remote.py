"""Work in chunks on the workers of a `concurrent.futures.Executor`, such as those of a cluster."""

from __future__ import annotations

import itertools
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from typing import Any

from ..kernels.interruption import POLL_SECONDS
from .progress import Bar

# Chunks for each worker: more of them share the work better, fewer are sent with less effort.
_CHUNKS = 4

# In a worker: {token: data} of the last call. A worker that trains the chunks of two calls in turn
# asks for the data each time.
_last_data: dict[str, Any] = {}


def as_executor(value: Any) -> Executor:
    """Return `value`, which has the method `submit` of an executor."""
    if isinstance(value, type) or not callable(getattr(value, "submit", None)):
        raise TypeError(f"executor is {value!r:.80}, expected a concurrent.futures.Executor")
    executor: Executor = value
    return executor


def split_evenly(n: int, executor: Executor, least: int) -> list[range]:
    """Return ranges of n items, of `least` or more each: the chunks for the workers."""
    n_workers = _count_workers(executor)
    most = 32 if n_workers is None else _CHUNKS * n_workers
    count = max(1, min(n // least, most))
    bounds = [n * i // count for i in range(count + 1)]
    return [range(*pair) for pair in itertools.pairwise(bounds)]


def run_chunks(
    executor: Executor,
    work: Callable[..., Any],
    data: tuple[Any, ...],
    chunks: Sequence[range],
    make_chunk: Callable[[range], Any],
    bar: Bar | None,
) -> list[Any]:
    """Return [work(make_chunk(chunk), *data) for chunk in chunks], where workers do the work.

    Each worker gets the data once, and keeps them until the next call. An error ends the call: no
    further chunk is sent, and those that no worker has begun are cancelled.

    Parameters
    ----------
    executor : Executor
    work : callable
        A function of a module, which workers import.
    data : tuple
    chunks : sequence of range
    make_chunk : callable
        It is called just before a chunk is sent.
    bar : Bar or None
        Counts items.
    """
    token, n_workers = secrets.token_hex(8), _count_workers(executor) or len(chunks)
    placed = _place(executor, data)
    results: list[Any] = [None] * len(chunks)
    waiting, running = deque(range(len(chunks))), dict[Future[Any], int]()
    n_sent = 0

    def submit(i: int, with_data: bool) -> None:
        nonlocal n_sent
        n_sent += with_data
        chunk = make_chunk(chunks[i])
        if placed is not None:
            future = executor.submit(_run_chunk, work, None, chunk, placed)
        else:
            future = executor.submit(_run_chunk, work, token, chunk, data if with_data else None)
        running[future] = i

    try:
        while waiting or running:
            # No more chunks than workers: so the one that lacks the data gets them next.
            while waiting and len(running) < n_workers:
                submit(waiting.popleft(), n_sent < n_workers)
            # A wait without a time would not notice Ctrl-C on every system.
            for future in wait(running, POLL_SECONDS, FIRST_COMPLETED).done:
                i = running.pop(future)
                outcome = _result_of(future, chunks[i])
                if outcome is None:
                    submit(i, True)
                else:
                    (results[i],) = outcome
                    if bar is not None:
                        bar.update(len(chunks[i]))
    finally:
        for future in running:
            future.cancel()
        _last_data.pop(token, None)  # an executor may have its workers in this process
    return results


def _run_chunk(
    work: Callable[..., Any], token: str | None, chunk: Any, data: tuple[Any, ...] | None
) -> tuple[Any] | None:
    """Return (work(chunk, *data),) in a worker, or None if it does not have the data.

    It keeps the data under `token`; None if the engine does so.
    """
    if data is None:
        data = _last_data.get(token or "")
        if data is None:
            return None
    elif token is not None:
        _last_data.clear()
        _last_data[token] = data
    return (work(chunk, *data),)


def _result_of(future: Future[Any], chunk: range) -> Any:
    try:
        return future.result()
    except BaseException as error:
        # Such as of a chunk that cannot be pickled, or of a worker that was killed.
        if not any(note.startswith("of models[") for note in getattr(error, "__notes__", ())):
            last = f" to models[{chunk[-1]}]" if len(chunk) > 1 else ""
            error.add_note(f"of models[{chunk[0]}]{last}")
        raise


def _place(executor: Any, data: tuple[Any, ...]) -> Any:
    """Return data that Dask sends to each worker once, or None with other engines.

    As an argument of each task they would go through Dask's scheduler, which warns of large ones.
    """
    client: Any = getattr(executor, "_client", None)
    return client.scatter([data], hash=False)[0] if hasattr(client, "scatter") else None


def _count_workers(executor: Any) -> int | None:
    """Return the number of workers, or None if the executor does not say it.

    mpi4py has `num_workers`, those of Python and of loky have `_max_workers`, and Dask's has its
    client.
    """
    for name in ("num_workers", "_max_workers"):
        count = getattr(executor, name, None)
        if isinstance(count, int) and count > 0:
            return count
    client: Any = getattr(executor, "_client", None)
    if hasattr(client, "nthreads"):
        return sum(client.nthreads().values()) or None
    return None
