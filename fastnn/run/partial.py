"""One call of `partial_fit`: a single pass over some samples, in their order."""

from __future__ import annotations

import numpy as np

from ..nn.classes import as_optimizer
from ..nn.optimizer import Optimizer
from ..nn.optimizers import SGD
from ..program.stream import Stream
from ..program.trainer import Data, Epoch, Totals
from .errors import NonFiniteLossError
from .history import History
from .loop import curves_of
from .rollback import DivergedError, keep_state, undo_if_diverged


def next_optimizer(value: Optimizer | str | None, last: Optimizer | None) -> Optimizer:
    """Return the optimizer of a call of `partial_fit`, for its argument and that of the last call.

    A name means the last one if it is of this class: a new one would have lost its averages.
    """
    if value is None:
        return SGD() if last is None else last
    optimizer: Optimizer = as_optimizer(value, "optimizer")
    return last if isinstance(value, str) and type(last) is type(optimizer) else optimizer


def train_once(
    stream: Stream, data: Data, batch_size: int, key: int, threads: int | None
) -> History:
    """Train once on `data`, in the order of its rows; return the History.

    `key` is the key of the dropout masks. If the training diverges, the call is undone.
    """
    network, n = stream.program.network, len(data.inputs)
    arrays = stream.program.trained_arrays(stream.optimizer)
    restore = keep_state(network, [stream.optimizer.state_of(array) for array in arrays])

    def take_epoch() -> Totals:
        epoch = Epoch(np.arange(n), key)
        totals = stream.run(lambda: stream.take(data, epoch, batch_size, threads))
        network.note_change()
        if totals.failed is not None:
            raise DivergedError(totals.failed)
        return totals

    try:
        totals = undo_if_diverged(take_epoch, network.is_finite, restore)
    except DivergedError as error:
        batch = -(-n // batch_size) if error.batch is None else error.batch
        raise NonFiniteLossError(1, batch, History(), at_end=error.batch is None) from None
    assert stream.trainer is not None
    history = History()
    history.append(1, curves_of(stream.trainer, totals.sums[0], n))
    return history
