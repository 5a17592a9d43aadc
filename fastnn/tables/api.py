"""Models of tables from Python: `fastnn.tables.train` and `fastnn.tables.load`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

import numpy as np

from ..nn.classes import OPTIMIZERS
from ..types import PathLike, Precision
from . import defaults, training
from .text import TextFormat

if TYPE_CHECKING:
    from .models import TableModel


class TrainOptions(TypedDict, total=False):
    """The options of :func:`train`, as those of the command `fastnn train`."""

    task: Literal["classification", "regression"] | None
    drop: Sequence[str]
    categorical: Sequence[str]
    null: Sequence[str]
    decimal: Literal[".", ","] | None
    day_first: bool | None
    max_categories: int
    missing: Literal["refuse", "median", "mean"]
    validation_fraction: float
    dtype: Literal["float32", "float64"]
    hidden: Sequence[int] | None
    activation: str
    dropout: float
    epochs: int | None
    batch_size: int | None
    optimizer: str | None
    learning_rate: float | None
    weight_decay: float | None
    patience: int | None
    balanced: bool
    separator: str | None
    encoding: str | None
    has_header: bool
    sheet: str | None


def train(
    data: Any,
    target: str,
    *,
    seed: int = 0,
    threads: int | None = None,
    precision: Precision | None = None,
    **options: Unpack[TrainOptions],
) -> TableModel:
    """Train a network on a table, as the command `fastnn train` does.

    Numbers are standardized, text becomes one-hot categories, dates become numbers, and a part of
    the rows is held out. The same table, options and seed give the network of the command line.
    The extra `cli` has to be installed.

    Parameters
    ----------
    data : path or table
        A path of any kind of file that the command line reads, a polars, pandas or Arrow table, or
        a dict of columns.
    target : str
        The column to predict. Rows without it are left out.
    seed : int
        The same seed gives the same network.
    threads : int, optional
        By default as many as pay off.
    precision : {"highest", "high", "medium"}, optional
        Of matrix products.
    **options
        The other parameters.

    Returns
    -------
    TableModel

    Other Parameters
    ----------------
    task : {"classification", "regression"}, optional
        By default as the target looks.
    drop : sequence of str
        Columns to leave out.
    categorical : sequence of str
        Columns whose values are names of categories.
    null : sequence of str
        Texts that mean a missing value, in addition to the usual ones.
    decimal : {".", ","}, optional
        The decimal mark of columns in which all numbers look like "1,234".
    day_first : bool, optional
        Whether the day is first in columns in which all dates look like "1/2/2024".
    max_categories : int
        Of a column; the rarest beyond share one feature. By default 100.
    missing : {"refuse", "median", "mean"}
        What becomes of missing values.
    validation_fraction : float
        The part of the rows to hold out, by default 0.2.
    dtype : {"float32", "float64"}
    hidden : sequence of int
        Neurons of the hidden layers. The defaults of this and of the next ones follow from the
        number of rows: `fastnn train --help` lists them.
    activation : str
        By default "relu".
    dropout : float
        By default 0.
    epochs : int
        The most epochs.
    batch_size : int
    optimizer : str
        By default "adamw". Any other begins without weight decay.
    learning_rate : float
        By default that of the optimizer on the command line.
    weight_decay : float
        Of any optimizer.
    patience : int
        The number of epochs without a better held-out loss after which training stops. The best
        epoch is kept. 0 takes all epochs.
    balanced : bool
        Whether every class counts the same.
    separator : str, optional
        A single character between the values of a CSV file; " " is any number of blanks. By default
        it is found. This and the next ones hold for all files that the model reads later.
    encoding : str, optional
        Of a CSV or JSON file, as in "latin-1"; by default UTF-8.
    has_header : bool
        Whether the first line of a CSV file or a sheet names the columns, by default True. If not,
        they are called "column_1", "column_2", ...
    sheet : str, optional
        The sheet of an Excel file; by default the first one.

    Raises
    ------
    TypeError
        For data that are no table, and for an option that does not exist.
    ValueError
        For a table that does not do, with all of its faults, and for an option of a wrong value.
    ImportError
        Where polars is not installed.

    Examples
    --------
    >>> from fastnn import tables
    >>> size = [40 + 3 * i for i in range(50)]
    >>> town = ["Bern", "Oslo"] * 25
    >>> price = [2 * each + 90 * (place == "Oslo") for each, place in zip(size, town)]
    >>> houses = {"size": size, "town": town, "price": price}
    >>> model = tables.train(houses, "price", epochs=200)
    >>> model.column_names
    ['size', 'town']
    >>> prices = model.predict({"size": [100, 100], "town": ["Bern", "Oslo"]})
    >>> print(prices.round(-1))
    [200. 290.]
    """
    from .dataset import DataOptions, make_dataset  # need polars
    from .frames import as_table, refuse_form
    from .models import TableModel
    from .scores import assess

    _check(options)
    chosen: dict[str, Any] = dict(options)
    form = TextFormat(**{name: chosen[name] for name in TextFormat._fields if name in chosen})
    refuse_form(data, form)
    table = as_table(data, form=form)
    table.require(target, "target")
    for name in ("drop", "categorical"):
        if target in chosen.get(name, ()):
            raise ValueError(f"target is {target!r:.80}, expected a column that is not in {name}")
    split_rng, weights_rng, _ = np.random.default_rng(seed).spawn(3)
    given = {name: chosen[name] for name in DataOptions._fields if name in chosen}
    dataset = make_dataset(table, target, DataOptions(**given), split_rng)
    balanced = bool(chosen.get("balanced", False))
    if balanced and dataset.target.task == "regression":
        raise ValueError("balanced is True, and the target is a number, expected classes")
    values = {name: chosen.get(name) for name in defaults.Settings._fields}
    if values["hidden"] is not None:
        values["hidden"] = tuple(values["hidden"])
    n_samples = len(dataset.inputs[0])
    settings = defaults.choose(defaults.settings_for("", n_samples), values)
    widths = (dataset.inputs[0].shape[1], *settings.hidden, training.n_outputs(dataset.target))
    model = training.make_network(
        widths, dataset.target, activation=chosen.get("activation", "relu"),
        dropout=chosen.get("dropout", 0.0), dtype=chosen.get("dtype", np.float32), rng=weights_rng,
    )  # fmt: skip
    optimizer = OPTIMIZERS[settings.optimizer](
        learning_rate=settings.learning_rate, weight_decay=settings.weight_decay
    )
    run = training.Run(seed, threads, precision, balanced)
    history = training.fit_network(model, dataset, optimizer, settings, run)
    scores = {
        part: assess(model, dataset.target, X, y, threads, precision).scores
        for part, X, y in zip(
            ("training", "held out"), dataset.inputs, dataset.targets, strict=True
        )
    }
    return TableModel(
        model, dataset.reading, dataset.preprocessor, dataset.target,
        scores=scores, remarks=dataset.notes, history=history, form=form,
    )  # fmt: skip


def load(
    path: PathLike,
    *,
    separator: str | None = None,
    encoding: str | None = None,
    has_header: bool = True,
    sheet: str | None = None,
) -> TableModel:
    """Return the model in a file that `fastnn train --save` or `TableModel.save` has written.

    The extra `cli` has to be installed.

    Parameters
    ----------
    path : path-like
    separator : str, optional
        A single character between the values of CSV files that the model reads; " " is any number
        of blanks. By default it is found.
    encoding : str, optional
        Of CSV and JSON files, as in "latin-1"; by default UTF-8.
    has_header : bool
        Whether the first line of a CSV file or a sheet names the columns. If not, they are called
        "column_1", "column_2", ...
    sheet : str, optional
        The sheet of Excel files; by default the first one.

    Returns
    -------
    TableModel

    Raises
    ------
    FileFormatError
        For a file that is not of fastnn. It is a ValueError.
    ValueError
        For a model without the preprocessing of a table: :func:`fastnn.load` reads that. For an
        argument of a wrong value.
    OSError
        If the file cannot be read.
    ImportError
        Where polars is not installed.

    Examples
    --------
    >>> from fastnn import tables
    >>> points = {"x": list(range(40)), "side": ["left"] * 20 + ["right"] * 20}
    >>> tables.train(points, "side", epochs=5).save("side.safetensors")
    >>> model = tables.load("side.safetensors")
    >>> model
    <TableModel: classification of 'side' from 1 columns>
    >>> model.classes_
    ['left', 'right']
    >>> print(*model.predict({"x": [0, 39]}))
    left right
    """
    from . import models  # needs polars

    form = TextFormat(separator, encoding, has_header, sheet)
    _check_values(form._asdict())
    return models.load(path, form)


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value < high


def _is_count(value: Any, least: int = 1) -> bool:
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return is_whole and bool(value >= least)


def _are_names(value: Any) -> bool:
    return not isinstance(value, str) and all(isinstance(each, str) for each in value)


def _are_widths(value: Any) -> bool:
    return not isinstance(value, str | int) and len(value) > 0 and all(map(_is_count, value))


def _is_encoding(value: Any) -> bool:
    try:
        bytes(4).decode(value, "replace")  # raises for codecs of other things than text too
    except (LookupError, ValueError):
        return False
    return True


_NAMES = (_are_names, "a list of texts")
_COUNT = (_is_count, "a whole number of at least 1")
_FLAG = (lambda value: isinstance(value, bool), "True or False")
_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "drop": _NAMES,
    "categorical": _NAMES,
    "null": _NAMES,
    "day_first": _FLAG,
    "balanced": _FLAG,
    "max_categories": (lambda value: _is_count(value, 2), "a whole number of at least 2"),
    "validation_fraction": (
        lambda value: _is_number(value, 0, 1) and value > 0, "a number between 0 and 1"
    ),
    "dropout": (lambda value: _is_number(value, 0, 1), "a number of at least 0 and below 1"),
    "learning_rate": (
        lambda value: _is_number(value, 0, math.inf) and value > 0, "a finite number above 0"
    ),
    "hidden": (_are_widths, "whole numbers of at least 1, as in (64, 64)"),
    "epochs": _COUNT,
    "batch_size": _COUNT,
    "weight_decay": (
        lambda value: _is_number(value, 0, math.inf), "a finite number of at least 0"
    ),
    "patience": (lambda value: _is_count(value, 0), "a whole number of at least 0"),
    "separator": (lambda value: len(value.encode()) == 1, "a single character"),
    "encoding": (_is_encoding, "an encoding of text that Python knows, as in 'latin-1'"),
    "has_header": _FLAG,
    "sheet": (lambda value: isinstance(value, str) and bool(value), "the name of a sheet"),
}  # fmt: skip
_CHOICES: dict[str, Sequence[str]] = {
    "task": ("classification", "regression"),
    "decimal": (".", ","),
    "missing": ("refuse", "median", "mean"),
    "dtype": ("float32", "float64"),
    "activation": tuple(training.ACTIVATIONS),
    "optimizer": tuple(OPTIMIZERS),
}
_MAY_BE_NONE = (
    "task", "decimal", "day_first", "hidden", "epochs", "batch_size", "optimizer", "learning_rate",
    "weight_decay", "patience", "separator", "encoding", "sheet",
)  # fmt: skip


def _check(options: TrainOptions) -> None:
    """Raise TypeError for an unknown option, and ValueError for one of a wrong value."""
    known = TrainOptions.__annotations__
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = (
                f"; did you mean {near[0]}?" if near else f"; expected some of {', '.join(known)}"
            )
            raise TypeError(f"train() has no option {name!r}{hint}")
    _check_values(options)


def _check_values(options: Mapping[str, Any]) -> None:
    """Raise ValueError for an option of a wrong value."""
    for name, value in options.items():
        if value is None and name in _MAY_BE_NONE:
            continue
        if name in _CHOICES:
            choices = _CHOICES[name]
            if value not in choices:
                near = difflib.get_close_matches(str(value), choices, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                expected = ", ".join(map(repr, choices))
                raise ValueError(f"{name} is {value!r:.80}, expected one of {expected}{hint}")
            continue
        accepts, expected = _CHECKS[name]
        try:
            is_right = accepts(value)
        except (TypeError, AttributeError):
            is_right = False
        if not is_right:
            raise ValueError(f"{name} is {value!r:.80}, expected {expected}")
