"""Data files and their columns."""

from .table import (
    KINDS,
    Table,
    among,
    did_you_mean,
    one_of,
    read_table,
    read_text,
    table_of,
)

__all__ = [
    "KINDS",
    "Table",
    "among",
    "did_you_mean",
    "one_of",
    "read_table",
    "read_text",
    "table_of",
]
