"""Pictures of a training run and of its results: matplotlib, and scikit-learn's displays.

Each function draws on `ax`, or on a new figure of pyplot where `ax` is None, and returns the axes.
The colors are those of Okabe and Ito, which color-blind people can tell apart. Names of classes
are drawn literally: dollar signs in them do not start a formula.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .figures import (
    COLORS,
    MARKERS,
    QUIET,
    as_text,
    choose_colors,
    fade,
    import_sklearn,
    new_axes,
    set_ticks,
    shorten,
    tidy,
)
from .figures import require_libraries as require_libraries
from .run.history import History
from .run.history_plot import plot_curves
from .tables.inspection import plot_partial_dependence, plot_permutation_importance
from .types import Array, Floats, Integers
from .validation import as_anything, as_array, as_count, as_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .model import Sequential

__all__ = [
    "plot_calibration",
    "plot_confusion_matrix",
    "plot_decision_boundary",
    "plot_history",
    "plot_partial_dependence",
    "plot_permutation_importance",
    "plot_predictions",
]

COLOURS = COLORS  # the name that scripts know
_MOST_POINTS, _WORST_POINTS = 5_000, 500  # of predictions that are drawn
_MOST_CELLS = 20  # classes whose counts fit into the cells of a confusion matrix


def plot_history(
    history: History,
    curves: Iterable[str] | None = None,
    *,
    axes: Axes | Iterable[Axes] | None = None,
) -> list[Axes]:
    """Draw the curves of a training run, one panel for each: training and held-out values.

    Parameters
    ----------
    history : History
        At least one epoch.
    curves : list of str, optional
        Names such as ["loss"]; by default all. Each is drawn with its `val_` curve.
    axes : matplotlib Axes, or a list of them, one for each curve, optional

    Returns
    -------
    list of matplotlib Axes

    Raises
    ------
    TypeError, ValueError
        For anything but a History, a history without epochs, an unknown curve, or another number
        of axes than of curves.
    ImportError
        Where matplotlib is not installed.

    Examples
    --------
    >>> from fastnn.plots import plot_history
    >>> model = fastnn.Sequential([fastnn.Dense(2, 2, rng=0)])
    >>> history = model.fit(np.eye(2), [0, 1], epochs=5)
    >>> loss, accuracy = plot_history(history)
    >>> loss.get_ylabel()
    'loss'
    """
    if not isinstance(history, History):
        raise TypeError(f"history is {history!r}, expected a History, as `fit` returns it")
    return plot_curves(history.epochs, history.curves, curves, axes)


def plot_confusion_matrix(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how many samples of each true class (row) were predicted as which class (column).

    The colors show shares of the row, so that rare and frequent classes look alike.

    Parameters
    ----------
    y_true : array-like of shape (N,)
        True labels, of any kind.
    y_pred : array-like of shape (N,)
        Predicted labels.
    class_names : list of str, optional
        Names of the labels 0, 1, ...; by default the names are the labels that occur, sorted.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        For no samples, arrays of different length, or labels without a name.
    ImportError
        Where matplotlib or scikit-learn is not installed.

    Examples
    --------
    >>> from fastnn.plots import plot_confusion_matrix
    >>> ax = plot_confusion_matrix(["cat", "dog", "dog"], ["cat", "cat", "dog"])
    >>> ax.get_xlabel()
    'predicted class'
    """
    true, predicted = _pair(y_true, y_pred, "y_pred")
    labels = np.union1d(true, predicted)
    if class_names is not None:
        labels = np.arange(len(class_names))
        for array, name in ((true, "y_true"), (predicted, "y_pred")):
            if not np.isin(array, labels).all():
                wrong = array[~np.isin(array, labels)][0]
                raise ValueError(f"{name} has {wrong}, expected 0 to {len(labels) - 1}")
    metrics = import_sklearn("metrics")
    counts = metrics.confusion_matrix(true, predicted, labels=labels)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [shorten(name) for name in (labels if class_names is None else class_names)]
    return _draw_matrix(metrics.ConfusionMatrixDisplay(shares, display_labels=names), counts, ax)


def _draw_matrix(display: Any, counts: Array, ax: Axes | None) -> Axes:
    names = list(display.display_labels)
    many = len(names) > _MOST_CELLS
    if ax is None:
        side = min(9, 3.2 + 0.32 * len(names))
        ax = new_axes(side + 1.5 * many, side)
    display.plot(
        ax=ax, cmap="Blues", colorbar=many, include_values=not many,
        im_kw={"vmin": 0, "vmax": 1},
    )  # fmt: skip
    if many:
        step = -(-len(names) // _MOST_CELLS)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_ticks(range(0, len(names), step), names[::step])
        display.im_.colorbar.set_label("share of the true class")
    else:
        for text, count, share in zip(
            display.text_.flat, counts.flat, display.confusion_matrix.flat, strict=True
        ):
            text.set_text(f"{count:,}")
            text.set_color("white" if share > 0.5 else "black" if count else "#a0a0a0")
            text.set_fontsize(9 if len(names) > 6 or counts.max() > 9999 else 11)
    if sum(map(len, names)) > 24 or max(map(len, names)) > 24 // len(names):
        ax.tick_params(axis="x", labelrotation=45 if len(names) <= 12 else 90)
        if len(names) <= 12:
            for tick in ax.get_xticklabels():
                tick.set(ha="right", rotation_mode="anchor")
    ax.tick_params(length=0)
    ax.set(xlabel="predicted class", ylabel="true class")
    return ax


def plot_decision_boundary(
    model: Sequential,
    X: ArrayLike,
    y: ArrayLike | None = None,
    *,
    class_names: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
    ax: Axes | None = None,
    resolution: int = 300,
) -> Axes:
    """Draw the class that a model predicts at each point of the plane, and how sure it is.

    A color fades to white where the class becomes improbable; lines separate the classes.

    Parameters
    ----------
    model : Sequential
        A classifier of two features: of classes, or of one yes-or-no answer.
    X : array-like of shape (N, 2)
        Samples, as the model takes them. They determine the limits of the picture.
    y : array-like of shape (N,), optional
        Labels 0 to C - 1. With labels, the samples are drawn, with a marker for each class.
    class_names : list of str, optional
        By default the numbers of the classes.
    feature_names : list of str, optional
        By default "feature 0" and "feature 1".
    ax : matplotlib Axes, optional
    resolution : int
        Points along each side of the grid on which the model predicts.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        For samples that do not have two features, and labels that the model does not know.
    AttributeError
        For a regression model.
    ImportError
        Where matplotlib or scikit-learn is not installed.

    Examples
    --------
    >>> from fastnn.plots import plot_decision_boundary
    >>> from fastnn.datasets import make_spiral
    >>> X, y = make_spiral(100, 3, rng=0)
    >>> layers = [fastnn.Dense(2, 16, rng=0), fastnn.ReLU(), fastnn.Dense(16, 3, rng=1)]
    >>> model = fastnn.Sequential(layers)
    >>> ax = plot_decision_boundary(model, X, y, class_names=["a", "b", "c"], resolution=50)
    >>> ax.figure.savefig("regions.png")
    """
    X = as_rows(X, "X", n_features=2, allow_empty=False)
    resolution = as_count(resolution, "resolution")
    limits = [_widened(X[:, 0]), _widened(X[:, 1])]
    xx0, xx1 = np.meshgrid(*(np.linspace(*ends, resolution) for ends in limits))
    probabilities = _as_classes(model.predict_proba(np.stack([xx0.ravel(), xx1.ravel()], axis=1)))
    n_classes = probabilities.shape[1]
    names = [str(k) for k in range(n_classes)] if class_names is None else list(class_names)
    if len(names) != n_classes:
        raise ValueError(f"class_names has {len(names)} names, expected {n_classes}")
    titles = ["feature 0", "feature 1"] if feature_names is None else list(feature_names)
    if len(titles) != 2:
        raise ValueError(f"feature_names has {len(titles)} names, expected 2")
    if y is not None:
        y, _ = _pair(y, X[:, 0], "X", "y")
        if not np.isin(y, np.arange(n_classes)).all():
            wrong = y[~np.isin(y, np.arange(n_classes))][0]
            raise ValueError(f"y has {wrong}, expected labels from 0 to {n_classes - 1}")
    if ax is None:
        ax = new_axes(6.2, 5.2)
    _draw_regions(ax, xx0, xx1, probabilities.reshape(resolution, resolution, n_classes))
    if y is not None:
        for k, (color, name) in enumerate(zip(choose_colors(n_classes), names, strict=True)):
            ax.scatter(
                X[y == k, 0], X[y == k, 1], s=26, color=color, marker=MARKERS[k % len(MARKERS)],
                edgecolor="white", linewidth=0.6, label=shorten(name),
            )  # fmt: skip
        ax.legend(title="class", loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    ax.set(xlim=limits[0], ylim=limits[1], xlabel=as_text(titles[0]), ylabel=as_text(titles[1]))
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax


def _draw_regions(ax: Axes, xx0: Array, xx1: Array, probabilities: Floats) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    n_classes = probabilities.shape[2]
    colors = choose_colors(n_classes)
    options: dict[str, Any] = {"vmin": 0, "vmax": 2}  # pale: samples lie on top of it
    response = probabilities
    if n_classes == 2:
        tints: Any = [fade(colors[0]), "white", fade(colors[1])]
        options = {"vmin": 0, "vmax": 1, "cmap": LinearSegmentedColormap.from_list("two", tints)}
        response = probabilities[:, :, 1]
    display = import_sklearn("inspection").DecisionBoundaryDisplay(
        xx0=xx0, xx1=xx1, n_classes=n_classes, response=response, multiclass_colors=colors
    )
    # Pixels, not a million paths, also where the picture is saved as PDF.
    display.plot(ax=ax, plot_method="pcolormesh", rasterized=True, shading="nearest", **options)
    for k in range(n_classes if n_classes > 2 else 1):
        others = np.delete(probabilities, k, axis=2).max(axis=2)
        lead = probabilities[:, :, k] - others
        if lead.min() < 0 < lead.max():
            ax.contour(xx0, xx1, lead, levels=[0], colors="#404040", linewidths=0.8)


def plot_calibration(
    y_true: ArrayLike, probabilities: ArrayLike, *, n_bins: int = 10, ax: Axes | None = None
) -> Axes:
    """Draw how often a model is right against its predicted probability.

    For two classes: the share of class 1 against the probability of class 1. For more: how often
    the most probable class is right against its probability (Guo and others, "On Calibration of
    Modern Neural Networks", 2017). Bars show the share of the samples in each bin.

    Parameters
    ----------
    y_true : array-like of shape (N,)
        Labels 0 to C - 1.
    probabilities : array-like of shape (N,), (N, 1) or (N, C)
        Probabilities, as `predict_proba` returns them.
    n_bins : int
        The number of bins of equal width from 0 to 1; empty ones are left out.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        For no samples, arrays of different length, or numbers outside of [0, 1].
    ImportError
        Where matplotlib or scikit-learn is not installed.

    Examples
    --------
    >>> from fastnn.plots import plot_calibration
    >>> ax = plot_calibration([0, 1, 1, 0], [0.1, 0.9, 0.6, 0.4], n_bins=5)
    >>> ax.get_ylabel()
    'share of class 1'
    """
    probabilities = as_array(probabilities, "probabilities")
    true, probabilities = _pair(y_true, probabilities, "probabilities")
    if not (probabilities.min() >= 0 and probabilities.max() <= 1):
        raise ValueError("probabilities has numbers outside of [0, 1], expected probabilities")
    n_bins = as_count(n_bins, "n_bins")
    rows = _as_classes(probabilities.reshape(len(true), -1))
    if not np.isin(true, np.arange(rows.shape[1])).all():
        wrong = true[~np.isin(true, np.arange(rows.shape[1]))][0]
        raise ValueError(f"y_true has {wrong}, expected labels from 0 to {rows.shape[1] - 1}")
    if rows.shape[1] == 2:
        sure, right = rows[:, 1], true == 1
        labels = {"xlabel": "predicted probability of class 1", "ylabel": "share of class 1"}
    else:
        sure, right = rows.max(axis=1), rows.argmax(axis=1) == true
        labels = {"xlabel": "probability of the predicted class", "ylabel": "share that is right"}
    display = import_sklearn("calibration").CalibrationDisplay
    if ax is None:
        ax = new_axes(5, 4.6)
    shares, edges = np.histogram(sure, bins=n_bins, range=(0, 1))
    ax.bar(
        edges[:-1], shares / len(sure), 1 / n_bins, align="edge", color="#cfd8dc",
        edgecolor="white", label="samples",
    )  # fmt: skip
    # Rounding may put a float32 a hair beyond 1.
    display.from_predictions(
        right.astype(int), np.clip(sure.astype(float), 0, 1), n_bins=n_bins, pos_label=1,
        name="model", ax=ax, color=COLORS[0], linewidth=2, ref_line=False,
    )  # fmt: skip
    ax.plot([0, 1], [0, 1], color=QUIET, linestyle="--", linewidth=1, label="perfect")
    ax.set(xlim=(0, 1), ylim=(0, 1.02), **labels)
    tidy(ax)
    ax.legend(frameon=False, loc="best", fontsize="small")  # the curve may go anywhere
    return ax


def plot_predictions(y_true: ArrayLike, y_pred: ArrayLike, *, ax: Axes | None = None) -> Axes:
    """Draw predicted against true values: those of a perfect model lie on the diagonal.

    Parameters
    ----------
    y_true : array-like of shape (N,)
        Targets. Of more than 5,000 samples, the 500 with the largest errors are shown, and a random
        choice of 4,500 others. The legend says how many there are.
    y_pred : array-like of shape (N,)
        Predictions.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    TypeError, ValueError
        For no samples, arrays of different length, and values that are not numbers.
    ImportError
        Where matplotlib or scikit-learn is not installed.

    Examples
    --------
    >>> from fastnn.plots import plot_predictions
    >>> ax = plot_predictions([1.0, 2.0, 3.0], [1.1, 1.9, 3.2])
    >>> ax.get_xlabel()
    'predicted'
    """
    true, predicted = _pair(as_array(y_true, "y_true"), as_array(y_pred, "y_pred"), "y_pred")
    display = import_sklearn("metrics").PredictionErrorDisplay
    if ax is None:
        ax = new_axes(5, 4.6)
    few, label, n = len(true) <= 300, "samples", len(true)
    if n > _MOST_POINTS:
        shown = _choose_points(np.abs(predicted.astype(np.float64) - true))
        true, predicted = true[shown], predicted[shown]
        label = f"{_MOST_POINTS:,} of {n:,} samples,\nwith the {_WORST_POINTS} worst"
    display.from_predictions(
        true, predicted, kind="actual_vs_predicted", subsample=None, ax=ax,
        scatter_kwargs={
            "color": COLORS[0], "s": 22 if few else 10, "alpha": 0.7 if few else 0.35,
            "linewidth": 0, "label": label,
        },
        line_kwargs={"color": QUIET, "linestyle": "--", "linewidth": 1, "label": "perfect"},
    )  # fmt: skip
    ax.set(xlabel="predicted", ylabel="true")
    for axis in (ax.xaxis, ax.yaxis):  # round numbers in place of those of the data
        set_ticks(axis, max(np.abs(true).max(), np.abs(predicted).max()))
    ax.set_aspect("equal", adjustable="datalim")
    tidy(ax)
    ax.legend(frameon=False, loc="upper left")
    return ax


def _choose_points(errors: Floats) -> Integers:
    """Return the indices of the samples to draw: the worst, and others at random."""
    order = np.argsort(-errors, kind="stable")
    others = order[_WORST_POINTS:]
    drawn = np.random.default_rng(0).choice(others, _MOST_POINTS - _WORST_POINTS, replace=False)
    shown: Integers = np.sort(np.concatenate([order[:_WORST_POINTS], drawn]))
    return shown


# ---------------------------------------------------------------------- input


def _pair(
    true: ArrayLike, other: ArrayLike, other_name: str, name: str = "y_true"
) -> tuple[Array, Array]:
    """Return two arrays of the same number of samples; the first is (N,)."""
    true, other = as_anything(true, name), as_anything(other, other_name)
    if true.ndim != 1 or len(true) == 0:
        raise ValueError(
            f"{name} has shape {true.shape}, expected (n_samples,), at least one sample"
        )
    wanted = (1,) if other_name != "probabilities" else (1, 2)
    if other.ndim not in wanted or len(other) != len(true):
        expected = "expected as many samples as " + name
        raise ValueError(f"{other_name} has shape {other.shape}, {expected}, {len(true)}")
    return true, other


def _as_classes(probabilities: Array) -> Array:
    """Return probabilities (N, C), also from the probability of one class, (N,) or (N, 1)."""
    rows = probabilities.reshape(len(probabilities), -1)
    return np.hstack([1 - rows, rows]) if rows.shape[1] == 1 else rows


def _widened(values: Array, part: float = 0.08) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    room = part * (high - low) or 1.0
    return low - room, high + room
