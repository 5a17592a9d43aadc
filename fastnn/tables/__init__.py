"""Data files and their columns.

The other modules of this folder need polars as they are imported: `kinds`, `preprocessing` and
`targets`.
"""

from .table import (
    KINDS,
    Table,
    among,
    did_you_mean,
    kind_of_file,
    one_of,
    read_table,
    table_of,
)
from .text import read_text

__all__ = [
    "KINDS",
    "Table",
    "among",
    "did_you_mean",
    "kind_of_file",
    "one_of",
    "read_table",
    "read_text",
    "table_of",
]
