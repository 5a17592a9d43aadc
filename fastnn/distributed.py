"""One network on several processes or hosts: `fit(..., ranks=mpi_ranks(shards=8))`.

Start the script with as many processes as there are cores, on one host or on several:

    mpirun -n 4 python train.py

Every process, a rank, runs the same script and makes the same call of `fit` on the same data. Each
batch is divided into `shards` runs of rows, and each rank computes the gradients of some of them.
They are added in a fixed order, so the bits of the result depend on the number of shards, and not
on the number of ranks or hosts, nor on the MPI. With one shard they are those of `fit` without
ranks.

It pays for large batches only: each step sends all gradients once around, and is a call from
Python. A batch of a few hundred rows is faster in one process.
"""

from __future__ import annotations

import atexit
import datetime
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .program.ranks import (
    DivergedRanksError,
    OneRank,
    RankLeftError,
    Ranks,
    RanksDifferError,
    RanksError,
    RanksTimeoutError,
)
from .requirements import missing
from .types import Array, Integers
from .validation import as_count, as_positive

__all__ = [
    "DivergedRanksError",
    "RankLeftError",
    "Ranks",
    "RanksDifferError",
    "RanksError",
    "RanksTimeoutError",
    "mpi_ranks",
    "one",
    "torch_ranks",
]

_FIRST_STEP_SECONDS = 300.0
"""Until all ranks have taken a step: each may compile first."""

_POLLS = 200  # of a request before the rank sleeps between two of them
_POLL_SECONDS = 0.00005
_ABORT_SECONDS = 1.0  # in which the other ranks may print their own message

# What the launchers of MPI set in the processes that they start.
_LAUNCHED = "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK", "PMIX_RANK", "MPI_LOCALNRANKS"


def one(shards: int = 1) -> Ranks:
    """Return a single rank, which trains alone with the bits of any number of ranks.

    Parameters
    ----------
    shards : int
        As of :func:`mpi_ranks`.

    Returns
    -------
    Ranks

    Raises
    ------
    TypeError, ValueError
        For a bad number.

    Examples
    --------
    >>> from fastnn.datasets import make_spiral
    >>> from fastnn.distributed import one
    >>> X, y = make_spiral(100, 3, rng=0)
    >>> def train(**options):
    ...     model = fastnn.Sequential([fastnn.Dense(2, 3, rng=0)])
    ...     model.fit(X, y, epochs=2, seed=0, **options)
    ...     return model.parameters
    >>> np.array_equal(train(), train(ranks=one()))
    True
    >>> np.array_equal(train(), train(ranks=one(shards=4)))
    False
    """
    return OneRank(as_count(shards, "shards"))


def mpi_ranks(shards: int | None = None, *, timeout: float = 60.0, comm: Any = None) -> Ranks:
    """Return this process among those that `mpirun` has started, for `fit(ranks=...)`.

    Needs mpi4py and an MPI. All ranks have to call this, in the same order as other functions of
    MPI that concern all.

    Parameters
    ----------
    shards : int, optional
        The number of runs of rows into which each batch is divided, at least the number of ranks,
        and by default equal to it. The bits of a result depend on it: choose a number, such as 8,
        to have the same result from 1, 2, 4 and 8 ranks.
    timeout : float
        Seconds after which a rank that waits for the others raises RanksTimeoutError. Until all
        have taken their first step, a rank waits for 300 seconds at least, as they may compile.
    comm : mpi4py.MPI.Intracomm, optional
        The communicator, by default that of all ranks.

    Returns
    -------
    Ranks
        With the attributes `rank`, `size`, `shards` and `timeout`, which cannot be assigned.

    Raises
    ------
    ImportError
        If mpi4py or an MPI is not installed.
    RuntimeError
        If the process was not started by mpirun.
    TypeError, ValueError
        For bad arguments, such as fewer shards than ranks.
    RanksDifferError
        On all ranks, if one has other `shards` or another version of fastnn.
    """
    timeout = as_positive(timeout, "timeout")
    if shards is not None:
        shards = as_count(shards, "shards")
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: there is no library of an MPI
        raise missing("mpi_ranks needs", "mpi4py", "mpi") from error
    if comm is None:
        comm = MPI.COMM_WORLD
        if comm.size == 1 and not any(name in os.environ for name in _LAUNCHED):
            raise RuntimeError(
                "mpi_ranks was called in a process that mpirun has not started, expected "
                "`mpirun -n 4 python script.py`; one(shards=4) has the same bits in one process"
            )
    elif not isinstance(comm, MPI.Intracomm):
        raise TypeError(f"comm is {comm!r:.80}, expected an mpi4py.MPI.Intracomm")
    return _MPIRanks(MPI, comm.Dup(), comm.size if shards is None else shards, timeout)


def torch_ranks(shards: int | None = None, *, timeout: float = 60.0, group: Any = None) -> Ranks:
    """Return this process among those of a process group of PyTorch, for `fit(ranks=...)`.

    For processes that torchrun or Ray Train has started. The group exists already, on processors:

        torch.distributed.init_process_group("gloo")
        model.fit(X, y, seed=0, ranks=torch_ranks(shards=8))

    The bits are those of :func:`mpi_ranks` with as many shards.

    Parameters
    ----------
    shards : int, optional
        As of :func:`mpi_ranks`.
    timeout : float
        As of :func:`mpi_ranks`.
    group : torch.distributed.ProcessGroup, optional
        By default the group of all processes.

    Returns
    -------
    Ranks

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    RuntimeError
        If there is no process group.
    TypeError, ValueError
        For bad arguments.
    """
    timeout = as_positive(timeout, "timeout")
    if shards is not None:
        shards = as_count(shards, "shards")
    try:
        import torch.distributed as dist
    except ImportError as error:
        raise missing("torch_ranks needs", "torch", "bench") from error
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError(
            "torch_ranks was called before torch.distributed.init_process_group, "
            "expected a process group"
        )
    size = dist.get_world_size(group)
    if size < 1:
        raise ValueError("group does not have this process, expected one that has")
    return _TorchRanks(group, size if shards is None else shards, timeout)


class _TorchRanks(Ranks):
    """The processes of a group of PyTorch."""

    def __init__(self, group: Any, shards: int, timeout: float) -> None:
        import torch
        import torch.distributed as dist

        super().__init__(dist.get_rank(group), dist.get_world_size(group), shards, timeout)
        self._torch, self._dist, self._group = torch, dist, group
        self._limit, self._usual_limit = max(timeout, _FIRST_STEP_SECONDS), timeout

    def exchange(self, pieces: Array) -> Array:
        # Not every version of gloo has an exchange of this kind: each rank gets all.
        return np.ascontiguousarray(self.spread(pieces)[:, self.rank])

    def spread(self, piece: Array) -> Array:
        torch, dist = self._torch, self._dist
        own = torch.from_numpy(np.ascontiguousarray(piece).view(np.uint8).reshape(-1))
        parts = [torch.empty_like(own) for _ in range(self.size)]
        limit, begin = datetime.timedelta(seconds=self._limit), time.monotonic()
        try:
            dist.all_gather(parts, own, group=self._group, async_op=True).wait(limit)
        except RuntimeError as error:  # the time is up, or another process has ended
            raise RanksTimeoutError(
                f"rank {self.rank} cannot reach the others any more, "
                f"expected all ranks to go on: {str(error)[:200]}"
            ) from None
        self.seconds += time.monotonic() - begin
        rows = [part.numpy().view(piece.dtype).reshape(piece.shape) for part in parts]
        return np.stack(rows)

    def note_first_step(self) -> None:
        self._limit = self._usual_limit


class _MPIRanks(Ranks):
    """The ranks of a communicator, which no one else uses."""

    def __init__(self, mpi: Any, comm: Any, shards: int, timeout: float) -> None:
        self._mpi, self._comm = mpi, comm
        self._limit, self._usual_limit = max(timeout, _FIRST_STEP_SECONDS), timeout
        self._is_abandoned = False
        super().__init__(comm.rank, comm.size, shards, timeout, opens=True)

    def exchange(self, pieces: Array) -> Array:
        received = np.empty_like(pieces)
        self._complete(self._comm.Ialltoall, pieces, received)
        return received

    def spread(self, piece: Array) -> Array:
        received = np.empty((self.size, *piece.shape), piece.dtype)
        self._complete(self._comm.Iallgather, np.ascontiguousarray(piece), received)
        return received

    def deliver(self, rows: Array, counts: Integers) -> Array:
        width = rows.shape[1] * rows.dtype.itemsize
        sizes = counts * width
        received = np.empty((int(counts[:, self.rank].sum()), rows.shape[1]), rows.dtype)
        self._complete(
            self._comm.Ialltoallv,
            [np.ascontiguousarray(rows).view(np.uint8), sizes[self.rank].tolist(), self._mpi.BYTE],
            [received.view(np.uint8), sizes[:, self.rank].tolist(), self._mpi.BYTE],
        )
        return received

    def note_first_step(self) -> None:
        self._limit = self._usual_limit

    def _complete(self, begin: Callable[..., Any], *arguments: Any) -> None:
        """Begin a request, and wait until it is complete.

        An exception of a signal is raised after that: the other ranks count on the request.
        """
        start, polls, raised = time.monotonic(), 0, None
        try:
            request = begin(*arguments)
        except self._mpi.Exception as error:
            raise self._unreachable(error) from None
        while True:
            try:
                if request.Test():
                    break
                if time.monotonic() > start + self._limit:
                    self.abandon()
                    raise RanksTimeoutError(
                        f"rank {self.rank} has waited {self._limit:g} seconds for the others, "
                        "expected all ranks to go on: one may have been stopped, or the network "
                        "may be down"
                    )
                polls += 1
                if polls > _POLLS:
                    time.sleep(_POLL_SECONDS)
            except RanksTimeoutError:
                raise
            except self._mpi.Exception as error:
                raise self._unreachable(error) from None
            except BaseException as error:
                if raised is not None:  # a second Ctrl-C
                    raise
                raised = error
        self.seconds += time.monotonic() - start
        if raised is not None:
            raise raised

    def _unreachable(self, error: Exception) -> RanksTimeoutError:
        """Return the error for one of the MPI: another process may have ended."""
        self.abandon()
        return RanksTimeoutError(
            f"rank {self.rank} cannot reach the others any more, "
            f"expected all ranks to go on: {error}"
        )

    def abandon(self) -> None:
        if not self._is_abandoned:
            self._is_abandoned = True
            # It runs before mpi4py ends MPI, which would wait for the other ranks.
            atexit.register(self._abort)

    def _abort(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        time.sleep(_ABORT_SECONDS)
        self._comm.Abort(1)
