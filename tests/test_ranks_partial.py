"""`partial_fit` with several ranks: each call is a step, or some, of all of them."""

import numpy as np
import pytest
from test_ranks import NETWORKS, OPTIMIZERS, data, run_ranks

import fastnn
from fastnn.distributed import RanksDifferError, one

X, Y = data()
PARTS = (slice(0, 40), slice(40, 45), slice(45, 150))


def train(ranks, network="dropout", optimizer="adam", **options):
    """Return (parameters and moments, losses) after a call for each part of the samples."""
    model = fastnn.Sequential(NETWORKS[network](np.float32))
    options = {"batch_size": 16, "optimizer": OPTIMIZERS[optimizer](), "seed": 5} | options
    losses = []
    for part in PARTS:
        losses += model.partial_fit(X[part], Y[part], ranks=ranks, **options).loss
        options = {"batch_size": options["batch_size"]}
    return model._network.buffer.tobytes(), losses


@pytest.mark.parametrize(("network", "optimizer"), [("dropout", "adam"), ("batch norm", "clip")])
def test_the_number_of_ranks_changes_no_bit(network, optimizer):
    expected = train(one(4), network, optimizer)
    assert expected[0] != train(None, network, optimizer)[0]
    for size in (2, 3):
        results = run_ranks(size, 4, lambda ranks: train(ranks, network, optimizer))
        assert results == [expected] * size
    np.testing.assert_allclose(expected[1], train(None, network, optimizer)[1], rtol=1e-4)


def test_one_shard_has_the_bits_of_calls_without_ranks():
    assert train(one()) == train(None)


def test_calls_are_an_epoch_of_fit():
    def make():
        return fastnn.Sequential(NETWORKS["relu"](np.float32))

    models, adam = (make(), make()), fastnn.Adam(0.01)
    ranks = one(4)
    models[0].fit(X, Y, batch_size=50, shuffle=False, seed=0, optimizer=adam, ranks=ranks)
    for i in range(0, 150, 50):
        models[1].partial_fit(
            X[i : i + 50], Y[i : i + 50], optimizer=None if i else fastnn.Adam(0.01), ranks=ranks
        )
    assert models[0].parameters.tobytes() == models[1].parameters.tobytes()


def test_what_differs_between_ranks_is_named_on_all():
    def fit(ranks, **options):
        train(ranks, **(options if ranks.rank == 1 else {}))

    for options, text in (
        ({"seed": 6}, "on rank 1 the key of dropout's masks, by seed is"),
        ({"batch_size": 8}, "on rank 1 batch_size is 8, expected 16, as on rank 0"),
        ({"optimizer": "sgd"}, "on rank 1 the class of optimizer is 'SGD', expected"),
        ({"sample_weight": np.full(40, 0.5)}, "on rank 1 the digests of all data"),
    ):
        for error in run_ranks(3, 4, lambda ranks, options=options: fit(ranks, **options)):
            assert isinstance(error, RanksDifferError), error
            assert str(error).startswith(text)


def test_a_bad_argument_of_one_rank_is_the_error_of_all():
    def fit(ranks):
        bad = X.copy()
        bad[2, 1] = np.nan if ranks.rank == 1 else 0
        model = fastnn.Sequential(NETWORKS["relu"](np.float32))
        before = model.parameters.copy()
        try:
            model.partial_fit(bad, Y, ranks=ranks)
        finally:
            assert np.array_equal(model.parameters, before)
            assert model.optimizer is None

    for error in run_ranks(3, 4, fit):
        assert isinstance(error, ValueError)
        assert str(error) == "on rank 1 X[2, 1] is nan, expected finite numbers"


def test_a_call_that_diverges_is_undone_on_all_ranks():
    def fit(ranks):
        model, sgd = fastnn.Sequential(NETWORKS["relu"](np.float32)), fastnn.SGD(1e30, 0.9)
        before = model.parameters.copy()
        with pytest.raises(fastnn.NonFiniteLossError) as caught:
            model.partial_fit(X, Y, batch_size=8, optimizer=sgd, ranks=ranks)
        assert np.array_equal(model.parameters, before)
        assert sgd.state_of(model.parameters).iterations == 0
        return caught.value.batch

    batches = run_ranks(3, 4, fit)
    assert batches == [fit(one(4))] * 3


def test_what_ranks_cannot_train_is_refused():
    model = fastnn.Sequential(NETWORKS["relu"](np.float32))
    with pytest.raises(TypeError, match="ranks is 4, expected what mpi_ranks or one"):
        model.partial_fit(X, Y, ranks=4)
    with pytest.raises(ValueError, match='precision is "high", expected "highest" beside ranks'):
        model.partial_fit(X, Y, ranks=one(4), precision="high")

    class Own(fastnn.SGD):
        def update(self, parameters, gradients, **options):
            parameters -= gradients

    with pytest.raises(ValueError, match="expected layers, a loss and an optimizer of fastnn"):
        model.partial_fit(X, Y, ranks=one(4), optimizer=Own(0.1))
