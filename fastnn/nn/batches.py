"""Mini-batches of shuffled sample indices."""

from __future__ import annotations

import ctypes

import numpy as np

from .. import kernels
from ..types import Integers, Seed
from ..validation import as_count, as_generator

if not kernels.REFERENCE:
    from ..kernels.shuffle import MOST, shuffle_order

# The C interface of NumPy's bit generators is a capsule of this name.
_CAPSULE = b"BitGenerator"
_address_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def draw_order(rng: np.random.Generator, n_samples: int) -> Integers:
    """Return rng.permutation(n_samples), in less time."""
    # A subclass may draw as it likes.
    if kernels.REFERENCE or type(rng) is not np.random.Generator or n_samples > MOST:
        return rng.permutation(n_samples)
    order: Integers = np.arange(n_samples)
    bits = rng.bit_generator
    with bits.lock:
        shuffle_order(order, _address_of(bits.capsule, _CAPSULE))
    return order


def generate_batch_indices(n_samples: int, batch_size: int, rng: Seed = None) -> list[Integers]:
    """Return the indices of the samples of each batch of one epoch.

    Parameters
    ----------
    n_samples : int
        N, at least 1.
    batch_size : int
        At least 1. The last batch holds the remaining samples, and is never dropped.
    rng : None, int or numpy.random.Generator
        Draws the order; an int gives the same order every time.

    Returns
    -------
    list of ndarray of int64
        Every index from 0 to n_samples - 1 once, in random order.

    Raises
    ------
    TypeError, ValueError
        For counts that are not whole numbers of at least 1.

    Examples
    --------
    >>> fastnn.generate_batch_indices(5, 2, rng=0)
    [array([2, 4]), array([3, 0]), array([1])]
    """
    n_samples = as_count(n_samples, "n_samples")
    batch_size = as_count(batch_size, "batch_size")
    order = draw_order(as_generator(rng), n_samples)
    return [order[start : start + batch_size] for start in range(0, n_samples, batch_size)]
