"""Columns that are left out because they say nothing of a target."""

import datetime

import pytest

from fastnn.tables import table as tables
from fastnn.tables.selection import find_useless, lines_of

N = 30
DISTINCT = "has another value in every row"


def find(values, name="x", **options):
    table = tables.table_of({name: values, "rest": list("ab") * (len(values) // 2)}, "t")
    return find_useless(table, **options).get(name)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([1.5] * N, "is 1.5 in every row"), (["a"] * N, "is 'a' in every row"),
        ([None] * N, "is empty in every row"), ([True] * N, "is True in every row"),
        ([datetime.date(2024, 1, 1)] * N, "is datetime.date(2024, 1, 1) in every row"),
        ([1, 1, 1, 2], None), (["a", None] * 2, None),
        ([f"A{i}" for i in range(N)], DISTINCT), ([f"A{i}" for i in range(20)], None),
        ([f"{i}.5" for i in range(N)], None), ([f"{i}" for i in range(N)], None),
        (["x", *map(str, range(N - 1))], None), (list(range(N)), None),
        ([i / 7 for i in range(N)], None),
        ([datetime.date(2024, 1, 1 + i) for i in range(N)], None),
        ([f"2024-02-{1 + i:02}" for i in range(N)], None),
        ([f"A{i // 2}" for i in range(N)], None), ([[i] for i in range(N)], None),
    ],
)  # fmt: skip
def test_columns_by_their_values(values, why):
    assert find(values) == why


@pytest.mark.parametrize(
    ("name", "useless"),
    [
        ("id", True), ("ID", True), ("user_id", True), ("Order No.", True), ("customerId", True),
        ("rowID", True), ("index", True), ("Nr", True), ("humid", False), ("grid", False),
        ("paid", False), ("x", False), ("number of rooms", False), ("idea", False),
    ],
)  # fmt: skip
def test_whole_numbers_by_their_names(name, useless):
    values = [7 * i for i in range(N)]
    assert (find(values, name) is not None) == useless
    assert (find([str(each) for each in values], name) is not None) == useless
    assert find([each + 0.5 for each in values], name) is None
    assert find(values[:15] * 2, name) is None


def test_columns_that_are_not_looked_at():
    assert find([1] * N, but=["x"]) is None
    assert find([1] * N, "^x$") is None
    assert find_useless(tables.table_of({"x": [1]}, "t")) == {}


def test_what_is_said():
    useless = {"a": "is 1 in every row", "b": "is 1 in every row", "c": DISTINCT}
    assert lines_of(useless) == [
        "each of 'a', 'b' is 1 in every row: left out",
        "column 'c' has another value in every row: left out",
    ]
