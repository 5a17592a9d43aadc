"""Several training runs side by side, each in one thread."""

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
from .progress import make_bar
from .request import Request


class ParallelRuns:
    """Trains the models of several requests. Each thread takes the next request when it is free.

    Parameters
    ----------
    requests : sequence of Request
    show_bar : bool
        Whether a progress bar counts the models that have been trained.
    first : int
        The index of the first model in notes of errors.
    """

    def __init__(self, requests: Sequence[Request], show_bar: bool, first: int = 0) -> None:
        self.requests: list[Request | None] = [*requests]
        self.show_bar, self.first = show_bar, first
        self.histories: list[Any] = [None] * len(requests)
        self.diverged: dict[int, NonFiniteLossError] = {}
        self.indices, self.lock = iter(range(len(requests))), threading.Lock()
        self.error: BaseException | None = None

    def run(self, n_threads: int) -> list[History]:
        """Train all models with `n_threads` threads, this one included; return the histories."""
        bar = make_bar(total=len(self.requests), unit=" models") if self.show_bar else _NoBar()
        with bar as self.bar:
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
        """Train one model after the other until no request remains or `stop` is requested."""
        index = None
        try:
            while not stop.requested:
                with self.lock:
                    index = next(self.indices, None)
                if index is None:
                    break
                self._train_model(index)
        except BaseException as error:
            if not stop.requested:
                if index is not None and isinstance(error, Exception):
                    error.add_note(f"of models[{self.first + index}]")
                self.error = error
            stop.requested = True

    def _train_model(self, index: int) -> None:
        # Without the reference in the list, the arrays of a request are freed after its run.
        request, self.requests[index] = self.requests[index], None
        assert request is not None
        try:
            self.histories[index] = train(request)
        except NonFiniteLossError as error:
            self.diverged[index], self.histories[index] = error, error.history
        with self.lock:
            self.bar.update()


class _NoBar(contextlib.nullcontext[Any]):
    """Takes the place of the progress bar when none is shown."""

    def __enter__(self) -> _NoBar:
        return self

    def update(self) -> None:
        """Show nothing."""
