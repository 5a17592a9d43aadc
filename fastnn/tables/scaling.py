"""The shift and the scale that standardize a column of numbers."""

from ..types import Array


def moments(values: Array) -> tuple[float, float]:
    """Return the mean and the standard deviation (1 for a constant), without overflow."""
    low, high = float(values.min()), float(values.max())
    # In units of half the range, squares cannot overflow.
    half_range = high / 2 - low / 2
    if half_range == 0:
        return low, 1.0
    units = (values / 2 - low / 2) / half_range
    return low + 2 * float(units.mean()) * half_range, 2 * float(units.std()) * half_range or 1.0
