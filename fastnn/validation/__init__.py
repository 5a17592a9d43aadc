"""The only place that checks input: what passes here is safe for a kernel.

Every function takes the name of the argument that it checks and raises an error that gives the
name, the value and what was expected: TypeError for a wrong kind of value, ValueError else.
"""

from .arrays import (
    NotFiniteError,
    as_anything,
    as_array,
    as_class_weights,
    as_gradient,
    as_labels,
    as_matrix,
    as_order,
    as_rows,
    as_sample_weights,
    as_table,
    as_targets,
    as_values,
    refuse_not_finite,
    unlocked,
)
from .scalars import (
    DTYPES,
    as_choice,
    as_count,
    as_dtype,
    as_flag,
    as_generator,
    as_index,
    as_number,
    as_path,
    as_positive,
    as_scaling,
    is_nothing,
)

__all__ = [
    "DTYPES",
    "NotFiniteError",
    "as_anything",
    "as_array",
    "as_choice",
    "as_class_weights",
    "as_count",
    "as_dtype",
    "as_flag",
    "as_generator",
    "as_gradient",
    "as_index",
    "as_labels",
    "as_matrix",
    "as_number",
    "as_order",
    "as_path",
    "as_positive",
    "as_rows",
    "as_sample_weights",
    "as_scaling",
    "as_table",
    "as_targets",
    "as_values",
    "is_nothing",
    "refuse_not_finite",
    "unlocked",
]
