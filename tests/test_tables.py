"""Data files of any kind become the same table; what is no table is refused in one sentence."""

import gzip
import io
import os
import re
import sys
import threading
import zipfile
import zlib
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from sheets import FRAME, TOWNS, write_sheet

from fastnn import datasets
from fastnn.tables import sources
from fastnn.tables import table as tables

WRITERS = {
    "feather": lambda path: FRAME.write_ipc(path),
    "xlsx": write_sheet,
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
        ("t.xlsx", b"PK\x03\x04 and no more", "is no Excel file of sheets ("),
        ("t.feather", b"ARROW1 and no more", "is no table of Feather ("),
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


# ---------------------------------------------------------------------- more than there is room for

ROOM = 1_000_000


@pytest.fixture
def little_room(monkeypatch):
    monkeypatch.setattr(sources, "MOST_BYTES", ROOM)


class Stream:
    """An open file that never ends, and counts how much has been read of it."""

    def __init__(self, begin, pattern):
        self.begin, self.pattern, self.read_bytes = begin, pattern, 0

    def read(self, size):
        text = self.begin if self.read_bytes == 0 else b""
        text = (text + self.pattern * (size // len(self.pattern) + 1))[:size]
        self.read_bytes += size
        return text


def zstd_bomb(n_blocks):
    """Return a file that Zstandard unpacks to n times 128 KiB of ones, from 4 bytes each."""
    block = (2**17 << 3 | 1 << 1).to_bytes(3, "little") + b"1"
    last = (0 << 3 | 1).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd\x00\x58" + block * n_blocks + last


def npy(dtype, shape, data=b""):
    """Return a .npy file whose header says what it likes."""
    file = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + data


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def parquet(n_rows):
    file = io.BytesIO()
    pl.DataFrame({"a": np.zeros(n_rows)}).write_parquet(file)
    return file.getvalue()


def sheets():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("[Content_Types].xml", bytes(2 * ROOM))
    return file.getvalue()


ONES = b"a,b\n" + b"1,2\n" * ROOM
BOMBS = {
    "t.csv": (ONES, "holds more than 1,000,000 bytes, half the memory of this machine"),
    "t.csv.gz": (gzip.compress(ONES), "unpacks to more than 1,000,000 bytes, half the memory"),
    "z.csv.gz": (zlib.compress(ONES), "unpacks to more than 1,000,000 bytes, half the memory"),
    "two.csv.gz": (gzip.compress(ONES[:600_000]) * 2, "unpacks to more than 1,000,000 bytes"),
    "t.csv.zst": (zstd_bomb(100), "unpacks to more than 1,000,000 bytes, half the memory"),
    "t.jsonl.gz": (gzip.compress(b'{"a": 1}\n' * ROOM), "unpacks to more than 1,000,000 bytes"),
    "t.json": (b"[" + b'{"a": 1},' * ROOM + b"]", "holds more than 1,000,000 bytes, half the"),
    "t.npz": (npz(a=np.zeros(ROOM)), "unpacks to more than 1,000,000 bytes, half the memory"),
    "t.xlsx": (sheets(), "unpacks to more than 1,000,000 bytes, half the memory"),
    "t.npy": (npy("<f8", (ROOM,), bytes(8 * ROOM)), "holds more than 1,000,000 bytes, half the"),
    "t.parquet": (parquet(ROOM), "has 1,000,000 rows of 1 columns, which take more than 1,000,0"),
    "short.csv": (
        b"x," * 1999 + b"x\n" + b"1\n" * 2000,
        "has 2,001 rows of 2,000 values, which take more than 1,000,000 bytes, half the memory",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.usefixtures("little_room")
def test_what_does_not_fit_into_memory(name, tmp_path, monkeypatch):
    content, error = BOMBS[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=error):
        tables.read_table(path)
    if len(content) > ROOM:
        error = "holds|has or unpacks to more than 1,000,000 bytes"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    with pytest.raises(ValueError, match=error):
        tables.read_table("-", name.split(".")[1])


@pytest.mark.parametrize("flags", [0x00, 0x20, 0x60, 0x80, 0xA4, 0xC0, 0x03])
def test_size_of_zstd_files(flags):
    """Of any kind of header, with frames that are skipped, and blocks of all kinds."""
    single = flags >> 5 & 1
    header = bytes(1 - single + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6])
    blocks = (7 << 3 | 0).to_bytes(3, "little") + b"1234567"  # as it is
    blocks += (1000 << 3 | 1 << 1).to_bytes(3, "little") + b"1"  # one byte again and again
    blocks += (5 << 3 | 2 << 1 | 1).to_bytes(3, "little") + b"12345"  # packed
    frame = b"\x28\xb5\x2f\xfd" + bytes([flags]) + header + blocks + b"abcd" * (flags >> 2 & 1)
    skipped = b"\x5a\x2a\x4d\x18\x03\x00\x00\x00xyz"
    bound = sources._zstd_bound(memoryview(skipped + frame + skipped + frame))
    assert bound == 2 * (7 + 1000 + 2**17)


@pytest.mark.usefixtures("little_room")
def test_packed_files_that_fit(tmp_path):
    text = FRAME.write_csv().encode()
    packed = {
        "one.gz": gzip.compress(text),
        "two.gz": gzip.compress(text[:9]) + gzip.compress(text[9:]) + bytes(512),
        "three.gz": zlib.compress(text),
    }
    for name, content in packed.items():
        (tmp_path / name).write_bytes(content)
        assert as_typed(tables.read_table(tmp_path / name, "csv").frame).equals(FRAME)
    for content in (gzip.compress(text)[:-9] + b"123456789", gzip.compress(text) + b"more"):
        (tmp_path / "bad.csv.gz").write_bytes(content)
        with pytest.raises(OSError, match=r"bad\.csv\.gz cannot be read \("):
            tables.read_table(tmp_path / "bad.csv.gz")


@pytest.mark.usefixtures("little_room")
def test_lines_within_quotes_are_no_rows(tmp_path):
    (tmp_path / "t.csv").write_bytes(b'a,b,c\n1,"' + b"\n" * 100_000 + b'x",3\n4,5,6\n')
    frame = tables.read_table(tmp_path / "t.csv").frame
    assert frame["b"].str.len_chars().to_list() == [1, 1]
    assert frame["c"].to_list() == ["3", "6"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (npy("<f8", (0, 2**40)), "has no rows below the column names, expected samples"),
        (npy("<U0", (2**40,)), r"has an array of <U0, shape \(1099511627776,\); expected numbers"),
        (npy([("a", "<U0")], (2**40,)), r"has an array of .*, shape \(1099511627776,\); expected"),
        (npy("<f8", (2**50,)), r"is no file of NumPy arrays \("),
        (npy("<f8", (2**40, 2**40)), r"is no file of NumPy arrays \("),
    ],
)
def test_headers_that_announce_too_much(content, error, tmp_path, monkeypatch):
    (tmp_path / "t.npy").write_bytes(content)
    with pytest.raises(ValueError, match=error):
        tables.read_table(tmp_path / "t.npy")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    with pytest.raises(ValueError, match=error):
        tables.read_table("-")


@pytest.mark.parametrize(
    ("kind", "begin", "error"),
    [
        (None, b"", "has a NUL character in line 1, expected text in UTF-8"),
        (None, b"a,b\n1,2\n3", "has a NUL character in line 3, expected text"),
        ("jsonl", b"", "has a NUL character in line 1, expected text"),
        ("npy", b"", "does not begin as a file of npy does"),
        ("npz", b"", "does not begin as a file of npz does"),
        ("parquet", b"", "does not begin as a file of parquet does"),
    ],
)
def test_a_device_without_end_is_refused_at_once(kind, begin, error, monkeypatch):
    stream = Stream(begin, b"\0")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
    with pytest.raises(ValueError, match=f"path: standard input {error}"):
        tables.read_table("-", kind)
    assert stream.read_bytes <= 2**16


@pytest.mark.usefixtures("little_room")
@pytest.mark.parametrize(("kind", "begin"), [("csv", b"a,b\n"), ("parquet", b"PAR1")])
def test_a_pipe_without_end_is_read_so_far(kind, begin, monkeypatch):
    stream = Stream(begin, b"1,2\n")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
    with pytest.raises(ValueError, match="standard input has or unpacks to more than 1,000,000"):
        tables.read_table("-", kind)
    assert stream.read_bytes < 3 * ROOM


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("t.csv", b"a,b\n1,x\n2,\x00y\n", 3),
        ("t.csv", b"a\x00,b\n1,x\n", 1),
        ("t.csv", b"a,b\n1,c\x00d\n2,\n", 2),  # the last value of a row is missing
        ("t.tsv", b"a\tb\n1\tc\x00d\n2\t\n", 2),
        ("t.csv", b"a,b\n" + b"1,2\n" * 500_000 + b"3,\x00\n", 500_002),
        ("t.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 500_000 + b"3,\x00\n"), 500_002),
        ("t.jsonl", b'{"a": 1}\n{"a": "\x00"}\n', 2),
        ("t.json", b'[{"a": 1},\n{"a": "\x00"}]', 2),
    ],
)
def test_text_with_nul_in_it(name, content, line, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    error = (
        f"^path: {re.escape(str(path))} has a NUL character in line {line}, expected text in UTF"
    )
    with pytest.raises(ValueError, match=error):
        tables.read_table(path)
    if name == "t.csv":
        with pytest.raises(ValueError, match=error):
            datasets.read_csv(path, target="b")


def test_sheets_without_names_and_with_empty_rows(tmp_path):
    path = tmp_path / "t.xlsx"
    write_sheet(path, header=False, empty=[1])
    table = tables.read_table(path, has_header=False)
    assert table.frame.columns == ["column_1", "column_2", "column_3"]
    assert table.frame["column_2"].to_list() == ["Rome", "Bern"]
    assert table.rows.tolist() == [1, 3]


def test_another_sheet(tmp_path):
    path = tmp_path / "t.xlsx"
    other = pl.DataFrame({"z": ["p", "q"]})
    write_sheet(path, others={"Prices 2024": other, "notes": FRAME[:1]})
    assert tables.read_table(path, sheet="Prices 2024").frame.to_dict(as_series=False) == {
        "z": ["p", "q"]
    }
    assert tables.read_table(path).frame.columns == FRAME.columns
    words = (
        f"argument --sheet: 'prices 2023', expected one of the sheets of {path}: 'one', "
        "'Prices 2024', 'notes'; did you mean 'Prices 2024'?"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        tables.read_table(path, sheet="prices 2023")
    FRAME.write_csv(tmp_path / "t.csv")
    with pytest.raises(ValueError, match=r"^argument --sheet: is for xlsx, not for csv$"):
        tables.read_table(tmp_path / "t.csv", sheet="one")


def test_sheets_without_fastexcel(tmp_path, monkeypatch):
    write_sheet(tmp_path / "t.xlsx")
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    with pytest.raises(ImportError, match=r'^reading \.xlsx files needs fastexcel: pip install "f'):
        tables.read_table(tmp_path / "t.xlsx")
