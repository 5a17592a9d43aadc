"""Locks between processes: the operating system releases them when their holder dies."""

import contextlib
import os
import time

from .interruption import POLL_SECONDS, check_interruption

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt


def acquire(path, seconds):
    """Return an open file that holds the lock `path`, for `release`.

    It is created if it does not exist, for this user only. Return None if another process or thread
    still holds it after `seconds`.

    Raises
    ------
    OSError
        If the file cannot be opened, or if its file system has no locks.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    deadline = time.monotonic() + seconds
    try:
        while not _try_lock(file):
            if time.monotonic() >= deadline:
                os.close(file)
                return None
            time.sleep(POLL_SECONDS)
            check_interruption()
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(file)
        raise
    return file


def release(file, path):
    """Release a lock and remove its file.

    A process that waits for the removed file gets its lock, while another one may lock a new file.
    So a lock saves work, but does not exclude.
    """
    with contextlib.suppress(OSError):  # Windows removes no file that is open
        os.unlink(path)
    with contextlib.suppress(OSError):
        _unlock(file)  # a forked process may have the file open too
    os.close(file)


def _try_lock(file):
    """Lock an open file and return True, or return False if another one holds the lock."""
    try:
        if os.name == "nt":
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the second on Windows
        return False
    return True


def _unlock(file):
    if os.name == "nt":
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_UN)
