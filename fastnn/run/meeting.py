"""What the ranks of a training tell each other outside of its steps."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import numpy as np

from ..kernels import target
from ..nn.network import Network
from ..program.ranks import (
    DivergedRanksError,
    Place,
    Ranks,
    RanksDifferError,
    RanksError,
    compare,
    digest_of,
)
from ..program.trainer import Data
from ..types import Array, Integers
from ..version import __version__

_SAMPLES = 64
"""How many samples are compared; comparing all would read the whole table on every rank."""


class Meeting:
    """One rank in a training with others: from its first step to its end, or to an exception.

    Signals that end a program are kept until the next step, as a rank may leave only where the
    others notice it. A second signal acts at once.

    Parameters
    ----------
    ranks : Ranks
    network : Network
    """

    def __init__(self, ranks: Ranks, network: Network) -> None:
        self.ranks, self.network = ranks, network
        self._signal: int | None = None
        self._begin = 0.0, 0.0

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Tell the others if an exception ends the block."""
        with self._signals_kept():
            try:
                yield
                self.ranks.meet(Place.END)
            except RanksError:
                raise  # all ranks have it, or cannot be reached
            except BaseException as error:
                with contextlib.suppress(RanksError):
                    self.ranks.leave(error)
                raise
            finally:
                self.ranks.make_room(0)

    @contextlib.contextmanager
    def _signals_kept(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[signal.Signals, Any] = {}

        def keep(number: int, frame: FrameType | None) -> None:
            if self._signal is not None:
                raise _exception_of(number)
            self._signal = number

        try:
            for each in (signal.SIGINT, signal.SIGTERM):
                before[each] = signal.signal(each, keep)
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def check_signals(self) -> None:
        """Raise the exception of a signal that has come."""
        if self._signal is not None:
            raise _exception_of(self._signal)

    def begin(self, settings: dict[str, Any], data: Data, message_bytes: int) -> None:
        """Compare with the other ranks all that the bits of a result depend on.

        From then on each message has room for `message_bytes` more.

        Raises
        ------
        RanksDifferError
            On all ranks, for the first difference.
        """
        self.ranks.meet(Place.BEGIN)
        own = {
            "the version of fastnn": __version__,
            "the number of shards": self.ranks.shards,
            "whether the CPU has fused multiply-adds": target.current().fma,
            **settings,
            "the first parameters": self._digest(),
            **_describe_data(data),
        }
        compare(self.ranks, own)
        # At once: the next messages of all ranks have one length.
        self.ranks.make_room(message_bytes)

    def begin_steps(self) -> None:
        """Note when the steps of an epoch begin."""
        self._begin = time.perf_counter(), self.ranks.seconds

    def find_exchange_part(self) -> float:
        """Return which part of the time since then this rank has exchanged with the others."""
        begin, exchanged = self._begin
        return (self.ranks.seconds - exchanged) / max(time.perf_counter() - begin, 1e-9)

    def check_order(self, order: Integers, epoch: int) -> None:
        """Compare the order of the samples of an epoch, which a function of the user gave.

        Raises
        ------
        RanksDifferError
            On all ranks, if one has another order.
        """
        told = self.ranks.meet(Place.ORDER, [digest_of(order)])[:, 0]
        differs = told != told[0]
        if differs.any():
            raise RanksDifferError(
                f"on rank {int(np.argmax(differs))} shuffle gave another order of the samples than "
                f"on rank 0 in epoch {epoch}, expected the same order on all ranks"
            )

    def end_epoch(self, epoch: int, stopped: bool) -> bool:
        """Compare the parameters of all ranks; return whether one of them stops.

        Raises
        ------
        DivergedRanksError
            If a rank has others.
        """
        told = self.ranks.meet(Place.EPOCH, [self._digest(), stopped])
        differs = told[:, 0] != told[0, 0]
        if differs.any():
            raise DivergedRanksError(
                f"rank {int(np.argmax(differs))} has other parameters than rank 0 "
                f"after epoch {epoch}, expected the same bits on all ranks"
            )
        return bool(told[:, 1].any())

    def _digest(self) -> int:
        return digest_of(self.network.buffer)


def _describe_data(data: Data) -> dict[str, Any]:
    """Return what tells two tables apart: their sizes, all targets, and some of the samples."""
    arrays: dict[str, Array] = {
        "y": data.labels, "the rows of y": data.targets, "sample_weight": data.weights,
    }  # fmt: skip
    n = len(data.inputs)
    if not data.inputs.is_part:
        places = np.unique(np.linspace(0, n - 1, _SAMPLES).astype(np.int64))
        arrays = {"samples of X": data.inputs.take(places), **arrays}
    digests = {f"the digest of {name}": digest_of(array) for name, array in arrays.items()}
    return {"the shape of X": tuple(data.inputs.shape), **digests}


def _exception_of(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
