"""Metrics: how good predictions are, by functions of (y_true, y_pred).

Labels are of any kind, (B,), or rows (B, C) (one-hot, probabilities, logits) whose largest entry,
the first of equals, is the class. Numbers are (B,) or (B, O). Each function takes weights of the
samples, `sample_weight` (B,), and raises ValueError for empty input, another number of dimensions,
or two different numbers of samples.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import numbers
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike

from .types import Array, Floats, Task
from .validation import as_anything, as_array, as_count, as_flag, as_sample_weights

Average: TypeAlias = Literal["macro", "weighted", "micro", "binary"]


def accuracy(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the fraction of samples whose predicted class is the true one.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (B,) or (B, C)
    sample_weight : array-like of shape (B,), optional

    Returns
    -------
    float

    Examples
    --------
    >>> fastnn.accuracy(["cat", "dog"], ["cat", "cat"])
    0.5
    >>> fastnn.accuracy([0, 1], [[0.9, 0.1], [0.6, 0.4]])
    0.5
    """
    true, predicted = _classes(y_true, "y_true"), _classes(y_pred, "y_pred")
    return _mean(true == predicted, _weights(true, predicted, sample_weight))


def top_k_accuracy(
    y_true: ArrayLike, y_pred: ArrayLike, k: int = 5, sample_weight: ArrayLike | None = None
) -> float:
    """Return the fraction of samples whose true class is among the `k` most probable ones.

    Parameters
    ----------
    y_true : array-like of shape (B,) or (B, C)
        Labels from 0 to C - 1, or rows.
    y_pred : array-like of shape (B, C)
        Probabilities or logits. Of equals, the first ones count as more probable.
    k : int
        At least 1.
    sample_weight : array-like of shape (B,), optional

    Returns
    -------
    float

    Examples
    --------
    >>> fastnn.metrics.top_k_accuracy([0, 2], [[0.1, 0.7, 0.2], [0.5, 0.1, 0.4]], k=2)
    0.5
    """
    true, scores = _classes(y_true, "y_true"), as_array(y_pred, "y_pred")
    if scores.ndim != 2 or scores.size == 0:
        raise ValueError(f"y_pred has shape {scores.shape}, expected (B, C) rows")
    weights = _weights(true, scores, sample_weight)
    best = np.argsort(-scores, axis=1, kind="stable")[:, : as_count(k, "k")]
    return _mean((best == true[:, np.newaxis]).any(axis=1), weights)


@overload
def precision(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    average: Average = "macro",
    sample_weight: ArrayLike | None = None,
) -> float: ...
@overload
def precision(
    y_true: ArrayLike, y_pred: ArrayLike, average: None, sample_weight: ArrayLike | None = None
) -> Floats: ...
def precision(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    average: Average | None = "macro",
    sample_weight: ArrayLike | None = None,
) -> Any:
    """Return the fraction of the samples predicted as a class that are of this class.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (B,) or (B, O)
        Labels; or answers 0 and 1 to O questions, each of which then takes the place of a class.
    average : {"macro", "weighted", "micro", "binary", None}
        The mean over the classes, the mean weighted with how often each is true, over all
        decisions together, only of class 1 where there are 0 and 1, or an array of all classes,
        in the order of their labels. Where nothing was predicted as a class, its value is 0.
    sample_weight : array-like of shape (B,), optional

    Returns
    -------
    float, or ndarray of shape (C,)

    Examples
    --------
    >>> fastnn.metrics.precision([0, 1, 1, 1], [0, 1, 0, 1])
    0.75
    >>> fastnn.metrics.precision([0, 1, 1, 1], [0, 1, 0, 1], average="binary")
    1.0
    >>> fastnn.metrics.precision([0, 1, 1, 1], [0, 1, 0, 1], average=None)
    array([0.5, 1. ])
    """
    return _average(y_true, y_pred, average, sample_weight, lambda tp, p, a: _ratio(tp, p))


@overload
def recall(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    average: Average = "macro",
    sample_weight: ArrayLike | None = None,
) -> float: ...
@overload
def recall(
    y_true: ArrayLike, y_pred: ArrayLike, average: None, sample_weight: ArrayLike | None = None
) -> Floats: ...
def recall(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    average: Average | None = "macro",
    sample_weight: ArrayLike | None = None,
) -> Any:
    """Return the fraction of the samples of a class that are predicted as this class.

    Parameters as of :func:`precision`; 0 for a class that is never true.

    Examples
    --------
    >>> fastnn.metrics.recall([0, 1, 1, 1, 1], [0, 1, 0, 1, 1])
    0.875
    """
    return _average(y_true, y_pred, average, sample_weight, lambda tp, p, a: _ratio(tp, a))


@overload
def f1(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    average: Average = "macro",
    sample_weight: ArrayLike | None = None,
) -> float: ...
@overload
def f1(
    y_true: ArrayLike, y_pred: ArrayLike, average: None, sample_weight: ArrayLike | None = None
) -> Floats: ...
def f1(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    average: Average | None = "macro",
    sample_weight: ArrayLike | None = None,
) -> Any:
    """Return the harmonic mean of precision and recall: 2 * right / (predicted + true).

    Parameters as of :func:`precision`; van Rijsbergen, "Information Retrieval" (1979), chapter 7.

    Examples
    --------
    >>> fastnn.metrics.f1([0, 1, 1, 1], [0, 1, 0, 1], average="binary")
    0.8
    """
    return _average(y_true, y_pred, average, sample_weight, lambda tp, p, a: _ratio(2 * tp, p + a))


def mean_squared_error(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return the mean of (y_pred - y_true)**2 over samples and outputs.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (B,) or (B, O)
    sample_weight : array-like of shape (B,), optional

    Returns
    -------
    float

    Examples
    --------
    >>> fastnn.metrics.mean_squared_error([1.0, 2.0], [1.0, 4.0])
    2.0
    """
    true, predicted, weights = _numbers(y_true, y_pred, sample_weight)
    return _mean(np.square(predicted - true).mean(axis=1), weights)


def mean_absolute_error(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return the mean of |y_pred - y_true|; parameters as of :func:`mean_squared_error`.

    Examples
    --------
    >>> fastnn.metrics.mean_absolute_error([1.0, 2.0], [1.0, 4.0])
    1.0
    """
    true, predicted, weights = _numbers(y_true, y_pred, sample_weight)
    return _mean(np.abs(predicted - true).mean(axis=1), weights)


def poisson_deviance(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return the mean Poisson deviance of rates, over samples and outputs.

    2 * (y log(y / r) - y + r) for a target y and a predicted rate r, which is 2 * r where y is 0:
    twice the loss of :class:`Poisson`. It is 0 where all predictions are right, and infinite for
    a rate of 0 where y is not. McCullagh, Nelder, "Generalized Linear Models" (1989), section 2.3.
    Parameters as of :func:`mean_squared_error`, none of them below 0.

    Examples
    --------
    >>> round(fastnn.metrics.poisson_deviance([3.0, 0.0], [3.0, 2.0]), 4)
    2.0
    """
    true, predicted, weights = _numbers(y_true, y_pred, sample_weight)
    for array, name in ((true, "y_true"), (predicted, "y_pred")):
        if (array < 0).any():
            raise ValueError(f"{name} has {array.min()}, expected numbers of at least 0")
    counted = true > 0
    with np.errstate(divide="ignore"):
        logs = [np.log(a, out=np.zeros_like(a), where=counted) for a in (true, predicted)]
    deviances = 2 * (true * (logs[0] - logs[1]) - true + predicted)
    return _mean(deviances.mean(axis=1), weights)


def r2(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the coefficient of determination, the mean over the outputs.

    1 - sum((y_pred - y_true)**2) / sum((y_true - mean(y_true))**2): 1 at best, 0 for the mean of
    the targets. For constant targets 1 where all predictions are right, else 0. Parameters as of
    :func:`mean_squared_error`.

    Examples
    --------
    >>> fastnn.metrics.r2([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    0.5
    """
    true, predicted, weights = _numbers(y_true, y_pred, sample_weight)
    weights = np.ones(len(true)) if weights is None else weights
    rest = weights @ np.square(predicted - true)
    spread = weights @ np.square(true - np.average(true, axis=0, weights=weights))
    scores = np.where(rest == 0, 1.0, 0.0)
    np.divide(spread - rest, spread, out=scores, where=(spread > 0) & (rest != 0))
    return float(scores.mean())


class Metric:
    """A metric for `fit` and `evaluate`: a function with a name, and what is to know about it.

    Parameters
    ----------
    function : callable
        Of (y_true, y_pred), giving a number. Where it has a parameter `sample_weight` it gets the
        weights of the samples, if they have any.
    name : str, optional
        By default the function's.
    probabilities : bool
        y_pred is what `predict_proba` gives, not what `predict` gives.
    higher_is_better : bool, optional
        What EarlyStopping and others go by. The functions of this module know it themselves.

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


# By what name a metric may be asked for: the function, for which tasks, and whether high is good.
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
"""Whether high is good, by the function."""

# The curves that are no metrics. `score` is the one of the estimators.
_CURVES = {"loss": False, "penalty": False, "accuracy": True, "score": True}


MetricLike: TypeAlias = str | Metric | Callable[..., Any]
"""A name, or a function of (y_true, y_pred)."""


def as_metrics(value: Sequence[MetricLike], task: Task, n_outputs: int) -> list[Metric]:
    """Return a list of :class:`Metric` for a model of `task`, given as names or functions.

    Of two classes, and of one answer, precision, recall and F1 are those of class 1; of more
    their mean over the classes.
    """
    if isinstance(value, str) or not isinstance(value, list | tuple):
        raise TypeError(f"metrics is {value!r}, expected a list of names or functions")
    found = [_as_metric(each, f"metrics[{i}]", task, n_outputs) for i, each in enumerate(value)]
    for i, metric in enumerate(found):
        if metric.probabilities and task == "numbers":
            raise ValueError(f"metrics[{i}] wants probabilities, expected one of the numbers")
        if metric.name in [other.name for other in found[:i]] or metric.name == "loss":
            raise ValueError(f"metrics[{i}] is {metric.name!r} again, expected different names")
    return found


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
    """Return whether of the curve `name` higher values are better; None where nobody knows."""
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


def _classes(values: ArrayLike, name: str) -> Array:
    array = as_anything(values, name)
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}, expected (B,) labels or (B, C) rows")
    if array.ndim == 1:
        return array
    if array.shape[1] == 1:
        raise ValueError(f"{name} has shape {array.shape}; labels are {name}.ravel()")
    classes: Array = array.argmax(axis=1)
    return classes


def _weights(true: Array, predicted: Array, sample_weight: ArrayLike | None) -> Floats | None:
    if len(predicted) != len(true):
        raise ValueError(f"y_pred has {len(predicted)} samples, y_true {len(true)}: expected equal")
    return None if sample_weight is None else as_sample_weights(sample_weight, len(true))


def _mean(values: Array, weights: Floats | None) -> float:
    return float(np.average(values, weights=weights))


def _numbers(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[Floats, Floats, Floats | None]:
    true, predicted = as_array(y_true, "y_true"), as_array(y_pred, "y_pred")
    for array, name in ((true, "y_true"), (predicted, "y_pred")):
        if array.ndim not in (1, 2) or array.size == 0:
            raise ValueError(f"{name} has shape {array.shape}, expected (B,) or (B, O) numbers")
    weights = _weights(true, predicted, sample_weight)
    true, predicted = (a.reshape(len(a), -1).astype(np.float64) for a in (true, predicted))
    if true.shape != predicted.shape:
        raise ValueError(f"y_pred has shape {predicted.shape}, expected {true.shape}, as y_true")
    return true, predicted, weights


def _average(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    average: Average | None,
    sample_weight: ArrayLike | None,
    score: Callable[..., Any],
) -> Any:
    averages = ("macro", "weighted", "micro", "binary", None)
    if average not in averages:
        raise ValueError(f"average is {average!r}, expected one of {averages}")
    counts = _count(y_true, y_pred, sample_weight, average == "binary")
    if average == "micro":
        return float(score(*(each.sum() for each in counts)))
    scores = score(*counts)
    if average is None:
        return scores
    if average == "weighted":
        return float(np.average(scores, weights=counts[2])) if counts[2].any() else 0.0
    return float(scores[-1] if average == "binary" else scores.mean())


def _count(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None, binary: bool
) -> tuple[Floats, Floats, Floats]:
    """Return how often each class is predicted and true, predicted, and true: three (C,)."""
    true, predicted = as_anything(y_true, "y_true"), as_anything(y_pred, "y_pred")
    if true.ndim == predicted.ndim == 2 and true.shape[1:] == predicted.shape[1:]:
        weights = _weights(true, predicted, sample_weight)
        weights = np.ones(len(true)) if weights is None else weights
        true, predicted = true != 0, predicted != 0
        return weights @ (true & predicted), weights @ predicted, weights @ true
    true, predicted = _classes(true, "y_true"), _classes(predicted, "y_pred")
    weights = _weights(true, predicted, sample_weight)
    labels = np.union1d(true, predicted)
    if binary:
        if not np.isin(labels, [0, 1]).all():
            raise ValueError(f"y_true has labels {labels}, expected 0 and 1 for a binary average")
        labels = np.array([0, 1])
    true, predicted = (np.searchsorted(labels, each) for each in (true, predicted))
    right = true == predicted
    chosen = None if weights is None else weights[right]
    return (
        np.bincount(true[right], chosen, len(labels)).astype(np.float64),
        np.bincount(predicted, weights, len(labels)).astype(np.float64),
        np.bincount(true, weights, len(labels)).astype(np.float64),
    )


def _ratio(part: Floats, whole: Floats) -> Any:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole != 0)
