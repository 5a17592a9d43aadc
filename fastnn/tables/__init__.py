"""Models of tables, data files, and their columns.

`train` and `load` return models that take the rows of a table as they are. Most modules of this
folder need polars as they are imported: `text` and `table` do not.
"""

from typing import TYPE_CHECKING, Any

from .api import load, train
from .table import (
    KINDS,
    Table,
    among,
    check_form,
    did_you_mean,
    kind_of_file,
    one_of,
    read_table,
    table_of,
)
from .text import TextFormat, read_text

if TYPE_CHECKING:
    from .models import TableModel

__all__ = [
    "KINDS",
    "Table",
    "TableModel",
    "TextFormat",
    "among",
    "check_form",
    "did_you_mean",
    "kind_of_file",
    "load",
    "one_of",
    "read_table",
    "read_text",
    "table_of",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "TableModel":
        from .models import TableModel

        return TableModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
