"""scikit-learn's scorers as metrics. It is loaded only where one of them is asked for."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ..types import Array, Floats, Task
from .functions import name_of
from .metric import Metric

_OF_NUMBERS = re.compile("error|deviance|^r2$|explained_variance|d2_absolute|d2_pinball")
_OF_CLUSTERS = re.compile("rand_score|mutual_info|completeness|homogeneity|v_measure|fowlkes")


def is_scorer(value: Any) -> bool:
    """Return whether `value` is what `make_scorer` or `get_scorer` of scikit-learn returns."""
    metrics = sys.modules.get("sklearn.metrics")  # there is no scorer before this is loaded
    return metrics is not None and isinstance(value, type(metrics.get_scorer("accuracy")))


def scorer_names(task: Task) -> list[str]:
    """Return the names of scikit-learn's scorers for a task; none if it is not installed."""
    try:
        from sklearn.metrics import get_scorer_names
    except ImportError:
        return []
    return [
        name
        for name in get_scorer_names()
        if not _OF_CLUSTERS.search(name) and bool(_OF_NUMBERS.search(name)) == (task == "numbers")
    ]


class ScorerMetric(Metric):
    """A scorer of scikit-learn, which asks a model for its predictions, as a metric.

    Parameters
    ----------
    scorer : str or object
        The name of a scorer, or what `make_scorer` has returned.
    """

    def __init__(self, scorer: Any) -> None:
        name = None
        if isinstance(scorer, str):
            from sklearn.metrics import get_scorer

            name, scorer = scorer, get_scorer(scorer)
        parts = vars(scorer)  # scikit-learn has no public names for them
        function, is_negated = parts["_score_func"], parts["_sign"] < 0
        if name is None:  # as scikit-learn names its own
            name = "neg_" * is_negated + name_of(function)
        super().__init__(function, name, probabilities=False, higher_is_better=True)
        self.scorer = scorer

    def measure(
        self,
        y_true: Array,
        predict: Callable[[], Array],
        predict_proba: Callable[[], Floats] | None,
        sample_weight: Floats | None,
    ) -> float:
        """Return the score of an estimator that predicts what the functions return."""
        regressor, classifier = _estimator_classes()
        if predict_proba is None:
            estimator = regressor(functools.cache(predict))
        else:
            estimator = classifier(functools.cache(predict), functools.cache(predict_proba))

        def score(y_true: Array, rows: Array, **options: Any) -> Any:
            return self.scorer(estimator, rows, y_true, **options)

        rows = np.arange(len(y_true))[:, np.newaxis]
        return self._call(score, y_true, rows, sample_weight, {})


@functools.cache
def _estimator_classes() -> tuple[Any, Any]:
    """Return the classes of a regressor and of a classifier with known predictions."""
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

    class Predicted(BaseEstimator):
        def __init__(self, labels: Any = None, probabilities: Any = None) -> None:
            self.labels, self.probabilities = labels, probabilities

        def predict(self, rows: Array) -> Any:
            return self.labels()

    class Regressor(RegressorMixin, Predicted):
        pass

    class Classifier(ClassifierMixin, Predicted):
        @property
        def classes_(self) -> Array | list[Array]:
            probabilities = self.probabilities()
            if probabilities.ndim == 1:
                return np.arange(2)
            several = self.labels().ndim == 2  # answers 0 and 1, to a question each
            n_columns = probabilities.shape[1]
            return [np.arange(2)] * n_columns if several else np.arange(n_columns)

        def predict_proba(self, rows: Array) -> Any:
            rows = self.probabilities()
            return np.column_stack([1 - rows, rows]) if rows.ndim == 1 else rows

    return Regressor, Classifier
