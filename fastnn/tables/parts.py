"""Preparation of samples: a part is held out, and features are scaled."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..types import Floats, Seed
from ..validation import as_count, as_generator, as_positive, as_rows


def split(
    n_samples: int, fraction: float, rng: Seed = None, labels: ArrayLike | None = None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Choose at random which samples are held out of training, to measure on.

    Parameters
    ----------
    n_samples : int
        N, at least 2.
    fraction : float
        The part of the samples to hold out, between 0 and 1.
    rng : None, int or numpy.random.Generator
        The source of the choice; an int gives the same choice each time.
    labels : array-like of shape (N,), optional
        With these, every class has its share in both parts, to within a sample.

    Returns
    -------
    train : ndarray of int64
        The indices of the samples to train on, ascending.
    held_out : ndarray of int64
        The indices of the other round(fraction * N) samples, ascending.

    Raises
    ------
    TypeError, ValueError
        For a fraction outside of (0, 1) or one that leaves a part empty, another number of labels.

    Examples
    --------
    >>> from fastnn.datasets import split
    >>> train, held_out = split(8, 0.25, rng=0)
    >>> len(train), len(held_out)
    (6, 2)
    """
    n_samples = as_count(n_samples, "n_samples")
    fraction = as_positive(fraction, "fraction")
    n_held_out = round(fraction * n_samples)
    if not 0 < n_held_out < n_samples:
        raise ValueError(
            f"fraction is {fraction}, which holds out {n_held_out} of {n_samples} samples: "
            "expected at least one on either side"
        )
    rng = as_generator(rng)
    order = rng.permutation(n_samples)
    if labels is not None:
        labels = np.asarray(labels)
        if labels.shape != (n_samples,):
            raise ValueError(f"labels has shape {labels.shape}, expected ({n_samples},)")
        # Class after class, at random within each: even steps then take a share of every class.
        # The order of an unstable sort would depend on the CPU.
        order = order[np.argsort(labels[order], kind="stable")]
    # From a start at random, so that each sample has the same chance.
    steps = (np.arange(n_held_out) * n_samples + rng.integers(n_samples)) // n_held_out
    is_held_out = np.full(n_samples, False)
    is_held_out[order[steps]] = True
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def standardise(train: ArrayLike, *others: ArrayLike) -> tuple[Floats, ...]:
    """Shift and scale each feature to mean 0 and standard deviation 1 *of the training part*.

    The other parts get the same shift and scale, so that the data that a network is measured on do
    not influence its training. A feature that is constant in the training part is only shifted.

    Parameters
    ----------
    train : array-like of shape (N, I)
        The training part.
    *others : array-like of shape (M, I)
        Other parts, such as the held-out samples.

    Returns
    -------
    tuple of ndarray
        As many arrays as arguments, of the same shapes; float64 where `train` is, else float32
        (see `as_rows`). The arithmetic is float64.

    Raises
    ------
    TypeError, ValueError
        For an empty `train`, another number of features in `others`, and what is not finite.

    Examples
    --------
    >>> from fastnn.datasets import standardise
    >>> train, test = standardise([[1.0, 10.0], [3.0, 30.0]], [[2.0, 40.0]])
    >>> train
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> test
    array([[0., 2.]])
    """
    train = as_rows(train, "train", allow_empty=False)
    parts = [
        as_rows(other, f"others[{index}]", n_features=train.shape[1], dtype=np.float64)
        for index, other in enumerate(others)
    ]
    low = train.min(axis=0).astype(np.float64)
    spread = train.max(axis=0) - low
    # In units of the spread, the mean and deviation of a constant feature are exactly 0 (over
    # plain values, rounding leaves a deviation of 1e-17 to divide by), and squares never overflow.
    spread[spread == 0] = 1
    units = (train - low) / spread
    mean, deviation = units.mean(axis=0), units.std(axis=0)
    deviation[deviation == 0] = 1
    return tuple(
        (((part - low) / spread - mean) / deviation).astype(train.dtype) for part in (train, *parts)
    )
