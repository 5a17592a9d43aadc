"""One call of `partial_fit`: a single pass over some samples, in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..nn import configs
from ..nn.classes import as_optimizer
from ..nn.network import Network
from ..nn.optimizer import Optimizer
from ..nn.optimizers import SGD
from ..program.program import Program
from ..program.ranks import Ranks, digest_of
from ..program.shardwise import ShardTrainer
from ..program.stream import Stream
from ..program.threads import ThreadTeam, with_team
from ..program.trainer import Data, Epoch, Totals, Trainer, describe_network
from ..types import Floats
from .errors import NonFiniteLossError
from .history import History
from .loop import count_threads, curves_of
from .meeting import Meeting
from .rollback import DivergedError, keep_state, undo_if_diverged
from .session import describe_states


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

    def take_epoch() -> Totals:
        epoch = Epoch(np.arange(n), key)
        return stream.run(lambda: stream.take(data, epoch, batch_size, threads))

    arrays = stream.program.trained_arrays(stream.optimizer)
    totals = _take(take_epoch, network, stream.optimizer, arrays, -(-n // batch_size))
    assert stream.trainer is not None
    return _history_of(stream.trainer, totals, n)


def train_once_with_ranks(
    program: Program,
    optimizer: Optimizer,
    data: Data,
    batch_size: int,
    key: int,
    threads: int | None,
    ranks: Ranks,
) -> History:
    """As `train_once`, together with other ranks, which have the same samples."""
    network, n = program.network, len(data.inputs)
    arrays = [network.parameters]
    settings = {
        "model": configs.describe_network(network, own=True),
        "optimizer": configs.describe(optimizer, "optimizer", own=True),
        "the state of the optimizer": describe_states(optimizer, arrays),
        "batch_size": batch_size,
        "the key of dropout's masks, by seed": key,
        "the digests of all data": [digest_of(array) for array in data[1:]],
    }

    def train_with(team: ThreadTeam) -> History:
        meeting = Meeting(ranks, network)
        with meeting.entered():
            trainer = ShardTrainer(
                program, data, n, batch_size, optimizer, describe_network(network), ranks,
                meeting.check_signals, team,
            )  # fmt: skip
            meeting.begin(settings, data, message_bytes=trainer.message_bytes)
            totals = _take(
                lambda: trainer.take([Epoch(np.arange(n), key)]), network, optimizer, arrays,
                trainer.n_batches,
            )  # fmt: skip
            meeting.end_epoch(1, stopped=False)
            return _history_of(trainer, totals, n)

    work = 3 * batch_size * network.n_parameters
    return with_team(count_threads(ranks, threads, work), train_with)


def _take(
    take_epoch: Callable[[], Totals],
    network: Network,
    optimizer: Optimizer,
    arrays: Sequence[Floats],
    n_batches: int,
) -> Totals:
    """Return take_epoch(). If the training diverges, undo it and raise NonFiniteLossError."""
    restore = keep_state(network, [optimizer.state_of(array) for array in arrays])

    def take_whole() -> Totals:
        totals = take_epoch()
        network.note_change()
        if totals.failed is not None:
            raise DivergedError(totals.failed)
        return totals

    try:
        return undo_if_diverged(take_whole, network.is_finite, restore)
    except DivergedError as error:
        batch = n_batches if error.batch is None else error.batch
        raise NonFiniteLossError(1, batch, History(), at_end=error.batch is None) from None


def _history_of(trainer: Trainer, totals: Totals, n: int) -> History:
    history = History()
    history.append(1, curves_of(trainer, totals.sums[0], n))
    return history
