"""Steps of ranks in the compiled program, and the function of Python that they call."""

import ctypes

import numpy as np
import pytest
from test_ranks import (
    NETWORKS,
    ROWS,
    ThreadRanks,
    data,
    make_by_layers,
    run_ranks,
    train,
)

import fastnn
from fastnn import kernels
from fastnn.distributed import RankLeftError, RanksTimeoutError, one
from fastnn.program import ranks as program_ranks
from fastnn.program import shardwise, trainer
from fastnn.program.doors import Door
from fastnn.run import loop


def count_calls(monkeypatch):
    """Return a list that gets the number of steps of each call of the program."""
    steps, train_shards = [], kernels.train_shards

    def count(*arguments):
        if arguments[-2] == 0:
            steps.append(len(arguments[8][1]))
        return train_shards(*arguments)

    monkeypatch.setattr(kernels, "train_shards", count)
    return steps


# ------------------------------------------------------------------------------------ the door


def test_a_door_calls_a_function_by_its_address():
    steps, ends = [], []
    door = Door(steps.append, lambda: ends.append(len(steps)))
    call = ctypes.CFUNCTYPE(None, ctypes.c_int64)(door.address)
    call(3)
    call(2**40)
    door.check()
    assert (steps, ends) == ([3, 2**40], [1, 2])


@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt, SystemExit])
def test_a_door_keeps_the_first_exception(kind):
    ends = []

    def fail(step):
        raise kind(str(step))

    door = Door(fail, lambda: ends.append(None))
    call = ctypes.CFUNCTYPE(None, ctypes.c_int64)(door.address)
    call(1)
    call(2)
    with pytest.raises(kind, match="1"):
        door.check()
    assert not ends


# ----------------------------------------------------------------------------------- the steps


def test_a_call_takes_many_steps(monkeypatch):
    steps = count_calls(monkeypatch)
    train(one(4), epochs=1, batch_size=2)
    assert sum(steps) == ROWS // 2
    assert len(steps) < 10


def test_steps_in_one_call_and_in_several_have_the_same_bits(monkeypatch):
    monkeypatch.setattr(trainer, "CHUNK_SECONDS", 100.0)
    steps = count_calls(monkeypatch)
    for network in ("dropout", "penalty"):
        monkeypatch.setattr(trainer, "FIRST_CHUNK", 2**40)
        whole = train(one(4), network, "adam")
        monkeypatch.setattr(trainer, "FIRST_CHUNK", 1)
        assert train(one(4), network, "adam") == whole
    assert steps == [5, 5, 5, 1, 2, 2, 5, 5] * 2


def test_one_rank_calls_no_python(monkeypatch):
    def fail(*arguments):
        raise AssertionError("a door was made")

    monkeypatch.setattr(shardwise, "Door", fail)
    train(one(4), "dropout", "adam")
    with pytest.raises(AssertionError):
        train(one(4), "penalty")


def test_the_gradients_go_along_with_the_message_if_they_are_few(monkeypatch):
    class Counting(ThreadRanks):
        n_exchanges = n_spreads = 0

        def exchange(self, pieces):
            self.n_exchanges += 1
            return super().exchange(pieces)

        def spread(self, piece):
            self.n_spreads += 1
            return super().spread(piece)

    def fit(ranks):
        counts = []

        def note(run):
            counts.append((ranks.n_exchanges, ranks.n_spreads))

        callbacks = [fastnn.LambdaCallback(on_epoch_begin=note, on_epoch_end=note)]
        return train(ranks, "dropout", "adam", callbacks=callbacks), *counts[:2]

    expected = train(one(7), "dropout", "adam")
    for most, per_step in ((2**16, (0, 1)), (100, (1, 2))):
        monkeypatch.setattr(program_ranks, "_MESSAGE_BYTES", most)
        for result, before, after in run_ranks(3, 7, fit, Counting):
            assert result == expected
            assert np.subtract(after, before).tolist() == [5 * each for each in per_step]


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_of_ranks_change_no_bit(threads):
    expected = train(one(4), "wide", "clip")
    results = run_ranks(3, 4, lambda ranks: train(ranks, "wide", "clip", threads=threads))
    assert results == [expected] * 3


def test_a_state_of_the_optimizer_goes_on_in_fit_without_ranks():
    def fit_twice(ranks):
        X, y = data()
        model, adam = fastnn.Sequential(NETWORKS["frozen"](np.float32)), fastnn.Adam(0.01)
        for each in (ranks, None):
            model.fit(X, y, batch_size=32, seed=0, optimizer=adam, ranks=each, verbose=0)
        return model.parameters.tobytes()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "needs_exchange", lambda ranks: True)
        assert fit_twice(one()) == fit_twice(None)


# ------------------------------------------------------------------------------ what goes wrong


class FailingRanks(ThreadRanks):
    """Ranks of which the second raises an exception in its tenth step."""

    kind = OSError

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.count = 0

    def add_in_step(self, *arguments):
        self.count += 1
        if self.count == 10 and self.rank == 1:
            raise self.kind("no space")
        return super().add_in_step(*arguments)

    def spread(self, piece):
        if self.count == 10:  # what an engine does: it cannot know why the other one does not come
            raise RanksTimeoutError("nobody comes")
        return super().spread(piece)


@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("threads", [1, 2])
def test_an_exception_in_the_exchange_ends_the_call(monkeypatch, kind, threads):
    monkeypatch.setattr(FailingRanks, "kind", kind)
    monkeypatch.setattr(trainer, "FIRST_CHUNK", 2**40)
    X, y = data()
    ends = {}

    def fit(ranks):
        model, adam = fastnn.Sequential(NETWORKS["relu"](np.float32)), fastnn.Adam(0.01)
        ends[ranks.rank] = model, adam
        model.fit(
            X, y, batch_size=2, seed=0, shuffle=False, optimizer=adam, ranks=ranks, verbose=0,
            threads=threads,
        )  # fmt: skip

    first, second = run_ranks(2, 4, fit, FailingRanks)
    assert isinstance(first, RanksTimeoutError)
    assert type(second) is kind
    expected = fastnn.Sequential(NETWORKS["relu"](np.float32))
    expected.fit(
        X[:18], y[:18], batch_size=2, seed=0, shuffle=False, optimizer=fastnn.Adam(0.01),
        ranks=one(4), verbose=0,
    )  # fmt: skip
    for model, adam in ends.values():
        assert adam.state_of(model.parameters).iterations == 9
        assert model.parameters.tobytes() == expected.parameters.tobytes()


def test_an_exception_before_the_function_begins_ends_the_call(monkeypatch):
    """As Ctrl-C in the first instruction of a callback: no one but ctypes sees it."""
    monkeypatch.setattr(shardwise, "Door", lambda *_: Door(lambda step: None, lambda: None))
    model = fastnn.Sequential(NETWORKS["penalty"](np.float32))
    before = model.parameters.copy()
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data(), seed=0, ranks=one(4), verbose=0)
    assert np.array_equal(model.parameters, before)


def test_an_exception_between_two_calls_reaches_all_ranks(monkeypatch):
    monkeypatch.setattr(trainer, "FIRST_CHUNK", 1)

    class Failing(fastnn.Callback):
        chunk_steps = 2

        def on_chunk_end(self, run):
            if run.step == 4:
                raise OSError("no space")

    def fit(ranks):
        train(ranks, callbacks=[Failing()] if ranks.rank == 1 else [], batch_size=4)

    first, second, third = run_ranks(3, 4, fit)
    assert isinstance(second, OSError)
    for error in (first, third):
        assert isinstance(error, RankLeftError)


@pytest.mark.parametrize("clip_norm", [None, 1e30])
def test_a_step_that_is_not_finite_is_not_taken(clip_norm, monkeypatch):
    """The program and the layers name the same batch, and the parameters are those of before."""
    batches = []
    for make in (shardwise.ShardTrainer, make_by_layers):
        monkeypatch.setattr(loop, "ShardTrainer", make)
        model = fastnn.Sequential(NETWORKS["relu"](np.float32))
        before = model.parameters.copy()
        sgd = fastnn.SGD(1e30, clip_norm=clip_norm)
        with pytest.raises(fastnn.NonFiniteLossError) as caught:
            model.fit(*data(), batch_size=8, seed=0, optimizer=sgd, ranks=one(4), verbose=0)
        batches.append(caught.value.batch)
        assert np.array_equal(model.parameters, before)
        assert sgd.state_of(model.parameters).iterations == 0
    assert batches[0] == batches[1] > 1


def test_an_optimizer_that_changes_its_kind_is_refused(monkeypatch):
    monkeypatch.setattr(trainer, "FIRST_CHUNK", 1)
    adam = fastnn.Adam(0.01)

    class Change(fastnn.Callback):
        chunk_steps = 1

        def on_chunk_end(self, run):
            adam.clip_norm = 1.0

    model = fastnn.Sequential(NETWORKS["relu"](np.float32))
    with pytest.raises(ValueError, match="expected its kind of step"):
        model.fit(*data(), seed=0, optimizer=adam, ranks=one(4), callbacks=[Change()], verbose=0)
