"""Two data sets to begin with."""

from __future__ import annotations

from importlib import resources

import numpy as np
from numpy.typing import NDArray

from ..types import Integers, Seed
from ..validation import as_count, as_generator, as_positive


def load_digits() -> tuple[NDArray[np.float32], Integers]:
    """Return 1,797 handwritten digits, 8x8 pixels each (`data/DIGITS.md`: source and license).

    Returns
    -------
    X : ndarray of shape (1797, 64), float32
        Pixels from 0 (white) to 16 (black), the rows of an image one after the other.
    y : ndarray of shape (1797,), int64
        The digit, 0 to 9.

    Examples
    --------
    >>> from fastnn.datasets import load_digits
    >>> X, y = load_digits()
    >>> X.shape, y[:5]
    ((1797, 64), array([0, 1, 2, 3, 4]))
    """
    with resources.files("fastnn").joinpath("data/digits.npz").open("rb") as file:
        arrays = np.load(file, allow_pickle=False)
        return arrays["images"].astype(np.float32), arrays["labels"].astype(np.int64)


def make_spiral(
    n_samples_per_class: int = 100, n_classes: int = 3, *, noise: float = 0.2, rng: Seed = None
) -> tuple[NDArray[np.float32], Integers]:
    """Return points on the arms of a spiral, one arm a class: no straight line separates them.

    The formula of the Stanford course CS231n (https://cs231n.github.io/neural-networks-case-study):
    the radius grows from 0 to 1 while the angle of arm k runs from 4 k to 4 (k + 1), in radians.

    Parameters
    ----------
    n_samples_per_class : int
        The number of points of each arm, at least 1.
    n_classes : int
        The number of arms, at least 1. Three arms are well apart. Eleven or more overlap.
    noise : float
        Standard deviation of the angle, in radians, at least 0.
    rng : None, int or numpy.random.Generator
        The source of the noise; an int gives the same points each time.

    Returns
    -------
    X : ndarray of shape (n_classes * n_samples_per_class, 2), float32
    y : ndarray of shape (n_classes * n_samples_per_class,), int64
        The arms in order: 0, 0, ..., 1, 1, ...

    Raises
    ------
    TypeError, ValueError
        For counts that are not whole numbers of at least 1, negative or non-finite noise.

    Examples
    --------
    >>> from fastnn.datasets import make_spiral
    >>> X, y = make_spiral(100, 3, rng=0)
    >>> X.shape, y[[0, 100, 200]]
    ((300, 2), array([0, 1, 2]))
    """
    n_samples_per_class = as_count(n_samples_per_class, "n_samples_per_class")
    n_classes = as_count(n_classes, "n_classes")
    noise = as_positive(noise, "noise") if noise != 0 else 0.0
    rng = as_generator(rng)

    arms = np.arange(n_classes)[:, None]  # (arms, 1), against (points,) along an arm
    radius = np.linspace(0, 1, n_samples_per_class)
    angle = 4 * arms + np.linspace(0, 4, n_samples_per_class)
    angle = angle + noise * rng.standard_normal(angle.shape)
    points = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=-1)
    labels = np.repeat(np.arange(n_classes), n_samples_per_class)
    return points.reshape(-1, 2).astype(np.float32), labels.astype(np.int64)
