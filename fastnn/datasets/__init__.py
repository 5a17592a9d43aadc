"""Data to train on: two data sets, readers of CSV and IDX files, functions that split and scale."""

from ..tables.parts import split, standardise
from .csv import read_csv
from .examples import load_digits, make_spiral
from .idx import load_idx, read_idx

__all__ = [
    "load_digits",
    "load_idx",
    "make_spiral",
    "read_csv",
    "read_idx",
    "split",
    "standardise",
]
