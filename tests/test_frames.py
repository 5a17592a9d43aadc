"""Frames and series of pandas, also of the types that may have NA, in the place of arrays."""

import numpy as np
import pandas
import pytest

import fastnn

RNG = np.random.default_rng(0)
A, B, C = RNG.standard_normal(60), RNG.integers(-3, 4, 60), RNG.random(60) < 0.5
PLAIN = np.column_stack([A, B, C])
LABELS = RNG.integers(0, 3, 60)
TYPES = {
    "nullable": ("Float64", "Int64", "boolean"),
    "one of them nullable": ("float64", "Int64", "bool"),
    "plain and mixed": ("float64", "int64", "bool"),
    "float": ("Float64", "Float64", "Float64"),
    "unsigned": ("Float64", "Int8", "UInt8"),
}


def frame(types):
    columns = zip("abc", (A, B, C), TYPES[types], strict=True)
    return pandas.DataFrame({name: pandas.Series(v, dtype=kind) for name, v, kind in columns})


def make(loss=None, width=3):
    return fastnn.Sequential([fastnn.Dense(3, width, rng=0, dtype=np.float64)], loss=loss)


@pytest.mark.parametrize("types", TYPES)
def test_a_frame_trains_and_predicts_as_its_numbers_do(types):
    X, one, other = frame(types), make(), make()
    options = {"epochs": 3, "seed": 0, "verbose": 0}
    found = one.fit(X, LABELS, validation_data=(X, LABELS), **options)
    wanted = other.fit(PLAIN, LABELS, validation_data=(PLAIN, LABELS), **options)
    assert found.curves == wanted.curves
    assert np.array_equal(one.parameters, other.parameters)
    assert np.array_equal(one.predict(X), other.predict(PLAIN))
    assert np.array_equal(one.predict(X[:1]), other.predict(PLAIN[:1]))
    assert one.evaluate(X, LABELS) == other.evaluate(PLAIN, LABELS)
    one.partial_fit(X, LABELS)
    other.partial_fit(PLAIN, LABELS)
    assert np.array_equal(one.parameters, other.parameters)


@pytest.mark.parametrize("kind", ["Int64", "UInt8", "boolean", "Float64", "int64"])
def test_labels_answers_and_weights_in_a_series(kind):
    y = LABELS % 2
    weights = pandas.Series(LABELS + 1.0, dtype="Float64")
    for loss, width in ((None, 2), (fastnn.BinaryCrossEntropy(), 1)):
        one, other = make(loss, width), make(loss, width)
        options = {"epochs": 2, "seed": 0, "verbose": 0}
        one.fit(frame("nullable"), pandas.Series(y, dtype=kind), sample_weight=weights, **options)
        other.fit(PLAIN, y, sample_weight=LABELS + 1.0, **options)
        assert np.array_equal(one.parameters, other.parameters)


def test_a_frame_of_targets():
    targets = pandas.DataFrame({"one": A, "two": pandas.Series(B, dtype="Int64")})
    one, other = (make(fastnn.MeanSquaredError(), 2) for _ in range(2))
    one.fit(PLAIN, targets, seed=0, verbose=0)
    other.fit(PLAIN, np.column_stack([A, B]), seed=0, verbose=0)
    assert np.array_equal(one.parameters, other.parameters)


@pytest.mark.parametrize("column", ["a", "b", "c"])
def test_na_is_not_finite(column):
    X = frame("nullable")
    X.loc[7, column] = pandas.NA
    model = make()
    before = model.parameters.copy()
    words = rf"X\[7, {'abc'.index(column)}\] is nan, expected finite numbers"
    for call in (
        lambda: model.fit(X, LABELS, verbose=0),
        lambda: model.partial_fit(X, LABELS),
        lambda: model.predict(X),
        lambda: model.evaluate(X, LABELS),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    assert np.array_equal(model.parameters, before)


@pytest.mark.parametrize("kind", ["Int64", "boolean", "Float64"])
def test_na_among_labels(kind):
    y = pandas.Series(LABELS % 2, dtype=kind)
    y[4] = pandas.NA
    with pytest.raises(ValueError, match=r"y\[4\] is nan, expected whole numbers from 0 to 1"):
        make(width=2).fit(PLAIN, y, verbose=0)
    with pytest.raises(ValueError, match=r"y\[4, 0\] is nan, expected"):
        make(fastnn.BinaryCrossEntropy(), 1).fit(PLAIN, y, verbose=0)
    weights = pandas.Series(np.ones(60), dtype="Float64")
    weights[5] = pandas.NA
    with pytest.raises(ValueError, match=r"sample_weight\[5\] is nan, expected finite"):
        make().fit(PLAIN, LABELS, sample_weight=weights, verbose=0)


def test_columns_that_are_no_numbers_are_refused():
    X = frame("nullable")
    for column in (
        ["x"] * 60,
        pandas.Categorical(["x"] * 60),
        pandas.date_range("2000", periods=60),
    ):
        with pytest.raises(TypeError, match="X has dtype object, expected real numbers"):
            make().predict(X.assign(c=column))
