"""The benchmark of many networks runs, and both ways end with the same bits."""

import many
import numpy as np


def test_measure():
    _, _, alone = many.measure(1, None)
    seconds, cpu, together = many.measure(1, 2)
    assert seconds > 0
    assert cpu > 0
    assert all(map(np.array_equal, alone, together))
