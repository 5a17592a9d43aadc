"""Data to train on: two data sets, a reader of CSV files, and functions that split and scale."""

from .csv import read_csv
from .examples import load_digits, make_spiral
from .parts import split, standardise

__all__ = ["load_digits", "make_spiral", "read_csv", "split", "standardise"]
