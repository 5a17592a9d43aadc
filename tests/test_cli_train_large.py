"""`fastnn train` and `evaluate` on a Parquet file that is read in parts."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from parquet_files import lose_last_column

from fastnn import cli, plots
from fastnn.cli import (
    arguments,
    assessment,
    dataset,
    dataset_large,
    limits,
    report,
    table_windows,
)
from fastnn.model import read_model
from fastnn.streaming import windows
from fastnn.tables import large

N = 2000
IN_PARTS, WHOLE = ("--max-memory", "1B"), ("--max-memory", "1TB")


def make_table():
    rng = np.random.default_rng(0)
    towns = rng.choice(["here", "there", "far"], N, p=[0.6, 0.3, 0.1])
    rooms, area = rng.integers(1, 9, N), rng.uniform(20, 200, N)
    dear = np.where(area + 30 * (towns == "here") > 110, "yes", "no")
    lived_in = rng.random(N) > 0.5
    return pl.DataFrame(
        {"rooms": rooms, "town": towns, "area": area, "lived in": lived_in, "dear": dear}
    ).with_columns(
        some=pl.when(pl.col("rooms") != 3).then(pl.col("area") * 2),
        kind=pl.when(pl.col("rooms") != 4).then(pl.col("town")),
        number=pl.int_range(N),
        planet=pl.lit("earth"),
        day=pl.Series([f"{n % 28 + 1}/{n % 12 + 1}/{2000 + n % 7}" for n in range(N)]),
        euros=pl.Series([f"{value:.2f} €".replace(".", ",") for value in area]),
    )


TABLE = make_table()


@pytest.fixture
def path(tmp_path):
    TABLE.write_parquet(tmp_path / "table.parquet", row_group_size=150)
    return tmp_path / "table.parquet"


@pytest.fixture
def call(capsys):
    """Return a function that returns (code, output, errors) of the command."""

    def call(*options):
        capsys.readouterr()
        code = cli.main([*map(str, options)])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def small_parts(monkeypatch):
    """Let several columns, some rows, and several windows be read at a time."""
    monkeypatch.setattr(large, "PART_BYTES", 8 * 2 * N)
    monkeypatch.setattr(windows, "WINDOW_BYTES", 8_000)
    monkeypatch.setattr(windows, "BLOCK_BYTES", 500)
    monkeypatch.setattr(table_windows, "_BLOCK", 64)


def train(call, path, *options, name="model"):
    """Return (result, model) of `fastnn train`."""
    saved = path.parent / f"{name}.safetensors"
    code, output, errors = call("train", path, *options, "--json", "--save", saved)
    assert code == 0
    assert all(line.startswith("fastnn: note: ") for line in errors.splitlines())
    return json.loads(output), read_model(saved)


def about(value):
    """Return what a score has to be: means of means round in another way."""
    return pytest.approx(value, rel=1e-6) if isinstance(value, float) else value


TASKS = {
    "classes": ("--target", "dear", "--drop", "some,kind"),
    "numbers": ("--target", "area", "--drop", "some,kind"),
    "missing": ("--target", "dear", "--missing", "median"),
    "means": ("--target", "area", "--missing", "mean", "--dropout", "0.2"),
    "balanced": ("--target", "town", "--missing", "mean", "--balanced", "--patience", "2"),
    "dropout": ("--target", "rooms", "--missing", "median", "--dropout", "0.3"),
    "float64": ("--target", "rooms", "--drop", "some,kind", "--dtype", "float64"),
    "rare": (
        "--target",
        "dear",
        "--missing",
        "mean",
        "--categorical",
        "day",
        "--max-categories",
        "9",
    ),
    "categories": ("--target", "area", "--drop", "some,kind", "--categorical", "rooms"),
    "left out": ("--target", "kind", "--missing", "mean"),
    "seed": ("--target", "lived in", "--drop", "some,kind", "--seed", str(2**70)),
}


@pytest.mark.parametrize("task", TASKS)
def test_one_window_gives_the_same_bits(task, call, path):
    """So do the preprocessing and the held-out rows: the curves are those of the same samples."""
    options = *TASKS[task], "--epochs", "3", "--hidden", "8,8"
    (whole, expected), (parts, model) = (
        train(call, path, *options, *limit) for limit in (WHOLE, IN_PARTS)
    )
    assert model.parameters.tobytes() == expected.parameters.tobytes()
    for name in ("preprocessing", "target", "reading"):
        assert model.notes[name] == expected.notes[name]
    assert parts["history"].keys() == whole["history"].keys()
    for name, curve in whole["history"].items():
        assert parts["history"][name] == (
            pytest.approx(curve, rel=1e-6) if name.startswith("val_") else curve
        )
    for part, scores in whole["result"].items():
        for name, value in scores.items():
            assert parts["result"][part][name] == about(value)
    lines = parts["data"]["notes"]
    (last,) = set(lines) - set(whole["data"]["notes"])
    assert set(whole["data"]["notes"]) < set(lines)
    n = parts["data"]["samples"][0]
    assert last.startswith(f"read in 1 window of up to {n:,} samples: the table takes 176 kB, more")
    for name in ("samples", "features"):
        assert parts["data"][name] == whole["data"][name]


def load_both(path, *options):
    """Return the data of training, in memory and in parts."""
    given = arguments.parse(["train", str(path), *options])
    rngs = np.random.default_rng(given.seed).spawn(2)
    whole = dataset.load_dataset(given, *rngs)
    (split_rng, _) = np.random.default_rng(given.seed).spawn(2)
    table = limits.find_large(arguments.parse(["train", str(path), *options, *IN_PARTS]))
    return whole, dataset_large.load_large_dataset(given, table, split_rng)


@pytest.mark.parametrize("task", TASKS)
def test_many_windows_have_the_same_rows(task, path, small_parts):
    whole, parts = load_both(path, *TASKS[task])
    assert parts.preprocessor.to_list() == whole.preprocessor.to_list()
    assert parts.target == whole.target
    assert parts.sizes == whole.sizes
    assert parts.lines[:-1] == whole.lines
    assert parts.notes == whole.notes
    assert parts.reading == whole.reading
    if whole.target.task == "classification":
        np.testing.assert_array_equal(parts.count_classes(), whole.count_classes())
    given, expected = parts.fit_arguments(0), whole.fit_arguments(0)
    held_out = list(given["validation_data"].of_epoch(1))
    trained = list(given["batches"].of_epoch(1))
    in_order = list(table_windows.make_windows(parts.train, shuffle=False).of_epoch(1))
    assert min(len(held_out), len(trained)) > 1
    for k, name in enumerate(("X", "y")):
        for arrays_, rows in (
            (held_out, expected["validation_data"][k]),
            (in_order, expected[name]),
        ):
            joined = np.concatenate([each[k] for each in arrays_])
            assert joined.dtype == rows.dtype
            assert joined.tobytes() == np.ascontiguousarray(rows).tobytes()
        both = [
            np.sort(np.concatenate([each[k] for each in a]), axis=0) for a in (trained, in_order)
        ]
        np.testing.assert_array_equal(*both)


def test_many_windows_train_as_well(call, path, small_parts):
    options = *TASKS["classes"], "--epochs", "30", "--hidden", "16"
    (whole, _), (parts, model), (again, same) = (
        train(call, path, *options, *limit) for limit in (WHOLE, IN_PARTS, IN_PARTS)
    )
    assert model.parameters.tobytes() == same.parameters.tobytes()
    assert again["history"] == parts["history"]
    assert parts["history"]["loss"] != whole["history"]["loss"]
    scores = [each["result"]["held_out"]["accuracy"] for each in (whole, parts)]
    assert min(scores) > 0.95


@pytest.mark.parametrize("task", ["missing", "means", "balanced"])
def test_evaluate(task, call, path, small_parts):
    saved = path.parent / "model.safetensors"
    code, _, _ = call("train", path, *TASKS[task], "--epochs", "2", "--save", saved)
    assert code == 0
    whole, parts = (
        json.loads(call("evaluate", saved, path, "--json", *limit)[1])
        for limit in (WHOLE, IN_PARTS)
    )
    assert parts.keys() == whole.keys()
    for name, value in whole.items():
        assert parts[name] == about(value)


def test_evaluate_counts_unknown_categories_over_all_parts(call, path, small_parts):
    saved = path.parent / "model.safetensors"
    call("train", path, *TASKS["classes"], "--epochs", "1", "--save", saved)
    towns = np.random.default_rng(1).choice(["here", "new", "else"], N)
    TABLE.with_columns(town=pl.Series(towns)).write_parquet(path, row_group_size=150)
    whole, parts = (call("evaluate", saved, path, "--json", *limit) for limit in (WHOLE, IN_PARTS))
    notes = json.loads(parts[1])["notes"]
    assert notes == json.loads(whole[1])["notes"]
    assert "2 categories unknown to the model ('else', 'new')" in notes[0]


def test_a_picture_has_some_of_many_samples(call, path, small_parts, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(assessment, "MOST_SHOWN", 100)
    shown = []
    draw = plots.plot_confusion_matrix
    monkeypatch.setattr(
        plots,
        "plot_confusion_matrix",
        lambda true, predicted, **rest: shown.append(len(true)) or draw(true, predicted, **rest),
    )
    titles = []

    monkeypatch.setattr(
        report,
        "draw",
        lambda *page, draw=report.draw, **rest: titles.append(page[-1]) or draw(*page, **rest),
    )
    picture = path.parent / "page.png"
    options = *TASKS["classes"], "--epochs", "1", "--plot", picture
    assert call("train", path, *options, *IN_PARTS)[0] == 0
    assert shown == [100]
    assert titles == ["held out, 100 of 400 samples"]
    assert picture.stat().st_size > 10_000


# ---------------------------------------------------------------------- bad input


def with_one(value, other):
    """Return a column with `value` in row 1211."""
    return pl.when(pl.int_range(pl.len()) == 1210).then(pl.lit(value)).otherwise(pl.lit(other))


NOISE = pl.Series(np.random.default_rng(1).random(N))
BAD = {
    "a missing value": ({"area": with_one(None, NOISE)}, "row 1211 is empty, expected a value"),
    "nan": ({"area": with_one(np.nan, NOISE)}, "row 1211 is nan, expected a finite number"),
    "text": ({"rooms": with_one("x", "3")}, "'rooms', row 1211 is 'x', expected a number"),
    "large": ({"area": with_one(1e300, NOISE)}, "row 1211 is 1e+300, too large for float32"),
    "no target": ({"dear": pl.lit(None)}, "target 'dear' has no values, expected classes or num"),
    "all": (
        {
            "dear": pl.lit("yes"), "area": with_one(None, NOISE), "town": pl.lit("2020-01-01"),
            "euros": pl.lit("1,234"),
        },
        "3 faults: column 'euros', row 1 is '1,234'",
    ),
    "a comma below": (
        {"euros": pl.lit("1.234"), "town": pl.Series([f"{n / 8:.3f}" for n in range(N)])
         .str.replace(".", ",", literal=True)},
        "column 'euros', row 1 is '1.234', and its other values",
    ),
    "a comma above": (
        {"rooms": pl.lit("1.234")}, "column 'rooms', row 1 is '1.234', and its other values",
    ),
    "one class": ({"dear": pl.lit("yes")}, "target 'dear' is 'yes' in every row, expected two"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_columns_are_refused_as_of_a_table_in_memory(name, call, path, small_parts):
    columns, words = BAD[name]
    TABLE.with_columns(**columns).write_parquet(path, row_group_size=150)
    saved = path.parent / "model.safetensors"
    options = *TASKS["classes"], "--save", saved, "--epochs", 1
    whole, parts = (call("train", path, *options, *limit) for limit in (WHOLE, IN_PARTS))
    assert parts == whole
    assert parts[0] == 2
    assert words in parts[2]
    assert [each.name for each in path.parent.iterdir()] == ["table.parquet"]


@pytest.mark.parametrize(
    "options",
    [
        [], ["--target", "prize"], ["--target", "dear", "--drop", "dear"],
        ["--target", "dear", "--drop", "street"], ["--target", "dear", "--categorical", "street"],
        ["--target", "dear", "--drop", "rooms,town,area,lived in,some,kind,euros,day"],
        ["--target", "dear", "--missing", "mean", "--validation-fraction", "1e-9"],
        ["--target", "area", "--missing", "mean", "--balanced"],
    ],
)  # fmt: skip
def test_bad_options_are_refused_as_of_a_table_in_memory(options, call, path):
    whole, parts = (call("train", path, *options, *limit) for limit in (WHOLE, IN_PARTS))
    assert parts == whole
    assert parts[0] == 2


def damage(path, begin, count):
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(b"\xff" * count)


def cut_a_row_group(path):
    """Take bytes out of the middle of the file, whose footer stays."""
    raw = path.read_bytes()
    middle = len(raw) // 2
    path.write_bytes(raw[: middle - 3000] + raw[middle:])


FILES = {
    "a damaged row group": lambda path: damage(path, path.stat().st_size // 2, 2000),
    "a row group that is cut": cut_a_row_group,
    "a file that is cut": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "a column that vanishes": lose_last_column,
}


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(name, command, call, path, small_parts):
    saved, output = path.parent / "model.safetensors", path.parent / "out.parquet"
    table = TABLE.with_columns(rooms=NOISE)
    table.write_parquet(path, row_group_size=150)
    options = *TASKS["classes"], "--epochs", 1, "--save", saved
    assert call("train", path, *options)[0] == 0
    before = saved.read_bytes()
    FILES[name](path)
    given = {
        "train": (path, *options), "evaluate": (saved, path),
        "predict": (saved, path, "--output", output),
    }[command]  # fmt: skip
    code, printed, errors = call(command, *given, *IN_PARTS)
    assert code == 2
    assert printed == ""
    assert errors.startswith(f"fastnn: error: path: {path} is no table of Parquet (")
    assert errors.count("\n") == 1
    assert saved.read_bytes() == before
    assert {each.name for each in path.parent.iterdir()} == {path.name, saved.name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: damage(path, 0, path.stat().st_size), "is no table of Parquet ("),
        (lambda path: TABLE[:500].write_parquet(path), "is no table of Parquet ("),
    ],
)
def test_a_file_that_changes_while_a_network_trains(
    change, words, call, path, small_parts, monkeypatch
):
    saved = path.parent / "model.safetensors"
    load = dataset_large.load_large_dataset

    def load_and_change(*given):
        result = load(*given)
        change(path)
        return result

    monkeypatch.setattr("fastnn.cli.train.load_large_dataset", load_and_change)
    code, _, errors = call(
        "train", path, *TASKS["classes"], "--epochs", 3, "--save", saved, *IN_PARTS
    )
    assert code == 2
    assert words in errors
    assert not saved.exists()


def test_a_part_that_has_fewer_rows_than_expected(path, monkeypatch):
    """polars keeps the footer of a file, so this takes a file system that lies."""
    table = large.LargeTable(path)
    table.n_rows += 1
    with pytest.raises(ValueError, match="gave 2,000 rows, expected 2,001, as when it was opened"):
        next(table.columns(["rooms"]))


def test_more_rows_than_memory_has_room_for(call, path, monkeypatch):
    monkeypatch.setattr(dataset_large, "physical_memory", lambda: 100 * N - 1)
    code, _, errors = call("train", path, *TASKS["classes"], *IN_PARTS)
    assert code == 2
    assert "has 2,000 rows, of which each takes 100 bytes while a column is looked at" in errors


def test_a_window_larger_than_memory(call, path, monkeypatch):
    monkeypatch.setattr(windows, "physical_memory", lambda: 2000)
    code, _, errors = call("train", path, *TASKS["classes"], *IN_PARTS)
    assert code == 2
    assert "rows: a window of 1,600 rows takes 0.0 GiB, expected windows that fit" in errors


# ---------------------------------------------------------------------- --max-memory

SIZES = {
    "1": 1, "2GB": 2 * 10**9, "500MB": 500 * 10**6, "500 mb": 500 * 10**6, "1.5k": 1500,
    "2GiB": 2**31, "3MiB": 3 * 2**20, "1e9": 10**9, "1TB": 10**12, "7B": 7, "64K": 64_000,
}  # fmt: skip


@pytest.mark.parametrize("text", SIZES)
@pytest.mark.parametrize("command", ["train", "predict", "evaluate"])
def test_sizes(text, command):
    given = {"train": ["x"]}.get(command, ["m", "x"])
    options = arguments.parse([command, *given, "--max-memory", text])
    assert options.max_memory == SIZES[text]
    assert limits.most_bytes(options) == SIZES[text]


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "GB", "2XB", "1e999", "nan", "2 G B", "0.1", "1,5GB"]
)
def test_other_sizes_are_refused(text, call):
    code, _, errors = call("train", "x.parquet", f"--max-memory={text}")
    assert code == 2
    expected = f"argument --max-memory: {text!r} is not a size above 0, as in 500MB or 2GB"
    assert errors == f"fastnn: error: {expected}\n"


def test_the_default_follows_the_memory(monkeypatch):
    monkeypatch.setattr(limits, "physical_memory", lambda: 8 * 10**9)
    sizes = {
        command: limits.most_bytes(SimpleNamespace(command=command, max_memory=None))
        for command in ("train", "predict", "evaluate")
    }
    assert sizes == {"train": 10**9, "predict": 2**28, "evaluate": 2**28}


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
def test_a_large_file_of_another_kind(command, call, path):
    saved, table = path.parent / "model.safetensors", path.parent / "table.csv"
    TABLE.write_csv(table)
    call("train", path, *TASKS["classes"], "--epochs", 1, "--save", saved)
    given = {"train": (table, *TASKS["classes"])}.get(command, (saved, table))
    code, printed, errors = call(command, *given, "--max-memory", "1kB")
    assert (code, printed) == (2, "")
    assert errors == (
        f"fastnn: error: argument --max-memory: {table} has {table.stat().st_size:,} bytes, more "
        "than 1,000, and files of csv are read whole: expected Parquet, which is read in parts; "
        "polars.scan_csv(...).sink_parquet(...) converts it\n"
    )
    assert call(command, *given, "--max-memory", "1MB")[0] == 0


def test_predictions_of_a_large_table_go_into_a_file(call, path):
    saved = path.parent / "model.safetensors"
    call("train", path, *TASKS["classes"], "--epochs", 1, "--save", saved)
    code, printed, errors = call("predict", saved, path, *IN_PARTS)
    assert (code, printed) == (2, "")
    assert errors == (
        "fastnn: error: argument --output: the table takes 176 kB, more than --max-memory 1 B: "
        "expected a file, into which the predictions of a large table are written part by part\n"
    )


# ---------------------------------------------------------------------- memory

MEASURE = """
import resource, sys
from fastnn import cli
from fastnn.streaming import windows
from fastnn.tables import large
windows.WINDOW_BYTES = large.PART_BYTES = 2**24  # small beside the table
assert cli.main(sys.argv[1:]) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
def test_memory(tmp_path):
    """A table of 320 MB, 8 bytes a value, takes less than that beside what a small one takes."""
    path, n, names = tmp_path / "table.parquet", 1_250_000, [f"x{i}" for i in range(31)]
    rng = np.random.default_rng(0)
    columns = {name: rng.standard_normal(n, np.float32) for name in names}
    columns["y"] = columns["x0"] + columns["x1"]
    pl.DataFrame(columns).write_parquet(path, row_group_size=100_000)
    pl.DataFrame(columns)[:1000].write_parquet(tmp_path / "small.parquet")
    del columns

    def measure(path, *limit):
        command = ["train", path, "--target", "y", "--epochs", "1", "--batch-size", "512", *limit]
        process = subprocess.run(
            [sys.executable, "-c", MEASURE, *map(str, command)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr
        return int(process.stdout.rpartition("\n")[0].rpartition("\n")[2])

    for limit in (WHOLE, ("--max-memory", "10kB")):  # compiling takes more than a gigabyte
        measure(tmp_path / "small.parquet", *limit)
    small, whole = measure(tmp_path / "small.parquet"), measure(path, *WHOLE)
    parts = measure(path, "--max-memory", "100MB")
    assert parts - small < 8 * n * 32 < whole - small
