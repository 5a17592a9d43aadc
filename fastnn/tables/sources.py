"""Reading the bytes of a data file, unpacked, and no more than fit into memory.

A few bytes may unpack to more than any memory holds, and a pipe or a device may never end.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..memory import physical_memory

MOST_BYTES = physical_memory() // 2
"""Of a file, and of its content unpacked. A table takes at least twice its size."""

TEXT = ("csv", "tsv", "json", "jsonl")
MAGIC = {
    "parquet": b"PAR1", "npy": b"\x93NUMPY", "npz": b"PK", "feather": b"ARROW1", "xlsx": b"PK",
}  # fmt: skip
_GZIP, _ZLIB, _ZSTD = b"\x1f\x8b", (b"\x78\x01", b"\x78\x9c", b"\x78\xda"), b"\x28\xb5\x2f\xfd"
_CHUNK = 2**16  # zlib unpacks it to at most a thousand times as much


class TooLargeError(ValueError):
    """A file has more than MOST_BYTES."""


def too_large(name: str, what: str = "holds") -> TooLargeError:
    """Return the error for a file that has more than MOST_BYTES."""
    return TooLargeError(
        f"path: {name} {what} more than {MOST_BYTES:,} bytes, half the memory of this machine: "
        "expected a smaller table"
    )


def read_stream(
    stream: Any, name: str, kind_of: Callable[[bytes], str], encoding: str | None = None
) -> io.BytesIO:
    """Return the content of an open file or pipe.

    `kind_of(start)` returns the kind of a file from its first bytes. A file that does not begin as
    that kind does is refused before the rest is read: /dev/zero has no end. Text of another
    `encoding` may have NUL characters.

    Raises
    ------
    ValueError
        For a file that is too large or of another kind, and for text with a NUL character.
    """
    start = stream.read(_CHUNK)
    kind = kind_of(start)
    text = kind in TEXT and not _is_packed(start) and encoding is None
    if kind in MAGIC and not start.startswith(MAGIC[kind]):
        raise ValueError(f"path: {name} does not begin as a file of {kind} does")
    whole = io.BytesIO()
    piece = start
    while piece:
        _append(whole, piece, name, text)
        piece = stream.read(16 * _CHUNK)
    whole.seek(0)
    return whole


def read_text(source: Path | io.BytesIO, name: str, encoding: str | None = None) -> io.BytesIO:
    """Return the text of a CSV or JSON file in UTF-8, unpacked from gzip or zlib.

    A Zstandard file stays packed, as polars unpacks it; its size is checked.

    Raises
    ------
    ValueError
        For a file that is too large, for a NUL character, and for text that is not in `encoding`.
    OSError
        For a packed file that is damaged.
    """
    if isinstance(source, Path):
        check_size(source, name)
        with source.open("rb") as file:
            source = read_stream(file, name, lambda start: "csv", encoding)
    packed = source.getbuffer()
    if packed[:4] == _ZSTD:
        if _zstd_bound(packed) > MOST_BYTES:
            raise too_large(name, "unpacks to")
        if encoding is not None:
            raise ValueError(f"path: {name} is packed with Zstandard, expected UTF-8 in it")
        return source
    if _is_packed(bytes(packed[:4])):
        source = _inflated(packed, name, encoding)
    return source if encoding is None else _decoded(source, name, encoding)


def is_packed(source: io.BytesIO) -> bool:
    """Return whether the bytes are still packed, with Zstandard, which polars unpacks."""
    return source.getbuffer()[:4] == _ZSTD


def check_size(path: Path, name: str) -> None:
    """Raise ValueError for a file that is too large."""
    if path.stat().st_size > MOST_BYTES:
        raise too_large(name)


def _is_packed(start: bytes) -> bool:
    return start.startswith((_GZIP, *_ZLIB, _ZSTD))


def _append(whole: io.BytesIO, piece: bytes, name: str, text: bool) -> None:
    """Append a piece; ValueError if it does not fit, or should be text and has a NUL."""
    if text and (at := piece.find(b"\0")) >= 0:
        if likely := _utf16_of(whole.getvalue() + piece[:64]):
            raise ValueError(f"path: {name} is not in UTF-8, and --encoding {likely} reads it")
        line = 1 + whole.getvalue().count(b"\n") + piece.count(b"\n", 0, at)
        raise ValueError(f"path: {name} has a NUL character in line {line}, expected text in UTF-8")
    if whole.tell() + len(piece) > MOST_BYTES:
        raise too_large(name, "has or unpacks to")
    whole.write(piece)


def _inflated(packed: memoryview, name: str, encoding: str | None = None) -> io.BytesIO:
    """Return the content of a gzip or zlib file, which may have several parts in a row."""
    whole = io.BytesIO()
    at, part, rest = 0, zlib.decompressobj(47), b""  # 47: gzip or zlib
    try:
        while rest or at < len(packed):
            if not rest:
                rest, at = bytes(packed[at : at + _CHUNK]), at + _CHUNK
            if part.eof:
                rest = rest.lstrip(b"\0")  # padding, as on tapes
                if not rest:
                    continue
                part = zlib.decompressobj(47)
            _append(whole, part.decompress(rest), name, text=encoding is None)
            rest = part.unused_data
        if not part.eof:
            raise zlib.error("unexpected end of file")
    except zlib.error as error:
        raise OSError(f"path: {name} cannot be read ({error})") from None
    whole.seek(0)
    return whole


def check_utf8(source: io.BytesIO, name: str) -> None:
    """Raise ValueError for a text that is not UTF-8; it names an encoding that it may have."""
    content = source.getvalue()
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = 1 + content.count(b"\n", 0, error.start)
        raise ValueError(
            f"path: {name} is not in UTF-8, line {line} has the byte 0x{content[error.start]:02x}, "
            f"and --encoding {_likely_encoding(content)} reads it"
        ) from None


def _likely_encoding(content: bytes) -> str:
    """Return an encoding that is likely for a text that is not UTF-8."""
    if likely := _utf16_of(content[:64]):
        return likely
    try:
        content.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252" if any(0x80 <= byte < 0xA0 for byte in set(content)) else "latin-1"


def _utf16_of(start: bytes) -> str | None:
    """Return the name of UTF-16 where a text begins in it."""
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    even, odd = start[0:64:2], start[1:64:2]
    if len(start) >= 8 and not any(odd) and all(even):
        return "utf-16-le"
    if len(start) >= 8 and not any(even) and all(odd):
        return "utf-16-be"
    return None


def _decoded(source: io.BytesIO, name: str, encoding: str) -> io.BytesIO:
    """Return a text in UTF-8."""
    try:
        text = source.getvalue().decode(encoding)
    except UnicodeError as error:
        raise ValueError(f"path: {name} is not text in {encoding} ({error})"[:500]) from None
    whole = io.BytesIO()
    _append(whole, text.encode("utf-8", "replace"), name, text=True)
    whole.seek(0)
    return whole


def _zstd_bound(packed: memoryview) -> int:
    """Return an upper bound of the unpacked size; for a damaged file, of its intact blocks.

    See RFC 8878: a block unpacks to at most 128 KiB, or states its size. The size that a frame
    states need not be true.
    """
    at, bound = 0, 0

    def integer(start: int, size: int) -> int:
        return int.from_bytes(packed[start : start + size], "little")

    while at + 8 <= len(packed):
        magic = integer(at, 4)
        if magic & ~0xF == 0x184D2A50:  # a frame that is skipped
            at += 8 + integer(at + 4, 4)
            continue
        if magic != int.from_bytes(_ZSTD, "little"):
            break
        flags = packed[at + 4]
        single = flags >> 5 & 1
        at += 6 - single + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6]
        last = False
        while not last and at + 3 <= len(packed):
            block = integer(at, 3)
            last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
            bound += 2**17 if kind == 2 else size
            at += 4 if kind == 1 else 3 + size
        at += 4 * (flags >> 2 & 1)
    return bound
