"""Files that no other user can have written: unpickling a file runs the code in it.

A folder is private if its owner is this user or root, if neither its group nor others may write to
it, and if the same holds for every folder above it. A folder above may also be sticky, such as
/tmp, where users cannot rename the files of others. Access control lists count too: they show in
the bits of the group. Windows has neither owners nor bits in this sense, so every folder is
accepted.
"""

import contextlib
import os
import stat
import tempfile
from pathlib import Path


class NotPrivateError(PermissionError):
    """A file or folder that another user owns, or may write to."""


def open_folder(folder, make=False):
    """Return the real path of a private folder.

    With `make`, missing folders are created, with access for this user only.

    Raises
    ------
    NotPrivateError
        If another user could have written files there.
    OSError
        If there is no such folder.
    """
    real = Path(os.path.realpath(folder))
    # From the root down: in a folder that was checked, no other user can replace an entry.
    for each in (*reversed(real.parents), real):
        try:
            status = os.lstat(each)
        except FileNotFoundError:
            if not make:
                raise
            with contextlib.suppress(FileExistsError):  # another process created it
                os.mkdir(each, 0o700)
                os.chmod(each, 0o700)  # whatever the umask is
            status = os.lstat(each)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(f"{each} is no folder")
        _refuse(each, status, sticky=each != real)
    return real


def read(path):
    """Return the bytes of a private file in a folder that `open_folder` has returned."""
    with open(path, "rb", opener=_open) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} is no regular file")
        _refuse(path, status)
        return file.read()


def write(path, content):
    """Write a private file completely, or leave the old one."""
    temporary = None
    try:
        # Opened with O_EXCL and O_NOFOLLOW.
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            temporary = Path(file.name)
            if hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), 0o600)
            file.write(content)
        temporary.replace(path)
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):  # it was renamed, or the folder forbids it
                temporary.unlink()


def _open(path, flags):
    # Opening a pipe would wait for a writer.
    for name in ("O_NOFOLLOW", "O_NONBLOCK"):
        flags |= getattr(os, name, 0)
    return os.open(path, flags)


def _refuse(path, status, sticky=False):
    if not hasattr(os, "geteuid"):
        return
    if status.st_uid not in (0, os.geteuid()):
        raise NotPrivateError(f"{path} belongs to another user ({status.st_uid})")
    writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if writable and not (sticky and status.st_mode & stat.S_ISVTX):
        who = "others" if writable & stat.S_IWOTH else "its group"
        raise NotPrivateError(f"{path} may be written by {who} (chmod go-w would end that)")
