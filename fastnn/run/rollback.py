"""Undoing an epoch that diverges, even if an exception interrupts it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from ..nn.network import Network
from ..nn.optimizer import State

T = TypeVar("T")


class DivergedError(ArithmeticError):
    """Raised inside of `undo_if_diverged`: what was trained is no longer finite.

    Attributes
    ----------
    batch : int or None
        The batch whose loss is not finite, from 1; None if only the parameters are not finite.
    """

    def __init__(self, batch: int | None = None) -> None:
        self.batch = batch
        super().__init__(batch)


def undo_if_diverged(
    work: Callable[[], T], is_finite: Callable[[], bool], restore: Callable[[], None]
) -> T:
    """Return work(); call `restore` if the parameters are not finite after it.

    This includes an exception that ends the work, such as Ctrl-C after an overflow that has not
    been noticed yet.

    Raises
    ------
    DivergedError
        If `work` raises it, or the parameters are not finite after it.
    """
    try:
        # A weight that overflows shows in the loss of the next batch, or here at the end.
        with np.errstate(over="ignore", invalid="ignore"):
            result = work()
        if not is_finite():
            raise DivergedError
    except BaseException as error:
        if isinstance(error, DivergedError) or not is_finite():
            _call_to_the_end(restore)
        raise
    return result


def _call_to_the_end(restore: Callable[[], None]) -> None:
    """Call a function, and once more if an exception such as Ctrl-C interrupts it."""
    try:
        restore()
    except BaseException:
        restore()
        raise


def keep_state(
    network: Network, states: Sequence[State], rng: np.random.Generator | None = None
) -> Callable[[], None]:
    """Return a function that restores a network, the states of an optimizer and a generator."""
    learned, snapshots = network.snapshot(), [state.snapshot() for state in states]
    generators = [] if rng is None else [(rng.bit_generator, rng.bit_generator.state)]

    def restore() -> None:
        network.restore(learned)
        for state, snapshot in zip(states, snapshots, strict=True):
            state.restore(snapshot)
        for generator, random_state in generators:
            generator.state = random_state

    return restore
