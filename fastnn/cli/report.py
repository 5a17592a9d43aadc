"""The page of pictures that `--plot` writes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import plots
from ..figures import as_text
from ..run.history import History
from ..types import PathLike
from . import outputs
from .assessment import Assessment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..tables.targets import Target

SUFFIXES = (".png", ".pdf", ".svg")
_CURVES = 4.8  # inches


def check(path: PathLike) -> None:
    """Raise an error before any work where no picture can be written."""
    outputs.check(path, "--plot", SUFFIXES)
    plots.require_libraries()


def write(path: PathLike, *page: Any) -> None:
    """Write what `draw` returns for the arguments `page`."""
    kind = Path(path).suffix[1:].lower()
    with warnings.catch_warnings():
        # A letter that is in no installed font is drawn as a box.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure = draw(*page)
        outputs.write(path, lambda file: figure.savefig(file, format=kind))


def draw(
    history: History | None, assessment: Assessment, target: Target, title: str, part: str
) -> Figure:
    """Return a figure of the curves of `history`, unless None, and of an assessment.

    The assessment of the part of the data named `part` is drawn as a confusion matrix of classes,
    or as predicted against true values.
    """
    from matplotlib.figure import Figure  # not pyplot, which would ask for a window

    labels = target.labels if target.task == "classification" else None
    curves = [name for name in ("loss", "accuracy") if history and name in history.curves]
    side = min(9, max(4.6, 2.6 + 0.34 * len(labels))) if labels else 4.6
    size = side + 0.6 + _CURVES * bool(curves), side + 0.6
    figure = Figure(size, dpi=150, layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0.12, h_pad=0.12, wspace=0.04)
    figure.suptitle(as_text(title), fontsize=13)
    right: Any = figure
    if history and curves:
        parts: Any = figure.subfigures(1, 2, width_ratios=(_CURVES, side))
        left, right = parts
        panels = left.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
        plots.plot_history(history, curves, axes=panels)
        for panel in panels[:-1]:
            panel.set_xlabel("")
    ax = right.subplots()
    part, name = as_text(part), as_text(target.name)
    if labels:
        plots.plot_confusion_matrix(
            assessment.true, assessment.predicted, class_names=labels, ax=ax
        )
        ax.set_title(f"{part}: accuracy {assessment.scores['accuracy']:.4f}", fontsize=11)
    else:
        plots.plot_predictions(assessment.true, assessment.predicted, ax=ax)
        ax.set_title(f"{part}: R2 {assessment.scores['r2']:.4f}", fontsize=11)
        ax.set(xlabel=f"{name}, predicted", ylabel=f"{name}, true")
    return figure
