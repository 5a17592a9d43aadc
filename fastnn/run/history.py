"""The history of a training run: curves of one value an epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..html import make_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The table of a long run shows so many of the first and of the last epochs.
_SHOWN = 10
# So many beside its picture in a notebook.
_SHOWN_BESIDE = 3


class History:
    """The curves of a training run: one value an epoch. `print` shows them as a table.

    A notebook shows them as a picture too, where matplotlib is installed.

    Attributes
    ----------
    epochs : list of int
        The numbers of the epochs, from 1.
    curves : dict of str to list of float
        All curves. Each is an attribute too, such as `history.loss`. The five below are empty
        lists if the run has no such curve.
    loss : list of float
        The mean over the samples of the epoch, each with the parameters before the step of its
        batch, weighted with `sample_weight` times `class_weight`, if given. It includes the penalty
        of the weights, if a layer has one.
    accuracy : list of float
        The fraction of right answers in the epoch, with the same parameters and weights. A
        regression has no accuracy.
    penalty : list of float
        The mean of the penalty of the weights, if a layer has one.
    val_loss : list of float
        On the validation data after the epoch, weighted with its `sample_weight`; empty without
        validation data.
    val_accuracy : list of float
        As `val_loss`. The metrics of `fit` are curves too: on the samples, and as `val_...` on the
        validation data.

    Examples
    --------
    >>> from fastnn.datasets import make_spiral
    >>> X, y = make_spiral(100, 3, rng=0)
    >>> layers = [fastnn.Dense(2, 16, rng=0), fastnn.ReLU(), fastnn.Dense(16, 3, rng=1)]
    >>> model = fastnn.Sequential(layers)
    >>> history = model.fit(X, y, epochs=2, seed=0)
    >>> history
    <History: 2 epochs, loss 1.0097, accuracy 0.3433>
    >>> [round(loss, 2) for loss in history.loss]
    [1.02, 1.01]
    """

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.curves: dict[str, list[float]] = {}

    def __getattr__(self, name: str) -> list[float]:
        known = ("loss", "accuracy", "penalty", "val_loss", "val_accuracy")
        curves: dict[str, list[float]] = self.__dict__.get("curves", {})
        if name in curves:
            return curves[name]
        if name in known:
            return []
        raise AttributeError(f"the history has no curve {name!r}, only {', '.join(curves)}")

    def append(self, epoch: int, curves: Mapping[str, float]) -> None:
        """Add the values of one epoch."""
        self.epochs.append(epoch)
        for name, value in curves.items():
            self.curves.setdefault(name, []).append(value)

    def _restore(self, epochs: list[int], curves: dict[str, list[float]]) -> None:
        """Replace all values by those of a checkpoint."""
        self.epochs, self.curves = epochs, curves

    def latest(self) -> dict[str, float]:
        """Return the curves' names with the values of the last epoch."""
        return {name: curve[-1] for name, curve in self.curves.items()}

    def to_dict(self) -> dict[str, list[Any]]:
        """Return {"epoch": [...], name of a curve: [...], ...} for a data frame."""
        return {"epoch": list(self.epochs), **{k: list(v) for k, v in self.curves.items()}}

    def plot(
        self, curves: Iterable[str] | None = None, *, axes: Axes | Iterable[Axes] | None = None
    ) -> list[Axes]:
        """Draw all curves, or the named ones; see `fastnn.plots.plot_history`."""
        from .history_plot import plot_curves  # not loaded with fastnn

        return plot_curves(self.epochs, self.curves, curves, axes)

    def __len__(self) -> int:
        return len(self.epochs)

    def __repr__(self) -> str:
        values = "".join(f", {name} {value:.4f}" for name, value in self.latest().items())
        return f"<History: {len(self)} epochs{values}>"

    def __str__(self) -> str:
        names, *rows = self._rows(_SHOWN)
        widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
        lines = (
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in [names, *rows]
        )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from .history_plot import draw_picture  # not loaded with fastnn

        names, *rows = self._rows(_SHOWN_BESIDE)
        return draw_picture(self.epochs, self.curves) + make_table(names, rows)

    def _rows(self, shown: int) -> list[list[str]]:
        """Return the header and the rows of the table, without the middle of a long run."""
        header = ["epoch", *self.curves]
        rows = [
            [str(epoch), *(f"{value:.4f}" for value in values)]
            for epoch, *values in zip(self.epochs, *self.curves.values(), strict=True)
        ]
        if len(rows) > 2 * shown:
            rows = [*rows[:shown], ["..."] * len(header), *rows[-shown:]]
        return [header, *rows]


def drop_incomplete(history: History) -> None:
    """Remove values of an incomplete epoch: Ctrl-C may leave some curves one value longer."""
    n_complete = min(len(history.epochs), min(map(len, history.curves.values()), default=0))
    del history.epochs[n_complete:]
    for values in history.curves.values():
        del values[n_complete:]
