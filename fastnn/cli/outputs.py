"""Files that are there as a whole or not at all."""

import contextlib
import os
import tempfile
from pathlib import Path


def check(path, argument, suffixes=()):
    """Raise ValueError, before any work, for a path that cannot be written in the end."""
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        raise ValueError(
            f"argument {argument}: {str(path)!r}, expected a path that ends in "
            f"{', '.join(suffixes)}"
        )
    if path.is_dir():
        raise ValueError(f"argument {argument}: {str(path)!r} is a folder, expected a file")
    if not path.parent.is_dir():
        raise ValueError(
            f"argument {argument}: {str(path)!r}, expected a folder that exists: "
            f"there is no {str(path.parent)!r}"
        )
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"argument {argument}: the folder of {str(path)!r} cannot be written")


@contextlib.contextmanager
def replacing(path):
    """Give a path beside `path` to write to; in the end the file moves there, if all went well."""
    path = Path(path)
    handle, name = tempfile.mkstemp(path.suffix, f".{path.stem}-", path.parent)
    os.close(handle)
    unfinished = Path(name)
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        unfinished.chmod(0o666 & ~mask)  # mkstemp makes files that only their owner reads
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
