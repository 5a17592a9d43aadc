"""Training on data that arrive one part after the other: the steps on each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..nn.optimizer import Optimizer
from ..types import Floats
from .compiled import CompiledTrainer, traits_of
from .layerwise import LayerTrainer
from .make import make_trainer
from .program import Program
from .threads import ThreadTeam, resolve_threads
from .trainer import Data, Description, Epoch, Totals, Watch

T = TypeVar("T")


class Stream:
    """Takes steps on batches of any size, in a workspace that grows to the largest.

    The steps are taken inside of `run`. Nothing else may change the parameters there.

    Parameters
    ----------
    program : Program
    optimizer : Optimizer
    description : tuple
        What `describe_network` gave when the first data were checked.
    stays_packed : bool
        Whether weights and states stay packed from one batch to the next inside of `run`.
    """

    def __init__(
        self,
        program: Program,
        optimizer: Optimizer,
        description: Description,
        *,
        stays_packed: bool = False,
    ) -> None:
        self.program, self.optimizer = program, optimizer
        self.description, self.stays_packed = description, stays_packed
        self.traits, self.layout = traits_of(optimizer), program.layout
        self.trainer: CompiledTrainer | LayerTrainer | None = None
        self.team: ThreadTeam | None = None
        self.capacity = 0

    def is_current(self, program: Program, optimizer: Optimizer, description: Description) -> bool:
        """Return whether the workspace fits a program, an optimizer, layers and a loss."""
        if self.program is not program or self.optimizer is not optimizer:
            return False
        if self.layout != self.program.layout:
            return False
        state = getattr(self.trainer, "state", None)
        same = state is None or optimizer.state_of(self.program.network.parameters) is state
        return same and (self.description, self.traits) == (description, traits_of(optimizer))

    def run(self, work: Callable[[], T]) -> T:
        """Return work(), which may call `take`; the threads have ended by then."""
        try:
            result = work()
            self.store()
            return result
        except BaseException:
            self.store()  # a signal handler may have interrupted the first call
            raise
        finally:
            # As in `with_team`: first an assignment, then two calls, as a signal may interrupt one.
            team, self.team = self.team, None
            if team is not None:
                team.interruption.requested = True
                try:
                    team.end()
                finally:
                    team.end()

    def take(
        self,
        data: Data,
        epoch: Epoch,
        batch_size: int,
        threads: int | None = None,
        *,
        watch: Watch | None = None,
        totals: Floats | None = None,
    ) -> Totals:
        """Take the steps of an :class:`Epoch` on `data`, with threads as in `fit`.

        With `totals`, only the steps after those that have these totals.
        """
        batch_size = min(batch_size, len(data.inputs))
        self._make_room(data, batch_size, threads)
        assert self.trainer is not None
        self.trainer.load(data, len(epoch.order), batch_size)
        if totals is not None:
            self.trainer.resume(totals)
        return self.trainer.take([epoch], watch)

    def _make_room(self, data: Data, batch_size: int, threads: int | None) -> None:
        """Start threads, and make the workspace large enough for batches of this size."""
        if self.team is not None and batch_size <= self.capacity:
            return
        n_threads = resolve_threads(threads, 3 * batch_size * self.program.network.n_parameters)
        if self.team is None or n_threads > self.team.n_requested:
            if self.team is not None:
                self.team.end()
            self.team = ThreadTeam(n_threads)
            self.team.start()
        if batch_size > self.capacity:
            self.store()
            self.trainer = make_trainer(
                self.program, data, len(data.inputs), batch_size, self.optimizer, self.team,
                self.description, stays_packed=self.stays_packed,
            )  # fmt: skip
            self.capacity = batch_size
        elif isinstance(self.trainer, CompiledTrainer):
            self.trainer.work_with(self.team)

    def store(self) -> None:
        """Copy the states of the optimizer from packed arrays to their own."""
        if self.trainer is not None:
            self.trainer.store()
