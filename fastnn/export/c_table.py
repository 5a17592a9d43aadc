"""The part of a C file in front of the network, for a model of a table, and its names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .table import CategoryInput, ExportTable, NumberInput


def names(prefix: str, table: ExportTable) -> str:
    """Return the declarations of the names of columns, categories and classes."""
    parts = [_texts(f"{prefix}_column_names", (each.name for each in table.inputs), "in a row")]
    lists = []
    for i, column in enumerate(table.inputs):
        if isinstance(column, CategoryInput):
            name = f"{prefix}_categories_{i}"
            parts.append(_texts(name, column.categories, f"of column {i}, by their numbers"))
            lists.append(name)
        else:
            lists.append("0")
    parts.append(
        f"/* of each column; 0 for numbers */\n"
        f"const char *const *const {prefix}_categories[{len(lists)}] = {{\n"
        + "".join(f"    {name},\n" for name in lists)
        + "};\n"
    )
    if table.labels:
        parts.append(class_names(prefix, table.labels))
    return "\n".join(parts)


def class_names(prefix: str, labels: Iterable[Any]) -> str:
    """Return the declaration of the names of classes."""
    return _texts(f"{prefix}_class_names", map(str, labels), "by their labels")


def about(prefix: str) -> list[str]:
    """Return the lines of the comment that say what a row has."""
    return [
        "",
        "A number of a row is that of the table as it is. A category is its place, from 0, in",
        f"{prefix}_categories; any other number stands for a category that is not there. NaN is a",
        "missing value.",
    ]


def features(table: ExportTable, real: str) -> Iterator[str]:
    """Yield the statements that make the features `x` of a row."""
    one, zero = ("1.0f", "0.0f") if real == "float" else ("1.0", "0.0")
    at = 0
    for i, column in enumerate(table.inputs):
        value = f"row[{i}]"
        if isinstance(column, NumberInput):
            if column.fill is not None:
                value = f"({value} != {value} ? {_double(column.fill)} : {value})"
            standard = f"({value} - {_double(column.shift)}) / {_double(column.scale)}"
            yield f"x[{at}] = ({real})({standard});"
        else:
            n = len(column.categories)
            if column.fill is not None:
                value = f"({value} != {value} ? {column.fill} : {value})"
            yield f"for (int i = 0; i < {n}; i++)"
            yield f"    x[{at} + i] = {value} == i ? {one} : {zero};"
            if column.has_other:
                # NaN is no number of a category either.
                known = f"{value} >= 0 && {value} < {n}"
                yield f"x[{at + n}] = {known} ? {zero} : {one};"
        at += column.n_features
    yield ""


def value(table: ExportTable, real: str, output: str) -> str:
    """Return the statement that turns the output of the network into a value of the target."""
    scaled = f"(double){output}[0] * {_double(table.scale)} + {_double(table.shift)}"
    return f"{output}[0] = ({real})({scaled});"


def _double(number: float) -> str:
    return repr(float(number))


def _texts(name: str, texts: Iterable[str], comment: str) -> str:
    """Return the declaration of an array of texts."""
    lines = [f"    {_literal(text)},\n" for text in texts]
    return f"/* {comment} */\nconst char *const {name}[{len(lines)}] = {{\n{''.join(lines)}}};\n"


def _literal(text: str) -> str:
    """Return a text as a literal of C, in UTF-8."""
    plain = b" !#$%&'()*+,-./:;<=>@[]^_{|}~"
    letters = [
        chr(byte) if byte in plain or (byte < 128 and chr(byte).isalnum()) else f"\\{byte:03o}"
        for byte in text.encode("utf-8", "replace")
    ]
    return f'"{"".join(letters)}"'
