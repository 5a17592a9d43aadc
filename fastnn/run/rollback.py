"""Training that diverges, or is broken off when it has, is undone."""

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
        The one whose loss is not finite, from 1; None where only the parameters show it.
    """

    def __init__(self, batch: int | None = None) -> None:
        self.batch = batch
        super().__init__(batch)


def undo_if_diverged(
    work: Callable[[], T], is_finite: Callable[[], bool], restore: Callable[[], None]
) -> T:
    """Return work(); call `restore` where it leaves parameters that are not finite.

    So it is when an exception ends the work, such as Ctrl-C between an overflow and its discovery.

    Raises
    ------
    DivergedError
        Where `work` has raised it, or the parameters are not finite after it.
    """
    try:
        # A weight that overflows shows in the loss of the next batch, or here at the end.
        with np.errstate(over="ignore", invalid="ignore"):
            result = work()
        if not is_finite():
            raise DivergedError
    except BaseException as error:
        if isinstance(error, DivergedError) or not is_finite():
            _call_through(restore)
        raise
    return result


def _call_through(restore: Callable[[], None]) -> None:
    """Call a function that may be called twice: again where an exception breaks it off."""
    try:
        restore()
    except BaseException:
        restore()
        raise


def keep_state(
    network: Network, states: Sequence[State], rng: np.random.Generator | None = None
) -> Callable[[], None]:
    """Return a function that brings a network, states of an optimizer and a generator back."""
    learned, averages = network.snapshot(), [state.snapshot() for state in states]
    generators = [] if rng is None else [(rng.bit_generator, rng.bit_generator.state)]

    def restore() -> None:
        network.restore(learned)
        for state, snapshot in zip(states, averages, strict=True):
            state.restore(snapshot)
        for generator, drawn in generators:
            generator.state = drawn

    return restore
