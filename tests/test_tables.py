"""Data files of any kind become the same table; what is no table is refused in one sentence."""

import gzip
import io
import os
import sys
import threading
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from fastnn import tables

TOWNS = ["Rome", "Oslo", "Bern"]
FRAME = pl.DataFrame({"size": [1.5, 2.0, -3.25], "town": TOWNS, "rooms": [1, 2, 3]})
WRITERS = {
    "csv": lambda path: FRAME.write_csv(path),
    "tsv": lambda path: FRAME.write_csv(path, separator="\t"),
    "parquet": lambda path: FRAME.write_parquet(path),
    "jsonl": lambda path: FRAME.write_ndjson(path),
    "json": lambda path: FRAME.write_json(path),
    "npz": lambda path: np.savez(path, size=[1.5, 2, -3.25], rooms=[1, 2, 3], town=TOWNS),
}


def as_typed(frame):
    """Return a frame of which every column has its own type, also if it is of text."""
    return frame.select(
        pl.col("size").cast(pl.Float64), pl.col("town"), pl.col("rooms").cast(pl.Int64)
    )


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("named", [True, False], ids=["by its name", "by its contents"])
def test_kinds_of_files(tmp_path, kind, named):
    written = tmp_path / f"table.{kind}"
    WRITERS[kind](written)
    path = written if named else written.rename(tmp_path / "table")
    table = tables.read_table(path)
    assert as_typed(table.frame).equals(FRAME)
    assert table.rows.tolist() == [1, 2, 3]
    assert table.source == str(path)


@pytest.mark.parametrize("kind", WRITERS)
def test_standard_input(tmp_path, monkeypatch, kind):
    path = tmp_path / f"table.{kind}"
    WRITERS[kind](path)
    stdin = SimpleNamespace(buffer=io.BytesIO(path.read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    table = tables.read_table("-")
    assert as_typed(table.frame).equals(FRAME)
    assert table.source == "standard input"


def test_packed_csv(tmp_path):
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(FRAME.write_csv().encode()))
    assert as_typed(tables.read_table(path).frame).equals(FRAME)


def test_a_packed_file_that_ends_too_early_is_named(tmp_path):
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(FRAME.write_csv().encode() * 100)[:-30])
    with pytest.raises(
        (OSError, ValueError), match=r"^path: .*table\.csv\.gz .*unexpected end of f"
    ):
        tables.read_table(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
@pytest.mark.parametrize("kind", WRITERS)
def test_a_pipe_is_a_file_too(tmp_path, kind):
    path, pipe = tmp_path / f"table.{kind}", tmp_path / "pipe"
    WRITERS[kind](path)
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(path.read_bytes()))
    writer.start()
    assert as_typed(tables.read_table(pipe).frame).equals(FRAME)
    writer.join()


def test_kind_and_separator_can_be_given(tmp_path):
    path = tmp_path / "table.dat"
    path.write_text("a;b\n1,5;2\n")
    frame = tables.read_table(path, "csv", ";").frame
    assert frame.to_dict(as_series=False) == {"a": ["1,5"], "b": ["2"]}


def test_rows_of_csv_files_count_empty_lines(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n\n  \n , \n3,\n\n")
    table = tables.read_table(path)
    assert table.rows.tolist() == [1, 4, 5]
    assert table.frame["b"].to_list() == ["2", None, None]
    assert table.place("b", 2) == "column 'b', row 5"
    assert table.take([2]).place("b", 0) == "column 'b', row 5"


def test_no_value_of_a_single_column_is_lost(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('a\n1\n\n""\n2\n\n')
    assert tables.read_table(path).frame["a"].to_list() == ["1", None, None, "2", None]


@pytest.mark.parametrize("packed", [False, True])
def test_short_rows_of_csv_files_are_refused(tmp_path, packed):
    path = tmp_path / ("table.csv.gz" if packed else "table.csv")
    text = b'y,x,z\n"a\n,",5,\n\na,5\n'
    path.write_bytes(gzip.compress(text) if packed else text)
    with pytest.raises(ValueError, match=r"has 2 of 3 values in row 3, expected one for each col"):
        tables.read_table(path)
    path.write_bytes(gzip.compress(text[:-1] + b",\n") if packed else text[:-1] + b",\n")
    assert tables.read_table(path).rows.tolist() == [1, 3]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[1, 2], [3, 4]], np.uint8), {"0": [1, 3], "1": [2, 4]}),
        (np.array([1.5, 2.5], np.float16), {"0": [1.5, 2.5]}),
        (np.asfortranarray([[1.0, 2.0], [3.0, 4.0]]), {"0": [1.0, 3.0], "1": [2.0, 4.0]}),
        (np.array([1, 2], ">i4"), {"0": [1, 2]}),
        (np.array([(1, 2.5)], [("x", "i4"), ("y", "f8")]), {"x": [1], "y": [2.5]}),
        (np.arange(8).reshape(2, 2, 2), {"0": [0, 4], "1": [1, 5], "2": [2, 6], "3": [3, 7]}),
        (np.array([["a", "b"]]), {"0": ["a"], "1": ["b"]}),
    ],
)
def test_numpy_arrays(tmp_path, array, expected):
    np.save(tmp_path / "table.npy", array)
    frame = tables.read_table(tmp_path / "table.npy").frame
    assert frame.to_dict(as_series=False) == expected


def test_several_arrays(tmp_path):
    images, labels = np.arange(12, dtype=np.uint8).reshape(3, 2, 2), np.array([[0], [1], [0]])
    np.savez(tmp_path / "table.npz", images=images, labels=labels)
    frame = tables.read_table(tmp_path / "table.npz").frame
    assert frame.columns == ["images[0]", "images[1]", "images[2]", "images[3]", "labels"]
    assert frame["images[2]"].to_list() == [2, 6, 10]
    assert frame["labels"].to_list() == [0, 1, 0]


# ---------------------------------------------------------------------- what is refused


def save(path, **arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("t.parquet", b"PAR1 and no more", "is no table of Parquet (parquet"),
        ("t.parquet", b"", "is no table of Parquet ("),
        ("t.jsonl", b'{"a": 1}\n{"a": ', "is no table of JSON lines ("),
        ("t.json", b"[1, 2", "is no table of JSON ("),
        ("t.npy", b"\x93NUMPY\x01\x00", "is no file of NumPy arrays ("),
        ("t.npy", b"hello", "is no file of NumPy arrays ("),
        ("t.npz", b"PK\x03\x04 and no more", "is no file of NumPy arrays ("),
        ("t.npz", save("", X=np.zeros((3, 2)), y=np.zeros(2)), "has arrays X (3, 2), y (2,), "),
        ("t.npz", save("", X=np.float64(3)), "has X of float64, shape (); expected numbers or"),
        ("t.npz", save("", X=np.zeros(2, complex)), "has X of complex128, shape (2,); expected"),
        ("t.npz", save("", X=np.array([None])), "is no file of NumPy arrays (Object arrays"),
        ("t.tsv", b"a\tb\n1\t2\t3\n", "is no table of tab-separated values in UTF-8"),
        ("t", b"", "is empty, expected column names and rows"),
        ("t.csv", b"a,b\n", "has no rows below the column names, expected samples"),
        ("t.npy", None, "has no rows below the column names, expected samples"),
    ],
)  # fmt: skip
def test_files_that_are_no_tables(tmp_path, name, content, error):
    path = tmp_path / name
    if content is None:
        np.save(path, np.empty((0, 3)))
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^path: ") as caught:
        tables.read_table(path)
    assert str(caught.value).startswith(f"path: {path} {error}")
    assert "\n" not in str(caught.value)


def test_parquet_file_with_a_hole_in_it(tmp_path, capfd):
    """Its end is whole and speaks of bytes that are not there; nothing but the error is said."""
    path = tmp_path / "table.parquet"
    pl.DataFrame({"x": np.random.default_rng(0).random(1000)}).write_parquet(path)
    content = path.read_bytes()
    path.write_bytes(content[:100] + content[5000:])
    with pytest.raises(ValueError, match="is no table of Parquet"):
        tables.read_table(path)
    os.write(2, b"heard again")
    assert capfd.readouterr() == ("", "heard again")


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a file, and there is none"):
        tables.read_table(tmp_path)


def test_a_file_of_pickled_objects_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("the file was run",)

    np.save(tmp_path / "t.npy", np.array([Bomb()]), allow_pickle=True)
    with pytest.raises(ValueError, match="is no file of NumPy arrays"):
        tables.read_table(tmp_path / "t.npy")


def test_columns_that_are_not_there():
    table = tables.table_of({f"c{i}": [0] for i in range(30)}, "x")
    with pytest.raises(
        ValueError, match=r"^target is 'c3x', expected one of the columns 'c0', "
    ) as caught:
        table.require("c3x", "target")
    assert str(caught.value).endswith("'c19', ...; did you mean 'c3'?")


def test_without_polars(monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(
        ImportError, match=r'^reading tables needs polars: pip install "polars>=1.0"$'
    ):
        tables.table_of({"x": [1]}, "x")
