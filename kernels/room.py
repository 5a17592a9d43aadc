"""How much room in the workspace a layer needs: words for rows of the catalogue.

Each is a function of the rows of the largest batch, of the columns of the layer's outputs, and of
the elements from one row of outputs to the next, which are more than the columns where rows are
padded.
"""

from collections.abc import Callable
from typing import TypeAlias

from .table import BLOCK

Room: TypeAlias = Callable[[int, int, int], int]


def batch(capacity: int, width: int, row: int) -> int:
    """Return the room of an array as the outputs: (capacity, width), its rows padded."""
    return capacity * row


def one_a_row(capacity: int, width: int, row: int) -> int:
    """Return the room of a number for each row of a batch."""
    return capacity


def one_a_column(capacity: int, width: int, row: int) -> int:
    """Return the room of a number for each column."""
    return width


def three_a_column(capacity: int, width: int, row: int) -> int:
    """Return the room of three padded rows."""
    return 3 * row


def two_a_block(capacity: int, width: int, row: int) -> int:
    """Return the room of two padded rows for each block of BLOCK rows of a batch."""
    return 2 * -(-capacity // BLOCK) * row
