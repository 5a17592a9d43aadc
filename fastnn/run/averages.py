"""Averages of the parameters over the steps of a run."""

from __future__ import annotations

import contextlib
import itertools
import operator
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..nn.optimizer import Optimizer
from ..nn.own import overrides
from ..program.trainer import Trainer
from ..settings import Setting, fraction
from .callbacks import Callback


class WeightAverage(Callback):
    """Averages the parameters over the steps (EMA); after `fit` the model has the averages.

    They are often better than the last parameters, as the noise of single batches is averaged out.
    After step s, from 0, average = d * average + (1 - d) * parameters, where d is the smaller of
    `decay` and (1 + s) / (10 + s): the first steps, which are far from the end, do not count for
    long. This is the rule of TensorFlow's `tf.train.ExponentialMovingAverage`. The average begins
    with the parameters at the beginning of `fit`, and s counts the steps of the optimizer.

    The averages are formed within the compiled steps. The steps themselves stay the same: the
    parameters that train do not depend on the averages.

    Parameters
    ----------
    decay : float
        At least 0 and below 1. The average is over about 1 / (1 - decay) steps.

    Notes
    -----
    After each epoch the model has the averages while it is evaluated, and while `on_epoch_end` of
    other callbacks is called. So validation curves are those of the averages, and
    :class:`EarlyStopping` restores the best of them. The loss of the training samples is measured
    during the steps, with the parameters that train. `on_chunk_end` sees those too.

    The model in the file of a :class:`Checkpoint` has the averages, and the file has what the
    resumed run needs. However `fit` ends, the model has the averages. The optimizer's own state
    goes on as it is.

    The running moments of :class:`BatchNorm` are not parameters, and stay those of the last step.

    Raises
    ------
    TypeError, ValueError
        In `fit`, for an optimizer with an `update` or `numbers` of your own.

    Examples
    --------
    >>> from fastnn.datasets import make_spiral
    >>> X, y = make_spiral(100, 3, rng=0)
    >>> layers = [fastnn.Dense(2, 16, rng=0), fastnn.ReLU(), fastnn.Dense(16, 3, rng=1)]
    >>> model = fastnn.Sequential(layers)
    >>> options = {"optimizer": fastnn.Adam(0.2), "epochs": 50, "seed": 0}
    >>> history = model.fit(X, y, callbacks=[fastnn.WeightAverage(0.95)], **options)
    >>> print(f"{model.evaluate(X, y)['loss']:.3f}")  # it is 0.033 without the callback
    0.028
    """

    decay = Setting(fraction)

    def __init__(self, decay: float = 0.999) -> None:
        self.decay = decay


def find_average_decay(callbacks: Sequence[Callback], optimizer: Optimizer) -> float | None:
    """Return the decay of the averages that a run keeps, or None.

    Raises
    ------
    ValueError
        For two of them, and for an optimizer that cannot keep averages.
    """
    found = [each for each in callbacks if isinstance(each, WeightAverage)]
    if not found:
        return None
    if len(found) > 1:
        raise ValueError(f"callbacks has {found[0]!r} and {found[1]!r}, expected one WeightAverage")
    if overrides(optimizer, Optimizer, "update", "numbers"):
        raise ValueError(
            f"optimizer is {optimizer!r:.80}, expected one of fastnn's beside {found[0]!r}"
        )
    return found[0].decay


@contextlib.contextmanager
def averaging(optimizer: Optimizer, decay: float | None) -> Iterator[None]:
    """Let an optimizer keep averages inside of the block, if there is a decay."""
    if decay is None:
        yield
        return
    optimizer.begin_averages(decay)
    try:
        yield
    finally:
        optimizer.end_averages()


class Averages:
    """What the network of a run has: the parameters that train, or their averages.

    The others are in the last state of the optimizer. Without averages nothing is ever exchanged.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.is_active = trainer, trainer.optimizer.is_averaging
        self._are_shown = np.array(False)

    def show(self, averages: bool = True) -> None:
        """Let the network have the averages, or the parameters that train."""
        if not self.is_active or bool(self._are_shown) == averages:
            return
        self.trainer.store()
        values: list[tuple[Any, Any, Any]] = []
        for array in self.trainer.trained_arrays():
            row = self.trainer.optimizer.state_of(array).arrays[-1].reshape(array.shape)
            values += [(array, ..., row.copy()), (row, ..., array.copy())]
        values.append((self._are_shown, ..., averages))
        # Built-in functions, so that Python handles no signals in between.
        deque(itertools.starmap(operator.setitem, values), maxlen=0)

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Let the network have the averages inside of the block."""
        before = bool(self._are_shown)
        self.show()
        try:
            yield
        finally:
            self.show(before)

    def note_restored(self) -> None:
        """Note that network and optimizer are those of a file, which was written in `shown`."""
        self._are_shown[...] = self.is_active
