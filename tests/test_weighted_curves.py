"""What the curves of a history are weighted with, and what a split of the samples must hold."""

import os

import numpy as np
import pytest
from test_trainer import fit, make_data, make_model

import fastnn
from fastnn import datasets

every_path = pytest.mark.parametrize("own", [False, True], ids=["compiled", "layer by layer"])
LOSSES = ["labels", "smoothed labels", "distributions", "answers"]
X37, _ = make_data("labels")
WEIGHTS = np.random.default_rng(5).integers(0, 9, len(X37)).astype(float)


def make(loss, own=False):
    model = make_model("Tanh", loss)
    if own:
        model._program.steps = None
    return model


def frozen(own, loss, X, y, **options):
    """The history of an epoch that changes nothing to speak of, and the model."""
    model = make(loss, own)
    return fit(model, X, y, fastnn.SGD(1e-30), epochs=1, **options), model


@every_path
@pytest.mark.parametrize("loss", LOSSES)
def test_accuracy_is_weighted_as_evaluate_weights_it(own, loss):
    X, y = make_data(loss)
    history, model = frozen(own, loss, X, y, sample_weight=WEIGHTS)
    expected = model.evaluate(X, y, sample_weight=WEIGHTS)
    assert history.accuracy[0] == pytest.approx(expected["accuracy"], rel=1e-12)
    assert history.accuracy[0] != pytest.approx(model.evaluate(X, y)["accuracy"], rel=1e-3)
    assert history.loss[0] == pytest.approx(expected["loss"], rel=1e-9)


@every_path
def test_the_same_samples_have_the_same_curves_on_both_sides(own):
    """Sample weights alone, so validation data can have them too."""
    X, y = make_data("labels")
    history, _ = frozen(
        own, "labels", X, y, sample_weight=WEIGHTS, metrics=["f1", "recall"],
        validation_data=(X, y, WEIGHTS),
    )  # fmt: skip
    for name in ("loss", "accuracy", "f1", "recall"):
        held_out = history.curves[f"val_{name}"]
        assert history.curves[name] == pytest.approx(held_out, rel=1e-9), name


@every_path
def test_class_weights_are_weights(own):
    X, y = make_data("labels")
    factors = {0: 1.0, 1: 5.0, 2: 0.5}
    history, model = frozen(
        own, "labels", X, y, sample_weight=WEIGHTS, class_weight=factors, metrics=["f1"],
        validation_data=(X, y),
    )  # fmt: skip
    both = WEIGHTS * np.array([factors[label] for label in y])
    expected = model.evaluate(X, y, sample_weight=both, metrics=["f1"])
    for name in ("loss", "accuracy", "f1"):
        assert history.curves[name][0] == pytest.approx(expected[name], rel=1e-9), name
    plain = model.evaluate(X, y, metrics=["f1"])
    for name in ("loss", "accuracy", "f1"):  # of validation data they are not
        assert history.curves[f"val_{name}"][0] == pytest.approx(plain[name], rel=1e-12), name


@every_path
def test_an_accuracy_of_one_is_one(own):
    """The weights of the right answers add up as all weights do, to the last bit."""
    X, _ = make_data("labels")
    model = make("labels", own)
    y, weights = model.predict(X), np.random.default_rng(0).random(len(X)) / 3
    history = fit(model, X, y, fastnn.SGD(1e-30), epochs=1, sample_weight=weights)
    assert history.accuracy == [1.0]


def test_partial_fit_and_batches_weigh_alike():
    X, y = make_data("labels")
    model = make("labels")
    expected = model.evaluate(X, y, sample_weight=WEIGHTS)["accuracy"]
    history = model.partial_fit(X, y, WEIGHTS, optimizer=fastnn.SGD(1e-30))
    assert history.accuracy[0] == pytest.approx(expected, rel=1e-12)
    batches = [(X[i : i + 9], y[i : i + 9], WEIGHTS[i : i + 9]) for i in range(0, len(X), 9)]
    history = model.fit(batches=batches, optimizer=fastnn.SGD(1e-30), verbose=0)
    assert history.accuracy[0] == pytest.approx(expected, rel=1e-12)


@every_path
def test_in_a_batch_of_one_weights_make_no_difference(own):
    X, y = make_data("labels")

    def train(**options):
        model = make("labels", own)
        fit(model, X, y, epochs=1, batch_size=1, **options)
        return model.parameters

    plain, weighted = train(), train(class_weight={0: 1.0, 1: 50.0, 2: 0.1})
    assert np.allclose(plain, weighted, rtol=1e-12, atol=1e-14)


# ------------------------------------------------------------------ a split of sorted rows


def split(y, part=0.2, loss=None, width=None, **options):
    y = np.asarray(y)
    X = np.random.default_rng(0).standard_normal((len(y), 3))
    model = fastnn.Sequential([fastnn.Dense(3, width or int(y.max()) + 1, rng=0)], loss=loss)
    return model.fit(X, y, validation_split=part, verbose=0, **options)


@pytest.mark.parametrize(
    ("y", "options", "words"),
    [
        (np.repeat([0, 1, 2, 3, 4], 10), {}, "class 4 is only among the held-out samples. Shuffle"),
        (np.arange(100) // 10, {"part": 0.3}, "class 7, class 8, class 9 are only among the held-"),
        (
            np.arange(24) // 2, {"part": 0.5},
            "class 0, class 1, class 2, class 3, 2 more are only among the samples to train on, "
            "class 6, class 7, class 8, class 9, 2 more are only among the held-out samples",
        ),
        (
            [0, 1] * 10 + [0] * 5, {"part": 0.2},
            "class 1 is only among the samples to train on. Shuffle",
        ),
        (np.eye(3)[np.arange(30) // 10], {"width": 3}, "class 0, class 1 are only .* train on"),
        (
            np.repeat([0, 1], [9, 1]), {"loss": fastnn.BinaryCrossEntropy(), "width": 1},
            "class 1 is only among the held-out samples",
        ),
        (
            np.stack([np.arange(20) % 2, np.arange(20) > 15], axis=1).astype(float),
            {"loss": fastnn.BinaryCrossEntropy(), "width": 2},
            "class 0 of output 1 is only among the samples to train on, "
            "class 1 of output 1 is only among the held-out",
        ),
    ],
)  # fmt: skip
def test_a_class_in_one_part_only(y, options, words):
    with pytest.warns(fastnn.MissingClassWarning, match=words) as caught:
        split(y, **options)
    assert len(caught) == 1
    assert os.path.basename(caught[0].filename) == os.path.basename(__file__)


@pytest.mark.parametrize(
    ("y", "options"),
    [
        (np.arange(40) % 4, {}),
        ([0, 1, 2] * 10, {"width": 9}),  # classes that are nowhere
        (np.linspace(0, 1, 30), {"loss": fastnn.MeanSquaredError(), "width": 1}),
        ([0, 1] * 20, {"loss": fastnn.BinaryCrossEntropy(), "width": 1}),
    ],
)
def test_no_warning_without_a_reason(y, options):
    split(y, **options)


def test_the_remedy_of_the_message_works():
    y = np.repeat([0, 1, 2, 3, 4], 10)
    train, held_out = datasets.split(len(y), 0.2, labels=y)
    assert set(y[train]) == set(y[held_out]) == set(y)
