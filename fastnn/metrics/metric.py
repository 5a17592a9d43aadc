"""A metric of `fit` and `evaluate`: a function with a name, by itself or by its name."""

from __future__ import annotations

import difflib
import functools
import inspect
import numbers
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ..types import Task
from ..validation import as_flag
from .classification import accuracy, f1, precision, recall, top_k_accuracy
from .regression import mean_absolute_error, mean_squared_error, poisson_deviance, r2


class Metric:
    """A metric for `fit` and `evaluate`: a function, its name, and how to call and compare it.

    Parameters
    ----------
    function : callable
        Called with (y_true, y_pred); returns a number. Where it has a parameter `sample_weight`
        it gets the weights of the samples, if they have any.
    name : str, optional
        By default the function's.
    probabilities : bool
        Whether y_pred is what `predict_proba` returns, not what `predict` returns.
    higher_is_better : bool, optional
        Whether higher values are better, for EarlyStopping and others. It is known for the
        functions of `fastnn.metrics`.

    Examples
    --------
    >>> def worst(y_true, y_pred):
    ...     return np.abs(y_pred - y_true).max()
    >>> model = fastnn.Sequential([fastnn.Dense(1, 1, rng=0)], loss=fastnn.MeanSquaredError())
    >>> metric = fastnn.Metric(worst, higher_is_better=False)
    >>> sorted(model.evaluate([[1.0], [2.0]], [1.0, 2.0], metrics=[metric]))
    ['loss', 'worst']
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str | None = None,
        probabilities: bool = False,
        higher_is_better: bool | None = None,
    ) -> None:
        if not callable(function):
            raise TypeError(f"function is {function!r}, expected a function of (y_true, y_pred)")
        inner = function
        while isinstance(inner, functools.partial):
            inner = inner.func
        self.function = function
        self.name = getattr(inner, "__name__", type(inner).__name__) if name is None else name
        if not isinstance(self.name, str) or not self.name:
            raise TypeError(f"name is {name!r}, expected a name")
        self.probabilities = as_flag(probabilities, "probabilities")
        if higher_is_better is not None:
            as_flag(higher_is_better, "higher_is_better")
        elif isinstance(inner, Hashable):
            higher_is_better = _DIRECTIONS.get(inner)
        self.higher_is_better = higher_is_better
        self._takes_weights = _has_parameter(function, "sample_weight")

    def __call__(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the value as a float; ValueError where the function raises or gives no number."""
        weighted = self._takes_weights and sample_weight is not None
        options = {"sample_weight": sample_weight} if weighted else {}
        try:
            value = self.function(y_true, y_pred, **options)
        except Exception as error:
            kind = type(error).__name__
            raise ValueError(
                f"metric {self.name} raised {kind}: {error}; expected a number"
            ) from error
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value[()]
        if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
            raise ValueError(f"metric {self.name} gave {value!r}, expected a number")
        return float(value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({getattr(self, 'name', '?')})"


# The metrics that have a name: the function, its tasks, and whether higher is better.
_KNOWN: dict[str, tuple[Callable[..., Any], tuple[Task, ...], bool]] = {
    "accuracy": (accuracy, ("classes", "answers"), True),
    "precision": (precision, ("classes", "answers"), True),
    "recall": (recall, ("classes", "answers"), True),
    "f1": (f1, ("classes", "answers"), True),
    "mse": (mean_squared_error, ("numbers",), False),
    "mae": (mean_absolute_error, ("numbers",), False),
    "poisson_deviance": (poisson_deviance, ("numbers",), False),
    "r2": (r2, ("numbers",), True),
}

_DIRECTIONS: dict[Hashable, bool] = {
    top_k_accuracy: True, **{function: high for function, _, high in _KNOWN.values()},
}  # fmt: skip
"""Whether higher is better, by the function."""

# Curves that are not metrics: whether higher is better. `score` is the one of the estimators.
_CURVES = {"loss": False, "penalty": False, "accuracy": True, "score": True}


MetricLike: TypeAlias = str | Metric | Callable[..., Any]
"""A name, or a function of (y_true, y_pred)."""


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
    if callable(value) and not isinstance(value, type):
        known = next((name for name, row in _KNOWN.items() if row[0] is value), None)
        if known is None:
            return Metric(value, probabilities=value is top_k_accuracy)
        value = known
    if not isinstance(value, str):
        raise TypeError(f"{place} is {value!r}, expected a name or a function (y_true, y_pred)")
    top = re.fullmatch(r"top_([1-9]\d*)", value)
    names = [name for name, row in _KNOWN.items() if task in row[1]]
    names += ["top_5"] if task == "classes" else []
    if top and task == "classes" and int(top[1]) <= n_outputs:
        return Metric(functools.partial(top_k_accuracy, k=int(top[1])), value, True, True)
    if value not in names:
        nearest = difflib.get_close_matches(value, names, 1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"{place} is {value!r}, expected one of {', '.join(names)}{hint}")
    function: Callable[..., Any]
    function, _, high = _KNOWN[value]
    if function in (precision, recall, f1):
        binary = n_outputs == (2 if task == "classes" else 1)
        function = functools.partial(function, average="binary" if binary else "macro")
    return Metric(function, value, higher_is_better=high)


def higher_is_better(name: str, metrics: Iterable[Metric] = ()) -> bool | None:
    """Return whether higher values of the curve `name` are better; None where it is unknown."""
    name = name.removeprefix("val_")
    for metric in metrics:
        if metric.name == name:
            return metric.higher_is_better
    return _CURVES.get(name)


def _has_parameter(function: Callable[..., Any], name: str) -> bool:
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # written in C
        return False
