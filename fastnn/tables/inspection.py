"""What a model of a table has learned of each column, by scikit-learn's inspection.

scikit-learn and matplotlib are imported when a picture is drawn.
"""

from __future__ import annotations

import datetime
import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import metrics
from ..figures import (
    COLORS,
    QUIET,
    as_panels,
    as_text,
    import_sklearn,
    new_axes,
    new_panels,
    set_ticks,
    shorten,
    tidy,
)
from ..types import Array, Floats
from ..validation import as_count
from .table import one_of

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

    from .columns import Column
    from .models import TableModel

_MOST_ROWS = 2_000  # of the importance of columns
_MOST_CELLS = 400_000
_LEAST_ROWS = 200
_ROWS_OF_CURVES = 500
_POINTS = 40  # of a curve
_REPEATS = 5
_MOST_BARS = 10
MOST_COLUMNS = 1_000
"""Of a table with more columns the importance would take minutes."""

_MICROSECONDS = 86_400e6  # a day


class Importance(NamedTuple):
    """How much worse a model is where the values of a column are shuffled."""

    columns: list[str]
    """The most important one first."""

    means: Floats
    """Of several shuffles: accuracy or R2 that is lost."""

    deviations: Floats
    score: str
    """The name of the score in words."""


class Inspection:
    """A model of a table, and rows of it as numbers, which scikit-learn can shuffle.

    Parameters
    ----------
    model : TableModel
    frame : polars.DataFrame
        Typed columns, as `TableModel.inputs` returns them.
    y : ndarray of shape (N,), optional
        Class numbers, or values in the units of the target. The importance needs them.
    seed : int
    """

    def __init__(
        self, model: TableModel, frame: pl.DataFrame, y: Array | None = None, seed: int = 0
    ) -> None:
        self.model, self.seed = model, seed
        self.columns: list[Column] = model.preprocessor.columns
        self.names = [column.name for column in self.columns]
        most = min(_MOST_ROWS, max(_LEAST_ROWS, _MOST_CELLS // max(1, len(self.columns))))
        if len(frame) > most:
            rows = np.sort(np.random.default_rng(seed).permutation(len(frame))[:most])
            frame, y = frame[rows], None if y is None else y[rows]
        self.y = y
        self._codes: list[Any] = []
        """The categories of each column of categories, in the order of their numbers."""

        self.Z = self._numbers_of(frame)
        """(N, C): numbers as they are, the places of categories, days of dates since 1970."""

        self._features = model.preprocessor.transform(self._frame_of(self.Z), model.model.dtype)

    @property
    def is_classification(self) -> bool:
        """Whether the model predicts classes."""
        return self.model.target.task == "classification"

    # ------------------------------------------------------------------ columns as numbers

    def _numbers_of(self, frame: pl.DataFrame) -> Floats:
        Z = np.empty((len(frame), len(self.columns)))
        for j, column in enumerate(self.columns):
            series = frame[column.name]
            codes: Any = None
            if column.kind == "number":
                values = series if column.fill is None else series.fill_null(column.fill)
                Z[:, j] = values.to_numpy()
            elif column.kind == "category":
                texts = series if column.fill is None else series.fill_null(column.fill)
                codes, places = np.unique(texts.to_numpy().astype(object), return_inverse=True)
                Z[:, j] = places
            else:
                micros = _filled_moments(column, series).dt.epoch("us").to_numpy()
                Z[:, j] = micros / _MICROSECONDS
            self._codes.append(codes)
        return Z

    def _frame_of(self, Z: Floats) -> pl.DataFrame:
        from .libraries import polars as pl

        return pl.DataFrame([self._series_of(Z[:, j], j) for j in range(len(self.columns))])

    def _series_of(self, values: Floats, j: int) -> pl.Series:
        """Return numbers of the column j as what the preprocessor takes."""
        from .libraries import polars as pl

        column = self.columns[j]
        if column.kind == "number":
            return pl.Series(column.name, values)
        if column.kind == "category":
            texts = self._codes[j][values.astype(np.int64)]
            return pl.Series(column.name, texts.tolist(), dtype=pl.String)
        micros = np.rint(values * _MICROSECONDS).astype(np.int64)
        return pl.Series(column.name, micros).cast(pl.Datetime("us"))

    def _inputs_of(self, Z: Floats) -> Floats:
        """Return the inputs of the network; only columns with other values are computed anew."""
        X = self._features.copy()
        at = 0
        for j, column in enumerate(self.columns):
            end = at + len(column.feature_names)
            if not np.array_equal(Z[:, j], self.Z[:, j]):
                frame = self._series_of(Z[:, j], j).to_frame()
                parts = [part.alias(str(i)) for i, part in enumerate(column.expressions())]
                X[:, at:end] = frame.select(parts).to_numpy()
            at = end
        return X

    # ------------------------------------------------------------------ for scikit-learn

    def predict(self, Z: Floats) -> Array:
        """Return class numbers, or values in the units of the target."""
        predicted: Any = self.model.model.predict(self._inputs_of(Z))
        return predicted if self.is_classification else np.asarray(
            self.model.target.decode(predicted)
        )  # fmt: skip

    def predict_proba(self, Z: Floats) -> Floats:
        """Return the probabilities of the classes."""
        return self.model.model.predict_proba(self._inputs_of(Z))

    def score(self, Z: Floats, y: Array) -> float:
        """Return the accuracy, or R2."""
        predicted = self.predict(Z)
        target: Any = self.model.target
        if self.is_classification:
            return metrics.accuracy(y, predicted)
        return metrics.r2(target.standardize(y), target.standardize(predicted))

    def importance(self, n_repeats: int = _REPEATS) -> Importance:
        """Return how much of the score each column is worth, as `permutation_importance` has it."""
        found = import_sklearn("inspection").permutation_importance(
            _as_estimator(self), self.Z, self.y, n_repeats=n_repeats, random_state=self.seed,
            scoring=lambda estimator, Z, y: self.score(Z, y),
        )  # fmt: skip
        order = np.argsort(-found.importances_mean, kind="stable")
        return Importance(
            [self.names[j] for j in order], found.importances_mean[order],
            found.importances_std[order], "accuracy" if self.is_classification else "R2",
        )  # fmt: skip

    # ------------------------------------------------------------------ pictures

    def draw_importance(self, ax: Axes, importance: Importance, most: int = _MOST_BARS) -> None:
        """Draw a bar for each of the most important columns."""
        n = min(most, len(importance.columns))
        places = np.arange(n)[::-1]
        ax.barh(
            places, importance.means[:n], xerr=importance.deviations[:n], color=COLORS[0],
            height=0.7, error_kw={"ecolor": QUIET, "elinewidth": 1.2},
        )  # fmt: skip
        ax.set_yticks(places, [shorten(name) for name in importance.columns[:n]])
        ax.set_ylim(-0.6, n - 0.4)
        tidy(ax)
        ax.grid(visible=False, axis="y")
        ax.set_xlabel(f"{importance.score} lost when shuffled")
        set_ticks(ax.xaxis, float(np.abs(importance.means[:n]).max()), 4)
        if n < len(importance.columns):
            ax.set_title(f"{n} of {len(importance.columns):,} columns", fontsize=10)

    def draw_dependence(self, ax: Axes, name: str) -> None:
        """Draw what the model predicts on average for the values of a column."""
        inspection = import_sklearn("inspection")
        j = self.names.index(name)
        column = self.columns[j]
        is_category = column.kind == "category"
        few = Inspection.of_rows(self, _ROWS_OF_CURVES)
        result = inspection.partial_dependence(
            _as_estimator(few), few.Z, [j], categorical_features=[is_category] * len(self.names),
            grid_resolution=_POINTS, percentiles=(0.02, 0.98), kind="average", method="brute",
            response_method="predict_proba" if self.is_classification else "auto",
        )  # fmt: skip
        labels = self.model.classes_
        n_curves = len(result["average"])
        shown = range(n_curves) if n_curves > 2 or not self.is_classification else [n_curves - 1]
        for k in shown:
            display = inspection.PartialDependenceDisplay(
                pd_results=[result], features=[(j,)], feature_names=self.names, target_idx=k,
                deciles={}, kind="average", is_categorical=[(False,)],
            )  # fmt: skip
            color = COLORS[k % len(COLORS)] if len(shown) > 1 else COLORS[0]
            # Bars would have to begin at 0, far from the values of many targets.
            style = {"marker": "o", "linestyle": "none"} if is_category else {"linewidth": 2}
            label = None if labels is None else shorten(labels[k])
            display.plot(ax=np.array([ax]), line_kw={"color": color, "label": label, **style})
        self._finish(ax, column, result["grid_values"][0], j)
        if labels is None:
            ax.set_ylabel(as_text(self.model.target_name))
        elif len(shown) == 1:
            ax.set_ylabel(f"probability of {shorten(labels[-1])}")
        else:
            ax.set_ylabel("probability")
        if (legend := ax.get_legend()) is not None:
            legend.remove()

    def _finish(self, ax: Axes, column: Column, values: Array, j: int) -> None:
        """Give the axes of a curve their ticks and titles."""
        tidy(ax)
        ax.set_xlabel(shorten(column.name))
        low, high = ax.dataLim.intervaly
        set_ticks(ax.yaxis, max(abs(low), abs(high)), 5)
        ax.set_ylim(*((-0.04, 1.04) if self.is_classification else _widened(low, high)))
        if column.kind == "number":
            low, high = ax.dataLim.intervalx
            set_ticks(ax.xaxis, max(abs(low), abs(high)), 4)
        elif column.kind == "date":
            dates: Any = importlib.import_module("matplotlib.dates")
            locator = dates.AutoDateLocator(minticks=2, maxticks=5)
            ax.xaxis.set_major_locator(locator)
            ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
        else:
            names = [shorten(text) for text in self._codes[j]]
            ax.set_xlim(-0.5, len(names) - 0.5)
            step = -(-len(names) // 8)
            ax.set_xticks(range(0, len(names), step), names[::step])
            if sum(len(name) + 2 for name in names[::step]) > 20:
                ax.tick_params(axis="x", labelrotation=30)
                for tick in ax.get_xticklabels():
                    tick.set(ha="right", rotation_mode="anchor")

    def draw_dependences(
        self, panels: Sequence[Axes], names: Sequence[str], *, outside: bool
    ) -> None:
        """Draw the curves of some columns, with the same limits and one legend.

        With `outside` the legend stands above all panels of the figure.
        """
        for ax, name in zip(panels, names, strict=True):
            self.draw_dependence(ax, name)
        if self.is_classification:
            if len(self.model.classes_ or ()) > 2 and len(panels):
                place: Any = panels[0].figure if outside else panels[0]
                options = {"loc": "outside upper center", "ncols": 4} if outside else {}
                handles, labels = panels[0].get_legend_handles_labels()
                place.legend(handles, labels, frameon=False, fontsize="small", **options)
            return
        limits = np.array([ax.get_ylim() for ax in panels])
        for ax in panels:
            ax.set_ylim(limits[:, 0].min(), limits[:, 1].max())

    def of_rows(self, most: int) -> Inspection:
        """Return the same model with at most so many of the rows."""
        if len(self.Z) <= most:
            return self
        few = Inspection.__new__(Inspection)
        vars(few).update(vars(self))
        few.Z, few._features = self.Z[:most], self._features[:most]
        few.y = None if self.y is None else self.y[:most]
        return few

    def can_draw_dependence(self) -> bool:
        """Whether the classes are few enough for a color each."""
        labels = self.model.classes_
        return labels is None or len(labels) <= len(COLORS)


def _widened(low: float, high: float) -> tuple[float, float]:
    room = 0.05 * (high - low) or 1.0
    return low - room, high + room


def _filled_moments(column: Any, series: pl.Series) -> pl.Series:
    if column.fill is None:
        return series
    return series.fill_null(datetime.datetime.fromisoformat(column.fill))


def _as_estimator(inspection: Inspection) -> Any:
    """Return an estimator of scikit-learn that predicts as a model does."""
    base = import_sklearn("base")
    kind = base.ClassifierMixin if inspection.is_classification else base.RegressorMixin
    labels = inspection.model.classes_
    members: dict[str, Any] = {
        "fit": lambda self, Z, y: self,
        "__sklearn_is_fitted__": lambda self: True,
        "predict": lambda self, Z: inspection.predict(Z),
    }
    if labels is not None:
        members |= {
            "predict_proba": lambda self, Z: inspection.predict_proba(Z),
            "classes_": np.arange(len(labels)),
        }
    return type("TableEstimator", (kind, base.BaseEstimator), members)()


def _inspect(model: Any, data: Any, needs_target: bool) -> Inspection:
    from .frames import as_table
    from .models import TableModel
    from .targets import leave_out_missing

    if not isinstance(model, TableModel):
        raise TypeError(f"model is {model!r:.80}, expected a TableModel of fastnn.tables")
    table = as_table(data, form=model.form)
    if not needs_target:
        _, frame = model.inputs(model.read(table))
        return Inspection(model, frame)
    table.require(model.target_name, "the target of the model")
    table, _ = leave_out_missing(model.read(table, target=True), model.target_name)
    _, frame = model.inputs(table)
    return Inspection(model, frame, model.target.encode(table))


def plot_permutation_importance(
    model: TableModel,
    data: Any,
    *,
    n_repeats: int = _REPEATS,
    max_columns: int = _MOST_BARS,
    ax: Axes | None = None,
) -> Axes:
    """Draw how much worse a model of a table is where the values of one column are shuffled.

    A long bar stands for a column that the predictions depend on. The columns are those of the
    table, also where a column has several features. The score is the accuracy of classes, or R2.
    The numbers come from `sklearn.inspection.permutation_importance`; lines show the standard
    deviation over the shuffles. Of two columns that say the same, both may have short bars.

    Parameters
    ----------
    model : TableModel
        From :func:`fastnn.tables.train` or :func:`fastnn.tables.load`.
    data : path or table
        Rows with the target, that the model was not trained on. Of more than 2,000 rows, 2,000
        are drawn at random, of wide tables fewer.
    n_repeats : int
        How often each column is shuffled.
    max_columns : int
        The bars at most, those of the most important columns.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    TypeError, ValueError
        For another model, and for data as :meth:`TableModel.evaluate` does.
    ImportError
        Where matplotlib or scikit-learn is not installed.

    Examples
    --------
    >>> from fastnn import tables
    >>> from fastnn.plots import plot_permutation_importance
    >>> houses = {"size": [*range(50)], "town": ["Bern", "Oslo"] * 25}
    >>> houses["price"] = [2 * size for size in houses["size"]]
    >>> model = tables.train(houses, "price", epochs=50)
    >>> ax = plot_permutation_importance(model, houses)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['size', 'town']
    """
    n_repeats = as_count(n_repeats, "n_repeats")
    max_columns = as_count(max_columns, "max_columns")
    inspection = _inspect(model, data, needs_target=True)
    importance = inspection.importance(n_repeats)
    if ax is None:
        ax = new_axes(5.4, 1.2 + 0.32 * min(max_columns, len(inspection.names)))
    inspection.draw_importance(ax, importance, max_columns)
    return ax


def plot_partial_dependence(
    model: TableModel,
    data: Any,
    columns: Sequence[str] | None = None,
    *,
    axes: Axes | Sequence[Axes] | None = None,
) -> list[Axes]:
    """Draw what a model of a table predicts on average for the values of a column.

    Each point is the mean prediction where all rows have that value in the column, and what they
    have in the others: scikit-learn's `partial_dependence` and its display. Of classes it is the
    probability; of two classes, that of the second. Between columns that depend on each other, such
    rows may not exist.

    Parameters
    ----------
    model : TableModel
        From :func:`fastnn.tables.train` or :func:`fastnn.tables.load`.
    data : path or table
        Rows of the table; of more than 500 the means are over a random choice.
    columns : list of str, optional
        By default all columns, at most 12.
    axes : matplotlib Axes, or a list of them, one for each column, optional

    Returns
    -------
    list of matplotlib Axes

    Raises
    ------
    TypeError, ValueError
        For another model, an unknown column, more than 7 classes, and for data as
        :meth:`TableModel.predict` does.
    ImportError
        Where matplotlib or scikit-learn is not installed.

    Examples
    --------
    >>> from fastnn import tables
    >>> from fastnn.plots import plot_partial_dependence
    >>> houses = {"size": [*range(50)], "town": ["Bern", "Oslo"] * 25}
    >>> houses["price"] = [2 * size for size in houses["size"]]
    >>> model = tables.train(houses, "price", epochs=50)
    >>> size, town = plot_partial_dependence(model, houses)
    >>> size.get_xlabel(), town.get_ylabel()
    ('size', 'price')
    """
    inspection = _inspect(model, data, needs_target=False)
    names = inspection.names[:12] if columns is None else [*columns]
    for name in names:
        if name not in inspection.names:
            raise ValueError(f"columns has {name!r:.80}, expected {one_of(name, inspection.names)}")
    if not inspection.can_draw_dependence():
        raise ValueError(
            f"the model has {len(model.classes_ or ()):,} classes, expected at most {len(COLORS)}"
        )
    if axes is None:
        panels = new_panels(min(3.4 * len(names), 13) + 0.4, 3.2, len(names))
    else:
        panels = as_panels(axes, len(names))
    inspection.draw_dependences(panels, names, outside=axes is None)
    return panels
