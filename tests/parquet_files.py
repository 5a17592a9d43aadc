"""Damaged Parquet files, written by hand: no library writes a row group that lacks a column.

The footer of a file is Thrift's compact protocol: https://parquet.apache.org/docs/file-format/metadata
"""

BOOLEANS, BYTE, INTEGERS, DOUBLE, BINARY, LISTS, STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, (9, 10), 12


def read_integer(raw, at):
    """Return (an integer of 7 bits a byte, where it ends)."""
    value, shift = 0, 0
    while True:
        byte = raw[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def read_list(raw, at):
    """Return (the number of elements, their type, where the first begins)."""
    size, kind, at = raw[at] >> 4, raw[at] & 15, at + 1
    if size == 15:
        size, at = read_integer(raw, at)
    return size, kind, at


def find_end(raw, at, kind, in_list=False):
    """Return where a value ends."""
    if kind in BOOLEANS:
        return at + in_list
    if kind == BYTE:
        return at + 1
    if kind in INTEGERS:
        return read_integer(raw, at)[1]
    if kind == DOUBLE:
        return at + 8
    if kind == BINARY:
        size, at = read_integer(raw, at)
        return at + size
    if kind in LISTS:
        size, inner, at = read_list(raw, at)
        for _ in range(size):
            at = find_end(raw, at, inner, in_list=True)
        return at
    assert kind == STRUCT
    for _, inner, begin in fields(raw, at):
        at = find_end(raw, begin, inner)
    return at + 1


def fields(raw, at):
    """Yield (number, type, begin of the value) of the fields of a struct."""
    number = 0
    while raw[at]:
        kind = raw[at] & 15
        assert raw[at] >> 4, "a field number of its own"
        number += raw[at] >> 4
        yield number, kind, at + 1
        at = find_end(raw, at + 1, kind)


def lose_last_column(path):
    """Take the last column out of the last row group. The schema still has it."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[-8:-4], "little")
    footer = raw[-8 - size : -8]
    groups = next(begin for number, _, begin in fields(footer, 0) if number == 4)
    count, kind, at = read_list(footer, groups)
    for _ in range(count - 1):
        at = find_end(footer, at, kind)
    columns = next(begin for number, _, begin in fields(footer, at) if number == 1)
    count, kind, at = read_list(footer, columns)
    assert 1 < count < 15
    for _ in range(count - 1):
        at = find_end(footer, at, kind)
    rest = footer[find_end(footer, at, kind) :]
    header = bytes([(count - 1) << 4 | kind])
    footer = footer[:columns] + header + footer[columns + 1 : at] + rest
    path.write_bytes(raw[: -8 - size] + footer + len(footer).to_bytes(4, "little") + raw[-4:])
