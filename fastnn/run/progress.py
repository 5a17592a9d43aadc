"""The progress of a run: a bar, or a line for each epoch."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from tqdm import tqdm

from ..html import in_notebook
from .callbacks import Callback, Run

Verbose: TypeAlias = Literal["auto", 0, 1, 2] | bool


class Bar(tqdm):  # type: ignore[misc]  # has no types
    """A bar of tqdm that starts no thread: tqdm's monitor would outlive the call."""

    monitor_interval = 0


def make_bar(**options: Any) -> Any:
    """Return a bar of tqdm: in a notebook one of its widgets, or text where there are none."""
    if not in_notebook():
        return Bar(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of missing widgets
        from tqdm.auto import tqdm as widget
    return type("Bar", (widget,), {"monitor_interval": 0})(**options)


class ProgressBar(Callback):
    """A bar: epoch, remaining time, samples per second and the last curves.

    It is on standard error, and in a notebook a widget, where `ipywidgets` is installed.

    The value on the validation data follows each curve in parentheses.

    Examples
    --------
    >>> model = fastnn.Sequential([fastnn.Dense(2, 2, rng=0)])
    >>> history = model.fit(np.eye(2), [0, 1], callbacks=[fastnn.ProgressBar()])
    """

    writes = True

    _bar: Any = None

    def on_fit_begin(self, run: Run) -> None:
        """Show an empty bar."""
        self._epochs_shown, self._n_epochs = 0, run.epochs - run.epoch
        # A process without a console has no standard error.
        self._bar = make_bar(
            total=run.n_samples * self._n_epochs or None,  # unknown with `batches`
            disable=sys.stderr is None,
            unit="",
            unit_scale=True,
            dynamic_ncols=True,
            # Loss and accuracy, with their held-out values, fit into 80 columns beside a bar.
            bar_format="{percentage:3.0f}%|{bar}|{desc}{remaining} {rate_fmt}{postfix}",
        )

    def on_epoch_begin(self, run: Run) -> None:
        """Say which epoch it is."""
        self._bar.set_description_str(f"{run.epoch}/{run.epochs} ", refresh=False)

    def on_chunk_end(self, run: Run) -> None:
        """Fill the bar."""
        within = (
            run.n_samples * run.step // max(run.n_steps, 1)
        )  # 0 steps are known in the first epoch of `batches`
        self._bar.update(self._epochs_shown * run.n_samples + within - self._bar.n)

    def on_epoch_end(self, run: Run) -> None:
        """Show the curves."""
        self._epochs_shown += 1
        self._bar.total = run.n_samples * self._n_epochs
        if not self._bar.disable:
            self._bar.set_postfix_str(summarize(run.history.latest()), refresh=False)
        self._bar.update(self._epochs_shown * run.n_samples - self._bar.n)

    def on_fit_end(self, run: Run) -> None:
        """Close the bar, which stays on the screen."""
        self._bar.refresh()
        self._bar.close()

    def close(self) -> None:
        """Remove the bar if an error ended the run."""
        if self._bar is not None:
            self._bar.leave = False
            self._bar.close()
            self._bar = None


class ProgressLines(Callback):
    """A line for each epoch on standard output, with all curves and the samples per second.

    With `ranks`, it also says which part of the time they exchange and wait for each other.

    Examples
    --------
    >>> model = fastnn.Sequential([fastnn.Dense(2, 2, rng=0, init="zeros")])
    >>> history = model.fit(np.eye(2), [0, 1], epochs=1, seed=0, callbacks=[fastnn.ProgressLines()])
    epoch 1/1  loss 0.6931  accuracy 0.5000  ... samples/s
    """

    writes = True

    def on_fit_begin(self, run: Run) -> None:
        """Do nothing: the first line follows the first epoch."""

    def on_epoch_begin(self, run: Run) -> None:
        """Start the clock."""
        self._begin = time.perf_counter()

    def on_epoch_end(self, run: Run) -> None:
        """Print the line."""
        seconds = max(time.perf_counter() - self._begin, 1e-9)
        curves = "".join(f"{name} {value:.4f}  " for name, value in run.history.latest().items())
        digits = len(str(run.epochs))
        speed = f"{run.n_samples / seconds:,.0f} samples/s"
        if run.exchange_part is not None:
            speed += f"  exchange {100 * run.exchange_part:.0f} %"
        print(f"epoch {run.epoch:{digits}}/{run.epochs}  {curves}{speed}", flush=True)


def summarize(curves: Mapping[str, float]) -> str:
    """Return the last values of all curves in one line, held-out ones in parentheses."""
    return " ".join(
        f"{name} {value:.4f}" + (f" ({held_out:.4f})" if held_out is not None else "")
        for name, value in curves.items()
        for held_out in [curves.get("val_" + name)]
        if not name.startswith("val_")
    )


def is_watched() -> bool:
    """Return whether standard error is a terminal, or this is a notebook."""
    return (sys.stderr is not None and sys.stderr.isatty()) or in_notebook()


def as_progress(verbose: Verbose, callbacks: Iterable[Callback]) -> list[Callback]:
    """Return the callbacks that `verbose` adds to a list of callbacks.

    None is added if the list already shows the progress.
    """
    kind: type[Callback] | None
    if isinstance(verbose, str) and verbose == "auto":
        kind = ProgressBar if is_watched() else None
    elif isinstance(verbose, int) and verbose in (0, 1, 2):
        kind = (None, ProgressBar, ProgressLines)[verbose]
    else:
        raise TypeError(f'verbose is {verbose!r}, expected "auto", 0, 1 or 2')
    has_progress = any(isinstance(each, ProgressBar | ProgressLines) for each in callbacks)
    return [] if kind is None or has_progress else [kind()]
