"""Metrics: how good a prediction is."""

import numpy as np

from .validation import as_anything


def accuracy(y_pred, y_true):
    """Return the fraction of samples whose predicted class is the true one.

    Parameters
    ----------
    y_pred, y_true : array-like of shape (B,) or (B, C)
        Labels of any kind, or rows (one-hot, probabilities, logits), whose largest entry, the
        first of equals, is the class.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        For empty input, another number of dimensions, or two different numbers of samples.
    """
    predicted, true = _classes(y_pred, "y_pred"), _classes(y_true, "y_true")
    if len(predicted) != len(true):
        raise ValueError(f"y_pred has {len(predicted)} samples, y_true {len(true)}: expected equal")
    return float(np.mean(predicted == true))


def _classes(values, name):
    array = as_anything(values, name)
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}, expected (B,) labels or (B, C) rows")
    if array.ndim == 1:
        return array
    if array.shape[1] == 1:
        raise ValueError(f"{name} has shape {array.shape}; labels are {name}.ravel()")
    return array.argmax(axis=1)
