"""What `fit` shows of a run while it goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from tqdm import tqdm

from .callbacks import Callback, Run

Verbose: TypeAlias = Literal["auto", 0, 1, 2] | bool


class Bar(tqdm):  # type: ignore[misc]  # has no types
    """A bar of tqdm that starts no thread: tqdm's monitor would outlive the call."""

    monitor_interval = 0


class ProgressBar(Callback):
    """A bar on standard error: the epoch, the time left, samples a second, and the last curves.

    Behind each curve stands its value on the validation data.

    Examples
    --------
    >>> model = fastnn.Sequential([fastnn.Dense(2, 2, rng=0)])
    >>> history = model.fit(np.eye(2), [0, 1], callbacks=[fastnn.ProgressBar()])
    """

    _bar: Any = None

    def on_fit_begin(self, run: Run) -> None:
        """Show an empty bar."""
        self._epochs_shown, self._n_epochs = 0, run.epochs - run.epoch
        # A process without a console has no standard error.
        self._bar = Bar(
            total=run.n_samples * self._n_epochs or None,  # unknown of batches made on the way
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
        within = run.n_samples * run.step // max(run.n_steps, 1)  # unknown of the first batches
        self._bar.update(self._epochs_shown * run.n_samples + within - self._bar.n)

    def on_epoch_end(self, run: Run) -> None:
        """Show the curves."""
        self._epochs_shown += 1
        self._bar.total = run.n_samples * self._n_epochs
        if not self._bar.disable:
            self._bar.set_postfix_str(summarize(run.history.latest()), refresh=False)
        self._bar.update(self._epochs_shown * run.n_samples - self._bar.n)

    def on_fit_end(self, run: Run) -> None:
        """Leave the bar as it is now."""
        self._bar.refresh()
        self._bar.close()

    def close(self) -> None:
        """Take the bar of a run away that an error ended."""
        if self._bar is not None:
            self._bar.leave = False
            self._bar.close()
            self._bar = None


class ProgressLines(Callback):
    """A line an epoch on standard output, with all curves and samples a second.

    Examples
    --------
    >>> model = fastnn.Sequential([fastnn.Dense(2, 2, rng=0, init="zeros")])
    >>> history = model.fit(np.eye(2), [0, 1], epochs=1, seed=0, callbacks=[fastnn.ProgressLines()])
    epoch 1/1  loss 0.6931  accuracy 0.5000  ... samples/s
    """

    def on_fit_begin(self, run: Run) -> None:
        """Do nothing: the first line is shown after the first epoch."""

    def on_epoch_begin(self, run: Run) -> None:
        """Look at the clock."""
        self._begin = time.perf_counter()

    def on_epoch_end(self, run: Run) -> None:
        """Print the line."""
        seconds = max(time.perf_counter() - self._begin, 1e-9)
        curves = "".join(f"{name} {value:.4f}  " for name, value in run.history.latest().items())
        digits = len(str(run.epochs))
        speed = f"{run.n_samples / seconds:,.0f} samples/s"
        print(f"epoch {run.epoch:{digits}}/{run.epochs}  {curves}{speed}", flush=True)


def summarize(curves: Mapping[str, float]) -> str:
    """Return the last values of all curves in one line, held-out ones in parentheses."""
    return " ".join(
        f"{name} {value:.4f}" + (f" ({held_out:.4f})" if held_out is not None else "")
        for name, value in curves.items()
        for held_out in [curves.get("val_" + name)]
        if not name.startswith("val_")
    )


def as_progress(verbose: Verbose, callbacks: Iterable[Callback]) -> list[Callback]:
    """Return the callbacks that show what `verbose` asks for, beside the given ones.

    Nothing beside a progress that is among them.
    """
    kind: type[Callback] | None
    if isinstance(verbose, str) and verbose == "auto":
        kind = ProgressBar if sys.stderr is not None and sys.stderr.isatty() else None
    elif isinstance(verbose, int) and verbose in (0, 1, 2):
        kind = (None, ProgressBar, ProgressLines)[verbose]
    else:
        raise TypeError(f'verbose is {verbose!r}, expected "auto", 0, 1 or 2')
    shown = any(isinstance(each, ProgressBar | ProgressLines) for each in callbacks)
    return [] if kind is None or shown else [kind()]
