"""Draws the curves on logarithmic axes, every line named beside it."""

import math

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

matplotlib.use("Agg")

# One color for a library in all pictures; fastnn's is the one that stands out.
_COLORS = {
    "fastnn": "#c0392b",
    "fastnn, 1 thread": "#e59866",
    "NumPy": "#2471a3",
    "PyTorch": "#5d6d7e",
    "fastnn, high": "#e67e22",
    "fastnn, medium": "#e59866",
    "PyTorch, medium": "#85929e",
    "PyTorch, autocast": "#b2babb",
    "JAX": "#148f77",
    "Keras on JAX": "#7dcea0",
    "Keras on PyTorch": "#bb8fce",
    "scikit-learn": "#b7950b",
}


def _axes(title, x_label):
    figure, axes = plt.subplots(figsize=(9, 5.2), dpi=130, layout="constrained")
    _style(axes, title)
    axes.set_xlabel(x_label, fontsize=14)
    axes.set_xscale("log", base=2)
    return figure, axes


def _style(axes, title):
    """Write the title, and leave nothing of the frame but the line below."""
    axes.set_title(title, loc="left", fontsize=16, pad=14)
    axes.tick_params(labelsize=13, length=0)
    axes.grid(axis="y", color="#e5e7e9", linewidth=1)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _plain(value, _):
    return f"{value:g}"


def _name_lines(axes, ends):
    """Write each name beside the end of its line, moved apart where two would overlap."""
    axes.autoscale_view()
    x = max(point[0] for point in ends.values())
    gap = 0.06  # of the height of the axes: a little more than a line of text
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = {name: to_axes.transform(point)[1] for name, point in ends.items()}
    lowest = 0.0
    for name in sorted(heights, key=heights.get):
        lowest = max(heights[name], lowest)
        y = axes.transData.inverted().transform(axes.transAxes.transform((0, lowest)))[1]
        axes.annotate(
            name, (x, y), xytext=(10, 0), textcoords="offset points",
            va="center", fontsize=14, color=_COLORS[name], annotation_clip=False,
        )  # fmt: skip
        lowest += gap


def _draw(axes, curves):
    for name, points in curves.items():
        width, layer = (3, 3) if name == "fastnn" else (2, 2)
        axes.plot(
            *zip(*points, strict=True),
            color=_COLORS[name], linewidth=width, zorder=layer, marker="o", markersize=5,
        )  # fmt: skip
    xs = sorted({x for points in curves.values() for x, _ in points})
    powers = [x for x in xs if x & (x - 1) == 0]
    axes.xaxis.set_major_locator(FixedLocator(powers))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))


def draw_speed(path, curves):
    """Draw step times as multiples of fastnn's, which is the line at 1."""
    widths = [x for x, _ in next(iter(curves.values()))]
    curves = {"fastnn": [(x, 1.0) for x in widths]} | curves
    figure, axes = _axes(
        "Time of a training step, as a multiple of fastnn's", "width of the two hidden layers"
    )
    axes.set_yscale("log", base=2)
    _draw(axes, curves)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.yaxis.set_minor_locator(NullLocator())
    _name_lines(axes, {name: points[-1] for name, points in curves.items()})
    figure.savefig(path)
    plt.close(figure)


def draw_peak(path, curves):
    figure, axes = _axes(
        "Product of square matrices on one core, as a fraction of the FMA peak",
        "rows, columns and inner dimension",
    )
    _draw(axes, curves)
    highest = max(y for points in curves.values() for _, y in points)
    axes.set_ylim(0, 1.05 * max(1, highest))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    _name_lines(axes, {name: points[-1] for name, points in curves.items()})
    figure.savefig(path)
    plt.close(figure)


def draw_accuracy(path, panels):
    """Draw held-out accuracy against seconds of training, a panel for each data set.

    `panels` are (title, target, {name: ([(seconds, accuracy), ...], seconds to the target)}).
    """
    figure, rows = plt.subplots(
        len(panels), figsize=(9, 4.4 * len(panels)), dpi=130, layout="constrained", squeeze=False
    )
    for axes, (title, target, curves) in zip(rows[:, 0], panels, strict=True):
        _style(axes, title)
        axes.set_xscale("log")
        axes.axhline(target, color="#909497", linewidth=1, linestyle=(0, (4, 4)), zorder=1)
        for name, (points, seconds) in curves.items():
            width, layer = (3, 4) if name == "fastnn" else (2, 3)
            axes.plot(
                *zip(*points, strict=True), color=_COLORS[name], linewidth=width, zorder=layer
            )
            if math.isfinite(seconds):
                axes.plot(
                    seconds, target, "o", color=_COLORS[name], markersize=9, zorder=layer + 1,
                    markeredgecolor="white", markeredgewidth=1.5, clip_on=False,
                )  # fmt: skip
        highest = max(y for points, _ in curves.values() for _, y in points)
        lowest = target - 2 * max(0.02, highest - target)
        axes.set_ylim(lowest, max(highest, target) + 0.005)
        if shown := [x for points, _ in curves.values() for x, y in points if y >= lowest]:
            axes.set_xlim(min(shown) / 1.4, max(shown) * 1.1)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _duration(value)))
        _list_names(axes, curves)
    rows[-1, 0].set_xlabel("time of training", fontsize=14)
    figure.get_layout_engine().set(hspace=0.06)
    figure.savefig(path)
    plt.close(figure)


def _duration(seconds):
    value, unit = (seconds, "s") if seconds >= 0.9995 else (1000 * seconds, "ms")
    return f"{float(f'{value:.3g}'):g} {unit}"


def _list_names(axes, curves):
    """Write names and times beside the axes, the fastest first: the curves end close together."""
    order = sorted(curves, key=lambda name: curves[name][1])
    for i, name in enumerate(order):
        seconds = curves[name][1]
        shown = _duration(seconds) if math.isfinite(seconds) else "not reached"
        axes.annotate(
            f"{name}, {shown}", (1, 0.94 - 0.09 * i), xycoords="axes fraction",
            xytext=(14, 0), textcoords="offset points", va="center", fontsize=13,
            color=_COLORS[name], weight="bold" if name == "fastnn" else "normal",
        )  # fmt: skip


# Stages in the order of a step: the arithmetic in warm colors, what surrounds it in cold ones.
_STAGE_COLORS = (
    "#1b4f72", "#2e86c1", "#c0392b", "#e67e22", "#d35400",
    "#f0b27a", "#7d3c98", "#148f77", "#76d7c4", "#bdc3c7",
)  # fmt: skip


def draw_stages(path, parts):
    """Draw {name: {stage: seconds of a step}} as a bar for each name, in microseconds."""
    figure, axes = plt.subplots(figsize=(9, 4.6), dpi=130, layout="constrained")
    _style(axes, "Where the time of a small step goes, in microseconds")
    axes.grid(axis="y", visible=False)
    names = list(parts)[::-1]
    ends = dict.fromkeys(names, 0.0)
    stages = list(next(iter(parts.values())))
    longest = max(sum(saved.values()) for saved in parts.values()) * 1e6
    for stage, color in zip(stages, _STAGE_COLORS[-len(stages) :], strict=True):
        sizes = [max(parts[name][stage] * 1e6, 0.0) for name in names]
        axes.barh(names, sizes, left=list(ends.values()), color=color, label=stage, height=0.62)
        for row, (name, size) in enumerate(zip(names, sizes, strict=True)):
            if size > 0.045 * longest:
                axes.annotate(
                    f"{size:.1f}", (ends[name] + size / 2, row), ha="center", va="center",
                    fontsize=12, color="white" if stage != "rest" else "black",
                )  # fmt: skip
            ends[name] += size
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, fontsize=12, frameon=False)
    figure.savefig(path)
    plt.close(figure)
