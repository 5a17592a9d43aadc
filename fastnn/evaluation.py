"""How good a network is on checked samples: its loss, and metrics."""

import numpy as np

from .activations import Sigmoid
from .kernels import table as t
from .layers import Softmax


def evaluate(model, data, metrics=(), threads=None):
    """Return {"loss": ..., "accuracy": ..., the metrics}, weighted where `data` has weights."""
    outputs = model._outputs(data.inputs, "X", t.IDENTITY, threads, data.targets.shape[1])
    loss, weights = model.loss, data.weights if len(data.weights) else None
    losses, _ = loss.measure(outputs, data.wanted, np.ones(1))
    found = {"loss": float(np.average(losses, weights=weights)) + model._penalty()}
    if loss.task != "numbers":
        hits = loss.hits(outputs, data.wanted, data.labels)
        found["accuracy"] = float(np.average(hits, weights=weights))
    return found | _measure(loss, outputs, data, metrics, weights)


def measure(model, data, metrics, threads=None):
    """Return the metrics alone, of all samples alike."""
    outputs = model._outputs(data.inputs, "X", t.IDENTITY, threads, data.targets.shape[1])
    return _measure(model.loss, outputs, data, metrics, None)


def finished(outputs, finish):
    """Return the probabilities that belong to outputs, by the loss's `finish`."""
    heads = {t.SOFTMAX: Softmax, t.SIGMOID: Sigmoid}
    return heads[finish]().forward(outputs) if finish in heads else outputs


def _measure(loss, outputs, data, metrics, weights):
    def squeezed(rows):  # as `decide` leaves out the axis of a single output
        return rows[:, 0] if rows.shape[1] == 1 and loss.task != "classes" else rows

    true = data.labels
    if loss.task != "classes":
        answers = (data.targets > 0.5).astype(np.int64)
        true = squeezed(answers if loss.task == "answers" else data.targets)
    predicted = {False: loss.decide, True: lambda rows: squeezed(finished(rows, loss.finish))}
    return {
        metric.name: metric(true, predicted[metric.probabilities](outputs), weights)
        for metric in metrics
    }
