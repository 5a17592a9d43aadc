"""A barrier for threads that run the same compiled call, and nothing of numba's threading.

The threads are Python's; compiled code holds no GIL. A thread that waits spins, since a
step of a small network is shorter than a switch of threads. After a while it offers its core to
other threads, so that two processes that share the cores do not slow each other down.
"""

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .codes import BarrierPlace
from .emit import emit_call
from .jit import inner
from .numba_private import machine_of

_SPINS = 4000  # turns of the waiting loop before the core is offered to others
_ALIGN = 8
_I32, _I64 = ir.IntType(32), ir.IntType(64)


@intrinsic
def _fetch_add(typingctx, pointer, value):
    """Add `value` to the integer at `pointer` as one action; return what it was."""

    def codegen(context, builder, sig, args):
        return builder.atomic_rmw("add", args[0], args[1], "seq_cst")

    return types.int64(pointer, types.int64), codegen


@intrinsic
def _read(typingctx, pointer):
    """Read the integer at `pointer`, and see all that was written before it was."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(args[0], "acquire", _ALIGN, typ=_I64)

    return types.int64(pointer), codegen


@intrinsic
def _write(typingctx, pointer, value):
    """Write the integer at `pointer`, after all that was written before."""

    def codegen(context, builder, sig, args):
        builder.store_atomic(args[1], args[0], "release", _ALIGN)

    return types.void(pointer, types.int64), codegen


@intrinsic
def _relax(typingctx):
    """Tell the core that this loop waits."""

    def codegen(context, builder, sig, args):
        triple = machine_of(context.codegen())[0]
        if triple.startswith(("x86", "i686")):
            emit_call(builder, "llvm.x86.sse2.pause", ir.VoidType(), [])
        elif triple.startswith(("aarch64", "arm64")):
            emit_call(builder, "llvm.aarch64.hint", ir.VoidType(), [ir.Constant(_I32, 1)])

    return types.void(), codegen


@intrinsic
def _yield(typingctx):
    """Offer the core to another thread, where the system has a call for it."""

    def codegen(context, builder, sig, args):
        for name in ("sched_yield", "SwitchToThread"):
            if llvm.address_of_symbol(name):
                kind = ir.FunctionType(_I32, [])
                function = builder.module.globals.get(name) or ir.Function(
                    builder.module, kind, name
                )
                builder.call(function, [])
                return

    return types.void(), codegen


@inner
def wait(barrier, threads):
    """Return True when `threads` threads have called this with the same `barrier` (a pointer).

    Return False where `barrier[LEAVE]` is set, by a thread that will not call it.
    """
    if threads == 1:
        return True
    generation = _read(barrier + BarrierPlace.GENERATION)
    if _fetch_add(barrier, 1) == threads - 1:
        _write(barrier, 0)
        _write(barrier + BarrierPlace.GENERATION, generation + 1)
        return True
    spins = 0
    while _read(barrier + BarrierPlace.GENERATION) == generation:
        spins += 1
        if spins < _SPINS:
            _relax()
        elif _read(barrier + BarrierPlace.LEAVE) != 0:
            return False
        else:
            _yield()
    return True


@inner
def share(count, unit, thread, threads):
    """Return this thread's part [begin, end) of `count`, in whole units."""
    units = (count + unit - 1) // unit
    begin = units * thread // threads * unit
    end = units * (thread + 1) // threads * unit
    return min(begin, count), min(end, count)
