"""Texts as dates and times: the order of day and month, clock times, and what is no date."""

import datetime
import json

import polars as pl
import pytest

from fastnn.tables import dates
from fastnn.tables import table as tables
from fastnn.tables.complaints import Complaints
from fastnn.tables.reading import Reading


def table_of(**columns):
    return tables.table_of(columns, "t")


def read(*texts, **options):
    """Return the order of a column of text, and its values as ISO texts."""
    table = table_of(x=list(texts))
    reading = Reading.find(table, **options)
    values = reading.apply(table).frame["x"]
    if values.dtype == pl.String:
        return None, values.to_list()
    return reading.dates["x"], [each and each.isoformat(" ") for each in values]


NOON = "2024-01-15 12:05:00"
MIDNIGHT = "2024-01-15 00:00:00"


@pytest.mark.parametrize(
    ("text", "order", "moment"),
    [
        ("2024-01-15", "ymd", MIDNIGHT), ("2024/1/15", "ymd", MIDNIGHT),
        ("2024.01.15", "ymd", MIDNIGHT), ("15/01/2024", "dmy", MIDNIGHT),
        ("15.1.24", "dmy", MIDNIGHT), ("15-Jan-2024", "dmy", MIDNIGHT),
        ("15 January 2024", "dmy", MIDNIGHT), ("15. Jan. 2024", "dmy", MIDNIGHT),
        ("1/15/2024", "mdy", MIDNIGHT), ("Jan 15 2024", "mdy", MIDNIGHT),
        ("January 15, 2024", "mdy", MIDNIGHT), ("Mon Jan 15 2024", "mdy", MIDNIGHT),
        ("Mon, 15 Jan 2024 12:05:00 +0000", "dmy", NOON), ("2024-01-15T12:05Z", "ymd", NOON),
        ("2024-01-15T12:05:00.000+01:00", "ymd", NOON), ("2024-01-15 12:05", "ymd", NOON),
        ("1/15/2024 12:05 PM", "mdy", NOON), ("1/15/24, 12:05:00 pm", "mdy", NOON),
        ("15.1.2024 12:05", "dmy", NOON), ("12:05", "time", "1970-01-01 12:05:00"),
        ("12:05 am", "time", "1970-01-01 00:05:00"), ("9:00 PM", "time", "1970-01-01 21:00:00"),
        ("05.09.2024", "dmy", "2024-09-05 00:00:00"), ("5/5/2024", "dmy", "2024-05-05 00:00:00"),
    ],
)  # fmt: skip
def test_ways_to_write_dates(text, order, moment):
    assert read(text, None) == (order, [moment, None])
    assert read(text, "?") == (order, [moment, None])


def test_the_whole_column_decides():
    assert read("1/2/2024", "3/4/2024", "13/1/2024")[0] == "dmy"
    assert read("1/2/2024", "3/4/2024", "1/13/2024")[0] == "mdy"
    assert read("1/2/69", "13/1/68")[1] == ["1969-02-01 00:00:00", "2068-01-13 00:00:00"]
    assert read("2024-01-31", "2024-02-01 12:30")[1][1] == "2024-02-01 12:30:00"


@pytest.mark.parametrize(
    "texts",
    [
        ["2024-02-30"], ["13/13/2024"], ["1/13/2024", "13/1/2024"], ["2024-01-15", "15.01.2024"],
        ["25:00"], ["12:60"], ["1.2.3"], ["may"], ["5/2024"], ["0.1.0.2"], ["123-1-1"],
    ],
)  # fmt: skip
def test_what_is_no_date(texts):
    assert read(*texts) == (None, texts)


def test_what_a_column_does_not_decide_is_asked():
    with pytest.raises(ValueError, match=r"^column 'x', row 2 is '1/2/2024', and its") as caught:
        read("5/5/2024", "1/2/2024")
    assert str(caught.value).endswith(
        "--day-first reads 2024-02-01, --month-first reads 2024-01-02"
    )
    assert read("1/2/2024", day_first=True)[1] == ["2024-02-01 00:00:00"]
    assert read("1/2/2024", day_first=False)[1] == ["2024-01-02 00:00:00"]
    assert read("13/2/2024", day_first=False)[0] == "dmy"
    complaints = Complaints()
    Reading.find(table_of(x=["1/2/2024"], y=["1,234"]), complaints=complaints)
    assert complaints.columns == {"x", "y"}
    assert len(complaints.messages) == 2


def test_a_target_is_no_column_of_dates():
    table = table_of(x=["2024-01-15"], y=["2024-01-15"])
    assert Reading.find(table, target="y").dates == {"x": "ymd"}
    assert Reading.find(table, texts=["x"], target="y").dates == {}


def test_new_tables_are_read_in_the_same_order():
    table = table_of(x=["13/1/2024", "1/2/2024"])
    reading = Reading.find(table)
    again = Reading.from_dict(json.loads(json.dumps(reading.to_dict())))
    assert again == reading
    assert again.apply(table_of(x=["3/4/2024"])).frame["x"][0] == datetime.datetime(2024, 4, 3)
    with pytest.raises(
        ValueError, match=r"row 1 is '1/13/2024', expected a date with the day first"
    ):
        again.apply(table_of(x=["1/13/2024"]))
    typed = table_of(x=[datetime.date(2024, 4, 3)])
    assert again.apply(typed).frame.equals(typed.frame)
    assert list(reading.lines(table)) == ["column 'x' is read as dates: '13/1/2024' is 2024-01-13"]
    with pytest.raises(ValueError, match=r"^expected one of ymd, dmy, mdy, time, found 'dym'$"):
        Reading.from_dict({**reading.to_dict(), "dates": {"x": "dym"}})


def test_every_order_has_a_name():
    assert set(dates.NAMES) == set(dates.ORDERS)
