"""What a user passes as samples, an array or a sparse matrix, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from .. import kernels
from ..types import Scaling
from ..validation import as_matrix, as_table, check_codes, refuse_not_finite
from .samples import KINDS, NO_CODES, UNSCALED, Samples
from .sparse import SparseSamples, as_csr, is_sparse

# Samples that take at most so many bytes once converted are converted beforehand too: that is
# quicker than doing it anew each epoch, and less is compiled.
SMALL = 4_000_000


def as_samples(
    value: Any,
    name: str,
    *,
    n_features: int | None = None,
    dtype: DTypeLike | None = None,
    scaling: Scaling = UNSCALED,
    allow_empty: bool = True,
    finite: bool | Literal["later"] = True,
    categories: Mapping[int, int] = NO_CODES,
) -> Samples:
    """Return `value` as :class:`Samples`, without a copy unless they are small or sparse.

    Without `dtype`, float32 and float64 stay what they are, and other numbers become what NumPy
    makes of them together with a float32. Without `finite`, a kernel that looks for NaN itself
    is to be called; with "later", `check_rows` is. The numbers of a sparse matrix are checked in
    any case, as they are few. `categories` has the number of categories of each column that has to
    have codes; they are checked likewise. Samples are taken as they are, but for codes that they
    have not been checked for.
    """
    if isinstance(value, Samples):
        if categories and value.categories != categories:
            value.require_codes(categories, name)
        return value
    sparse = is_sparse(value)
    array: Any
    if sparse:
        array = as_csr(value, name, n_features=n_features, allow_empty=allow_empty)
    else:
        array = as_table(value, name, n_features=n_features, allow_empty=allow_empty)
    if dtype is None:
        kind = array.dtype
        dtype = np.float32 if np.result_type(kind, np.float32) == np.float32 else np.float64
    if sparse:
        matrix = SparseSamples.checked(array, value, name, dtype, scaling)
        matrix.require_codes(categories, name)
        return matrix
    if array.dtype not in KINDS or not array.dtype.isnative:
        array = as_matrix(array, name, dtype)
    samples = Samples(array, dtype, scaling)
    samples.categories = categories
    if not samples.is_ready and array.size * samples.dtype.itemsize <= SMALL:
        rows = samples._convert(array)
        if not kernels.all_finite(rows):
            refuse_not_finite(rows, name, array, 0, scaling)
        check_codes(rows, categories, name)
        converted = Samples(rows, dtype)
        converted.categories = categories
        return converted
    if finite == "later":
        samples.check_later()
    elif finite:
        samples.check(name)
    return samples
