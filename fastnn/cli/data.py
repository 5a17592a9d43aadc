"""The table that the command line names, and the model file that turns its rows into inputs."""

from __future__ import annotations

import difflib
import threading
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from numpy.typing import DTypeLike

from .. import datasets, tables
from ..model import read_model
from ..tables import Table
from ..types import Floats, PathLike, Seed
from . import terminal

if TYPE_CHECKING:
    import polars as pl

    from ..tables.preprocessing import Preprocessor

BUILT_IN = {"digits": "digit", "spiral": "arm"}  # {name: column of the labels}


def load(options: Namespace, rng: Seed = None) -> Table:
    """Return the Table that `options.data` names."""
    if options.data == "digits":
        X, y = datasets.load_digits()
        pixels = {f"pixel {i // 8},{i % 8}": column for i, column in enumerate(X.T)}
        return tables.table_of({**pixels, BUILT_IN["digits"]: y}, "digits")
    if options.data == "spiral":
        X, y = datasets.make_spiral(rng=0 if rng is None else rng)
        return tables.table_of({"x": X[:, 0], "y": X[:, 1], BUILT_IN["spiral"]: y}, "spiral")
    path = Path(options.data)
    if options.data != "-" and (path.is_dir() or not path.exists()):
        near = difflib.get_close_matches(options.data, [*BUILT_IN, *_beside(options.data)], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"no file {options.data!r}; expected digits, spiral, or the path of a table{hint}"
        )
    if options.separator and options.format not in (None, "csv"):
        raise ValueError(f"argument --separator: is for CSV, not for {options.format}")
    return tables.read_table(
        options.data, "csv" if options.separator else options.format, options.separator,
        encoding=options.encoding, has_header=not options.no_header, sheet=options.sheet,
    )  # fmt: skip


def _beside(path: PathLike) -> list[str]:
    """Return the paths of the files in the same folder."""
    try:
        return [str(each) for each in Path(path).parent.iterdir() if each.is_file()]
    except OSError:
        return []


class Saved:
    """A model file of `fastnn train`: the network, and the preprocessing of its inputs."""

    def __init__(self, path: PathLike) -> None:
        if not Path(path).is_file():
            near = difflib.get_close_matches(str(path), _beside(path), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"MODEL is {path!r}, expected a file, and there is none{hint}")
        from ..tables import preprocessing  # noqa: F401  (says what to install)
        from ..tables.models import TableModel

        self.model = read_model(path)
        self.whole = TableModel.from_network(self.model, f"MODEL {path}")
        self.reading, self.preprocessor = self.whole.reading, self.whole.preprocessor
        self.target = self.whole.target

    def read(self, table: Table, target: bool = False) -> Table:
        """Return a table with its texts read as in training, those of the target too if asked."""
        return self.whole.read(table, target)

    def features(self, table: Table) -> tuple[Floats, list[str]]:
        """Return the inputs (N, I) of a table that `read` has returned, and notes for the user."""
        X, frame = self.whole.inputs(table)
        return X, list(unknown_lines(self.preprocessor, frame))


def inputs(
    preprocessor: Preprocessor, table: Table, frame: pl.DataFrame, dtype: DTypeLike
) -> Floats:
    """Return the features (N, I) of a typed frame; ValueError for one that overflows `dtype`."""
    return preprocessor.inputs(table, frame, dtype)


class Unknown:
    """The categories in the parts of a table that a model does not know; threads may add some."""

    def __init__(self) -> None:
        self._columns: dict[str, tuple[list[str], int]] = {}
        self._lock = threading.Lock()

    def add(self, preprocessor: Preprocessor, frame: pl.DataFrame) -> None:
        """Add those in a typed frame."""
        with self._lock:
            for name, (categories, count) in preprocessor.unknown(frame).items():
                known, n_rows = self._columns.get(name, ([], 0))
                self._columns[name] = sorted({*known, *categories}), n_rows + count

    def lines(self) -> Iterator[str]:
        """Yield a line for each column."""
        for name, (categories, rows) in self._columns.items():
            count = "a category" if len(categories) == 1 else f"{len(categories):,} categories"
            shown = ", ".join(f"{each!r:.80}" for each in categories[:3]) + (
                ", ..." if len(categories) > 3 else ""
            )
            yield (
                f"column {name!r:.80} has {count} unknown to the model ({shown}), in "
                f"{terminal.some(rows, 'row')}: all its features are 0"
            )


def unknown_lines(preprocessor: Preprocessor, frame: pl.DataFrame) -> Iterator[str]:
    """Yield a line for each column with categories that were not in the training part."""
    unknown = Unknown()
    unknown.add(preprocessor, frame)
    return unknown.lines()
