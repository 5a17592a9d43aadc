"""The finder of learning rates: its losses are those of the steps, and the model stays as it is."""

import numpy as np
import pytest

import fastnn
from fastnn.datasets import load_digits

X, y = load_digits()
X = X[:600] / 16
y = y[:600]


def make_model(loss=None, n_outputs=10):
    layers = [fastnn.Dense(64, 16, rng=0), fastnn.ReLU(), fastnn.Dense(16, n_outputs, rng=1)]
    return fastnn.Sequential(layers, loss=loss)


@pytest.mark.parametrize("make", [fastnn.SGD, fastnn.Adam])
def test_losses_are_those_of_the_steps(make):
    model, optimizer = make_model(), make(0.123)
    before = model.parameters.copy()
    finder = fastnn.LearningRateFinder(model, X, y, optimizer, seed=3, steps=40, highest=0.1)
    assert np.array_equal(model.parameters, before)
    assert (optimizer.learning_rate, model.optimizer) == (0.123, None)
    assert optimizer.state_of(model.parameters).iterations == 0
    np.testing.assert_allclose(finder.rates, np.geomspace(1e-6, 0.1, 40))
    twin, rule, found = make_model(), make(), []
    rng = np.random.default_rng(3)
    batches = [each for _ in range(3) for each in fastnn.generate_batch_indices(600, 32, rng)]
    for rate, indices in zip(finder.rates, batches, strict=False):
        rule.learning_rate = rate
        found.append(twin.partial_fit(X[indices], y[indices], optimizer=rule).loss[0])
    np.testing.assert_allclose(finder.losses, found)
    average, weight, smoothed = 0.0, 0.0, []
    for loss in found:
        average, weight = 0.9 * average + 0.1 * loss, 0.9 * weight + 0.1
        smoothed.append(average / weight)
    np.testing.assert_allclose(finder.smoothed, smoothed)


@pytest.mark.parametrize("make", [fastnn.SGD, fastnn.Adam, fastnn.RMSprop])
def test_the_suggestion_trains_and_the_last_rate_does_not(make):
    finder = fastnn.LearningRateFinder(make_model(), X, y, make(), seed=0, highest=100.0)
    assert len(finder.rates) == len(finder.losses) == len(finder.smoothed) < 200
    assert finder.smoothed[-1] > 4 * finder.smoothed.min()
    assert finder.suggestion in finder.rates
    smallest = finder.rates[finder.smoothed.argmin()]
    assert smallest / 11 < finder.suggestion <= smallest / 10
    model = make_model()
    good = model.fit(X, y, epochs=3, seed=0, optimizer=make(finder.suggestion)).loss
    assert good[-1] < 0.8 * finder.losses[0]
    bad = make_model().fit(X, y, epochs=3, seed=0, optimizer=make(finder.rates[-1])).loss
    assert bad[-1] > 2 * good[-1]


def test_numbers_and_the_same_seed():
    target = X[:, 20] - X[:, 30]
    finders = [
        fastnn.LearningRateFinder(make_model(fastnn.MeanSquaredError(), 1), X, target, seed=seed)
        for seed in (0, 0, 1)
    ]
    assert finders[0].losses.tobytes() == finders[1].losses.tobytes()
    assert finders[0].losses.tobytes() != finders[2].losses.tobytes()
    assert repr(finders[0]).startswith(f"<LearningRateFinder: {len(finders[0].rates)} steps")


def test_a_loss_that_only_rises_suggests_the_lowest_rate():
    rates = {"lowest": 5.0, "highest": 6.0, "steps": 20, "seed": 0}
    finder = fastnn.LearningRateFinder(make_model(), X, y, **rates)
    assert 10 <= len(finder.losses) <= 20
    assert finder.suggestion == finder.rates[0]


def test_the_picture_has_the_suggestion():
    finder = fastnn.LearningRateFinder(make_model(), X, y, seed=0)
    ax = finder.plot()
    points, line, suggested = ax.lines
    np.testing.assert_array_equal(points.get_ydata(), finder.losses)
    np.testing.assert_array_equal(line.get_ydata(), finder.smoothed)
    assert suggested.get_xdata()[0] == finder.suggestion
    assert (ax.get_xscale(), ax.get_xlabel(), ax.get_ylabel()) == ("log", "learning rate", "loss")
    assert finder.plot(ax) is ax


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((3, X, y), {}, TypeError, "model is 3, expected a fastnn.Sequential"),
        ((None, X, y, "adam"), {}, TypeError, "optimizer is 'adam', expected a fastnn.Optimizer"),
        ((None, X, y[:5]), {}, ValueError, r"shapes \(600, 64\) and \(5,\), expected as many"),
        ((None, X, y), {"lowest": 1.0, "highest": 0.5}, ValueError, "lowest is 1.0, expected less"),
        ((None, X, y), {"lowest": 0.0}, ValueError, "lowest is 0"),
        ((None, X, y), {"steps": 5}, ValueError, "the loss was finite for 5 steps, expected"),
        ((None, X, y), {"batch_size": 0}, ValueError, "batch_size is 0"),
        ((None, X[:, :3], y), {}, ValueError, "X"),
    ],
)
def test_bad_arguments(arguments, options, error, message):
    model = make_model() if arguments[0] is None else arguments[0]
    with pytest.raises(error, match=message):
        fastnn.LearningRateFinder(model, *arguments[1:], **options)
