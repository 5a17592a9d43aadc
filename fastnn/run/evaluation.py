"""How good a network is on checked samples: its loss, and metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from ..kernels.catalogue import Operation
from ..metrics import Metric
from ..nn.activations import Sigmoid
from ..nn.layers import Softmax
from ..nn.loss import Loss
from ..program.trainer import Data
from ..types import Array, Floats

if TYPE_CHECKING:
    from ..model import Sequential


def evaluate(
    model: Sequential, data: Data, metrics: Iterable[Metric] = (), threads: int | None = None
) -> dict[str, float]:
    """Return {"loss": ..., "accuracy": ..., the metrics}, weighted where `data` has weights."""
    outputs = model._outputs(data.inputs, "X", Operation.IDENTITY, threads, data.targets.shape[1])
    loss, weights = model.loss, data.weights if len(data.weights) else None
    losses, _ = loss.measure(outputs, data.wanted, np.ones(1) if weights is None else weights)
    found = {"loss": float(np.average(losses, weights=weights)) + model._penalty()}
    if loss.task != "numbers":
        hits = loss.hits(outputs, data.wanted, data.labels)
        found["accuracy"] = float(np.average(hits, weights=weights))
    return found | _measure(loss, outputs, data, metrics, weights)


def measure(
    model: Sequential, data: Data, metrics: Iterable[Metric], threads: int | None = None
) -> dict[str, float]:
    """Return the metrics alone, weighted likewise."""
    weights = data.weights if len(data.weights) else None
    outputs = model._outputs(data.inputs, "X", Operation.IDENTITY, threads, data.targets.shape[1])
    return _measure(model.loss, outputs, data, metrics, weights)


def finished(outputs: Floats, finish: int) -> Floats:
    """Return the probabilities that belong to outputs, by the loss's `finish`."""
    heads: dict[int, type[Softmax] | type[Sigmoid]] = {
        Operation.SOFTMAX: Softmax,
        Operation.SIGMOID: Sigmoid,
    }
    return heads[finish]().forward(outputs) if finish in heads else outputs


def _measure(
    loss: Loss, outputs: Floats, data: Data, metrics: Iterable[Metric], weights: Floats | None
) -> dict[str, float]:
    def squeezed(rows: Array) -> Array:  # as `decide` leaves out the axis of a single output
        return rows[:, 0] if rows.shape[1] == 1 and loss.task != "classes" else rows

    true = data.labels
    if loss.task != "classes":
        answers = (data.targets > 0.5).astype(np.int64)
        true = squeezed(answers if loss.task == "answers" else data.targets)
    predicted: dict[bool, Callable[[Floats], Array]] = {
        False: loss.decide,
        True: lambda rows: squeezed(finished(rows, loss.finish)),
    }
    return {
        metric.name: metric(true, predicted[metric.probabilities](outputs), weights)
        for metric in metrics
    }
