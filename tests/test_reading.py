"""Texts of a table as they are found: numbers in another writing, marks of missing values."""

import json

import polars as pl
import pytest

from fastnn.tables import number_formats
from fastnn.tables import table as tables
from fastnn.tables.complaints import Complaints
from fastnn.tables.number_formats import NumberFormat
from fastnn.tables.reading import Reading
from fastnn.tables.targets import leave_out_missing


def table_of(**columns):
    return tables.table_of(columns, "t")


def read(*texts, **options):
    """Return (NumberFormat or None, values) of a column of text."""
    table = table_of(x=list(texts))
    reading = Reading.find(table, **options)
    return reading.numbers.get("x"), reading.apply(table).frame["x"].to_list()


# Each decides itself: no other reading of it is a number.
WRITINGS = [
    (["3,5", "-0,25", "12"], ",", "", [3.5, -0.25, 12]),
    (["1.234,5", "7"], ",", "", [1234.5, 7]),
    (["1234,567", "7"], ",", "", [1234.567, 7]),
    (["1.234.567", "1"], ",", "", [1234567, 1]),
    (["0,123", "0,456"], ",", "", [0.123, 0.456]),
    (["1,234.5", "12"], ".", "", [1234.5, 12]),
    (["1,234,567", "12"], ".", "", [1234567, 12]),
    (["12,34,567.5", "1"], ".", "", [1234567.5, 1]),
    (["1 234", "12 345 678"], ".", "", [1234, 12345678]),
    (["1\u00a0234,5", "2\u202f000,25"], ",", "", [1234.5, 2000.25]),
    (["1'234.5", "12\u2019000"], ".", "", [1234.5, 12000]),
    (["12%", "7.5 %", "-3%"], ".", "%", [12, 7.5, -3]),
    (["12,5 %", "7 %"], ",", "%", [12.5, 7]),
    (["$1,200.50", "-$5", "$ 7"], ".", "$", [1200.5, -5, 7]),
    (["$5", "0", "($1.50)"], ".", "$", [5, 0, -1.5]),
    (["1.200,50 €", "\u22123,00 €"], ",", "€", [1200.5, -3]),
    (["EUR 12", "EUR 13"], ".", "EUR", [12, 13]),
    (["12 CHF", "1'300.50 CHF"], ".", "CHF", [12, 1300.5]),
    (["US$5", "US$6"], ".", "US$", [5, 6]),
    (["1,5e3", "2,5E-1"], ",", "", [1500, 0.25]),
    ([",5", "2,"], ",", "", [0.5, 2]),
    (["3,5", None, "NA", "?"], ",", "", [3.5, None, None, None]),
]


@pytest.mark.parametrize(("texts", "decimal", "unit", "values"), WRITINGS)
def test_writings_of_numbers(texts, decimal, unit, values):
    assert read(*texts) == (NumberFormat(decimal, unit), values)


@pytest.mark.parametrize(
    "texts",
    [
        ["1", "2.5", "1e3"],  # plain
        ["1.5", "NA"],
        ["12%", "0.12"],  # percent here and not there
        ["$5", "€5"],
        ["1,5", "1.5"],
        ["1,5", "x"],
        ["10.0.0.1", "10.0.0.2"],
        ["555-1234", "555-4321"],
        ["1,2,3", "4,5,6"],
        ["12,34", "1,234,5"],
        ["--5", "3"],
        ["$5%", "$6%"],
        ["(5", "6)"],
        ["2024-01-31", "2024-02-01"],
        ["12:30", "13:45"],
        ["1 2", "3 4"],
        [".", ","],
        ["5 kg", "6 kg"],
        ["٣", "٤"],
    ],
)
def test_texts_that_agree_on_no_writing(texts):
    assert read(*texts)[0] is None


@pytest.mark.parametrize(
    ("texts", "point", "comma"),
    [
        (["1,234", "5,678"], [1234, 5678], [1.234, 5.678]),
        (["1,234", "12"], [1234, 12], [1.234, 12]),
        (["$1.234", "$2.345"], [1.234, 2.345], [1234, 2345]),
    ],
)
def test_what_a_column_does_not_decide_is_asked(texts, point, comma):
    with pytest.raises(ValueError, match="do not tell whether that is") as caught:
        read(*texts)
    assert str(caught.value).startswith(f"column 'x', row 1 is {texts[0]!r}, and its other values")
    assert str(caught.value).endswith(
        f"--decimal-point reads {point[0]:g}, --decimal-comma reads {comma[0]:g}"
    )
    assert read(*texts, decimal=".")[1] == point
    assert read(*texts, decimal=",")[1] == comma


def test_the_option_does_not_turn_what_a_column_decides():
    assert read("1.5", "2.25", decimal=",")[1] == ["1.5", "2.25"]
    assert read("3,5", "2,25", decimal=".")[1] == [3.5, 2.25]


def test_points_beside_a_decimal_comma_are_asked_too():
    columns = {"a": ["3,5", "2,5"], "b": ["1.234", "5.678"], "c": ["1.5", "2.75"]}
    with pytest.raises(ValueError, match=r"^column 'b', row 1 is '1\.234', and its other values"):
        Reading.find(table_of(**columns))
    for decimal, expected in ((",", [1234, 5678]), (".", ["1.234", "5.678"])):
        reading = Reading.find(table_of(**columns), decimal=decimal)
        frame = reading.apply(table_of(**columns)).frame
        assert frame["a"].to_list() == [3.5, 2.5]
        assert frame["b"].to_list() == expected
        assert frame["c"].to_list() == ["1.5", "2.75"]


def test_all_ambiguous_columns_are_in_one_error():
    complaints = Complaints()
    Reading.find(table_of(a=["1,234"], b=["5"], c=["2,345"]), complaints=complaints)
    with pytest.raises(ValueError, match=r"^2 faults: column 'a', .* \| column 'c', row 1"):
        complaints.check()


def test_new_tables_are_read_in_the_same_way():
    reading = Reading.find(table_of(x=["3,5", "2,5"], y=["5 %", "6 %"]))
    again = Reading.from_dict(json.loads(json.dumps(reading.to_dict())))
    assert again == reading
    frame = again.apply(table_of(x=["1.234", "-", "7"], y=["1 %", "2%", "N/A"])).frame
    assert frame["x"].to_list() == [1234, None, 7]
    assert frame["y"].to_list() == [1, 2, None]
    numbers = table_of(x=[1.5, 2.5], y=[1, 2])
    assert again.apply(numbers).frame.equals(numbers.frame)
    for columns, error in (
        ({"x": ["3", "1.5"]}, "column 'x', row 2 is '1.5', expected a number with a decimal comma"),
        ({"x": ["3", "3 €"]}, "column 'x', row 2 is '3 €', expected a number with a decimal comma"),
        ({"y": ["3 %", "0.5"]}, "column 'y', row 2 is '0.5', expected a number with a decimal poi"),
        ({"y": ["x"]}, "column 'y', row 1 is 'x', expected a number with a decimal point and '%'"),
    ):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 (compared below)
            again.apply(table_of(**columns))
        assert str(caught.value).startswith(error)


def test_what_is_said_has_an_example():
    table = table_of(a=["3", "3,5"], b=["7,25", "1"], c=["$1,200", "$1.50"], d=["x", "y"])
    assert list(Reading.find(table).lines(table)) == [
        "columns 'a', 'b' are read as numbers with a decimal comma: '3,5' is 3.5",
        "column 'c' is read as numbers with a decimal point and '$': '$1,200' is 1200",
    ]


@pytest.mark.parametrize("mark", ["?", "-", "N/A", "n/a", "#N/A", "<NA>", "NaN", "null", "NULL"])
def test_marks_of_missing_values_in_any_column(mark):
    table = table_of(town=["Rome", mark, "Oslo"], x=["1", mark, "2"])
    frame = Reading.find(table).apply(table).frame
    assert frame["town"].to_list() == ["Rome", None, "Oslo"]
    assert frame["x"].to_list() == ["1", None, "2"]


def test_names_that_are_no_marks():
    table = table_of(country=["DE", "NA", "none"])
    assert Reading.find(table).apply(table).frame.equals(table.frame)
    for nulls, expected in ((["NA"], ["DE", None, "none"]), (["na", "None"], ["DE", None, "none"])):
        reading = Reading.find(table, nulls=nulls)
        assert reading.apply(table).frame["country"].to_list() == expected
        assert Reading.from_dict(reading.to_dict()) == reading


def test_messages_show_what_is_in_the_file():
    table = table_of(town=["Rome", "?", "Oslo"])
    read_table = Reading.find(table).apply(table)
    assert read_table.cell("town", 1) == "?"
    assert read_table.take([1]).cell("town", 0) == "?"


@pytest.mark.parametrize(
    "values",
    [["a", "NA", "b", None], ["1", "none", "2", "NA"], [1.5, float("nan"), 2.5, None]],
)
def test_rows_without_a_target_are_left_out(values):
    table, lines = leave_out_missing(table_of(y=values), "y")
    assert table.rows.tolist() == [1, 3]
    assert lines == ["2 of 4 rows have no target 'y': left out"]


def test_a_class_may_be_called_none():
    table, lines = leave_out_missing(table_of(y=["none", "some"]), "y")
    assert (len(table.frame), lines) == (2, [])
    with pytest.raises(ValueError, match=r"^target 'y' has no values, expected classes or numbers"):
        leave_out_missing(table_of(y=pl.Series([None, None], dtype=pl.String)), "y")


@pytest.mark.parametrize(
    "values",
    [
        None, {}, {"nulls": [], "numbers": {}}, {"nulls": "x", "numbers": {}, "dates": {}},
        {"nulls": [1], "numbers": {}, "dates": {}}, {"nulls": [], "numbers": [], "dates": {}},
        {"nulls": [], "numbers": {"x": None}, "dates": {}},
        {"nulls": [], "numbers": {"x": {"decimal": ";", "unit": ""}}, "dates": {}},
        {"nulls": [], "numbers": {"x": {"decimal": ",", "unit": 3}}, "dates": {}},
        {"nulls": [], "numbers": {"x": {"decimal": ","}}, "dates": {}},
    ],
)  # fmt: skip
def test_foreign_json_is_refused(values):
    with pytest.raises(ValueError, match=r"^expected .*, found"):
        Reading.from_dict(values)


def test_read_both():
    assert number_formats.read_both("$1,234") == (1234, 1.234)
