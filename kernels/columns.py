"""Where kernels find the columns of an EMBEDDING, in jitted code."""

from numba import types
from numba.extending import overload


def columns_of(extended):
    """Return the columns, of COLUMN, in what a kernel gets as `extended`; None if it has none.

    Numba then leaves out what a function does with them: it knows the type of each argument.
    """
    raise NotImplementedError("it runs in jitted code only")


@overload(columns_of)
def _columns_of(extended):
    if isinstance(extended, types.Array):
        return lambda extended: extended
    if isinstance(extended, types.BaseTuple) and len(extended) > 3:
        return lambda extended: extended[3]
    return lambda extended: None
