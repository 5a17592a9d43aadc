"""Training with several ranks: the bits depend on the shards alone, and no rank is left waiting.

Ranks are threads here. `test_mpi.py` has the same with processes under mpirun.
"""

import threading
import time

import numpy as np
import pytest

import fastnn
from fastnn.distributed import (
    DivergedRanksError,
    RankLeftError,
    Ranks,
    RanksDifferError,
    RanksError,
    mpi_ranks,
    one,
)
from fastnn.kernels.table import SUM_ROWS
from fastnn.program.ranks import OneRank, add_tree
from fastnn.program.rankwise import make_shard_program
from fastnn.program.threads import with_team
from fastnn.run import loop
from fastnn.run.data import as_data

ROWS, FEATURES, CLASSES = 150, 7, 3


class Exchange:
    """What the threads of a test share."""

    def __init__(self, size):
        self.size, self.barrier = size, threading.Barrier(size, timeout=30)
        self.slots = [None] * size


class ThreadRanks(Ranks):
    """A rank in a thread."""

    def __init__(self, rank, shards, shared):
        super().__init__(rank, shared.size, shards)
        self.shared = shared

    def exchange(self, pieces):
        received = self._all(pieces.copy())
        return np.stack([each[self.rank] for each in received])

    def spread(self, piece):
        return np.stack(self._all(piece.copy()))

    def _all(self, value):
        self.shared.slots[self.rank] = value
        self.shared.barrier.wait()
        values = list(self.shared.slots)
        self.shared.barrier.wait()
        return values


def run_ranks(size, shards, call):
    """Return what call(ranks) gives on each of `size` ranks; an exception stands for itself."""
    shared, results = Exchange(size), [None] * size

    def run(rank):
        try:
            results[rank] = call(ThreadRanks(rank, shards, shared))
        except BaseException as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
        assert not each.is_alive(), "a rank hangs"
    return results


def data(dtype=np.float32):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, FEATURES)).astype(dtype)
    return X, (X[:, 0] + X[:, 1] > 0).astype(int) + (X[:, 2] > 0)


NETWORKS = {
    "relu": lambda dtype: [
        fastnn.Dense(FEATURES, 20, rng=0, dtype=dtype), fastnn.ReLU(),
        fastnn.Dense(20, CLASSES, rng=1, dtype=dtype),
    ],
    "dropout": lambda dtype: [
        fastnn.Dense(FEATURES, 20, rng=0, dtype=dtype), fastnn.Tanh(), fastnn.Dropout(0.3, rng=4),
        fastnn.Dense(20, CLASSES, rng=1, dtype=dtype),
    ],
    "norm": lambda dtype: [
        fastnn.Dense(FEATURES, 20, rng=0, dtype=dtype), fastnn.LayerNorm(20, dtype=dtype),
        fastnn.ReLU(), fastnn.Dense(20, CLASSES, rng=1, dtype=dtype),
    ],
    "wide": lambda dtype: [  # threads share its columns
        fastnn.Dense(FEATURES, 150, rng=0, dtype=dtype), fastnn.LayerNorm(150, dtype=dtype),
        fastnn.Tanh(), fastnn.Dense(150, 70, rng=1, dtype=dtype), fastnn.ReLU(),
        fastnn.Dense(70, CLASSES, rng=2, dtype=dtype, use_bias=False),
    ],
    "penalty": lambda dtype: [
        fastnn.Dense(FEATURES, 20, rng=0, dtype=dtype, weights_l1=1e-3, biases_l2=1e-2),
        fastnn.ReLU(), fastnn.Dense(20, CLASSES, rng=1, dtype=dtype, weights_l2=1e-2),
    ],
    "batch norm": lambda dtype: [
        fastnn.Dense(FEATURES, 20, rng=0, dtype=dtype), fastnn.BatchNorm(20, dtype=dtype),
        fastnn.ReLU(), fastnn.Dropout(0.3, rng=4),
        fastnn.Dense(20, CLASSES, rng=1, dtype=dtype, weights_l2=1e-3),
    ],
    "frozen": lambda dtype: [
        fastnn.Dense(FEATURES, 20, rng=0, dtype=dtype, trainable=False), fastnn.ReLU(),
        fastnn.Dense(20, CLASSES, rng=1, dtype=dtype),
    ],
}  # fmt: skip
OPTIMIZERS = {
    "sgd": lambda: fastnn.SGD(0.1),
    "momentum": lambda: fastnn.SGD(0.1, momentum=0.9),
    "adam": lambda: fastnn.Adam(0.01),
    "clip": lambda: fastnn.Adam(0.01, clip_norm=0.1),
    "decay": lambda: fastnn.AdamW(0.01, weight_decay=0.1),
    "spared": lambda: fastnn.AdamW(0.01, weight_decay=0.1, spare_biases=True),
}


def train(ranks, network="relu", optimizer="sgd", dtype=np.float32, **options):
    """Return (parameters and moments, curves) after a run, as bytes and lists."""
    loss, (X, y) = options.pop("loss", None), data(dtype)
    model = fastnn.Sequential(NETWORKS[network](dtype), loss=loss)
    X, y = options.pop("X", X), options.pop("y", y)
    options = {
        "epochs": 3, "batch_size": 32, "seed": 0, "verbose": 0,
        "optimizer": OPTIMIZERS[optimizer](),
    } | options  # fmt: skip
    history = model.fit(X, y, ranks=ranks, **options)
    return model._network.buffer.tobytes(), history.curves


def train_with_ranks(ranks, *arguments, **options):
    """As `train`; one shard too goes through what adds shards, which needs no exchange."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "needs_exchange", lambda ranks: True)
        return train(ranks, *arguments, **options)


# ------------------------------------------------------------------------------------ the tree


@pytest.mark.parametrize("shards", [1, 2, 3, 4, 5, 7, 8, 12, 16])
def test_any_number_of_ranks_adds_in_one_order(shards):
    parts = np.random.default_rng(0).standard_normal((shards, 11)).astype(np.float32)
    expected = parts.copy()
    add_tree(expected)
    for size in range(1, shards + 1):

        def add(ranks):
            return ranks.add_shards(parts[ranks.own_shards.start : ranks.own_shards.stop].copy())

        for total in run_ranks(size, shards, add):
            assert total.tobytes() == expected[0].tobytes()


def test_the_tree_pairs_neighbors():
    parts = np.array([[1.0], [2.0**-53], [2.0**-53], [2.0**-54], [2.0**-54]])
    order = ((parts[0] + parts[1]) + (parts[2] + parts[3])) + parts[4]
    add_tree(parts)
    assert parts[0] == order


@pytest.mark.parametrize("shards", [1, 3, 4, 12])
def test_shards_are_all_rows_once(shards):
    ranks = one(shards)
    for n in (1, 2, 11, 32, 33):
        rows = [np.arange(n)[ranks.rows_of(shard, n)] for shard in range(shards)]
        assert np.concatenate(rows).tolist() == list(range(n))


# ------------------------------------------------------------------------------------ the bits


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_one_shard_has_the_bits_of_fit_alone(network, optimizer):
    weights = np.random.default_rng(3).random(ROWS)
    for options in ({}, {"sample_weight": weights}):
        assert train(one(), network, optimizer, **options) == train(
            None, network, optimizer, **options
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS.keys() - {"clip"}))
@pytest.mark.parametrize("network", sorted(NETWORKS.keys() - {"penalty", "batch norm"}))
def test_one_shard_that_is_added_has_the_bits_of_fit_alone(network, optimizer, dtype):
    alone, curves = train(None, network, optimizer, dtype)
    parameters, others = train_with_ranks(one(), network, optimizer, dtype)
    assert parameters == alone
    for name, curve in curves.items():
        np.testing.assert_allclose(others[name], curve, rtol=1e-12)


@pytest.mark.parametrize(("network", "optimizer"), [("relu", "clip"), ("penalty", "adam")])
def test_one_shard_that_is_added_is_close_to_fit_where_the_program_adds_in_another_order(
    network, optimizer
):
    alone, other = (
        np.frombuffer(run(ranks, network, optimizer, np.float64)[0])
        for run, ranks in ((train, None), (train_with_ranks, one()))
    )
    np.testing.assert_allclose(other, alone, rtol=1e-9)


@pytest.mark.parametrize("shards", [4, 12])
@pytest.mark.parametrize("optimizer", ["sgd", "clip"])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_number_of_ranks_changes_no_bit(network, optimizer, shards):
    expected = train(one(shards), network, optimizer)
    assert expected[0] != train(one(), network, optimizer)[0]
    for size in (2, 3, 4):
        for result in run_ranks(size, shards, lambda ranks: train(ranks, network, optimizer)):
            assert result == expected


def train_by_layers(ranks, *arguments, **options):
    """As `train`, with the loop over layers in Python: the oracle of the compiled program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "make_shard_program", lambda *_: None)
        return train_with_ranks(ranks, *arguments, **options)


def check_program(shards, *arguments, threads=1, **options):
    parameters, curves = train_with_ranks(one(shards), *arguments, threads=threads, **options)
    expected, others = train_by_layers(one(shards), *arguments, **options)
    assert parameters == expected
    for name, curve in curves.items():
        np.testing.assert_allclose(curve, others[name], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shards", [1, 4, 7])
@pytest.mark.parametrize("network", sorted(NETWORKS.keys() - {"batch norm"}))
def test_the_program_has_the_bits_of_the_layers(network, shards, threads, dtype):
    check_program(shards, network, "adam", dtype, threads=threads)


# The layers round the weights of samples, and smoothed labels, in another order than the program.
ROUNDED = (
    {"sample_weight": np.random.default_rng(3).random(ROWS)},
    {"class_weight": {0: 1.0, 1: 0.0, 2: 3.0}},
    {"loss": fastnn.SoftmaxCrossEntropy(label_smoothing=0.1)},
    # Samples without a known target weigh 0.
    {
        "loss": fastnn.BinaryCrossEntropy(mask_nan=True),
        "y": np.where(data()[1] == 1, np.nan, data()[0][:, :3].T > 0).T,
    },
)
EQUAL = (
    {"loss": fastnn.MeanSquaredError(), "y": np.eye(3)[data()[1]]},
    {"loss": fastnn.Huber(0.5), "y": np.eye(3)[data()[1]]},
    {"loss": fastnn.BinaryCrossEntropy(), "y": np.eye(3)[data()[1]]},
    {"loss": fastnn.BinaryCrossEntropy(pos_weight=2.5), "y": np.eye(3)[data()[1]]},
    {"loss": fastnn.MeanSquaredError(mask_nan=True), "y": np.diag([1, 1, np.nan])[data()[1]]},
    {"y": np.full((ROWS, 3), 1 / 3)},
    {"X": (data()[0] * 20).astype(np.int8), "scale": 0.05},
    {"batch_size": ROWS},
    {"batch_size": 1},
)


@pytest.mark.parametrize("options", EQUAL)
def test_the_program_has_the_bits_of_the_layers_for_all_data(options):
    check_program(4, **options)


@pytest.mark.parametrize("options", ROUNDED)
def test_the_program_is_close_to_the_layers_where_these_round_otherwise(options):
    program, layers = (
        np.frombuffer(run(one(4), dtype=np.float64, **options)[0])
        for run in (train, train_by_layers)
    )
    np.testing.assert_allclose(program, layers, rtol=1e-10)


@pytest.mark.parametrize("options", [*ROUNDED, *EQUAL])
def test_one_shard_that_is_added_has_the_bits_of_fit_alone_for_all_data(options):
    for network in ("relu", "norm"):
        found = train_with_ranks(one(), network, **options)[0]
        assert found == train(None, network, **options)[0]


def test_the_program_adds_long_runs_in_blocks_as_the_layers_do():
    rows = SUM_ROWS + 77
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((3 * rows, FEATURES), np.float32), rng.integers(0, 3, 3 * rows)
    check_program(2, X=X, y=y, batch_size=3 * rows, threads=2)


def test_the_program_does_not_write_the_gradients_of_frozen_layers():
    layers = [
        fastnn.Dense(FEATURES, 20, rng=0, trainable=False), fastnn.LayerNorm(20, trainable=False),
        fastnn.Tanh(), fastnn.LayerNorm(20), fastnn.Dense(20, CLASSES, rng=1),
    ]  # fmt: skip
    program = fastnn.Sequential(layers)._program
    gradients = np.full((2, program.network.n_parameters), 7, np.float32)
    samples = as_data(program, *data(), None)

    def form(team):
        compiled = make_shard_program(program, ROWS, team)
        compiled.load(samples)
        compiled.form(np.arange(ROWS), 0, 0, [0, 70, ROWS], gradients)

    with_team(1, form)
    n_frozen = sum(layer.n_parameters for layer in layers[:2])
    assert (gradients[:, :n_frozen] == 7).all()
    assert (gradients[:, n_frozen:] != 7).all()


def test_weights_validation_and_metrics_are_those_of_one_rank():
    weights = np.random.default_rng(3).random(ROWS)
    options = {
        "sample_weight": weights, "validation_data": data(), "metrics": ["f1"], "drop_last": True,
        "optimizer": "adam",
    }  # fmt: skip
    expected = train(one(4), **options)
    assert "val_f1" in expected[1]
    assert run_ranks(4, 4, lambda ranks: train(ranks, **options)) == [expected] * 4


def test_gradients_of_shards_are_the_gradient():
    """Against one shard, in float64: only the order of the sums differs."""
    alone, other = (
        np.frombuffer(train(one(shards), "penalty", dtype=np.float64)[0]) for shards in (1, 12)
    )
    np.testing.assert_allclose(other, alone, rtol=1e-11)


# -------------------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("network", ["dropout", "batch norm"])
@pytest.mark.parametrize("unit", ["epochs", "batches"])
def test_a_checkpoint_resumes_on_any_number_of_ranks(tmp_path, unit, network):
    expected = train(one(4), network, "adam")
    path = tmp_path / "run.safetensors"

    def stop(run):
        if (run.epoch, run.step) == (2, 3 if unit == "batches" else 0):
            raise InterruptedError

    class Stop(fastnn.Callback):
        chunk_steps = 1

        def on_chunk_end(self, run):
            if unit == "batches" and (run.epoch, run.step) == (2, 4):
                raise InterruptedError

        def on_epoch_begin(self, run):
            if unit == "epochs" and run.epoch == 2:
                raise InterruptedError

    def begin(ranks):
        callbacks = [fastnn.Checkpoint(path, unit=unit), Stop()]
        train(ranks, network, "adam", callbacks=callbacks)

    results = run_ranks(2, 4, begin)
    assert all(isinstance(each, InterruptedError | RankLeftError) for each in results)
    for size in (4, 1):
        results = run_ranks(size, 4, lambda ranks: train(ranks, network, "adam", resume=path))
        assert results == [expected] * size
    with pytest.raises(ValueError, match="shards is 2, expected 4"):
        train(one(2), network, "adam", resume=path)


def test_only_rank_0_writes(tmp_path, capsys):
    def fit(ranks):
        folder = tmp_path / str(ranks.rank)
        folder.mkdir()
        callbacks = [
            fastnn.Checkpoint(folder / "run.safetensors"), fastnn.CSVLogger(folder / "log.csv")
        ]  # fmt: skip
        train(ranks, callbacks=callbacks, verbose=2)

    assert run_ranks(3, 4, fit) == [None] * 3
    assert len(list((tmp_path / "0").iterdir())) == 2
    assert not list((tmp_path / "1").iterdir())
    assert capsys.readouterr().out.count("epoch 1/3") == 1


class SlowRank(OneRank):
    """A rank whose exchanges take a part of the time."""

    def spread(self, piece):
        begin = time.perf_counter()
        time.sleep(0.01)
        self.seconds += (time.perf_counter() - begin) / 2
        return super().spread(piece)


def test_the_part_of_exchanges_is_told(capsys):
    parts = []

    def note(run):
        parts.append(run.exchange_part)

    callbacks = [fastnn.LambdaCallback(on_epoch_end=note)]
    train(one(4), callbacks=callbacks)
    train(SlowRank(4), callbacks=callbacks, verbose=2)
    train(None, callbacks=callbacks)
    assert parts[:3] == [0.0] * 3
    assert all(0.2 < part <= 0.5 for part in parts[3:6])
    assert parts[6:] == [None] * 3
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("samples/s")[1] for line in lines] == [
        f"  exchange {100 * part:.0f} %" for part in parts[3:6]
    ]


# ---------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("seed", 1, "the state of the random generator of seed"),
        ("batch_size", 16, "batch_size|data"),
        ("optimizer", "adam", "optimizer"),
        ("network", "penalty", "model"),
        ("epochs", 4, "the number of epochs"),
    ],
)
def test_a_rank_with_another_argument_is_named_on_all(name, value, match):
    def fit(ranks):
        train(ranks, **({name: value} if ranks.rank == 2 else {}))

    for error in run_ranks(3, 4, fit):
        assert isinstance(error, RanksDifferError), error
        assert str(error).startswith("on rank 2 ")
        assert __import__("re").search(match, str(error))


def test_other_data_and_weights_are_named():
    X, y = data()
    cases = {
        "the digest of samples of X": (X + 1, y, 0),
        "the digest of y": (X, (y + 1) % 3, 0),
        "the shape of X": (X[:-1], y[:-1], 0),
        "the first parameters": (X, y, 1.0),
    }
    for key, (others, labels, shift) in cases.items():

        def fit(ranks, others=others, labels=labels, shift=shift):
            model = fastnn.Sequential(NETWORKS["relu"](np.float32))
            if ranks.rank == 1:
                model.parameters = model.parameters + np.float32(shift)
            arrays = (others, labels) if ranks.rank == 1 else (X, y)
            model.fit(*arrays, seed=0, ranks=ranks, verbose=0)

        for error in run_ranks(2, 2, fit):
            assert isinstance(error, RanksDifferError), error
            assert "on rank 1 " in str(error)
            if key != "the shape of X":
                assert key in str(error)


def test_a_bad_argument_of_one_rank_is_the_error_of_all(tmp_path):
    X, y = data()
    bad = X.copy()
    bad[2, 1] = np.nan
    cases = (
        ({"X": bad}, ValueError, "on rank 1 X[2, 1] is nan, expected finite numbers"),
        ({"y": y[:-1]}, ValueError, "on rank 1 y has 149 rows, expected 150 labels"),
        ({"epochs": 0}, ValueError, "on rank 1 epochs is 0, expected"),
        ({"epochs": "2"}, TypeError, "on rank 1 epochs is '2', expected"),
    )
    for options, kind, text in cases:

        def fit(ranks, options=options):
            train(ranks, **(options if ranks.rank == 1 else {}))

        errors = run_ranks(3, 4, fit)
        for error in errors:
            assert isinstance(error, kind), error
            assert str(error).startswith(text)
            assert str(error) == str(errors[0])


def test_a_bad_argument_of_all_ranks_is_told_as_without_ranks():
    for error in run_ranks(3, 4, lambda ranks: train(ranks, epochs=0)):
        assert str(error).startswith("epochs is 0, expected")


@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_another_exception_in_the_checks_of_a_rank_ends_all(kind):
    def fit(ranks):
        def fail(n):
            raise kind("no")

        train(ranks, initial_epoch=1, shuffle=fail if ranks.rank == 1 else True)

    first, second, third = run_ranks(3, 4, fit)
    assert type(second) is kind
    for error in (first, third):
        assert isinstance(error, RankLeftError)
        assert str(error) == f"rank 1 has left the training: {kind.__name__}: no"


@pytest.mark.parametrize("kind", ["function", "generator"])
def test_another_order_is_named_on_all(kind):
    class Generator(np.random.Generator):
        pass

    def fit(ranks):
        rng = np.random.default_rng(ranks.rank)
        options = {"shuffle": rng.permutation}
        if kind == "generator":
            seed = Generator(np.random.PCG64(0))
            seed.permutation = rng.permutation
            options = {"seed": seed}
        train(ranks, **options)

    for error in run_ranks(3, 4, fit):
        assert isinstance(error, RanksDifferError), error
        assert str(error) == (
            "on rank 1 shuffle gave another order of the samples than on rank 0 in epoch 1, "
            "expected the same order on all ranks"
        )


@pytest.mark.parametrize("hook", ["on_fit_begin", "on_epoch_begin", "on_epoch_end", "on_fit_end"])
def test_when_one_rank_raises_all_leave(hook):
    def fit(ranks):
        def fail(run):
            if ranks.rank == 1:
                raise OSError("no space")

        train(ranks, callbacks=[fastnn.LambdaCallback(**{hook: fail})])

    first, second, third = run_ranks(3, 4, fit)
    assert isinstance(second, OSError)
    for error in (first, third):
        assert isinstance(error, RankLeftError)
        assert str(error) == "rank 1 has left the training: OSError: no space"


def test_a_rank_that_stops_stops_all():
    def fit(ranks):
        def stop(run):
            run.stopped = ranks.rank == 1 and run.epoch == 2

        return train(ranks, callbacks=[fastnn.LambdaCallback(on_epoch_end=stop)])[1]["loss"]

    losses = run_ranks(2, 4, fit)
    assert [len(each) for each in losses] == [2, 2]


def test_ranks_that_diverge_from_each_other_end():
    def fit(ranks):
        model = fastnn.Sequential(NETWORKS["relu"](np.float32))

        def change(run):
            if ranks.rank == 1 and run.epoch == 2:
                model.parameters = model.parameters * np.float32(2)

        options = {"callbacks": [fastnn.LambdaCallback(on_epoch_end=change)], "verbose": 0}
        model.fit(*data(), epochs=3, seed=0, ranks=ranks, **options)

    for error in run_ranks(2, 2, fit):
        assert isinstance(error, DivergedRanksError)
        assert "rank 1 has other parameters than rank 0 after epoch 2" in str(error)


def test_a_loss_that_is_not_finite_ends_all_ranks_alike():
    def fit(ranks):
        train(ranks, dtype=np.float32, optimizer=None)

    OPTIMIZERS[None] = lambda: fastnn.SGD(1e30)
    try:
        errors = run_ranks(2, 4, fit)
    finally:
        del OPTIMIZERS[None]
    assert all(isinstance(error, fastnn.NonFiniteLossError) for error in errors)
    assert errors[0].batch == errors[1].batch


def test_ranks_that_make_other_calls_are_told():
    def fit(ranks):
        if ranks.rank == 0:
            train(ranks)
        else:
            train(ranks)
            train(ranks)

    first, second = run_ranks(2, 2, lambda ranks: train(ranks, epochs=1 + ranks.rank))
    assert isinstance(first, RanksDifferError)
    assert isinstance(second, RanksError)


# ---------------------------------------------------------------------------------- bad input


def test_bad_arguments():
    with pytest.raises(ValueError, match="shards is 2, expected at least 3, the number of ranks"):
        ThreadRanks(0, 2, Exchange(3))
    with pytest.raises(ValueError, match="shards"):
        one(0)
    with pytest.raises(TypeError, match="seed is None, expected an int beside ranks"):
        train(one(), seed=None)
    with pytest.raises(TypeError, match="ranks is 4, expected what mpi_ranks or one"):
        train(4)
    with pytest.raises(ValueError, match='precision is "high", expected "highest" beside ranks'):
        train(one(), precision="high")
    with pytest.raises(ValueError, match="timeout"):
        mpi_ranks(timeout=0)
    model = fastnn.Sequential(NETWORKS["relu"](np.float32))
    with pytest.raises(ValueError, match="expected X and y beside it, not batches"):
        model.fit(batches=[data()], seed=0, ranks=one())
