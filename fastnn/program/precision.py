"""The precision of matrix products, and the unit of the CPU that calculates them.

Only the operands of products are reduced: parameters, sums, activations, gradients and the states
of an optimizer are float32 in any precision.
"""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import difflib
import functools
import os
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

from ..kernels import REFERENCE
from ..kernels.codes import Unit
from ..types import DType, Precision
from .plan import Operands

PRECISIONS: tuple[Precision, ...] = ("highest", "high", "medium")

_PARTS = {"high": 2, "medium": 1}

_chosen: contextvars.ContextVar[Precision | None] = contextvars.ContextVar(
    "fastnn_precision", default=None
)
_default: Precision | None = None
_ENVIRONMENT = os.environ.get("FASTNN_PRECISION") or None

# Whether anything but an argument has chosen a precision so far. To look at all three each time
# takes a twentieth of a prediction of one row.
_is_chosen = _ENVIRONMENT is not None


def set_precision(name: Precision | None) -> None:
    """Set the precision of matrix products where the argument `precision` says nothing.

    Parameters
    ----------
    name : "highest", "high", "medium" or None
        "highest": products of float32 numbers. "high": each number is the sum of two bfloat16
        numbers, with 16 bits together, and three of their four products are summed in float32.
        "medium": numbers are rounded to bfloat16, with 8 bits, and their products are summed in
        float32. None, the default, is the environment variable FASTNN_PRECISION as it is when
        fastnn is imported, and "highest" where it is not set. PyTorch has the same names
        (`torch.set_float32_matmul_precision`).

    Raises
    ------
    ValueError
        For anything else. A network of float64, one with a layer of your own, and training with a
        loss or an optimizer of your own have "highest" only, and raise when they are used.

    Notes
    -----
    `fastnn info` says what multiplies matrices on this CPU. With AMX, "high" and "medium" are much
    faster than "highest". Without, they have the same bits but are slower. AMD's CPUs with
    AVX512-BF16 are in between: "medium" is faster there, and its bits are its own.

    Examples
    --------
    >>> fastnn.set_precision("highest")
    >>> fastnn.set_precision(None)
    """
    global _default, _is_chosen
    _default = None if name is None else _as_precision(name, "name")
    _is_chosen = True


@contextlib.contextmanager
def precision(name: Precision | None) -> Iterator[None]:
    """Use a precision inside a `with` block, in this thread of Python; see `set_precision`.

    Examples
    --------
    >>> model = fastnn.Sequential([fastnn.Dense(32, 8, rng=0)])
    >>> with fastnn.precision("high"):
    ...     labels = model.predict(np.eye(32))
    """
    global _is_chosen
    token = _chosen.set(None if name is None else _as_precision(name, "name"))
    _is_chosen = True
    try:
        yield
    finally:
        _chosen.reset(token)


def _as_precision(value: Any, name: str) -> Precision:
    """Return `value`, one of the three names."""
    if isinstance(value, str) and value in PRECISIONS:
        return value
    near = difflib.get_close_matches(str(value)[:80], PRECISIONS, 1)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    raise ValueError(f'{name} is {value!r:.80}, expected "highest", "high" or "medium"{hint}')


class Choice(NamedTuple):
    """The precision of a call, and what has chosen it."""

    precision: Precision
    source: str
    """As messages name it: an argument, a function or a variable of the environment."""

    def refuse(self, reason: str) -> NoReturn:
        """Raise ValueError: a call can only have "highest", for a reason that a message ends in."""
        raise ValueError(f'{self.source} is {self.precision!r}, expected "highest" {reason}')


_HIGHEST = Choice("highest", "the default")


def resolve_precision(value: Precision | None, dtype: DType) -> Choice:
    """Return the precision of a call: its argument, or what holds for all calls.

    Raises
    ------
    ValueError
        For an unknown name, and for any but "highest" with a float64 network.
    """
    if value is None and not _is_chosen:
        return _HIGHEST
    if value is not None:
        choice = Choice(_as_precision(value, "precision"), "precision")
    elif (value := _chosen.get()) is not None:
        choice = Choice(value, "fastnn.precision()")
    elif _default is not None:
        choice = Choice(_default, "fastnn.set_precision()")
    elif _ENVIRONMENT is not None:
        choice = Choice(_as_precision(_ENVIRONMENT, "FASTNN_PRECISION"), "FASTNN_PRECISION")
    else:
        return _HIGHEST
    if choice.precision != "highest" and dtype.itemsize != 4:
        choice.refuse(f'for a network of {dtype}: "high" and "medium" need float32')
    return choice


def operands_of(name: Precision) -> Operands | None:
    """Return how the operands of products are stored; None: as they are."""
    return None if name == "highest" else Operands(_PARTS[name], unit_of_cpu().code)


class UnitOfCpu(NamedTuple):
    """What multiplies operands in bfloat16 here."""

    code: int  # a Unit of `kernels/codes.py`
    name: str
    reason: str
    """Why it is not AMX, which is the fastest; empty if it is."""


@functools.cache
def unit_of_cpu() -> UnitOfCpu:
    """Return the unit that this process uses. At the first call it asks the system for AMX."""
    if REFERENCE:
        return UnitOfCpu(Unit.EMULATED, "NumPy", "kernels are not compiled (FASTNN_REFERENCE)")
    from ..kernels.numba_private import current_codegen, machine_of
    from ..kernels.units import has_unit

    codegen = current_codegen()
    if has_unit(codegen, Unit.AMX):
        reason = _ask_for_tiles()
        if not reason:
            return UnitOfCpu(Unit.AMX, "AMX", "")
    else:
        reason = "the CPU has no AMX"
    # One core of an Intel Xeon does 107 GFLOP/s with these, 210 with float32; of AMD's Zen 5 it is
    # 508 and 260.
    if has_unit(codegen, Unit.DOT) and machine_of(codegen)[1].startswith("znver"):
        return UnitOfCpu(Unit.DOT, "AVX512-BF16", reason)
    return UnitOfCpu(Unit.EMULATED, "float32 vectors", reason)


_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _TILE_DATA = 158, 0x1023, 18


def _ask_for_tiles() -> str:
    """Ask Linux to let this process use the tiles of AMX; return why it does not, or "".

    The answer holds for all threads, those that run already too, and for processes that are forked
    from this one. See "Using XSTATE features in user space applications" in the documentation of
    the kernel, which has the call since Linux 5.16.
    """
    if not sys.platform.startswith("linux"):
        return f"AMX is not used on {sys.platform}"
    try:
        system = ctypes.CDLL(None, use_errno=True)
        refused = system.syscall(_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _TILE_DATA) != 0
    except (OSError, AttributeError) as error:
        return f"the system cannot be asked for AMX: {error}"
    if refused:
        number = ctypes.get_errno()
        return f"the system refuses AMX: {os.strerror(number)} (Linux has it since 5.16)"
    return ""
