"""Every rung of the ladder gives the product, around the edges of blocks, vectors and tiles."""

import numpy as np
import pytest
from ladder import RUNGS, check

SHAPES = ((1, 1, 1), (7, 65, 15), (8, 64, 48), (9, 63, 49), (65, 130, 129), (3, 257, 260))


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rung(rung, dtype):
    for shape in SHAPES:
        check(rung, shape, dtype)


def test_check_finds_a_wrong_rung():
    def without_the_last_term(result, left, right):
        result[...] = left[:, :-1] @ right[:-1]

    with pytest.raises(AssertionError, match="without_the_last_term"):
        check(without_the_last_term, (9, 63, 49), np.float32)
