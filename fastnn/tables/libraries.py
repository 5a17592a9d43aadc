"""polars, which reads and computes tables, or an error that says how to install it."""

from ..requirements import missing

try:
    import polars
except ModuleNotFoundError:
    raise missing("tables need", "polars", "cli") from None

__all__ = ["polars"]
