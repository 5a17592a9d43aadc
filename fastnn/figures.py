"""Axes, colors and text of pictures.

matplotlib and scikit-learn are imported when a picture is drawn.
"""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from .requirements import missing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# Okabe and Ito's colors, which color-blind people can tell apart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
QUIET = "#767676"
_GRID = "#dddddd"
_LARGE = 10_000.0  # numbers on an axis that has units from here on
_LONGEST = 16  # letters of a name in a picture


def require_libraries() -> None:
    """Raise ImportError where matplotlib or scikit-learn is not installed."""
    import_sklearn("metrics")


def import_sklearn(module: str) -> Any:
    """Return a module of scikit-learn, such as "metrics", after pyplot has been imported."""
    _import_pyplot()
    try:
        return importlib.import_module(f"sklearn.{module}")
    except ModuleNotFoundError:
        raise missing("this picture needs", "scikit-learn", "plot") from None


def _import_pyplot() -> ModuleType:
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError:
        raise missing("pictures need", "matplotlib", "plot") from None
    return plt


def new_axes(width: float, height: float) -> Axes:
    """Return the axes of a new figure of pyplot's; sizes are in inches."""
    return new_panels(width, height, 1)[0]


def new_panels(width: float, height: float, count: int) -> list[Axes]:
    """Return `count` axes side by side on a new figure of pyplot's; sizes are in inches."""
    figure, axes = _import_pyplot().subplots(
        1, count, figsize=(width, height), layout="constrained", squeeze=False
    )
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    return list(axes[0])


def as_panels(axes: Axes | Iterable[Axes] | None, count: int) -> list[Axes]:
    """Return the axes of `count` curves: those of the caller, or new ones where `axes` is None."""
    if axes is None:
        return new_panels(min(4.5 * count, 13) + 0.4, 3.6, count)
    panels = list(np.ravel(np.asarray(axes, object)))
    if len(panels) != count:
        raise ValueError(f"axes has {len(panels)} axes, expected {count}, one for each curve")
    return panels


def tidy(ax: Axes) -> None:
    """Draw a pale grid below the data, and only the left and the lower edge."""
    ax.grid(color=_GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(length=0, pad=6)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color("#999999")


def set_ticks(axis: Axis, largest: float, most: int = 6) -> None:
    """Have at most `most` ticks at round numbers; large ones with units, such as 20k and 1.5M."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]))
    if largest >= _LARGE:
        axis.set_major_formatter(EngFormatter(sep=""))


def choose_colors(count: int) -> list[Any]:
    """Return a color for each of `count` classes."""
    if count <= len(COLORS):
        return list(COLORS[:count])
    from matplotlib import colormaps

    return [colormaps["viridis"](k / (count - 1)) for k in range(count)]


def fade(color: str, part: float = 0.5) -> tuple[float, ...]:
    """Return a mixture of a color and white; `part` is the share of the color."""
    from matplotlib.colors import to_rgb

    return tuple(1 - part * (1 - value) for value in to_rgb(color))


def as_text(text: object) -> str:
    """Return what matplotlib draws as `text`: a pair of dollar signs would make a formula of it."""
    return str(text).replace("$", r"\$")


def shorten(name: object) -> str:
    """Return a name for a legend or a tick: at most 16 letters of it, as `as_text` has them."""
    text = str(name)
    if " " in text:
        return as_text(textwrap.shorten(text, _LONGEST, placeholder="…"))
    return as_text(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")
