"""Several runs at once, one thread each."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import Any

from ..kernels.interruption import Interruption, run_interruptible
from ..program.threads import ThreadTeam, with_team
from .errors import DivergedModelsError, NonFiniteLossError
from .history import History
from .loop import train
from .progress import Bar
from .request import Request


class Race:
    """Threads that take one request after the other, until none is left.

    `shown`: whether a bar counts the models.
    """

    def __init__(self, requests: Sequence[Request], shown: bool) -> None:
        self.requests: list[Request | None] = [*requests]
        self.shown = shown
        self.histories: list[Any] = [None] * len(requests)
        self.diverged: dict[int, NonFiniteLossError] = {}
        self.left, self.lock = iter(range(len(requests))), threading.Lock()
        self.error: BaseException | None = None

    def run(self, n_threads: int) -> list[History]:
        """Run all with so many threads, this one included; return the histories."""
        with Bar(total=len(self.requests), unit=" models") if self.shown else _NoBar() as self.bar:
            with_team(n_threads, self._run_in)
        if self.error is not None:
            raise self.error
        if self.diverged:
            raise DivergedModelsError(self.diverged, self.histories)
        return self.histories

    def _run_in(self, team: ThreadTeam) -> None:
        stop = Interruption()
        try:
            team.run(lambda thread: run_interruptible(stop, self._work, stop))
        except BaseException:
            stop.requested = True
            raise

    def _work(self, stop: Interruption) -> None:
        number = None
        try:
            while not stop.requested:
                with self.lock:
                    number = next(self.left, None)
                if number is None:
                    break
                self._take(number)
        except BaseException as error:
            if not stop.requested:
                if number is not None and isinstance(error, Exception):
                    error.add_note(f"of models[{number}]")
                self.error = error
            stop.requested = True

    def _take(self, number: int) -> None:
        request, self.requests[number] = self.requests[number], None  # what it holds can go
        assert request is not None
        try:
            self.histories[number] = train(request)
        except NonFiniteLossError as error:
            self.diverged[number], self.histories[number] = error, error.history
        with self.lock:
            self.bar.update()


class _NoBar(contextlib.nullcontext[Any]):
    """What stands for a bar that is not shown."""

    def __enter__(self) -> _NoBar:
        return self

    def update(self) -> None:
        """Show nothing."""
