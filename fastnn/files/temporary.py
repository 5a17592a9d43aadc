"""Temporary files: the name of one that is being written, and those that killed processes left."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import socket
import time
import uuid
from pathlib import Path

from ..types import PathLike

_LONGEST_NAME = 255  # bytes, on most file systems
_SHORT = "fastnn"  # begins temporary names in the place of a name that would make them too long

# The end of a name: the machine, the process, and a random part. Early versions had no machine.
_END = re.compile(r"\.(?:([0-9a-f]+)-)?([0-9]+)\.[0-9a-f]+\.tmp")

# Seconds after which nobody writes a file any more. Writing one takes minutes at most, but the
# clocks of two hosts may differ.
_OLD = 24 * 3600


def temporary_name(name: str) -> str:
    """Return a name that no file has. It begins with `name` and has the machine and the process."""
    end = f"{_machine()}-{os.getpid()}.{secrets.token_hex(8)}.tmp"
    result = f".{name}.{end}"
    return result if len(os.fsencode(result)) <= _LONGEST_NAME else f".{_SHORT}.{end}"


def remove_leftovers(folder: PathLike, pattern: str) -> None:
    """Remove temporary files that killed processes left behind.

    Only files whose names fit the glob `pattern` are removed. A process of this host, since its
    last boot, is asked whether it still runs. A folder may be shared with other hosts and with
    containers, whose processes have the same numbers as others here: their files are removed when
    they are a day old.
    """
    machine = _machine()
    for begin in (pattern, _SHORT):
        for temporary in Path(folder).glob(f".{begin}.*.tmp"):
            end = _END.search(temporary.name)
            # Elsewhere than on POSIX nothing asks harmlessly whether a process runs.
            if end is None or end.end() != len(temporary.name):
                continue
            with contextlib.suppress(OSError, OverflowError):
                if end[1] == machine and os.name == "posix":
                    is_left = not _runs(int(end[2]))
                else:
                    is_left = time.time() - temporary.stat().st_mtime > _OLD
                if is_left:
                    temporary.unlink()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        pass
    return True


def _machine() -> str:
    """Return 12 hexadecimal digits for what numbers processes: a host since its boot.

    On Linux a container numbers its processes too.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        container = os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        boot, container = str(uuid.getnode()), ""
    text = "\n".join((socket.gethostname(), boot, container))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
