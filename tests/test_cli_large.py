"""`fastnn predict` on a Parquet file that is not read whole: what the other way gives."""

import numpy as np
import polars as pl
import pytest

from fastnn import cli
from fastnn.cli import predict_large

N = 5000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of a town, rooms and an area, and a table of many row groups."""
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    towns = rng.choice(["here", "there", "far"], N)
    rooms, area = rng.integers(1, 9, N), rng.uniform(20, 200, N)
    dear = np.where(area + 30 * (towns == "here") > 110, "yes", "no")
    table = pl.DataFrame({"rooms": rooms, "town": towns, "area": area, "dear": dear})
    table.write_parquet(folder / "table.parquet", row_group_size=200)
    for name, options in (("classes", "dear"), ("numbers", "area")):
        model = str(folder / f"{name}.safetensors")
        given = ["--target", options, "--epochs", "2", "--save", model]
        assert cli.main(["train", str(folder / "table.parquet"), *given]) == 0
    return folder


def write(folder, **columns):
    """Write the table with other columns, under another name."""
    table = pl.read_parquet(folder / "table.parquet").with_columns(**columns)
    table.write_parquet(folder / "other.parquet", row_group_size=200)
    return folder / "other.parquet"


def predict(monkeypatch, large, capsys, *arguments):
    """Return (code, errors) of the command."""
    capsys.readouterr()
    calls = []
    with monkeypatch.context() as patch:
        run = predict_large.run
        patch.setattr(predict_large, "run", lambda *given: calls.append(1) or run(*given))
        limit = "1B" if large else "1TB"
        code = cli.main(["predict", *map(str, arguments), "--max-memory", limit])
    assert len(calls) == large
    return code, capsys.readouterr().err


READERS = {
    ".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson,
    ".tsv": lambda path: pl.read_csv(path, separator="\t"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("classes", []), ("classes", ["--probabilities", "--keep", "rooms,dear"]), ("numbers", []),
    ],
)  # fmt: skip
def test_the_same_predictions(model, options, suffix, folder, tmp_path, monkeypatch, capsys):
    tables = []
    for large in (0, 1):
        path = tmp_path / f"{large}{suffix}"
        given = folder / f"{model}.safetensors", folder / "table.parquet", "--output", path
        assert predict(monkeypatch, large, capsys, *given, *options) == (0, "")
        tables.append(READERS[suffix](path))
    assert tables[0].equals(tables[1])
    assert tables[1].height == N
    assert [each.name for each in tmp_path.iterdir()].count(f"1{suffix}") == 1
    assert len(list(tmp_path.iterdir())) == 2  # no temporary file is left


def test_unknown_categories_are_counted_over_all_parts(folder, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(1)
    path = write(folder, town=pl.Series(rng.choice(["here", "new", "else"], N)))
    said = [
        predict(
            monkeypatch, large, capsys, folder / "classes.safetensors", path, "--output",
            tmp_path / "out.parquet",
        )
        for large in (0, 1)
    ]  # fmt: skip
    assert said[0] == said[1]
    assert "has 2 categories unknown to the model ('else', 'new')" in said[1][1]


def with_one(value, other):
    """Return a column with `value` in row 3211."""
    return pl.when(pl.int_range(pl.len()) == 3210).then(pl.lit(value)).otherwise(pl.lit(other))


BAD = {
    "a missing value": {"area": with_one(None, 1.0)},
    "nan": {"area": with_one(np.nan, 1.0)},
    "large": {"area": with_one(1e300, 1.0)},
    "text": {"rooms": with_one("x", "3")},
}


@pytest.mark.parametrize("name", BAD)
def test_an_error_names_the_row_of_the_file(name, folder, tmp_path, monkeypatch, capsys):
    """And what was there before stays."""
    path, output = write(folder, **BAD[name]), tmp_path / "out.parquet"
    output.write_bytes(b"before")
    given = folder / "classes.safetensors", path, "--output", output
    said = [predict(monkeypatch, large, capsys, *given) for large in (0, 1)]
    assert said[0] == said[1]
    assert said[1][0] == 2
    assert "row 3211" in said[1][1]
    assert output.read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_missing_column(folder, tmp_path, monkeypatch, capsys):
    path = folder / "less.parquet"
    pl.read_parquet(folder / "table.parquet").drop("town").write_parquet(path)
    given = folder / "classes.safetensors", path, "--output", tmp_path / "out.parquet"
    for more in ([], ["--keep", "street"]):
        said = [predict(monkeypatch, large, capsys, *given, *more) for large in (0, 1)]
        assert said[0] == said[1]
        assert said[1][0] == 2


def test_a_damaged_row_group(folder, tmp_path, monkeypatch, capsys):
    path, output = write(folder, area=pl.Series(np.random.default_rng(2).random(N))), "out.parquet"
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 2000)
    given = folder / "classes.safetensors", path, "--output", tmp_path / output
    code, errors = predict(monkeypatch, True, capsys, *given)
    assert code == 2
    assert "other.parquet is no table of Parquet (" in errors
    assert list(tmp_path.iterdir()) == []
