"""What a model of a table has learned of its columns: importance and partial dependence."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_allclose
from sklearn.inspection import permutation_importance

import fastnn
from fastnn import plots, tables
from fastnn.cli import assessment, report
from fastnn.run.history import History
from fastnn.tables.inspection import MOST_COLUMNS, Inspection

mpl.use("Agg")
N = 240


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def make_houses():
    rng = np.random.default_rng(0)
    size, rooms = rng.uniform(40, 200, N).round(1), rng.integers(1, 7, N)
    town = rng.choice(["Bern", "Oslo", "$x$ Rome"], N)
    day = np.datetime64("2020-01-01", "us") + rng.integers(0, 900, N) * np.timedelta64(1, "D")
    price = 3 * size + 100 * (town == "Oslo") + rng.normal(0, 5, N)
    return pl.DataFrame(
        {
            "size": size, "town": town, "sold": day, "rooms": rooms, "price": price.round(2),
            "dear": np.where(price > np.median(price), "yes", "no"),
            "kind": np.array(["low", "middle", "high"])[np.digitize(price, [300, 450])],
        }
    )  # fmt: skip


HOUSES = make_houses()
TARGETS = {"price": ["dear", "kind"], "dear": ["price", "kind"], "kind": ["price", "dear"]}


@pytest.fixture(scope="module")
def models():
    return {
        target: tables.train(HOUSES, target, drop=drop, epochs=60)
        for target, drop in TARGETS.items()
    }


def inspect(model, houses=HOUSES):
    _, frame = model.inputs(model.read(tables.frames.as_table(houses)))
    return Inspection(model, frame, model.target.encode(tables.frames.as_table(houses)))


@pytest.mark.parametrize("target", TARGETS)
def test_columns_as_numbers_predict_as_the_table_does(models, target):
    model = models[target]
    inspection = inspect(model)
    predicted = inspection.predict(inspection.Z)
    values = model.target.decode(predicted) if target != "price" else predicted
    assert np.array_equal(values, model.predict(HOUSES))
    order = np.random.default_rng(1).permutation(N)
    for j, name in enumerate(inspection.names):
        Z = inspection.Z.copy()
        Z[:, j] = Z[order, j]
        shuffled = HOUSES.with_columns(HOUSES[name][order].alias(name))
        if target == "price":
            assert np.array_equal(inspection.predict(Z), model.predict(shuffled))
        else:
            assert_allclose(inspection.predict_proba(Z), model.predict_proba(shuffled))


def test_missing_values_are_those_that_the_model_fills():
    some = np.arange(N) % 7 == 0
    houses = HOUSES.with_columns(
        pl.when(pl.Series(~some)).then(pl.col(name)).alias(name)
        for name in ("size", "town", "sold")
    )
    model = tables.train(houses, "price", drop=["dear", "kind"], missing="median", epochs=5)
    inspection = inspect(model, houses)
    assert np.isfinite(inspection.Z).all()
    assert np.array_equal(inspection.predict(inspection.Z), model.predict(houses))


@pytest.mark.parametrize("target", ["price", "dear"])
def test_the_importance_is_that_of_scikit_learn_on_raw_columns(models, target):
    """On a pandas frame, which it shuffles by itself."""
    model = models[target]
    names = model.column_names

    class Estimator:
        def fit(self, X, y):
            raise NotImplementedError

    def score(estimator, X, y):
        predicted = model.predict(X)
        if target == "dear":
            return (predicted == y).mean()
        return 1 - np.square(predicted - y).sum() / np.square(y - y.mean()).sum()

    expected = permutation_importance(
        Estimator(), HOUSES.to_pandas()[names], HOUSES[target].to_numpy(), scoring=score,
        n_repeats=3, random_state=0,
    )  # fmt: skip
    found = inspect(model).importance(3)
    order = [names.index(name) for name in found.columns]
    assert_allclose(found.means, expected.importances_mean[order], rtol=1e-5, atol=1e-9)
    assert_allclose(found.deviations, expected.importances_std[order], rtol=1e-4, atol=1e-6)
    assert found.columns[0] == "size"
    assert found.columns[1] == "town"


def test_the_bars_are_the_importance(models):
    ax = plots.plot_permutation_importance(models["price"], HOUSES, n_repeats=2, max_columns=3)
    found = inspect(models["price"]).importance(2)
    assert [label.get_text() for label in ax.get_yticklabels()] == found.columns[:3]
    assert_allclose([bar.get_width() for bar in ax.patches], found.means[:3])
    assert ax.get_xlabel() == "R2 lost when shuffled"
    assert ax.get_title() == "3 of 4 columns"
    heights = [bar.get_y() for bar in ax.patches]
    assert heights == sorted(heights, reverse=True)  # the longest is on top


def test_a_point_is_the_mean_prediction_of_rows_with_that_value(models):
    model = models["price"]
    size, town, sold, rooms = plots.plot_partial_dependence(model, HOUSES)
    (line,) = size.get_lines()
    for at in (0, 20):
        x, y = line.get_xdata()[at], line.get_ydata()[at]
        expected = model.predict(HOUSES.with_columns(size=pl.lit(x))).mean()
        assert_allclose(y, expected, rtol=1e-5)
    (points,) = town.get_lines()
    for name, y in zip(["$x$ Rome", "Bern", "Oslo"], points.get_ydata(), strict=True):
        expected = model.predict(HOUSES.with_columns(town=pl.lit(name))).mean()
        assert_allclose(y, expected, rtol=1e-5)
    assert len({ax.get_ylim() for ax in (size, town, sold, rooms)}) == 1
    assert [tick.get_text() for tick in town.get_xticklabels()] == [r"\$x\$ Rome", "Bern", "Oslo"]
    assert [ax.get_xlabel() for ax in (size, town, sold, rooms)] == model.column_names
    assert {ax.get_ylabel() for ax in (size, town, sold, rooms)} == {"price"}
    sold.figure.canvas.draw()
    assert "20" in sold.get_xticklabels()[0].get_text()  # a year, not a count of days


def test_curves_of_classes(models):
    (ax,) = plots.plot_partial_dependence(models["dear"], HOUSES, ["size"])
    (line,) = ax.get_lines()
    y = line.get_ydata()
    assert ax.get_ylabel() == "probability of yes"
    assert y[0] < 0.2 < 0.8 < y[-1]
    for name in ("size", "town"):
        (ax,) = plots.plot_partial_dependence(models["kind"], HOUSES, [name])
        lines = ax.get_lines()
        assert_allclose(sum(each.get_ydata() for each in lines), 1, rtol=1e-5)
        legend = [text.get_text() for text in ax.figure.legends[0].get_texts()]
        assert legend == models["kind"].classes_
        assert len({each.get_color() for each in lines}) == 3


def test_bad_arguments(models):
    model = models["price"]
    with pytest.raises(ValueError, match=r"columns has 'sise', expected one of the columns 'size'"):
        plots.plot_partial_dependence(model, HOUSES, ["sise"])
    with pytest.raises(ValueError, match=r"axes has 2 axes, expected 1, one for each curve"):
        plots.plot_partial_dependence(model, HOUSES, ["size"], axes=list(plt.subplots(1, 2)[1]))
    for draw in (plots.plot_permutation_importance, plots.plot_partial_dependence):
        with pytest.raises(TypeError, match=r"(?s)model is .*, expected a TableModel"):
            draw(model.model, HOUSES)
        with pytest.raises(ValueError, match=r"column 'size' is missing, which the model needs"):
            draw(model, HOUSES.drop("size"))
        with pytest.raises(TypeError, match=r"data is 3, expected a path"):
            draw(model, 3)
    with pytest.raises(ValueError, match=r"the target of the model is 'price', expected one of"):
        plots.plot_permutation_importance(model, HOUSES.drop("price"))
    with pytest.raises(ValueError, match=r"n_repeats is 0, expected"):
        plots.plot_permutation_importance(model, HOUSES, n_repeats=0)
    digits = fastnn.datasets.load_digits()
    X, y = digits[0][:200, :3], digits[1][:200]
    model = tables.train({"a": X[:, 1], "b": X[:, 2] + y, "y": y}, "y", epochs=1)
    with pytest.raises(ValueError, match=r"the model has 10 classes, expected at most 7"):
        plots.plot_partial_dependence(model, {"a": X[:, 1], "b": X[:, 2]})


def test_long_tables_are_sampled(models):
    model = models["price"]
    inspection = inspect(model, pl.concat([HOUSES] * 20))
    assert inspection.Z.shape == (2_000, 4)
    assert len(inspection.y) == 2_000
    assert len(inspection.of_rows(500).Z) == 500
    assert np.isin(inspection.y, HOUSES["price"]).all()


# ------------------------------------------------------------------------ the page of --plot


def assert_fits(figure):
    figure.draw_without_rendering()
    width, height = figure.canvas.get_width_height()
    boxes = [ax.get_tightbbox() for ax in figure.axes if ax.axison]
    for i, box in enumerate(boxes):
        assert 0 <= box.x0 < box.x1 <= width
        assert 0 <= box.y0 < box.y1 <= height
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("is_training", [True, False])
def test_the_page_has_the_columns(models, target, is_training):
    model = models[target]
    history = None
    if is_training:
        history = History()
        history.append(1, {"loss": 1.0, "val_loss": 2.0})
        history.append(2, {"loss": 0.5, "val_loss": 1.5})
    inspection = inspect(model)
    predicted = inspection.predict(inspection.Z)
    scores = model.evaluate(HOUSES)
    found = assessment.Assessment(scores, inspection.y, predicted)
    figure = report.draw(history, found, model.target, "t", "part", inspection=inspection)
    titles = [ax.get_xlabel() for ax in figure.axes]
    score = "R2" if target == "price" else "accuracy"
    at = titles.index(f"{score} lost when shuffled")
    assert titles[at + 1 : at + 3] == ["size", "town"]
    assert_fits(figure)


def test_wide_tables_have_no_such_pictures(models):
    _, frame = models["price"].inputs(tables.frames.as_table(HOUSES))
    assert report.inspect(models["price"], frame, HOUSES["price"].to_numpy()) is not None
    assert report.inspect(models["price"], frame[:1], HOUSES["price"].to_numpy()[:1]) is None
    assert report.inspect(models["price"], None, np.zeros(0)) is None

    class Wide:
        column_names = ["x"] * (MOST_COLUMNS + 1)

    assert report.inspect(Wide(), frame, HOUSES["price"].to_numpy()) is None
