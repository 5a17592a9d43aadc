"""Training with several ranks where layers normalize: BatchNorm takes the rows of all ranks."""

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose
from test_ranks import (
    CLASSES,
    FEATURES,
    NETWORKS,
    OPTIMIZERS,
    ROWS,
    data,
    make_by_layers,
    run_ranks,
    train,
    train_by_layers,
    train_with_ranks,
)

import fastnn
from fastnn.distributed import RankLeftError, one
from fastnn.nn.runs import Runs
from fastnn.program.ranks import add_tree
from fastnn.program.shardwise import ShardTrainer
from fastnn.run import loop


def make_layers(dtype=np.float64, last=True):
    """Return layers that normalize the inputs, hidden values, and the outputs."""
    layers = [
        fastnn.BatchNorm(FEATURES, dtype=dtype),
        fastnn.Dense(FEATURES, 9, rng=0, dtype=dtype),
        fastnn.Tanh(),
        fastnn.LayerNorm(9, dtype=dtype),
        fastnn.Dense(9, 8, rng=1, dtype=dtype),
        fastnn.BatchNorm(8, momentum=0.3, epsilon=1e-3, dtype=dtype),
        fastnn.ReLU(),
        fastnn.Dropout(0.2, rng=3),
        fastnn.Dense(8, CLASSES, rng=2, dtype=dtype),
        fastnn.BatchNorm(CLASSES, dtype=dtype),
    ]
    for i, layer in enumerate(layers):
        if isinstance(layer, fastnn.BatchNorm | fastnn.LayerNorm):
            rng = np.random.default_rng(i)
            layer.weights = rng.uniform(0.5, 1.5, layer.weights.shape)
            layer.biases = rng.normal(0, 0.1, layer.biases.shape)
    return layers if last else layers[:-1]


NETWORKS["deep norms"] = make_layers


def runs_of(shards, n_rows):
    """Return the runs of a single rank."""
    ranks = one(shards)
    return Runs([ranks.rows_of(i, n_rows) for i in ranks.own_shards], n_rows, ranks.add_few)


# -------------------------------------------------------------------------------- the passes


@pytest.mark.parametrize("shards", [1, 4, 12])
@pytest.mark.parametrize("n_rows", [2, 10, 33])
def test_passes_of_runs_are_those_of_the_batch(shards, n_rows):
    """In float64, where only the order of sums differs: outputs, moments and all gradients.

    `test_normalization.py` compares those of the batch with central differences.
    """
    X = data(np.float64)[0][:n_rows] * 3 + 1
    slopes = np.random.default_rng(1).standard_normal((n_rows, CLASSES))
    whole, parts = (fastnn.Sequential(make_layers())._network for _ in range(2))
    for network in (whole, parts):
        network.place_dropout(5, 0)
    runs = runs_of(shards, n_rows)
    gradients = np.empty((shards, parts.n_parameters))
    outputs = whole.logits(X, True).copy()
    assert_allclose(parts.logits(X, True, runs=runs), outputs, rtol=1e-9, atol=1e-12)
    assert whole.moments.any()
    assert_allclose(parts.moments, whole.moments, rtol=1e-12, atol=1e-14)
    whole.pull(slopes)
    parts.pull_runs(slopes, gradients, runs)
    add_tree(gradients)
    size = np.abs(whole.gradients).max()
    assert_allclose(gradients[0], whole.gradients, rtol=1e-8, atol=1e-10 * size)
    assert_allclose(parts.layers[0].dinputs, whole.layers[0].dinputs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("dtype", "center"), [(np.float32, 123456.789), (np.float64, 1e12)])
def test_values_far_from_0_keep_their_differences(dtype, center):
    rng = np.random.default_rng(0)
    inputs = (center + center * 1e-6 * rng.standard_normal((37, 3))).astype(dtype)
    inputs[:, 1] = center
    layer = fastnn.BatchNorm(3, dtype=dtype)
    outputs = layer.forward_runs(inputs, runs_of(5, len(inputs)))
    gaps = inputs.astype(np.longdouble)
    gaps -= gaps.mean(axis=0)
    expected = gaps / np.sqrt(np.square(gaps).mean(axis=0) + layer.epsilon)
    assert_allclose(outputs, expected.astype(np.float64), rtol=1e-4, atol=1e-4)
    assert (outputs[:, 1] == 0).all()
    assert_allclose(layer.running_mean[0], 0.1 * inputs.astype(np.float64).mean(axis=0), rtol=1e-6)


# ------------------------------------------------------------------------------------ the bits


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shards", [4, 12])
@pytest.mark.parametrize("batch_size", [32, 5, ROWS])
def test_the_number_of_ranks_changes_no_bit(shards, batch_size, dtype):
    """Also of batches with fewer rows than shards, and of ranks that have no row at all."""
    options = {
        "network": "deep norms", "optimizer": "adam", "dtype": dtype, "batch_size": batch_size,
        "sample_weight": np.random.default_rng(3).random(ROWS), "validation_data": data(dtype),
        "metrics": ["f1"], "drop_last": True,
    }  # fmt: skip
    expected = train(one(shards), **options)
    assert "val_f1" in expected[1]
    for size in (2, 3, 4):
        assert run_ranks(size, shards, lambda ranks: train(ranks, **options)) == [expected] * size


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS.keys() - {"adam", "decay", "spared"}))
@pytest.mark.parametrize("shards", [1, 4])
def test_shards_train_as_the_batch_does(shards, optimizer):
    """Against `fit` alone, in float64. Weights count in the loss, and not in the moments."""
    options = {"sample_weight": np.random.default_rng(3).random(ROWS)}
    found, expected = (
        np.frombuffer(run(ranks, "deep norms", optimizer, np.float64, **options)[0])
        for run, ranks in ((train_with_ranks, one(shards)), (train, None))
    )
    assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("network", ["batch norm", "deep norms"])
def test_ranks_have_the_running_moments_of_a_single_one(network):
    """And so the same evaluations, after training too."""
    X, y = data()

    def fit(ranks):
        model = fastnn.Sequential(NETWORKS[network](np.float32))
        model.fit(X, y, epochs=2, seed=0, ranks=ranks, verbose=0)
        norms = [each for each in model.layers if isinstance(each, fastnn.BatchNorm)]
        moments = [(each.running_mean.tolist(), each.running_variance.tolist()) for each in norms]
        return moments, model.evaluate(X, y), model.predict_proba(X).tolist()

    expected = fit(one(4))
    assert np.ptp(expected[0][0][0]) > 0
    assert run_ranks(3, 4, fit) == [expected] * 3


@pytest.mark.parametrize("shards", [1, 4])
def test_parts_of_the_samples_have_the_bits_of_the_whole(shards):
    X, y = data()
    expected = train(one(shards), "batch norm", "clip")

    def fit(ranks):
        rows = slice(ROWS * ranks.rank // ranks.size, ROWS * (ranks.rank + 1) // ranks.size)
        return train(ranks, "batch norm", "clip", X=X[rows], y=y[rows], parts=True)

    for size in {1, min(3, shards)}:
        assert run_ranks(size, shards, fit) == [expected] * size


@pytest.mark.parametrize("frozen", [0, 5, 9])
def test_a_frozen_layer_stays_but_its_moments_follow(frozen):
    def fit(ranks):
        layers = make_layers(np.float32)
        layers[frozen].trainable = False
        model = fastnn.Sequential(layers)
        before = model.layers[frozen].weights.copy()
        model.fit(*data(), epochs=2, seed=0, ranks=ranks, verbose=0)
        layer = model.layers[frozen]
        assert np.array_equal(layer.weights, before)
        assert layer.running_mean.any()
        return model._network.buffer.tobytes()

    assert run_ranks(3, 4, fit) == [fit(one(4))] * 3


def test_layer_norm_in_the_program_has_the_bits_of_the_layers():
    """Also where it comes first, last, is frozen, and where a shard has more rows than a block."""

    def make(dtype):
        layers = [each for each in make_layers(dtype) if not isinstance(each, fastnn.BatchNorm)]
        norms = [fastnn.LayerNorm(size, dtype=dtype) for size in (FEATURES, CLASSES, CLASSES)]
        norms[1].trainable = False
        return [norms[0], *layers, *norms[1:]]

    NETWORKS["layer norms"] = make
    try:
        for dtype, batch_size, threads in ((np.float32, 64, 2), (np.float64, 150, 1)):
            options = {"dtype": dtype, "batch_size": batch_size}
            for shards in (2, 5):
                parameters, _ = train(one(shards), "layer norms", threads=threads, **options)
                assert parameters == train_by_layers(one(shards), "layer norms", **options)[0]
    finally:
        del NETWORKS["layer norms"]


# ---------------------------------------------------------------------------- what goes wrong


def fails_alike(n_ranks, shards, **options):
    """Check that all ranks raise the NonFiniteLossError of a single one."""
    with pytest.raises(fastnn.NonFiniteLossError) as caught, np.errstate(all="ignore"):
        train(one(shards), **options)
    for error in run_ranks(n_ranks, shards, lambda ranks: train(ranks, **options)):
        assert isinstance(error, fastnn.NonFiniteLossError), error
        assert (error.epoch, error.batch) == (caught.value.epoch, caught.value.batch)


def test_values_that_overflow_on_one_rank_end_all_alike():
    """Within the forward pass, in the loss, and in the variance of the whole batch."""
    X, y = data()
    options = {"network": "deep norms", "shuffle": False, "optimizer": "sgd"}
    for row in (0, 40, 149):  # on another rank each
        numbers, wide = X.copy(), X.copy()
        numbers[row] = 3e38  # the next layer overflows for this row
        wide[row] = 1e30
        targets = np.eye(CLASSES, dtype=np.float32)[y]
        targets[row] = 1e30  # its square overflows
        loss = {"loss": fastnn.MeanSquaredError(), "y": targets}
        fails_alike(3, 4, **options | {"network": "batch norm", "X": numbers})
        fails_alike(3, 4, **options | {"X": wide})
        fails_alike(3, 4, **options | loss)


@pytest.mark.parametrize("count", [1, 2, 8, 9, 40])
def test_an_exception_within_a_step_reaches_all(count, monkeypatch):
    """A step has eight exchanges of moments: two of each layer, and one of two on the way back."""

    class FailingTrainer(ShardTrainer):
        calls = 0

        def _add_moments(self, size):
            self.calls += 1
            if self.ranks.rank == 1 and self.calls == count:
                raise OSError("no space")
            super()._add_moments(size)

    monkeypatch.setattr(loop, "ShardTrainer", FailingTrainer)
    models = {}

    def fit(ranks):
        model = models[ranks.rank] = fastnn.Sequential(make_layers(np.float32))
        model.fit(*data(), batch_size=32, epochs=2, seed=0, ranks=ranks, verbose=0)

    first, second, third = run_ranks(3, 4, fit)
    assert isinstance(second, OSError)
    for error in (first, third):
        assert isinstance(error, RankLeftError)
        assert re.fullmatch("rank 1 has left the training: OSError: no space", str(error))
    buffers = {each._network.buffer.tobytes() for each in models.values()}
    assert len(buffers) == 1  # the running moments too are those of the last step


def test_a_batch_of_one_sample_is_refused():
    with pytest.raises(ValueError, match="expected at least 2"):
        train(one(4), "batch norm", batch_size=149)
    train(one(4), "batch norm", batch_size=149, drop_last=True)


@pytest.mark.parametrize(("dtype", "center"), [(np.float32, 123456.789), (np.float64, 1e12)])
def test_the_program_keeps_differences_far_from_0_as_the_layers_do(dtype, center, monkeypatch):
    """The mean is rounded there, and what the rounding took is subtracted too."""
    rng = np.random.default_rng(0)
    inputs = (center + center * 1e-6 * rng.standard_normal((37, 3))).astype(dtype)
    y, results = np.arange(37) % 2, []
    for make in (loop.ShardTrainer, make_by_layers):
        monkeypatch.setattr(loop, "ShardTrainer", make)
        layers = [fastnn.BatchNorm(3, dtype=dtype), fastnn.Dense(3, 2, dtype=dtype, rng=0)]
        model = fastnn.Sequential(layers)
        model.fit(
            inputs, y, batch_size=37, epochs=3, seed=0, ranks=one(5), verbose=0,
            optimizer=fastnn.SGD(0.5),
        )  # fmt: skip
        results.append((model.parameters.tobytes(), layers[0].running_variance.tobytes()))
    assert results[0] == results[1]


def test_a_variance_that_overflows_ends_the_training():
    inputs = np.random.default_rng(0).standard_normal((37, 3)) * 1e200
    model = fastnn.Sequential(
        [fastnn.BatchNorm(3, dtype="float64"), fastnn.Dense(3, 2, dtype="float64", rng=0)]
    )
    before = model.parameters.copy()
    with pytest.raises(fastnn.NonFiniteLossError):
        model.fit(inputs, np.arange(37) % 2, batch_size=37, seed=0, ranks=one(5), verbose=0)
    assert np.array_equal(model.parameters, before)
