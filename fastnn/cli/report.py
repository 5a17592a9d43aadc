"""The page of pictures that `--plot` writes."""

from .. import plots
from . import outputs

SUFFIXES = (".png", ".pdf", ".svg")


def require():
    """Raise ImportError now, and not after training, where a library is missing."""
    plots.require_libraries()


def write(path, history, assessment, target, title, part):
    """Draw the curves of `history`, where there is one, beside what came of `part` of the data."""
    from matplotlib.figure import Figure  # without pyplot no window system is needed

    curves = (
        [] if history is None else [name for name in ("loss", "accuracy") if getattr(history, name)]
    )
    classes = target.task == "classification"
    side = 4.6 if not classes else min(9, max(4.6, 2.6 + 0.34 * len(target.labels)))
    figure = Figure(
        figsize=(side + 0.6 + (4.8 if curves else 0), side + 0.6), dpi=150, layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12, wspace=0.04)
    figure.suptitle(title, fontsize=13)
    result = figure
    if curves:
        left, result = figure.subfigures(1, 2, width_ratios=(4.8, side))
        panels = left.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
        plots.plot_history(history, curves, axes=panels)
        for panel in panels[:-1]:
            panel.set_xlabel("")
    ax = result.subplots()
    if classes:
        plots.plot_confusion_matrix(
            assessment.true, assessment.predicted, class_names=target.labels, ax=ax
        )
        ax.set_title(f"{part}: accuracy {assessment.scores['accuracy']:.4f}", fontsize=11)
    else:
        plots.plot_predictions(assessment.true, assessment.predicted, ax=ax)
        ax.set_title(f"{part}: R2 {assessment.scores['r2']:.4f}", fontsize=11)
        ax.set(xlabel=f"{target.name}, predicted", ylabel=f"{target.name}, true")
    with outputs.replacing(path) as unfinished:
        figure.savefig(unfinished)
