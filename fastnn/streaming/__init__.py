"""Windows of rows from files and arrays that are larger than memory, for `fit(batches=...)`."""

from .windows import Windows

__all__ = ["Windows"]
