"""Samples of which each rank has passed a part to `fit`: their checks, and what all ranks get."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from ..memory import is_mapped
from ..nn.configs import describe_network
from ..program.parts import PartSamples, SparsePartSamples
from ..program.program import Program
from ..program.ranks import Ranks, compare
from ..program.sparse import SparseSamples, is_sparse
from ..program.trainer import Data
from ..types import Array, Floats, Scaling
from ..validation import as_table, as_weights, check_sum
from .agreement import Agreement
from .data import as_data, leave_out_unknown


def join_parts(
    program: Program,
    X: Any,
    y: Any,
    sample_weight: ArrayLike | None,
    scaling: Scaling,
    ranks: Ranks,
    agreement: Agreement,
) -> Data:
    """Return the checked samples of all ranks: the parts, in the order of the ranks.

    Each rank gets all labels, targets and weights. The rows of `X` stay where they are.

    Raises
    ------
    TypeError, ValueError
        For a bad part.
    RanksDifferError
        For parts of different kinds.
    """
    table = X
    if not is_sparse(X):
        table = as_table(X, "X", n_features=program.network.n_features, allow_empty=False)
    finite: Literal[True, "later"] = "later" if is_mapped(table) else True
    own = as_data(program, table, y, scaling=scaling, finite=finite, is_part=True)
    n = len(own.inputs)
    weights: Floats | None = None
    if sample_weight is not None:
        weights = as_weights(sample_weight, n)
    agreement.reach()  # without an error on any rank
    has_rows = len(own.targets) > 0
    # The rows of y that ranks send each other have a size that depends on the network.
    kinds = {
        "model": describe_network(program.network, own=True),
        "the kind of X": "a sparse matrix" if own.inputs.is_sparse else "an array",
        "the number of features of X": table.shape[1],
        "the dtype of X": table.dtype.str,
        "the form of y": "rows" if has_rows else "labels",
        "sample_weight": "None" if weights is None else "an array",
    }
    compare(ranks, kinds)
    # Small arrays have been converted already; then all ranks send converted rows.
    inputs = own.inputs
    is_raw = not inputs.is_sparse and inputs.array.dtype == table.dtype
    is_raw = is_raw and tuple(inputs.scaling) == scaling
    facts = ranks.gather((n, is_raw))
    counts, as_they_are = np.array([each[0] for each in facts]), all(each[1] for each in facts)
    if ranks.size > 1 and isinstance(inputs, SparseSamples):
        inputs = SparsePartSamples(inputs, counts, ranks)
    elif ranks.size > 1:
        inputs = PartSamples(inputs, counts, ranks, as_they_are=as_they_are)

    def join(array: Array) -> Array:
        return ranks.join(array, counts)

    labels = join(own.labels)
    targets = join(own.targets) if has_rows else own.targets
    if weights is None:
        weights = own.weights
    else:
        weights = join(weights)
        check_sum(weights)
    return leave_out_unknown(Data(inputs, labels, targets, weights), program.network.loss)
