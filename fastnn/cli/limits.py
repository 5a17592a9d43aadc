"""Which tables are too large to be read whole: the one rule of train, predict and evaluate."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ..memory import physical_memory
from ..tables import TextFormat, check_form, kind_of_file
from . import terminal

if TYPE_CHECKING:
    from ..tables.large import LargeTable

# Training in windows takes the rows in another order, and reads the file in each epoch. So it
# begins where the other way, which takes about four times the table, would need half the memory.
# Predictions are the same either way.
_PARTS_OF_MEMORY = 8
_PREDICTED_WHOLE = 2**28


def find_large(options: Namespace) -> LargeTable | None:
    """Return the table that `options.data` names if it is too large to be read whole.

    That is where its values, 8 bytes each, take more than `--max-memory`. Only Parquet files are
    read in parts.

    Raises
    ------
    ValueError
        For a file of another kind that has more bytes than `--max-memory`.
    """
    path = Path(options.data)
    if not path.is_file():
        return None
    kind = "csv" if options.separator else options.format or kind_of_file(path)
    if kind != "parquet":
        _check_size(options, path, kind)
        return None
    check_form(kind, TextFormat(None, options.encoding, not options.no_header, options.sheet))
    from ..tables.large import LargeTable  # needs polars

    table = LargeTable(path)
    return table if table.n_bytes > most_bytes(options) else None


def most_bytes(options: Namespace) -> int:
    """Return the largest size of a table that is read whole."""
    if options.max_memory is not None:
        limit: int = options.max_memory
        return limit
    is_training = options.command == "train"
    return physical_memory() // _PARTS_OF_MEMORY if is_training else _PREDICTED_WHOLE


def reason(options: Namespace, table: LargeTable) -> str:
    """Return why a table is not read whole."""
    sizes = map(terminal.size, (table.n_bytes, most_bytes(options)))
    return "the table takes {}, more than --max-memory {}".format(*sizes)


def _check_size(options: Namespace, path: Path, kind: str) -> None:
    size = path.stat().st_size
    if options.max_memory is None or size <= options.max_memory:
        return
    raise ValueError(
        f"argument --max-memory: {path} has {size:,} bytes, more than {options.max_memory:,}, and "
        f"files of {kind} are read whole: expected Parquet, which is read in parts"
        + (f"; polars.scan_{_SCANS[kind]} converts it" if kind in _SCANS else "")
    )


_SCANS = {
    "csv": "csv(...).sink_parquet(...)",
    "tsv": r"csv(..., separator='\t').sink_parquet(...)",
    "jsonl": "ndjson(...).sink_parquet(...)",
}
