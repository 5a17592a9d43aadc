"""Checks that several ranks make together: if one finds a fault, all raise the same error."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Self

import numpy as np

from ..program.ranks import Place, RankLeftError, Ranks, RanksDifferError, RanksError


class Agreement:
    """A block in which each rank checks what it was given; all leave it with the same error.

    The error is that of the first rank that has one. Its message names the rank, unless all ranks
    have the same.

    Parameters
    ----------
    ranks : Ranks or None
        Without ranks, errors stay as they are. So they do if it is anything else, which is a fault.
    parts : bool
        Whether each rank holds a part of the samples: then the checks of the block exchange them.
        It is not checked yet.

    Raises
    ------
    RanksDifferError
        At the beginning of the block, on all ranks: their messages would not fit together.
    """

    def __init__(self, ranks: object, parts: object = False) -> None:
        self._ranks = ranks if isinstance(ranks, Ranks) else None
        self._parts, self._is_over = parts, False

    def __enter__(self) -> Self:
        if self._ranks is not None:
            self._ranks.open()
            self._compare_parts(self._ranks)
        return self

    def _compare_parts(self, ranks: Ranks) -> None:
        is_flag = isinstance(self._parts, bool | np.bool_)
        told = ranks.meet(Place.CHECK, [bool(self._parts) if is_flag else np.nan])[:, 0]
        if np.isnan(told).any():
            return  # the rank that has no flag is going to say so
        differs = told != told[0]
        if differs.any():
            raise RanksDifferError(
                f"on rank {int(np.argmax(differs))} parts is {not told[0]}, "
                f"expected {bool(told[0])}, as on rank 0"
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_over or self._ranks is None or isinstance(error, RanksError):
            return
        if error is None or isinstance(error, Exception):
            self.reach(error)
            return
        with contextlib.suppress(RanksError):
            self._ranks.leave(error)

    def reach(self, error: Exception | None = None) -> None:
        """Wait until all ranks are here, or have an error: then all raise it.

        Ranks that go on may exchange something.
        """
        if self._ranks is None:
            return
        own = None if error is None else (_kind_of(error), str(error))
        self._ranks.meet(Place.CHECK)
        errors = self._ranks.gather(own)
        if not any(errors):
            return
        self._is_over = True
        if own is not None and (own[0] not in _KINDS or all(each == own for each in errors)):
            return  # `__exit__` lets it go on
        rank, (kind, text) = next((i, each) for i, each in enumerate(errors) if each)
        if kind not in _KINDS:
            raise RankLeftError(f"rank {rank} has left the training: {kind}: {text}") from error
        raise _KINDS[kind](f"on rank {rank} {text}") from error


_KINDS = {"TypeError": TypeError, "ValueError": ValueError}


def _kind_of(error: Exception) -> str:
    """Return the name of a type of error, which all ranks can raise if it is in `_KINDS`."""
    names = (name for name, kind in _KINDS.items() if isinstance(error, kind))
    return next(names, type(error).__name__)
