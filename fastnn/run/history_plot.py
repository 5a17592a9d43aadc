"""A picture of the curves of a training run."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from ..figures import COLORS, as_panels, tidy
from ..html import make_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curves: TypeAlias = Mapping[str, Sequence[float]]


def plot_curves(
    epochs: Sequence[int],
    curves: Curves,
    names: Iterable[str] | None,
    axes: Axes | Iterable[Axes] | None,
) -> list[Axes]:
    """Draw curves of one value an epoch, as `fastnn.plots.plot_history` documents it.

    `names` says which of them: None for all, without the `val_` of those that are held out.
    """
    if isinstance(names, str):
        raise TypeError(f"curves is {names!r}, expected a list of names")
    if not curves:
        raise ValueError("history has no epochs, expected at least one")
    known = list(dict.fromkeys(name.removeprefix("val_") for name in curves))
    names = known if names is None else list(names)
    for name in names:
        if name not in known:
            raise ValueError(f"curves has {name!r}, expected some of {', '.join(known)}")
    panels = as_panels(axes, len(names))
    for ax, name in zip(panels, names, strict=True):
        _draw_curve(ax, name, epochs, curves)
    return panels


def draw_picture(epochs: Sequence[int], curves: Curves) -> str:
    """Return all curves as an image of HTML: nothing without epochs or without matplotlib."""
    if not curves or importlib.util.find_spec("matplotlib") is None:
        return ""
    from matplotlib.figure import Figure  # not pyplot, which would show the figure once more

    count = len({name.removeprefix("val_") for name in curves})
    n_columns = min(count, 3)
    n_rows = -(-count // n_columns)
    figure = Figure((3.8 * n_columns + 0.4, 2.9 * n_rows), dpi=144, layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    plot_curves(epochs, curves, None, panels[:count])
    for panel in panels[count:]:
        panel.set_visible(False)
    return make_picture(figure, "the curves of the training")


def _draw_curve(ax: Axes, name: str, epochs: Sequence[int], curves: Curves) -> None:
    from matplotlib.ticker import MaxNLocator

    lines = {"training": curves.get(name), "held out": curves.get(f"val_{name}")}
    parts = {label: values for label, values in lines.items() if values}
    for color, (label, values) in zip(COLORS, parts.items(), strict=False):
        marker = "o" if len(values) == 1 else None  # a line of one point is not seen
        ax.plot(epochs, values, color=color, linewidth=2, label=label, marker=marker)
    ax.set_xlabel("epoch")
    ax.set_ylabel(name.replace("_", " "))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    ax.margins(x=0.02)
    tidy(ax)
    if len(parts) > 1:
        ax.legend(frameon=False)
