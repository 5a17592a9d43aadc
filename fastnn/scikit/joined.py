"""The labels of an estimator whose samples are on several ranks."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..program.ranks import Ranks, compare
from ..run.agreement import Agreement
from ..types import Array


def join_labels(ranks: Ranks, agreement: Agreement, X: Any, y: Array) -> tuple[Array, slice]:
    """Return the labels of all ranks, in their order, and which are those of this one.

    X (n, I) and y (n,) or (n, O) are those of this rank, checked.

    Raises
    ------
    RanksDifferError
        On all ranks, for samples or labels of another form on one of them.
    """
    agreement.reach()  # without an error on any rank
    form = {
        "the number of features of X": X.shape[1],
        "the dtype of X": str(X.dtype),
        "the shape of a row of y": y.shape[1:],
        "the kind of y": y.dtype.kind,
    }
    compare(ranks, form)
    labels = ranks.gather(y)
    first = sum(len(each) for each in labels[: ranks.rank])
    return np.concatenate(labels), slice(first, first + len(y))
