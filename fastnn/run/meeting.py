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
from ..types import Floats, Integers
from .data import ValidationParts
from .digests import describe_data, describe_validation
from .evaluation import Observer


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
        self._parts: ValidationParts | None = None

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Tell the others if an exception ends the block."""
        with self._signals_kept():
            try:
                yield
                compare_parameters(self.ranks, self.network)  # callbacks may have changed them
            except RanksError:
                raise  # all ranks have it, or cannot be reached
            except BaseException as error:
                with contextlib.suppress(RanksError):
                    self.ranks.leave(error)
                raise

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

    def begin(self, settings: dict[str, Any], data: Data, observe: Observer | None) -> None:
        """Compare with the other ranks all that the bits of a result depend on.

        `observe` evaluates the network after each epoch, if anything does.

        Raises
        ------
        RanksDifferError
            On all ranks, for the first difference.
        """
        self.ranks.meet(Place.BEGIN)
        validation = None if observe is None else observe.validation
        if isinstance(validation, ValidationParts):
            self._parts = validation
            validation.keep_digest()
        own = {
            "the version of NumPy": np.__version__,
            "whether the CPU has fused multiply-adds": target.current().fma,
            **settings,
            "the digest of the first parameters": self._digest(),
            **describe_data(data),
            **(describe_validation(validation) if isinstance(validation, Data) else {}),
        }
        compare(self.ranks, own)

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
        RanksDifferError
            If a rank has read other batches of validation data.
        DivergedRanksError
            If a rank has other parameters.
        """
        read = 0 if self._parts is None else self._parts.digest
        told = self.ranks.meet(Place.EPOCH, [self._digest(), stopped, read])
        differs = told[:, 2] != told[0, 2]
        if differs.any():
            raise RanksDifferError(
                f"on rank {int(np.argmax(differs))} the batches of validation_data are others than "
                f"on rank 0 in epoch {epoch}, expected the same on all ranks"
            )
        _check_digests(told[:, 0], f"epoch {epoch}")
        return bool(told[:, 1].any())

    def _digest(self) -> int:
        return digest_of(self.network.buffer)


def compare_parameters(ranks: Ranks, network: Network) -> None:
    """Raise DivergedRanksError on all ranks if one has other parameters after its training."""
    told = ranks.meet(Place.END, [digest_of(network.buffer)])[:, 0]
    _check_digests(told, "the end of the training")


def _check_digests(digests: Floats, when: str) -> None:
    differs = digests != digests[0]
    if differs.any():
        raise DivergedRanksError(
            f"rank {int(np.argmax(differs))} has other parameters than rank 0 "
            f"after {when}, expected the same bits on all ranks"
        )


def _exception_of(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
