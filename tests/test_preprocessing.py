"""Columns as inputs of a network: what is fitted, what is refused, and what a file keeps of it."""

import contextlib
import datetime
import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastnn import datasets
from fastnn.tables import table as tables
from fastnn.tables import targets
from fastnn.tables.kinds import infer_kinds, infer_task
from fastnn.tables.preprocessing import (
    CategoricalColumn,
    DateColumn,
    NumericColumn,
    Preprocessor,
    read_features,
)
from fastnn.tables.targets import Classes, Quantity


def table_of(**columns):
    """Return a table; text stands for itself."""
    return tables.table_of(columns, "t")


def fit(table, missing="refuse", **options):
    """Return (Preprocessor, typed frame) of a table."""
    kinds = infer_kinds(table, **options)
    frame = read_features(table, kinds, kinds if missing != "refuse" else ())
    return Preprocessor.fit(frame, missing), frame


# ---------------------------------------------------------------------- features


def test_numbers_are_standardized_and_categories_one_hot():
    table = table_of(a=[1, 2, 3, 6], town=["Rome", "Oslo", "Rome", "Bern"], b=[5.0, 5.0, 5.0, 5.0])
    preprocessor, frame = fit(table)
    assert preprocessor.feature_names == ["a", "town=Bern", "town=Oslo", "town=Rome", "b"]
    a = (np.array([1, 2, 3, 6]) - 3) / 3.5**0.5
    expected = np.array([a, [0, 0, 0, 1], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]).T
    np.testing.assert_allclose(preprocessor.transform(frame), expected, atol=1e-12)


def test_features_are_rows_of_the_dtype_that_is_asked_for():
    preprocessor, frame = fit(table_of(a=[0.0, 0.1, 1e300], town=["x", "y", "x"]).take([0, 1]))
    for dtype in (np.float32, "float64"):
        features = preprocessor.transform(frame, dtype)
        assert features.dtype == dtype
        assert features.flags.c_contiguous
        np.testing.assert_array_equal(features, [[-1, 1, 0], [1, 0, 1]])
    far = preprocessor.transform(preprocessor.read(table_of(a=[1e300], town=["x"])), np.float32)
    assert far[0, 0] == np.inf  # which the model refuses


def test_another_table_is_transformed_as_the_training_part():
    preprocessor, _ = fit(table_of(a=[0.0, 2.0], town=["x", "y"]))
    table = table_of(town=["y", "z", "x"], extra=[1, 2, 3], a=["1", "3", "-1"])
    frame = preprocessor.read(table)
    np.testing.assert_array_equal(preprocessor.transform(frame), [[0, 0, 1], [2, 0, 0], [-2, 1, 0]])
    assert preprocessor.unknown(frame) == {"town": (["z"], 1)}


def test_same_numbers_as_standardise():
    X, _ = datasets.load_digits()
    table = table_of(**{f"p{j}": column for j, column in enumerate(X.T)})
    preprocessor, frame = fit(table.take(np.arange(1000)))
    rest = preprocessor.read(table.take(np.arange(1000, 1797)))
    train, held_out = datasets.standardise(X[:1000].astype(float), X[1000:].astype(float))
    np.testing.assert_allclose(preprocessor.transform(frame), train, atol=1e-12)
    np.testing.assert_allclose(preprocessor.transform(rest), held_out, atol=1e-12)


@pytest.mark.parametrize(
    "values",
    [
        [1e-300, 3e-300], [1e300, -1e300], [1.7e9, 1.7e9 + 1], [0.1, 0.1, 0.1],
        [-1e308, 1e308, 0], [1e15, 1e15 + 2],
    ],
)  # fmt: skip
def test_numbers_of_any_size(values):
    preprocessor, frame = fit(table_of(a=values))
    features = preprocessor.transform(frame)[:, 0]
    assert np.isfinite(features).all()
    assert features.mean() == pytest.approx(0, abs=1e-6)
    assert features.std() == pytest.approx(1 if len(set(values)) > 1 else 0, abs=1e-6)


@pytest.mark.parametrize(("missing", "number"), [("median", 3.0), ("mean", 4.0)])
def test_missing_values(missing, number):
    table = table_of(a=["1", None, "3", "8", "NaN"], town=["x", "y", None, "y", "x"])
    preprocessor, frame = fit(table, missing)
    a, town = preprocessor.columns
    assert a.fill == number
    assert town.fill == "x"  # of equally frequent ones the first
    filled = np.array([1, number, 3, 8, number])
    features = preprocessor.transform(frame)
    np.testing.assert_allclose(features[:, 0], (filled - filled.mean()) / filled.std())
    np.testing.assert_array_equal(features[:, 1], [1, 0, 1, 0, 1])
    frequent, _ = fit(table_of(town=["x", "y", None, "y", "a"]), missing)
    assert frequent.columns[0].fill == "y"
    # A column without holes in training may have them later.
    full, _ = fit(table_of(a=[1, 2, 9]), missing)
    later = full.read(table_of(a=["", None, "5"]).take([1, 2]))
    assert full.transform(later)[0, 0] == (full.columns[0].fill - 4) / full.columns[0].scale


def test_the_rarest_categories_share_a_feature():
    table = table_of(town=["a"] * 4 + ["c", "c", "c", "b", "b", "d", "e"])
    frame = read_features(table, {"town": "category"})
    preprocessor = Preprocessor.fit(frame, max_categories=3)
    assert preprocessor.feature_names == ["town=a", "town=c", "town=other"]
    later = preprocessor.read(table_of(town=["c", "e", "never seen", "a"]))
    expected = [[0, 1, 0], [0, 0, 1], [0, 0, 1], [1, 0, 0]]
    np.testing.assert_array_equal(preprocessor.transform(later), expected)
    assert preprocessor.unknown(later) == {}
    again = Preprocessor.from_list(json.loads(json.dumps(preprocessor.to_list())))
    assert again.columns == preprocessor.columns
    # As many as there may be are all features, and a category may be called "other".
    assert len(Preprocessor.fit(frame, max_categories=5).feature_names) == 5
    names = read_features(table_of(x=["other"] * 3 + list("abc")), {"x": "category"})
    found = Preprocessor.fit(names, max_categories=2)
    assert found.feature_names == ["x=other", "x=other texts"]


def test_parts_of_dates_that_vary_are_features():
    days = ["2024-01-31 06:30", "2024-03-01 12:00", "2023-12-31 18:00", "2024-01-01 00:00"]
    moments = [datetime.datetime.fromisoformat(day) for day in days]
    table = table_of(when=moments, day=[each.date() for each in moments],
                     at=[each.time() for each in moments])  # fmt: skip
    preprocessor, frame = fit(table)
    assert preprocessor.feature_names == [
        "when: year", "when: month", "when: day of year", "when: weekday", "when: hour",
        "when: days", "day: year", "day: month", "day: day of year", "day: weekday", "day: days",
        "at: hour",
    ]  # fmt: skip
    columns = [
        [2024, 2024, 2023, 2024], [1, 3, 12, 1], [31, 61, 365, 1], [3, 5, 7, 1], [6.5, 12, 18, 0],
        [31 + 6.5 / 24, 61.5, 0.75, 1], [2024, 2024, 2023, 2024], [1, 3, 12, 1], [31, 61, 365, 1],
        [3, 5, 7, 1], [31, 61, 0, 1], [6.5, 12, 18, 0],
    ]  # fmt: skip
    expected = np.array([(np.array(each) - np.mean(each)) / np.std(each) for each in columns]).T
    np.testing.assert_allclose(preprocessor.transform(frame), expected, atol=1e-12)
    again = Preprocessor.from_list(json.loads(json.dumps(preprocessor.to_list())))
    assert again.columns == preprocessor.columns
    texts = {"when": days, "day": [day[:10] for day in days], "at": table.frame["at"]}
    np.testing.assert_array_equal(
        again.transform(again.read(table_of(**texts))), preprocessor.transform(frame)
    )
    with pytest.raises(
        ValueError, match=r"^column 'day', row 1 is 'x', expected a date with the y"
    ):
        again.read(table_of(**{**texts, "day": ["x", *days[1:]]}))
    with pytest.raises(ValueError, match=r"^column 'day' has values of type Int64, expected dates"):
        again.read(table_of(**{**texts, "day": [1, 2, 3, 4]}))


def test_missing_dates_and_dates_that_do_not_vary():
    day, later = datetime.date(2024, 5, 1), datetime.date(2024, 5, 8)
    preprocessor, frame = fit(table_of(when=[day, later, None]), "median")
    assert preprocessor.feature_names == ["when: day of year", "when: days"]
    np.testing.assert_allclose(preprocessor.transform(frame)[:, 0], [-(2**0.5), 0.5**0.5, 0.5**0.5])
    one, frame = fit(table_of(when=[day, day]))
    assert one.feature_names == ["when: days"]
    np.testing.assert_array_equal(one.transform(frame), [[0], [0]])
    zone = pl.Series([datetime.datetime(2024, 5, 1, 23)]).dt.replace_time_zone("Asia/Tokyo")
    assert one.read(table_of(when=zone))["when"][0] == datetime.datetime(2024, 5, 1, 23)


def test_kinds_of_columns():
    table = table_of(
        whole=[1, 2], decimal=[1.5, 2.5], text=["a", "b"], digits=["1", "2"], truth=[True, False],
        enum=pl.Series(["a", "b"], dtype=pl.Enum(["a", "b"])), code=[7, 8],
    )  # fmt: skip
    assert infer_kinds(table, target="whole", drop=["decimal"], categorical=["code"])\
        == {
            "text": "category", "digits": "number", "truth": "category", "enum": "category",
            "code": "category",
        }  # fmt: skip
    preprocessor, frame = fit(table, drop=["whole", "decimal", "text", "digits"])
    assert preprocessor.feature_names == [
        "truth=false", "truth=true", "enum=a", "enum=b", "code",
    ]  # fmt: skip
    assert preprocessor.transform(frame)[:, :4].tolist() == [[0, 1, 1, 0], [1, 0, 0, 1]]


DATES = ["2024-01-31", "2024-01-31 12:00", "2024-01-31T12:00:00Z", "31.1.2024", "1/31/24", "12:30"]


@pytest.mark.parametrize("date", DATES)
def test_texts_of_dates_that_were_not_read_are_refused_with_a_hint(date):
    with pytest.raises(ValueError, match="a date or time, expected a number or a category; make n"):
        fit(table_of(when=[date, date]))


@pytest.mark.parametrize(
    ("columns", "options", "error"),
    [
        ({"a": [1, None]}, {}, "column 'a', row 2 is empty, expected a value; --missing median"),
        ({"a": ["x", None]}, {}, "column 'a', row 2 is empty, expected a value; --missing"),
        ({"a": ["1", "x"]}, {}, "column 'a', row 2 is 'x', expected a number; --categorical a"),
        ({"a": ["1", "inf"]}, {}, "column 'a', row 2 is 'inf', expected a finite number"),
        ({"a": [1.0, math.nan]}, {}, "column 'a', row 2 is nan, expected a finite number"),
        (
            {"a": [1.0, math.inf]},
            {"missing": "mean"},
            "column 'a', row 2 is inf, expected a finite number",
        ),
        ({"a": [None, None]}, {}, "column 'a' has no values; leave it out with --drop a"),
        ({"a": [None, None]}, {"missing": "mean"}, "column 'a' has no values; leave it out"),
        ({"a": [[1], [2]]}, {}, "column 'a' has values of type List"),
        ({"a": [b"x", b"y"]}, {}, "column 'a' has values of type Binary"),
        (
            {"a": pl.Series([1]).cast(pl.Duration)},
            {},
            "column 'a', row 1 is '0:00:00.000001', a dat",
        ),
        ({"a": [1]}, {"target": "a"}, "path: t has no column besides 'a', expected features"),
        ({"a": [1]}, {"drop": ["a"]}, "path: t has no column, expected features"),
        ({"abc": [1]}, {"drop": ["abd"]}, "--drop is 'abd', expected one of the columns 'abc'; d"),
        ({"a": [1]}, {"categorical": ["b"]}, "--categorical is 'b', expected one of the columns"),
    ],
)
def test_bad_columns(columns, options, error):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (compared below)
        fit(table_of(**columns), **options)
    assert str(caught.value).startswith(error)


def test_bad_rows_for_a_fitted_preprocessor():
    preprocessor, _ = fit(table_of(age=[1, 2], town=["x", "y"]))
    for columns, error in (
        ({"ages": [1], "town": ["x"]}, "column 'age' is missing, which the model needs: "
         "expected it among the columns 'ages', 'town'; did you mean 'ages'?"),
        ({"age": ["old"], "town": ["x"]}, "column 'age', row 1 is 'old', expected a number"),
        ({"age": [None], "town": ["x"]}, "column 'age', row 1 is empty, expected a value; "
         "the model was trained without --missing"),
        ({"age": [1], "town": [None]}, "column 'town', row 1 is empty, expected a value; the mo"),
        ({"age": [1], "town": [[1]]}, "column 'town' has values of type List"),
    ):  # fmt: skip
        with pytest.raises(ValueError) as caught:  # noqa: PT011 (compared below)
            preprocessor.read(table_of(**columns))
        assert str(caught.value).startswith(error)
        assert "--categorical" not in str(caught.value)  # nobody trains here


# ---------------------------------------------------------------------- targets


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b"], "classification"),
        (["1", "b"], "classification"),
        ([True, False], "classification"),
        ([0, 1, 1], "classification"),
        (["0", "1"], "classification"),
        ([1.0, 2.0], "classification"),
        (list(range(20)), "classification"),
        (list(range(21)), "regression"),
        ([0.5, 1.0], "regression"),
        (["0.5", "1"], "regression"),
        ([1e30, 2.5], "regression"),
    ],
)
def test_task_is_inferred(values, task):
    assert infer_task(table_of(y=values), "y")[0] == task


@pytest.mark.parametrize(
    ("values", "labels", "numbers"),
    [
        (["b", "a", "b"], ["a", "b"], [1, 0, 1]),
        (["7", "-1", "7"], [-1, 7], [1, 0, 1]),
        (["007", "7"], ["007", "7"], [0, 1]),
        (["true", "FALSE"], [False, True], [1, 0]),
        ([True, False], [False, True], [1, 0]),
        ([2.0, 1.0], [1, 2], [1, 0]),
        ([2.5, 1.0], ["1", "2.5"], [1, 0]),
        (["99999999999999999999", "1"], ["1", "99999999999999999999"], [1, 0]),
        (np.array([3, 2], np.uint8), [2, 3], [1, 0]),
        (np.array([2**64 - 1, 1], np.uint64), ["1", "18446744073709551615"], [1, 0]),
    ],
)
def test_classes(values, labels, numbers):
    table = table_of(y=values)
    target = Classes.fit(table, "y")
    assert target.labels == labels
    assert list(map(type, target.labels)) == list(map(type, labels))
    assert target.encode(table).tolist() == numbers
    assert target.decode(np.array([1, 0, 1])).to_list() == [labels[1], labels[0], labels[1]]


DATES = [
    "2024-01-15", "2024-01-15T10:00", "2024/01/15", "2024.1.5 10:00", "15/01/2024", "15.01.24",
    "15-Jan-2024", "15 January 2024", "15. Jan 2024", "Jan 15 2024", "January 15, 2024",
    "Mon, 15 Jan 2024 10:00:00 +0000", "Mon Jan 15 2024", "SEPT. 5, 2024", "10:30",
]  # fmt: skip


@pytest.mark.parametrize("text", [*DATES, datetime.date(2024, 1, 15), datetime.time(10)])
def test_dates_are_neither_features_nor_targets(text):
    table = table_of(y=[text, None, text])
    if isinstance(text, str):  # that `Reading` has not turned into dates
        with pytest.raises(
            ValueError, match=r"^column 'y', row 1 is .*, a date or time, .*--drop y$"
        ):
            infer_kinds(table)
    else:
        assert infer_kinds(table) == {"y": "date"}
    with pytest.raises(
        ValueError, match=r"a date or time, .* number or a class; .*--task classification takes ea"
    ):
        infer_task(table, "y")


@pytest.mark.parametrize("kind", [str, datetime.date.fromisoformat])
def test_dates_are_classes_where_one_asks_for_it(kind):
    days = ["2024-01-15", "2024-01-16"]
    dates = list(map(kind, days))
    target = Classes.fit(table_of(y=dates), "y")
    assert target.labels == days
    assert target.encode(table_of(y=dates)).tolist() == [0, 1]


@pytest.mark.parametrize(
    "text", ["may", "march 2", "Jan", "1.5-2.5", "2024-01", "a-1-2024", "v1.2.3.4"]
)
def test_other_texts_are_no_dates(text):
    assert infer_kinds(table_of(x=[text, text])) == {"x": "category"}


@pytest.mark.parametrize(
    ("trained", "others"),
    [
        ([True, False, None], [["True", "False", None], ["TRUE", "false", None]]),
        (["True", "False", None], [[True, False, None]]),
        ([1, 2, None], [["1.0", "2.0", None], [1.0, 2.0, math.nan], ["1", "2", None]]),
        (["1.0", "2.5", None], [[1.0, 2.5, math.nan], ["1", "2.5", None]]),
        (["007", "1.50", "x"], [["007", "1.50", "x"]]),
    ],
)
def test_categories_are_spelled_alike_in_files_of_all_kinds(trained, others):
    kinds = {"x": "category"}
    frame = read_features(table_of(x=trained), kinds, ["x"])
    preprocessor = Preprocessor.fit(frame, "median")
    features = preprocessor.transform(frame)
    assert features.sum(axis=1).tolist() == [1, 1, 1]
    for other in others:
        same = preprocessor.transform(preprocessor.read(table_of(x=other)))
        np.testing.assert_array_equal(same, features)


@pytest.mark.parametrize("mark", ["NA", "n/a", "#N/A", "NaN", "NULL", "None"])
def test_marks_of_missing_values(mark):
    table = table_of(x=["1", mark, "3"], country=["DE", "NA", "CH"], y=["1.5", mark, "2.5"])
    kinds = infer_kinds(table, target="y")
    assert kinds == {"x": "number", "country": "category"}
    frame = read_features(table, kinds, kinds)
    assert frame["x"].to_list() == [1, None, 3]
    assert frame["country"].to_list() == ["DE", "NA", "CH"]
    with pytest.raises(
        ValueError,
        match=rf"^column 'x', row 2 is '{mark}', a missing value, expected a value; --missing med",
    ):
        read_features(table, kinds)
    assert infer_task(table, "y")[0] == "regression"
    with pytest.raises(ValueError, match=rf"^column 'y', row 2 is '{mark}', a missing value, ex"):
        targets.read_quantity(table, "y")


def test_large_whole_numbers_are_told_from_each_other():
    task, why = infer_task(table_of(y=[str(10**30), str(10**30 + 1)]), "y")
    assert (task, why) == ("classification", "'y' has 2 different whole numbers")


def test_labels_beyond_the_integers_are_text():
    table = table_of(y=[1e300, 1.0])
    target = Classes.fit(table, "y")
    assert target.labels[0] == "1"
    assert float(target.labels[1]) == 1e300
    assert target.encode(table).tolist() == [1, 0]


def test_classes_of_another_kind_of_file():
    """Labels that were text in a CSV file are numbers in a Parquet file."""
    target = Classes.fit(table_of(y=["1", "2"]), "y")
    assert target.encode(table_of(y=[2, 1])).tolist() == [1, 0]
    truth = Classes.fit(table_of(y=[True, False]), "y")
    assert truth.encode(table_of(y=["False", "true"])).tolist() == [0, 1]
    numbers = Classes.fit(table_of(y=["0.0", "1.0"]), "y")
    assert numbers.labels == [0, 1]
    for same in (["1.00", "0"], [1.0, 0.0], [1, 0]):
        assert numbers.encode(table_of(y=same)).tolist() == [1, 0]
    halves = Classes.fit(table_of(y=["0.5", "1.0"]), "y")
    assert halves.encode(table_of(y=[0.5, 1.0])).tolist() == [0, 1]
    text = Classes.fit(table_of(y=["1.5", "x"]), "y")
    assert text.encode(table_of(y=[1.5])).tolist() == [0]


@pytest.mark.parametrize(
    ("trained", "given", "error"),
    [
        (["cat", "dog"], ["dog", "dig"], "column 'y', row 2 is 'dig', expected one of the 2 "
         "classes cat, dog; did you mean 'dog'?"),
        ([1, 2], ["1", "x"], "column 'y', row 2 is 'x', expected one of the 2 classes 1, 2"),
        ([1, 2], [1, 3], "column 'y', row 2 is '3', expected one of the 2 classes 1, 2"),
        ([True, False], [1, 0], "column 'y', row 1 is '1', expected one of the 2 classes False, T"),
        (["a", "b"], ["a", None], "column 'y', row 2 is empty, expected a value"),
        ([1.0, 2.0], [1.0, math.nan], "column 'y', row 2 is nan, a missing value, expected a val"),
        (["1", "2"], ["NA", "1"], "column 'y', row 1 is 'NA', a missing value, expected a value"),
        ([1.0, 2.0], [1.0, math.inf], "column 'y', row 2 is inf, expected a finite number"),
    ],
)  # fmt: skip
def test_bad_labels(trained, given, error):
    target = Classes.fit(table_of(y=trained), "y")
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (compared below)
        target.encode(table_of(y=given))
    assert str(caught.value).startswith(error)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match=r"^target 'y' is 'a' in every row, expected two classes$"):
        Classes.fit(table_of(y=["a", "a"]), "y")


def test_quantities_come_back_in_their_units():
    values = np.array([1e6, 3e6, 8e6])
    target = Quantity.fit(values, "y")
    scaled = target.standardize(values)
    assert scaled.mean() == pytest.approx(0, abs=1e-12)
    assert scaled.std() == pytest.approx(1)
    np.testing.assert_allclose(target.decode(scaled.astype(np.float32)), values, rtol=1e-6)
    np.testing.assert_array_equal(target.encode(table_of(y=["1e6", "2"])), [1e6, 2])


@pytest.mark.parametrize(
    ("values", "error"),
    [
        (["1", "x"], "column 'y', row 2 is 'x', expected a number, the target of a regression"),
        ([1.5, None], "column 'y', row 2 is empty, expected a value"),
        ([1.5, math.nan], "column 'y', row 2 is nan, expected a finite number"),
        (["2024-01-01", "2024-01-02"], "column 'y', row 1 is '2024-01-01', expected a number"),
    ],
)
def test_bad_quantities(values, error):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (compared below)
        targets.read_quantity(table_of(y=values), "y")
    assert str(caught.value).startswith(error)


# ---------------------------------------------------------------------- as JSON


def test_json_gives_the_same_back():
    table = table_of(a=["1", None, "3"], town=["x", "y", None], b=[0.1, 0.2, 0.7])
    preprocessor, frame = fit(table, "median")
    text = json.dumps(preprocessor.to_list(), allow_nan=False)
    again = Preprocessor.from_list(json.loads(text))
    assert again.columns == preprocessor.columns
    np.testing.assert_array_equal(again.transform(frame), preprocessor.transform(frame))
    for target in (Classes("y", ["a", "b"]), Classes("y", [False, True]), Quantity("y", 1.5, 2.0)):
        text = json.dumps(targets.target_to_dict(target))
        assert targets.target_from_dict(json.loads(text)) == target


GOOD_DATE = {
    "kind": "date", "name": "a", "first": "2024-01-31", "parts": ["year"], "shifts": [2000],
    "factors": [1.5], "fill": None,
}  # fmt: skip
GOOD_COLUMN = {"kind": "number", "name": "a", "shift": 0.0, "scale": 1.0, "fill": None}


def test_good_columns_are_taken():
    assert len(Preprocessor.from_list([GOOD_COLUMN, {**GOOD_DATE, "name": "b"}]).columns) == 2


@pytest.mark.parametrize(
    "columns",
    [
        None, {}, [None], [{}], [{"kind": "number"}], [{**GOOD_COLUMN, "kind": "other"}],
        [{**GOOD_COLUMN, "kind": ["number"]}], [{**GOOD_COLUMN, "more": 1}],
        [{**GOOD_COLUMN, "name": 3}], [{**GOOD_COLUMN, "scale": 0}], [{**GOOD_COLUMN, "scale": -1}],
        [{**GOOD_COLUMN, "scale": True}], [{**GOOD_COLUMN, "shift": "0"}],
        [{**GOOD_COLUMN, "shift": math.inf}], [{**GOOD_COLUMN, "shift": 10**400}],
        [{**GOOD_COLUMN, "fill": "x"}],
        [{"kind": "category", "name": "a", "categories": "xy", "fill": None}],
        [{"kind": "category", "name": "a", "categories": [1], "fill": None}],
        [{"kind": "category", "name": "a", "categories": ["x"], "fill": 1}],
        [GOOD_COLUMN, GOOD_COLUMN],
        [{"kind": "category", "name": "a", "categories": ["x"], "fill": None, "other": 1}],
        [{**GOOD_DATE, "first": "yesterday"}], [{**GOOD_DATE, "first": None}],
        [{**GOOD_DATE, "parts": ["century"]}], [{**GOOD_DATE, "shifts": []}],
        [{**GOOD_DATE, "factors": [0]}], [{**GOOD_DATE, "fill": 3}],
        [{**GOOD_DATE, "shifts": ["1"]}],
    ],
)  # fmt: skip
def test_foreign_json_is_refused(columns):
    with pytest.raises(ValueError, match=r"^expected .*, found"):
        Preprocessor.from_list(columns)


@pytest.mark.parametrize(
    "target",
    [
        None, [], {}, {"task": "other"}, {"task": "regression", "name": "y"},
        {"task": "regression", "name": "y", "shift": 0, "scale": 0},
        {"task": "classification", "name": "y", "labels": []},
        {"task": "classification", "name": "y", "labels": [1, "a"]},
        {"task": "classification", "name": "y", "labels": ["a", "a"]},
        {"task": "classification", "name": "y", "labels": [[1], [2]]},
        {"task": "classification", "name": 1, "labels": ["a", "b"]},
        {"task": ["classification"], "name": "y", "labels": ["a", "b"]},
    ],
)  # fmt: skip
def test_foreign_targets_are_refused(target):
    with pytest.raises(ValueError, match=r"^expected .*, found"):
        targets.target_from_dict(target)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda each: (
        st.lists(each, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "kind",
                    "name",
                    "shift",
                    "scale",
                    "fill",
                    "categories",
                    "task",
                    "labels",
                    "other",
                    "first",
                    "parts",
                    "shifts",
                    "factors",
                ]
            ),
            each | st.sampled_from(["number", "category", "date", "classification", "regression"]),
        )
    ),
)


@given(JSON)
def test_any_json_gives_columns_or_a_clear_error(value):
    for read in (Preprocessor.from_list, targets.target_from_dict):
        with contextlib.suppress(ValueError):  # any other error fails
            made = read(value)
            assert isinstance(made, Preprocessor | Classes | Quantity)
            assert all(
                isinstance(c, NumericColumn | CategoricalColumn | DateColumn)
                for c in getattr(made, "columns", ())
            )
