"""Data to train on: two that come with fastnn, CSV files, and how to split and scale them."""

from .csv import read_csv
from .examples import load_digits, make_spiral
from .parts import split, standardise

__all__ = ["load_digits", "make_spiral", "read_csv", "split", "standardise"]
