"""A metric of `fit` and `evaluate`: a function and its name."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..types import Array, Floats
from ..validation import as_flag
from .classification import accuracy, balanced_accuracy, f1, precision, recall, top_k_accuracy
from .functions import as_scores, direction_of, innermost, name_of, parameters_of, takes_scores
from .probabilities import log_loss, roc_auc
from .regression import (
    mean_absolute_error,
    mean_squared_error,
    poisson_deviance,
    r2,
    root_mean_squared_error,
)

_DIRECTIONS: dict[Hashable, bool] = {
    **dict.fromkeys((accuracy, balanced_accuracy, top_k_accuracy, precision, recall, f1), True),
    **dict.fromkeys((roc_auc, r2), True),
    **dict.fromkeys((log_loss, poisson_deviance, mean_absolute_error), False),
    **dict.fromkeys((mean_squared_error, root_mean_squared_error), False),
}
"""Whether higher is better, by the function."""


class Metric:
    """A metric for `fit` and `evaluate`: a function, its name, and how to call and compare it.

    Parameters
    ----------
    function : callable
        Called with (y_true, y_pred); returns a number. Where it has a parameter `sample_weight`
        it gets the weights of the samples, if they have any.
    name : str, optional
        By default the function's.
    probabilities : bool, optional
        Whether the function gets what `predict_proba` returns, not what `predict` returns. By
        default it does if its second parameter is called `y_score`, `y_proba` or `y_prob`, and for
        scikit-learn's `log_loss`. For two classes `y_score` is (B,), the probability of class 1,
        as scikit-learn's functions expect it.
    higher_is_better : bool, optional
        Whether higher values are better, for EarlyStopping and others. It is known for the
        functions of `fastnn.metrics` and of scikit-learn.

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
        probabilities: bool | None = None,
        higher_is_better: bool | None = None,
    ) -> None:
        if not callable(function):
            raise TypeError(f"function is {function!r}, expected a function of (y_true, y_pred)")
        inner = innermost(function)
        self.function = function
        self.name = name_of(function) if name is None else name
        if not isinstance(self.name, str) or not self.name:
            raise TypeError(f"name is {name!r}, expected a name")
        # With an explicit True the function gets the rows of `predict_proba` as they are.
        self._takes_scores = probabilities is None and takes_scores(function)
        if probabilities is None:
            probabilities = self._takes_scores or inner is top_k_accuracy
        self.probabilities = as_flag(probabilities, "probabilities")
        if higher_is_better is not None:
            as_flag(higher_is_better, "higher_is_better")
        elif isinstance(inner, Hashable):
            higher_is_better = _DIRECTIONS.get(inner, direction_of(inner))
        self.higher_is_better = higher_is_better
        self._takes_weights = "sample_weight" in parameters_of(function)

    def __call__(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the value as a float; ValueError where the function raises or gives no number."""
        options: dict[str, Any] = {}
        if self._takes_scores:
            y_pred, options = as_scores(self.function, np.asarray(y_true), np.asarray(y_pred))
        return self._call(self.function, y_true, y_pred, sample_weight, options)

    def measure(
        self,
        y_true: Array,
        predict: Callable[[], Array],
        predict_proba: Callable[[], Floats] | None,
        sample_weight: Floats | None,
    ) -> float:
        """Return the value for a model.

        `predict` and `predict_proba` return its predictions for the samples; `predict_proba` is
        None for a regression.
        """
        predicted = predict_proba if self.probabilities else predict
        assert predicted is not None  # `as_metrics` has refused the other case
        return self(y_true, predicted(), sample_weight)

    def _call(
        self,
        function: Callable[..., Any],
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None,
        options: dict[str, Any],
    ) -> float:
        if self._takes_weights and sample_weight is not None:
            options = {**options, "sample_weight": sample_weight}
        try:
            value = function(y_true, y_pred, **options)
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
