"""Held-out samples of an estimator: which they are, and what is measured on them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split

from ..kernels.catalogue import Operation
from ..model import program_of
from ..types import Array, Batch, Floats
from .base import MLP


class Part(NamedTuple):
    """A part of the samples of a fit."""

    X: Any  # (N, I), an array or a sparse matrix in rows
    y: Array  # (N,) or (N, O), as the user passed them
    targets: Array  # (N,) or (N, O), as the network takes them
    weights: Floats | None  # (N,) float64, or None where all are 1


def split_off(
    estimator: MLP, samples: Part, random_state: np.random.RandomState
) -> tuple[Part, Part]:
    """Return the part to train on, and the part that `early_stopping` holds out."""
    train, held_out = train_test_split(
        np.arange(samples.X.shape[0]), random_state=random_state,
        test_size=estimator.validation_fraction,
        stratify=samples.targets.astype(bool) if estimator._stratifies() else None,
    )  # fmt: skip
    if len(held_out) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of "
            "your dataset."
        )
    return _take(samples, train), _checked(estimator, _take(samples, held_out), "y")


def _take(samples: Part, indices: Array) -> Part:
    X, y, targets, weights = samples
    weights = None if weights is None else weights[indices]
    return Part(X[indices], y[indices], targets[indices], weights)


def read_validation_data(estimator: MLP, validation_data: Batch, y: Array) -> Part:
    """Return the samples of `validation_data`, checked: targets have the form of those of `y`."""
    if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
        raise TypeError("validation_data is not a tuple, expected (X, y) or (X, y, weights)")
    name = "validation_data[1]"
    X, own_y = estimator._validate(validation_data[0], validation_data[1], False)
    if own_y.shape[1:] != y.shape[1:]:
        expected = (len(own_y), *y.shape[1:])
        raise ValueError(f"{name} has shape {own_y.shape}, expected {expected}, as y has")
    sample_weight = validation_data[2] if len(validation_data) == 3 else None
    weights = estimator._weigh(sample_weight, X, own_y)
    targets = estimator._encode(own_y, False, True, estimator.model_.dtype, name)
    return _checked(estimator, Part(X, own_y, targets, weights), name)


def _checked(estimator: MLP, held_out: Part, name: str) -> Part:
    """Return held-out samples; refuse targets that the loss does not take, as counts below 0."""
    model, targets = estimator.model_, held_out.targets
    if model.loss.task == "numbers":
        model.loss.as_targets(targets, name, len(targets), targets.shape[1], model.dtype)
    return held_out


def make_measure(estimator: MLP, held_out: Part) -> Callable[[], tuple[float, float]]:
    """Return the function that gives (loss, score) of the model on held-out samples."""
    as_loss, _ = estimator._scales()
    if not issparse(held_out.X):
        held_out = held_out._replace(X=np.ascontiguousarray(held_out.X))
    X, _, targets, weights = held_out
    metric = _make_metric(estimator, held_out)
    program = program_of(estimator.model_).at(estimator.precision)
    threads = estimator._threads()

    def measure() -> tuple[float, float]:
        outputs = program.outputs(X, "validation_data[0]", Operation.IDENTITY, threads)
        if not np.isfinite(outputs).all():
            return math.inf, math.nan
        each = np.ones(1) if weights is None else weights
        losses, _ = program.network.loss.measure(outputs, targets, each)
        if not np.isfinite(losses).all():
            return math.inf, math.nan
        loss = as_loss(float(np.average(losses, weights=weights)), 0.0)
        score = -loss if metric is None else float(metric(outputs))
        if estimator.early_stopping and math.isnan(score):
            raise ValueError(
                f"metric is {estimator.metric!r}, which gives nan for the held-out samples: "
                "expected a number, to find the best epoch"
            )
        return loss, score

    measure()  # an error of a metric comes before training
    return measure


def _make_metric(estimator: MLP, held_out: Part) -> Callable[[Floats], float] | None:
    """Return a function of outputs that gives their score; None where it is the loss."""
    metric, (X, y, targets, weights) = estimator.metric, held_out
    if metric is None:
        return lambda outputs: estimator._score(outputs, targets, weights)
    if metric == "loss":
        return None
    if callable(metric) and not hasattr(metric, "_score_func"):
        return lambda outputs: metric(y, estimator._decide(outputs))
    scorer = get_scorer(metric)
    view = copy.copy(estimator)  # without names of features: these samples have none
    view.__dict__.pop("feature_names_in_", None)
    options = {} if weights is None else {"sample_weight": weights}
    return lambda outputs: scorer(view, X, y, **options)
