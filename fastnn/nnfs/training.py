"""The epochs of :meth:`Model.train`: their steps, what is printed of them, and what is undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from ..run.errors import NonFiniteLossError
from ..run.rollback import DivergedError, undo_if_diverged
from ..types import Floats
from .loops import StepFigures
from .optimizers import KINDS

_Snapshot: TypeAlias = tuple[list[tuple[Any, str, Floats]], dict[str, Any]]


class Training:
    """One call of `train`.

    Parameters
    ----------
    model : Model
        Its loss and accuracy form the means, its history takes the curves.
    epochs : int
    shown_steps : list of int
        The steps of an epoch whose figures are printed. The last one is the last of the epoch.
    validate : function, optional
        Called after each epoch. It returns {"loss", "accuracy"} of the validation data.
    """

    def __init__(
        self,
        model: Any,
        epochs: int,
        shown_steps: list[int],
        validate: Callable[[], dict[str, float]] | None,
    ) -> None:
        self.model, self.epochs, self.shown_steps = model, epochs, shown_steps
        self.validate = validate
        self.n_steps = shown_steps[-1] + 1
        self.epoch = 0

    def run(self, loop: Any) -> None:
        """Take the epochs that are left, in a loop of `loops.py`."""
        may_run_ahead = self.validate is None
        while self.epoch < self.epochs:
            count = min(loop.steps_at_once // self.n_steps, self.epochs - self.epoch)
            if may_run_ahead and count > 1:
                may_run_ahead = self._run_ahead(loop, self.epoch, count)
                self.epoch += count if may_run_ahead else 0
                continue
            self.epoch += 1
            curves = self._run_epoch(loop, self.epoch)
            if self.validate is not None:
                curves |= {f"val_{name}": value for name, value in self.validate().items()}
            self.model.history.append(self.epoch, curves)

    def _run_epoch(self, loop: Any, epoch: int) -> dict[str, float]:
        """Take the steps of an epoch, print the figures, and return the values of the curves."""
        self._begin_epoch(epoch)
        stops = [step + 1 for step in self.shown_steps]
        if loop.steps_at_once >= stops[-1]:
            stops = stops[-1:]
        before = self._snapshot()

        def take() -> StepFigures:
            done = 0
            loop.begin()
            try:
                for stop in stops:
                    figures = loop.run(done, stop)
                    self._report(loop, figures, done)
                    done += len(figures)
                    if done < stop:
                        raise DivergedError(done + 1)
                loop.end()
            except BaseException:  # such as Ctrl-C, which may have interrupted `end` too
                loop.end()
                raise
            last: StepFigures = figures[-1]
            return last

        try:
            last = undo_if_diverged(take, self._is_finite, lambda: self._restore(before))
        except DivergedError as error:
            batch = stops[-1] if error.batch is None else error.batch
            raise NonFiniteLossError(
                epoch, batch, self.model.history, at_end=error.batch is None
            ) from None
        return self._end_epoch(self.model.loss.regularization_loss(), last.rate)

    def _run_ahead(self, loop: Any, epoch: int, count: int) -> bool:
        """Take `count` short epochs in one compiled call, then print.

        Return whether that was done. If one of them diverges, all are undone and have to be taken
        one by one.
        """
        n_steps = self.n_steps
        before, generator = self._snapshot(), np.random.get_state()  # noqa: NPY002

        def take() -> list[StepFigures]:
            loop.begin()
            try:
                figures: list[StepFigures] = loop.run(0, count * n_steps)
                loop.end()
            except BaseException:  # such as Ctrl-C, which may have interrupted `end` too
                loop.end()
                raise
            if len(figures) < count * n_steps:
                raise DivergedError(len(figures) + 1)
            return figures

        def restore() -> None:
            self._restore(before)
            np.random.set_state(generator)  # noqa: NPY002

        try:
            figures = undo_if_diverged(take, self._is_finite, restore)
        except DivergedError:
            return False
        # The penalty after an epoch is that before the first step of the next one.
        penalties = [step.penalty for step in figures[n_steps::n_steps]]
        penalties.append(self.model.loss.regularization_loss())
        for i, penalty in enumerate(penalties):
            steps = figures[i * n_steps : (i + 1) * n_steps]
            self._begin_epoch(epoch + i + 1)
            self._report(loop, steps, 0)
            curves = self._end_epoch(penalty, steps[-1].rate)
            self.model.history.append(epoch + i + 1, curves)
        return True

    def _begin_epoch(self, epoch: int) -> None:
        print(f"epoch: {epoch}")
        self.model.loss.new_pass()
        self.model.accuracy.new_pass()

    def _report(self, loop: Any, figures: list[StepFigures], first: int) -> None:
        """Add the figures of the steps `first`, `first` + 1, ... to the means, and print some."""
        for each in figures:
            loop.account(each)
        for step in self.shown_steps:
            if first <= step < first + len(figures):
                accuracy, data_loss, penalty, rate, _ = figures[step - first]
                _print_figures(f"step: {step}", accuracy, data_loss, penalty, rate)

    def _end_epoch(self, penalty: float, rate: float | None) -> dict[str, float]:
        """Print the figures of an epoch, and return the values of its curves."""
        accuracy = self.model.accuracy.calculate_accumulated()
        loss = self.model.loss.calculate_accumulated()
        _print_figures("training", accuracy, loss, penalty, rate)
        curves = {"loss": loss + penalty, "accuracy": accuracy, "penalty": penalty}
        return {name: float(value) for name, value in curves.items()}

    def _is_finite(self) -> bool:
        arrays = [array for layer in self.model.trainable_layers for array in _arrays_of(layer)]
        return all(np.isfinite(array).all() for array in arrays)

    def _snapshot(self) -> _Snapshot:
        """Return copies of what a step changes."""
        arrays = [
            (layer, name, getattr(layer, name).copy())
            for layer in self.model.trainable_layers
            for name in _trained_names(layer)
        ]
        names = "iterations", "current_learning_rate"
        return arrays, {name: getattr(self.model.optimizer, name, None) for name in names}

    def _restore(self, snapshot: _Snapshot) -> None:
        arrays, counters = snapshot
        for layer in self.model.trainable_layers:
            for name in _trained_names(layer):
                if not any(layer is owner and name == other for owner, other, _ in arrays):
                    delattr(layer, name)  # an average that began in the bad epoch
        for layer, name, values in arrays:
            getattr(layer, name)[...] = values
        vars(self.model.optimizer).update(counters)


def _print_figures(
    place: str, accuracy: float, data_loss: float, penalty: float, rate: float | None
) -> None:
    print(
        f"{place}, acc: {accuracy:.3f}, loss: {data_loss + penalty:.3f} "
        f"(data_loss: {data_loss:.3f}, reg_loss: {penalty:.3f}), lr: {rate}"
    )


def _arrays_of(layer: Any) -> tuple[Floats, Floats]:
    return layer.weights, layer.biases


def _trained_names(layer: Any) -> list[str]:
    """Return the names of a layer's parameters and of their averages."""
    names = [name for name, _ in KINDS]
    names += [beginning + end for _, beginning in KINDS for end in ("momentums", "cache")]
    return [name for name in names if getattr(layer, name, None) is not None]
