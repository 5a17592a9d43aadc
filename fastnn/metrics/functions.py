"""What a function of (y_true, y_pred) takes: predictions or probabilities, and weights."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..types import Array

# The second parameter of functions that take probabilities.
_OF_SCORES = ("y_score", "y_proba", "y_prob")
# Functions of scikit-learn that take probabilities by another name.
_OTHERS_OF_SCORES = ("log_loss", "d2_log_loss_score")


def innermost(function: Any) -> Any:
    """Return the function inside of `functools.partial`, or `function` itself."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def name_of(function: Any) -> str:
    """Return the name of a function, or of the class of another callable."""
    inner = innermost(function)
    name: str = getattr(inner, "__name__", type(inner).__name__)
    return name


def is_of_sklearn(function: Any) -> bool:
    """Return whether a function is one of scikit-learn's."""
    return str(getattr(innermost(function), "__module__", "")).startswith("sklearn.")


def parameters_of(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a function; none where Python does not know them."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # written in C
        return {}


def takes_scores(function: Callable[..., Any]) -> bool:
    """Return whether a function takes probabilities, by the name of its second parameter."""
    names = list(parameters_of(function))[1:2]
    of_sklearn = is_of_sklearn(function) and name_of(function) in _OTHERS_OF_SCORES
    return of_sklearn or any(name in _OF_SCORES for name in names)


def takes_decisions(function: Callable[..., Any]) -> bool:
    """Return whether a function takes distances from a decision boundary, as `hinge_loss` does."""
    return list(parameters_of(function))[1:2] == ["pred_decision"]


def as_scores(
    function: Callable[..., Any], y_true: Array, probabilities: Array
) -> tuple[Array, dict[str, Any]]:
    """Return the probabilities as `function` expects them, and further arguments for it.

    `y_score` of two classes is (B,), as scikit-learn's functions expect it. Those of them that have
    to be told which classes there are, and how to treat more than two, are told.
    """
    options: dict[str, Any] = {}
    if np.ndim(y_true) != 1 or np.ndim(probabilities) != 2:
        return probabilities, options
    n_classes = probabilities.shape[1]
    parameters = parameters_of(function)
    if is_of_sklearn(function):
        if "labels" in parameters and parameters["labels"].default is None:
            options["labels"] = np.arange(n_classes)
        if "multi_class" in parameters and parameters["multi_class"].default == "raise":
            options["multi_class"] = "ovr"
    of_class_one = "y_score" in parameters or is_of_sklearn(function)
    if n_classes == 2 and of_class_one and name_of(function) not in _OTHERS_OF_SCORES:
        probabilities = probabilities[:, 1]
    return probabilities, options


def direction_of(function: Any) -> bool | None:
    """Return whether higher is better, by the names of scikit-learn's functions; None if unknown.

    See "The scoring API overview" of its user guide.
    """
    if not is_of_sklearn(function):
        return None
    ending = name_of(function).rpartition("_")[2]
    return {"score": True, "loss": False, "error": False, "deviance": False}.get(ending)
