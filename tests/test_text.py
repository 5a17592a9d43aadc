"""CSV files as they are found: separators, encodings, first lines that are rows, indices."""

import gzip

import pandas
import polars as pl
import pytest

from fastnn.tables import table as tables
from fastnn.tables.text import BLANKS, find_separator


def write(folder, text, name="t.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def columns(table):
    return table.frame.to_dict(as_series=False)


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1,5;2,5\n", ";"),
        ("1,5;2,5\n3,5;4,5\n", ";"),
        ("a\tb,c\n1\t2,5\n", "\t"),
        ("a|b|c\n1|2,5|3\n", "|"),
        ('"a;b",c\n"1;2;3",4\n', ","),
        ("a;b\n1;2\n3\n", ";"),  # a short row, which is refused later
        ("a,b\n1,2\n3\n", ","),
        ("a  b\n1    2\n  3 4\n", BLANKS),
        ("x y label\n1.5 -2e3 red\n3 4 blue\n", BLANKS),
        ('x y "the label"\n1 2 "light red"\n3 4 red\n', BLANKS),
        ("full name\nJohn Smith\nAnn Lee\n", ","),
        ("name\n1\n2\n", ","),
        ("\n\na;b\n\n1;2\n", ";"),
        ("", ","),
    ],
)
def test_separators_are_found(tmp_path, text, separator):
    assert find_separator(text) == separator


def test_a_line_that_is_cut_does_not_count():
    start = "a;b,c\n" + "1;2,5\n" * 20_000
    assert find_separator(start[: 2**16 - 3] + "1,2") == ";"
    assert len(start) > 2**16


@pytest.mark.parametrize("name", ["t.csv", "t.txt", "t.data", "t"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_table_with_another_separator(tmp_path, name, packed):
    path = write(tmp_path, "town;size\nRome;1,5\n\nOslo;2\n", name)
    if packed:
        path = tmp_path / f"{name}.gz"
        path.write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    table = tables.read_table(path)
    assert columns(table) == {"town": ["Rome", "Oslo"], "size": ["1,5", "2"]}
    assert table.rows.tolist() == [1, 3]
    assert table.notes == (f"{path} has values with ';' between them",)


@pytest.mark.parametrize("separator", [None, " "])
def test_runs_of_blanks(tmp_path, separator):
    text = ' x  y\t"the label" \r\n\r\n1   2.5 "light  red"\n  3\t4 red  \n'
    table = tables.read_table(write(tmp_path, text), separator=separator)
    assert columns(table) == {
        "x": ["1", "3"],
        "y": ["2.5", "4"],
        "the label": ["light  red", "red"],
    }
    assert table.rows.tolist() == [2, 3]
    assert len(table.notes) == (separator is None)


def test_short_rows_between_blanks_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match="has 2 of 3 values in row 2, expected one for each column"
    ):
        tables.read_table(write(tmp_path, "x  y  z\n1 2 3\n4 5\n"), separator=" ")


# ---------------------------------------------------------------------- encodings


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-8-sig"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_encodings(tmp_path, encoding, packed, kind):
    text = {"csv": "größe,ort\n1,Köln\n2,Bern\n", "jsonl": '{"größe":1,"ort":"Köln"}\n'}[kind]
    content = text.encode(encoding)
    path = tmp_path / f"t.{kind}"
    path.write_bytes(gzip.compress(content) if packed else content)
    frame = tables.read_table(path, encoding=encoding).frame
    assert frame.columns == ["größe", "ort"]
    assert frame["ort"][0] == "Köln"


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("größe,y\n1,2\n", "latin-1", "is not in UTF-8, line 1 has the byte 0xf6, and --encoding "),
        ("x,y\n1,2\n“3”,4\n", "cp1252", "line 3 has the byte 0x93, and --encoding cp1252 reads it"),
        ("x,y\n1,2\n", "utf-16", "is not in UTF-8, and --encoding utf-16 reads it"),
        ("x,y\n1,2\n3,4\n", "utf-16-le", "is not in UTF-8, and --encoding utf-16-le reads it"),
        ("x,y\n1,2\n3,4\n", "utf-16-be", "is not in UTF-8, and --encoding utf-16-be reads it"),
    ],
)  # fmt: skip
def test_an_encoding_is_named(tmp_path, text, encoding, expected):
    path = write(tmp_path, text, encoding=encoding)
    with pytest.raises(ValueError, match=r"^path: .*t\.csv is not in UTF-8") as caught:
        tables.read_table(path)
    assert expected in str(caught.value)
    named = str(caught.value).split("--encoding ")[1].split()[0]
    assert tables.read_table(path, encoding=named).frame.width == 2


def test_a_text_that_is_not_in_its_encoding(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"x,y\n1,\x81\n")
    with pytest.raises(ValueError, match=r"t\.csv is not text in cp1252 \('charmap' codec can't"):
        tables.read_table(path, encoding="cp1252")
    path.write_bytes("a\0,b\n1,2\n".encode("utf-16"))
    with pytest.raises(ValueError, match="has a NUL character in line 1, expected text"):
        tables.read_table(path, encoding="utf-16")


# ---------------------------------------------------------------------- names of columns


def test_a_file_without_names(tmp_path):
    path = write(tmp_path, "5.1,3.5,setosa\n\n4.9,3.0,setosa\n")
    table = tables.read_table(path, has_header=False)
    assert table.frame.columns == ["column_1", "column_2", "column_3"]
    assert table.rows.tolist() == [1, 3]
    assert table.place("column_1", 1) == "column 'column_1', row 3"
    assert tables.read_table(path).notes == (
        f"the first line of {path} names the columns '5.1', '3.5', 'setosa', which looks like a "
        "row: --no-header takes it for one",
    )


@pytest.mark.parametrize(
    "text",
    [
        "x,y\n1,2\n", "2019,2020,2021\n1,2,3\n", "0,1,2,y\n1,2,3,a\n", "150,4,setosa\n5.1,3.5,0\n",
        "a,1.5\n1,2\n", "Rome\nOslo\n",
    ],
)  # fmt: skip
def test_names_that_look_like_names(tmp_path, text):
    assert tables.read_table(write(tmp_path, text)).notes == ()


@pytest.mark.parametrize("text", ["1.5,2,1.5\n1,2,3\n", "1.5,,2\n1,2,3\n"])
def test_rows_in_place_of_names_that_cannot_be_names(tmp_path, text):
    with pytest.raises(ValueError, match=r"(2 columns named|no name for col)") as caught:
        tables.read_table(write(tmp_path, text))
    assert ("; --no-header if the first line is a row" in str(caught.value)) == (",," not in text)


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "Unnamed: 0.1"])
@pytest.mark.parametrize("first", [0, 1, 7])
def test_the_index_of_pandas_is_left_out(tmp_path, name, first):
    path = tmp_path / "t.csv"
    frame = pandas.DataFrame({"x": [1.5, 2.5], "y": ["a", "b"]}, index=range(first, first + 2))
    frame.to_csv(path, index_label=name)
    table = tables.read_table(path)
    assert table.frame.columns == ["x", "y"]
    (note,) = table.notes
    assert note.startswith(f"{path} has a first column {repr(name) if name else 'without a name'}")
    assert note.endswith(" that counts the rows: it is left out")


def test_other_first_columns_stay(tmp_path):
    assert tables.read_table(write(tmp_path, "id,x\n0,1\n1,2\n")).frame.columns == ["id", "x"]
    with pytest.raises(ValueError, match="has no name for column 1"):
        tables.read_table(write(tmp_path, ",x\n3,1\n1,2\n"))
    one = tables.read_table(write(tmp_path, "Unnamed: 0\n0\n1\n"))
    assert one.frame.columns == ["Unnamed: 0"]


def test_the_index_in_other_kinds_of_files(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"__index_level_0__": [3, 4, 5], "x": [1, 2, 3]}).write_parquet(path)
    table = tables.read_table(path)
    assert table.frame.columns == ["x"]
    assert len(table.notes) == 1


@pytest.mark.parametrize(
    ("kind", "argument", "error"),
    [
        (
            "parquet",
            {"encoding": "latin-1"},
            "argument --encoding: is for csv, tsv, json, jsonl, n",
        ),
        ("npy", {"has_header": False}, "argument --no-header: is for csv, tsv, xlsx, not for npy"),
        ("jsonl", {"separator": ";"}, "argument --separator: is for csv, tsv, not for jsonl"),
    ],
)
def test_arguments_that_a_kind_does_not_have(tmp_path, kind, argument, error):
    with pytest.raises(ValueError, match=f"^{error}"):
        tables.read_table(write(tmp_path, "x\n", f"t.{kind}"), **argument)
