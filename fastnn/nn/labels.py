"""One-hot encoding of labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..types import Array, Floats
from ..validation import as_anything, as_dtype


def one_hot(labels: ArrayLike, *, dtype: DTypeLike = np.float32) -> tuple[Floats, Array]:
    """Return labels as one-hot rows, and the class of each column.

    Parameters
    ----------
    labels : array-like of shape (B,)
        Anything that can be sorted: bools, integers, strings, ...
    dtype : float32 or float64

    Returns
    -------
    rows : ndarray of shape (B, C)
        1 in the column of the label, 0 elsewhere.
    classes : ndarray of shape (C,)
        The distinct labels, sorted: `classes[rows.argmax(axis=1)]` gives the labels back.

    Raises
    ------
    TypeError
        For labels that cannot be sorted, and for another dtype.
    ValueError
        For no labels, more than one dimension, or NaN among them.

    Examples
    --------
    >>> rows, classes = fastnn.one_hot(["cat", "dog", "cat"])
    >>> rows
    array([[1., 0.],
           [0., 1.],
           [1., 0.]], dtype=float32)
    >>> print(*classes)
    cat dog
    """
    dtype = as_dtype(dtype)
    array = as_anything(labels, "labels")
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(
            f"labels has shape {array.shape}, expected (n_samples,), at least one sample"
        )
    if array.dtype.kind in "fc" and np.isnan(array).any():
        raise ValueError(f"labels[{int(np.isnan(array).argmax())}] is nan, expected a label")
    try:
        classes, indices = np.unique(array, return_inverse=True)
    except TypeError as error:
        raise TypeError(f"labels cannot be sorted ({error}), expected one kind of label") from None
    return (indices[:, None] == np.arange(len(classes))).astype(dtype), classes
