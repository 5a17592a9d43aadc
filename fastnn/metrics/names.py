"""The names of metrics in `fit` and `evaluate`."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from ..types import Task
from .classification import accuracy, balanced_accuracy, f1, precision, recall, top_k_accuracy
from .functions import takes_decisions
from .metric import Metric
from .probabilities import log_loss, roc_auc
from .regression import (
    mean_absolute_error,
    mean_squared_error,
    poisson_deviance,
    r2,
    root_mean_squared_error,
)
from .scorers import ScorerMetric, is_scorer, scorer_names

MetricLike: TypeAlias = str | Metric | Callable[..., Any]
"""A name, a function of (y_true, y_pred), or a scorer of scikit-learn."""


class _Known(NamedTuple):
    function: Callable[..., Any]
    tasks: tuple[Task, ...]
    several: bool = True  # whether it takes answers to several questions


_KNOWN: dict[str, _Known] = {
    "accuracy": _Known(accuracy, ("classes", "answers")),
    "balanced_accuracy": _Known(balanced_accuracy, ("classes", "answers"), several=False),
    "precision": _Known(precision, ("classes", "answers")),
    "recall": _Known(recall, ("classes", "answers")),
    "f1": _Known(f1, ("classes", "answers")),
    "roc_auc": _Known(roc_auc, ("classes", "answers")),
    "log_loss": _Known(log_loss, ("classes", "answers"), several=False),
    "mse": _Known(mean_squared_error, ("numbers",)),
    "mae": _Known(mean_absolute_error, ("numbers",)),
    "poisson_deviance": _Known(poisson_deviance, ("numbers",)),
    "r2": _Known(r2, ("numbers",)),
    "rmse": _Known(root_mean_squared_error, ("numbers",)),
    "mean_squared_error": _Known(mean_squared_error, ("numbers",)),
    "mean_absolute_error": _Known(mean_absolute_error, ("numbers",)),
    "root_mean_squared_error": _Known(root_mean_squared_error, ("numbers",)),
}

# Curves that are not metrics: whether higher is better. `score` is the one of the estimators.
_CURVES = {"loss": False, "penalty": False, "accuracy": True, "score": True}


def as_metrics(value: Sequence[MetricLike], task: Task, n_outputs: int) -> list[Metric]:
    """Return a list of :class:`Metric` for a model of `task`, from names or functions.

    Of two classes, and of one answer, precision, recall and F1 are those of class 1; of more
    their mean over the classes.
    """
    if isinstance(value, str) or not isinstance(value, list | tuple):
        raise TypeError(f"metrics is {value!r}, expected a list of names or functions")
    metrics = [_as_metric(each, f"metrics[{i}]", task, n_outputs) for i, each in enumerate(value)]
    for i, metric in enumerate(metrics):
        if metric.probabilities and task == "numbers":
            raise ValueError(f"metrics[{i}] wants probabilities, expected one of the numbers")
        if metric.name in [other.name for other in metrics[:i]] or metric.name == "loss":
            raise ValueError(f"metrics[{i}] is {metric.name!r} again, expected different names")
    return metrics


def _as_metric(value: MetricLike, place: str, task: Task, n_outputs: int) -> Metric:
    if isinstance(value, Metric):
        return value
    if is_scorer(value):
        return ScorerMetric(value)
    if callable(value) and not isinstance(value, type):
        name = next((name for name, row in _KNOWN.items() if row.function is value), None)
        if name is None:
            return _metric_of(value, place)
        value = name
    if not isinstance(value, str):
        raise TypeError(f"{place} is {value!r}, expected a name or a function (y_true, y_pred)")
    top = re.fullmatch(r"top_([1-9]\d*)", value)
    if top and task == "classes" and int(top[1]) <= n_outputs:
        return Metric(functools.partial(top_k_accuracy, k=int(top[1])), value)
    names = [
        name
        for name, row in _KNOWN.items()
        if task in row.tasks and (row.several or task != "answers" or n_outputs == 1)
    ]
    if value in names:
        return _metric_named(value, task, n_outputs)
    names += ["top_5"] if task == "classes" else []
    scorers = scorer_names(task)
    if value in scorers:
        return ScorerMetric(value)
    like = value.lower().removesuffix("_score")  # scikit-learn's functions have this ending
    nearest = difflib.get_close_matches(like, [*names, *scorers], 1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    others = "of a scorer of scikit-learn" + ("" if scorers else ", which is not installed")
    raise ValueError(
        f"{place} is {value!r}, expected one of {', '.join(names)}, or the name {others}{hint}"
    )


def _metric_of(function: Callable[..., Any], place: str) -> Metric:
    if takes_decisions(function):
        raise ValueError(
            f"{place} is {Metric(function).name}, which takes distances from a decision boundary, "
            "expected a function of predictions or probabilities"
        )
    return Metric(function)


def _metric_named(name: str, task: Task, n_outputs: int) -> Metric:
    function = _KNOWN[name].function
    if function in (precision, recall, f1):
        binary = n_outputs == (2 if task == "classes" else 1)
        function = functools.partial(function, average="binary" if binary else "macro")
    return Metric(function, name)


def higher_is_better(name: str, metrics: Iterable[Metric] = ()) -> bool | None:
    """Return whether higher values of the curve `name` are better; None where it is unknown."""
    name = name.removeprefix("val_")
    for metric in metrics:
        if metric.name == name:
            return metric.higher_is_better
    return _CURVES.get(name)
