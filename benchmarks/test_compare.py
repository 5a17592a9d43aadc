"""The comparison itself: its arithmetic, its refusal of unequal work, and its workers."""

import pytest
from report import BEGIN, END, Table, digits, replace_marked, times
from rounds import Library, Measurement, Pool, Settings, check_equal
from worker import environment

FASTNN, NUMPY = Library("fastnn", 1), Library("numpy", 1)

TASKS = (
    {"kind": "train", "sizes": [5, 9, 3], "batch": 8, "steps": 20},
    {"kind": "adam", "sizes": [5, 9, 3], "batch": 8, "steps": 20},
    {"kind": "predict", "sizes": [5, 9, 3], "rows": 50},
    {"kind": "softmax", "shape": [9, 17]},
    {"kind": "product", "operation": "forward", "shape": [9, 17, 5]},
    {"kind": "product", "operation": "dweights", "shape": [9, 17, 5]},
    {"kind": "product", "operation": "dinputs", "shape": [9, 17, 5]},
)


@pytest.fixture(scope="module")
def pool():
    with Pool(Settings(2, 0.0, 0.0, 0.001), print) as pool:
        yield pool


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.get("operation", task["kind"]))
def test_workers_do_equal_work_and_time_it(pool, task):
    measured = pool.measure(task, [FASTNN, NUMPY])
    assert measured.libraries == [FASTNN, NUMPY]
    for library in (FASTNN, NUMPY):
        assert 0 < measured.median(library) < 1


def test_the_peak_is_measured_beside_any_task(pool):
    peak = Library("peak", 1)
    measured = pool.measure(TASKS[3], [FASTNN, peak])
    assert 1e8 < 1 / measured.median(peak) < 1e13  # operations a second


def test_a_task_that_a_library_cannot_do_leaves_it_out(pool):
    measured = pool.measure({"kind": "peak"}, [NUMPY])
    assert measured.libraries == []


def test_a_failing_library_is_named_and_left_out(pool, capsys):
    task = {"kind": "product", "operation": "forward", "shape": [9, 17]}
    assert pool.measure(task, [NUMPY]).libraries == []
    assert "left out: NumPy in" in capsys.readouterr().out


def test_unequal_work_is_refused():
    check_equal({FASTNN: [1.0, 2.0], NUMPY: [1.0, 2.0001]}, 1e-4, "task")
    for wrong in ([1.0, 2.001], [1.0, float("nan")]):
        with pytest.raises(SystemExit, match="unequal work"):
            check_equal({FASTNN: [1.0, 2.0], NUMPY: wrong}, 1e-4, "task")


def test_ratios_are_formed_within_rounds():
    # The machine was ten times slower in the second round.
    measured = Measurement({FASTNN: [1.0, 10.0, 2.0], NUMPY: [3.0, 30.0, 4.0]})
    assert measured.median(FASTNN) == 2.0
    assert measured.ratio(NUMPY, FASTNN) == 3.0


def test_nothing_misleads_a_blas(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "1")
    settings = environment(2)
    assert "OPENBLAS_CORETYPE" not in settings
    assert "OPENBLAS_L2_SIZE" not in settings
    assert settings["OPENBLAS_NUM_THREADS"] == "2"


def test_numbers_in_tables():
    numbers = (1.234, 9.996, 12.34, 99.96, 123.4, 999.6, 12345.0)
    assert list(map(digits, numbers)) == ["1.23", "10.0", "12.3", "100", "123", "1,000", "12,300"]
    assert times(2.0) == "2.00x"
    assert times(0.5) == "0.50x, slower"


def test_table_in_markdown():
    table = Table("title", "text", ("a", "bb"), [("x", "1"), ("yyy", "2")])
    assert table.markdown() == "| a   | bb |\n| --- | -: |\n| x   |  1 |\n| yyy |  2 |"


def test_only_the_marked_part_of_readme_changes():
    text = f"above\n{BEGIN}\nold\n{END}\nbelow\n"
    assert replace_marked(text, "new") == f"above\n{BEGIN}\nnew\n{END}\nbelow\n"
    for damaged in ("", f"{BEGIN} only", f"{END} before {BEGIN}"):
        with pytest.raises(ValueError, match="no <!-- benchmarks:begin -->"):
            replace_marked(damaged, "new")
