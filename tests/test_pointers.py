"""Pointers of kernels: what `import fastnn` may not change for other users of numba."""

import operator

import numba
import numpy as np
import pytest
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

import fastnn  # noqa: F401 (its import is what is tested)
from fastnn.kernels.pointers import Pointer, get, is_null, null, pointer, put, retyped


@intrinsic
def numba_pointer(typingctx, array):
    """Return the address of an array's elements as numba's own pointer."""

    def codegen(context, builder, sig, args):
        return context.make_array(array)(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
@pytest.mark.parametrize("function", [operator.add, operator.sub, operator.iadd])
def test_pointers_of_numba_have_the_arithmetic_that_numba_gives_them(function, dtype):
    @numba.njit
    def move(array):
        return function(numba_pointer(array), 1)[0]

    with pytest.raises(TypingError, match="No implementation of function"):
        move(np.arange(3, dtype=dtype))


@numba.njit
def second(array):
    return get(pointer(array) + 1)


@numba.njit
def write_behind(array, count, value):
    put(pointer(array) + count, value)


@numba.njit
def nulls(array):
    place = pointer(array)
    return is_null(place), is_null(null(place)), is_null(null(place) + 1)


@numba.njit
def as_bytes(array, bytes_, count):
    return get(retyped(pointer(bytes_), pointer(array)) + count)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8])
def test_a_pointer_moves_by_elements(dtype):
    values = np.arange(5, 9, dtype=dtype)
    assert second(values) == 6
    for integer in (np.int8, np.uint8, np.int32, np.uint32, np.int64, int):
        write_behind(values, integer(3), 100)
        assert values.tolist() == [5, 6, 7, 100]
        values[3] = 8
    write_behind(values[2:], -1, 50)
    assert values.tolist() == [5, 50, 7, 8]
    assert nulls(values) == (False, True, False)
    bytes_ = np.empty(0, np.uint8)
    stored = [as_bytes(values, bytes_, i) for i in range(values.nbytes)]
    assert bytes(stored) == values.tobytes()


def test_a_pointer_takes_whole_numbers_only():
    @numba.njit
    def move(array):
        return get(pointer(array) + 1.0)

    with pytest.raises(TypingError):
        move(np.ones(3))
    assert Pointer(types.float32) == Pointer(types.float32) != Pointer(types.float64)
