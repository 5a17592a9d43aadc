"""A note while machine code is compiled: for some seconds a program looks as if it hung."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from .. import kernels
from .progress import Bar, Verbose, is_watched

# The kernels that take seconds: each is a call for a whole network.
_LARGE = ("train_", "predict_")

_noted = False


@contextlib.contextmanager
def note_compilation(verbose: Verbose = "auto") -> Iterator[None]:
    """Say on standard error when kernels have to be compiled within the block: once a process.

    Nothing is said where `verbose`, as of `fit`, shows no progress.
    """
    if isinstance(verbose, str):
        shows = verbose == "auto" and is_watched()
    else:  # `as_progress` refuses what is no number
        shows = isinstance(verbose, int) and verbose in (1, 2)
    if not shows or _noted or kernels.REFERENCE or sys.stderr is None:
        yield
        return
    from ..kernels import jit  # needs the compiler, unlike the reference kernels

    with jit.listen(_note):
        yield


def _note(name: str) -> None:
    """Say that the kernel `name` is compiled, and others after it."""
    global _noted
    if _noted or not name.startswith(_LARGE):
        return
    _noted = True
    from ..kernels import jit

    is_kept = jit.cache_folder() is not None and jit.cache_problem() is None
    once = ", once" if is_kept else ""
    Bar.write(f"compiling for this CPU{once}: about 10 to 20 s", file=sys.stderr)
