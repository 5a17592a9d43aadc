"""The order of an epoch is NumPy's, and so is what the generator draws next."""

import numpy as np
import pytest

from fastnn.nn.batches import draw_order

BIT_GENERATORS = ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"]


def make_generators(name, seed):
    kind = getattr(np.random, name)
    return [np.random.Generator(kind(seed)) for _ in range(2)]


@pytest.mark.parametrize("name", BIT_GENERATORS)
def test_orders_are_those_of_numpy(name):
    ours, theirs = make_generators(name, 5)
    # Around the powers of two, where the mask of a draw changes, and the chunks of 512.
    for n in (0, 1, 2, 3, 4, 5, 8, 9, 31, 32, 33, 511, 512, 513, 514, 1024, 1025, 1026, 70_001):
        order = draw_order(ours, n)
        assert order.dtype == np.int64, n
        np.testing.assert_array_equal(order, theirs.permutation(n), err_msg=str(n))
    assert ours.random() == theirs.random()


def test_half_of_64_bits_is_left_for_the_next_draw():
    ours, theirs = make_generators("PCG64", 0)
    for n in range(2, 40):
        draw_order(ours, n)
        theirs.permutation(n)
        assert ours.bit_generator.state == theirs.bit_generator.state, n


def test_a_generator_of_ones_own_is_asked():
    class Reversing(np.random.Generator):
        def permutation(self, x, axis=0):
            return np.arange(x)[::-1]

    np.testing.assert_array_equal(draw_order(Reversing(np.random.PCG64(0)), 3), [2, 1, 0])
