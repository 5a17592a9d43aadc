"""What a trainer is, what it takes, and what it gives back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..kernels import table as t
from ..nn.optimizer import Optimizer
from ..nn.own import overrides
from ..types import Array, Floats, Integers, MaybeNone
from .plan import describe
from .samples import Samples

if TYPE_CHECKING:
    from ..nn.network import Network


class Data(NamedTuple):
    """Checked samples: what a trainer takes from."""

    inputs: Samples  # (N, I)
    labels: Integers  # (N,) int64
    targets: Floats  # (N, O), or (0, O) where the labels say all
    weights: Floats  # (N,) float64, or (0,) where all are 1

    @property
    def wanted(self) -> Array:
        """The targets as a loss takes them: rows, or labels."""
        return self.targets if len(self.targets) else self.labels


class Targets(NamedTuple):
    """Targets that have been checked, for several models."""

    labels: Integers  # (N,) int64
    targets: Floats  # (N, O), or (0, O) where the labels say all


class Epoch(NamedTuple):
    """What the random generator gives for an epoch."""

    order: Integers  # (M,) int64, of the samples
    key: int = 0  # of dropout's masks
    first: int = 0  # the number of its first batch, for dropout


class Trainer:
    """What all share. They have a `loss`, an `optimizer`, and may be `penalised`."""

    loss: Any
    optimizer: Optimizer
    penalised: bool
    n_batches: int
    n_used: int
    totals: Floats
    CHUNK_SECONDS = 0.05
    """A compiled call returns after about so many seconds, so that Ctrl-C is answered."""
    FIRST_CHUNK = 10_000_000
    """The first call takes about so many multiply-adds, which is soon for any network."""
    on_chunk: Callable[[int], None] | None = None
    strides: Sequence[int] = ()
    epochs_ahead = 1
    model: Network | MaybeNone = None
    made_for: tuple[Any, ...] = ()
    _last_chunk = -np.inf

    if TYPE_CHECKING:  # each has its own

        @property
        def step(self) -> int: ...
        def trained_arrays(self) -> list[Floats]: ...
        def settle(self) -> None: ...
        def run_epoch(self, epoch: Epoch) -> tuple[Any, int | None]: ...

    def check_model(self) -> None:
        """Refuse another loss, or a layer that a script has changed meanwhile."""
        if self.model is not None:
            check_unchanged(self.model, self.made_for)

    @property
    def curve_names(self) -> list[str]:
        """The names of the curves of an epoch, in their order."""
        names = ["loss"] if self.loss.task == "numbers" else ["loss", "accuracy"]
        return [*names, "penalty"] if self.penalised else names

    def curves(self, totals: Floats, n: int) -> dict[str, float]:
        """Return the dict of the curves that belong to the totals of an epoch of `n` samples."""
        loss, curves = totals[t.TOTAL_LOSS] / totals[t.TOTAL_WEIGHT], {}
        if self.penalised:
            curves["penalty"] = float(totals[t.TOTAL_PENALTY] / n)
            loss += curves["penalty"]
        if self.loss.task != "numbers":
            right = totals[t.TOTAL_RIGHT] / totals[t.TOTAL_WEIGHT]
            curves = {"accuracy": float(right), **curves}
        return {"loss": float(loss), **curves}

    def _end_batch(self, batch: int, n_batches: int | None = None) -> None:
        """End a chunk if it is time: with the epoch, and now and then before."""
        if self.on_chunk is None:
            return
        now = time.perf_counter()
        stops = [n_batches, *next_stops(self.strides, batch - 1)]
        if batch in stops or now - self._last_chunk >= self.CHUNK_SECONDS:
            self._last_chunk = now
            self.on_chunk(batch)


def next_stops(strides: Iterable[int], step: int) -> list[int]:
    """Return the next multiple behind `step` of each stride: where a chunk has to end."""
    return [(step // stride + 1) * stride for stride in strides]


def describe_layers(model: Network) -> tuple[Any, ...]:
    """Return what a plan depends on beside the optimizer, and a script may change."""
    loss = model._loss
    smoothing = getattr(loss, "label_smoothing", 0)
    return id(loss), loss.is_own, smoothing, describe(model._layers)


def check_unchanged(model: Network, made_for: tuple[Any, ...]) -> None:
    """Refuse a model that is no longer as `describe_layers` found it."""
    if describe_layers(model) != made_for:
        raise ValueError(
            "a layer or the loss was changed during the run, "
            "expected them to stay as they were when it began"
        )


def compiles(model: Network, optimizer: Optimizer) -> bool:
    """Return whether the program has all layers, the loss and the optimizer's steps."""
    own = model.loss.is_own or overrides(optimizer, Optimizer, "update")
    return model._steps is not None and not own


def trained_arrays(model: Network, optimizer: Optimizer) -> list[Floats]:
    """Return the arrays for which the optimizer keeps a state each."""
    if compiles(model, optimizer):
        return [model._show("parameters")]
    return [getattr(owner, name) for owner, name, _ in model._trained_places()]
