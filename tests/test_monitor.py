"""Whether lower or higher values are better: one rule for all that watch a curve."""

import math

import numpy as np
import pytest
from test_trainer import fit, make_data, make_model

import fastnn
from fastnn import metrics

LOWER = ["loss", "val_loss", "penalty", "mse", "val_mae"]
HIGHER = [
    "accuracy",
    "val_accuracy",
    "val_score",
    "f1",
    "val_precision",
    "recall",
    "val_top_2",
    "r2",
]


def worst(y_true, y_pred):
    return 0.5


def make_metrics(names):
    """The metrics that belong to the names of curves."""
    plain = {name.removeprefix("val_") for name in names}
    task = "numbers" if plain & {"mse", "mae", "r2"} else "classes"
    known = plain - {"loss", "penalty", "accuracy", "score"}
    return metrics.as_metrics(sorted(known), task, 3)


@pytest.mark.parametrize("name", LOWER + HIGHER)
def test_a_curve_knows_its_direction(name):
    model = make_model()
    run = fastnn.run.callbacks.Run(model, model._network, 9, 1, make_metrics([name]), [name])
    stop, best = (
        fastnn.EarlyStopping(name),
        fastnn.Checkpoint("a", monitor=name, save_best_only=True),
    )
    rate = fastnn.ReduceOnPlateau(1.0, factor=0.5, patience=0, monitor=name)
    assert rate.check_curves([name], run.metrics) == (1 if name in LOWER else -1)
    for each in (stop, best):
        each.on_fit_begin(run)
        run.history.append(1, {name: 1.0})
        each.on_epoch_end(run)
        run.epoch += 1
        run.history.append(2, {name: 2.0})
        each.on_epoch_end(run)
        assert each.best == (1.0 if name in LOWER else 2.0)
    rate.observe({name: 1.0})
    rate.observe({name: 2.0})
    assert rate.best == (1.0 if name in LOWER else 2.0)
    assert rate.current_rate == (0.5 if name in LOWER else 1.0)


@pytest.mark.parametrize(
    ("function", "high"),
    [
        (metrics.accuracy, True), (metrics.top_k_accuracy, True),
        (metrics.mean_squared_error, False), (metrics.mean_absolute_error, False),
        (metrics.r2, True), (metrics.recall, True),
        (worst, None), (len, None),
    ],
)  # fmt: skip
def test_functions_of_fastnn_know_it_however_they_are_given(function, high):
    def unhashable():
        each = fastnn.Metric([].append)
        return each.higher_is_better

    assert fastnn.Metric(function).higher_is_better is high
    assert fastnn.Metric(function, "name", higher_is_better=False).higher_is_better is False
    assert unhashable() is None


@pytest.mark.parametrize("name", ["worst", "val_worst", "speed"])
def test_where_nobody_knows_it_has_to_be_said(name):
    X, y = make_data("labels")

    def announce(run):
        run.curve_names.append("speed")

    model = make_model()
    before = model.parameters.copy()
    for watcher in (
        fastnn.EarlyStopping(name),
        fastnn.Checkpoint("a", monitor=name, save_best_only=True),
        fastnn.ReduceOnPlateau(0.1, monitor=name),
    ):
        is_rate = isinstance(watcher, fastnn.ReduceOnPlateau)
        if is_rate and name == "speed":  # a rate comes before callbacks
            continue
        with pytest.raises(ValueError, match=rf'mode is "auto", expected "min" or .* \'{name}\''):
            fit(
                model, X, y, fastnn.SGD(watcher) if is_rate else "SGD", metrics=[worst],
                validation_data=(X, y),
                callbacks=[fastnn.LambdaCallback(announce), *([] if is_rate else [watcher])],
            )  # fmt: skip
    assert np.array_equal(model.parameters, before)


# ------------------------------------------------------------------------------- the rate


def rates(values, name="loss", **options):
    rate = fastnn.ReduceOnPlateau(1.0, factor=0.5, min_delta=0.0, monitor=name, **options)
    found = []
    for value in values:
        rate.observe({name: value})
        found.append(rate.current_rate)
    return found


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        # As torch.optim.lr_scheduler.ReduceLROnPlateau with threshold=0 gives them.
        ([3, 3, 3, 3, 3], {"patience": 0}, [1, 0.5, 0.25, 0.125, 0.0625]),
        ([3, 3, 3, 3, 3, 3], {"patience": 1}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ([3, 3, 3, 3, 3, 3], {"patience": 0, "cooldown": 1}, [1, 0.5, 0.5, 0.25, 0.25, 0.125]),
        ([3, 3, 2, 3, 3, 3], {"patience": 1, "cooldown": 2}, [1, 1, 1, 1, 0.5, 0.5]),
        ([3, 3, 3, 3, 3, 3, 3, 3], {"patience": 1, "cooldown": 2}, [1, 1, *[0.5] * 4, 0.25, 0.25]),
        ([3, 3, 2, 2, 2, 2, 2], {"patience": 0, "cooldown": 2}, [1, *[0.5] * 3, *[0.25] * 3]),
        ([1, 2, 3, 3, 4], {"patience": 0, "mode": "max"}, [1, 1, 1, 0.5, 0.5]),
        ([math.nan, 3, math.nan, 2], {"patience": 0}, [0.5, 0.5, 0.25, 0.25]),
        ([math.inf, -math.inf, 3, 2], {"patience": 0}, [0.5, 0.25, 0.25, 0.25]),
    ],
)
def test_reduce_on_plateau(values, options, expected):
    assert rates(values, **options) == expected


def test_of_accuracies_it_waits_for_higher_ones():
    assert rates([0.1, 0.2, 0.3, 0.3, 0.4], "val_accuracy", patience=0) == [1, 1, 1, 0.5, 0.5]


@pytest.mark.parametrize("name", ["val_accuracy", "val_f1"])
def test_in_a_run_the_rate_stays_while_the_curve_rises(name):
    X, y = make_data("labels")
    rate = fastnn.ReduceOnPlateau(0.02, factor=0.5, patience=1, monitor=name, min_delta=0.0)
    model, optimizer, seen = make_model(), fastnn.Adam(rate), []
    look = fastnn.LambdaCallback(on_epoch_end=lambda run: seen.append(rate.current_rate))
    history = fit(
        model, X, y, optimizer, epochs=25, metrics=["f1"], validation_data=(X, y),
        callbacks=[look],
    )  # fmt: skip
    values = history.curves[name]
    assert rate.best == max(values) > values[0]
    waited, current, expected = 0, 0.02, []
    for epoch, value in enumerate(values):
        waited = 0 if value > max(values[:epoch], default=-1) else waited + 1
        if waited > 1:
            waited, current = 0, current / 2
        expected.append(current)
    assert seen == expected
    assert 0.02 in seen[3:]


def test_bad_arguments_of_the_rate():
    for options, words in (
        ({"mode": "up"}, "mode is 'up', expected"),
        ({"cooldown": -1}, "cooldown is -1, expected a whole number from 0"),
        ({"cooldown": 1.5}, "cooldown is 1.5, expected a whole number from 0"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            fastnn.ReduceOnPlateau(0.1, **options)


def test_repr_and_config_of_the_rate():
    rate = fastnn.ReduceOnPlateau(0.1, monitor="val_accuracy", mode="max", cooldown=3)
    rate.observe({"val_accuracy": 0.5})
    assert repr(rate) == (
        "ReduceOnPlateau(rate=0.1, factor=0.1, patience=10, monitor='val_accuracy', "
        "min_delta=0.0001, last=0.0, mode='max', cooldown=3)"
    )
    config = fastnn.nn.configs.describe(fastnn.SGD(rate), "optimizer")
    assert config["learning_rate"]["mode"] == "max"
    assert config["learning_rate"]["cooldown"] == 3
