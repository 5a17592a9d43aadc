"""Some rows of a batch, of which other processes have the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..types import Floats


class RunGradients(NamedTuple):
    """Where a layer writes the gradients that a run of rows adds to those of the batch."""

    rows: slice  # of the run, among the rows of this process
    dweights: Floats  # (I, O)
    dbiases: Floats  # (1, O)


class Runs:
    """The rows of a batch that one process has, as neighboring runs.

    Parameters
    ----------
    runs : sequence of slice
        The rows of each run in the batch. A run may be empty.
    n_rows : int
        The rows of the whole batch.
    add : callable
        Takes an array (S, K) with a row for each run of this process, which it may change, and
        returns the sum (K,) of the rows of all processes: the same bits in each.
    """

    def __init__(self, runs: Sequence[slice], n_rows: int, add: Callable[[Floats], Floats]) -> None:
        first = runs[0].start
        self.rows = [slice(run.start - first, run.stop - first) for run in runs]
        self.n_rows, self.add = n_rows, add

    def sums(self, values: Floats, factors: Floats | None = None) -> Floats:
        """Return the sum (S, K) of `values` (B, K), times `factors`, over the rows of each run."""
        if factors is not None:
            values = values * factors
        return np.stack([_sum_rows(values[rows]) for rows in self.rows])


def _sum_rows(values: Floats) -> Floats:
    """Return the sum (K,) of the rows, from the first to the last.

    NumPy adds the numbers of a single column in pairs.
    """
    is_column = values.shape[1] == 1 and len(values) > 0
    total: Floats = np.add.accumulate(values)[-1] if is_column else values.sum(axis=0)
    return total
