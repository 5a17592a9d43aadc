"""History: curves, the table that is printed, and the dict."""

import pytest

from fastnn import History


def make(n):
    history = History()
    for epoch in range(1, n + 1):
        history.append(epoch, {"loss": 10 / epoch, "val_accuracy": 1 - 1 / epoch})
    return history


def test_table():
    assert str(make(2)) == (
        "epoch     loss  val_accuracy\n"
        "    1  10.0000        0.0000\n"
        "    2   5.0000        0.5000"
    )  # fmt: skip
    assert str(History()) == "epoch"


@pytest.mark.parametrize(("n", "lines"), [(20, 21), (21, 22), (1000, 22)])
def test_long_table_has_the_first_and_the_last_epochs(n, lines):
    rows = str(make(n)).splitlines()
    assert len(rows) == lines
    assert len({len(row) for row in rows}) == 1
    numbers = [row.split()[0] for row in rows[1:]]
    first, last = [str(i) for i in range(1, 11)], [str(i) for i in range(n - 9, n + 1)]
    assert numbers == (first + last if n == 20 else [*first, "...", *last])


def test_dict():
    history = make(2)
    found = history.to_dict()
    assert found == {"epoch": [1, 2], "loss": [10, 5], "val_accuracy": [0, 0.5]}
    found["loss"].append(0)
    assert history.loss == [10, 5]


def test_what_is_there_and_what_is_not():
    history = make(3)
    assert (len(history), history.epochs) == (3, [1, 2, 3])
    assert history.latest() == {"loss": 10 / 3, "val_accuracy": 1 - 1 / 3}
    assert (history.accuracy, history.penalty) == ([], [])
    with pytest.raises(AttributeError, match=r"no curve 'los', only loss, val_accuracy"):
        history.los  # noqa: B018
    assert repr(history) == "<History: 3 epochs, loss 3.3333, val_accuracy 0.6667>"
