"""A barrier for threads that run the same compiled call, without numba's threading.

The threads are Python threads, and compiled code releases the GIL. A waiting thread spins, since a
step of a small network is shorter than a switch of threads. After a while it yields its core to
other threads, so that two processes on the same cores do not slow each other down.
"""

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .codes import BarrierPlace
from .emit import emit_call
from .jit import inner
from .numba_private import machine_of

_SPINS = 4000  # turns of the waiting loop before the thread yields its core
_ALIGN = 8
_I32, _I64 = ir.IntType(32), ir.IntType(64)


@intrinsic
def _fetch_add(typingctx, pointer, value):
    """Add `value` atomically to the integer at `pointer`; return the value before."""

    def codegen(context, builder, sig, args):
        return builder.atomic_rmw("add", args[0], args[1], "seq_cst")

    return types.int64(pointer, types.int64), codegen


@intrinsic
def _read(typingctx, pointer):
    """Read the integer at `pointer` with acquire semantics, as the pair of `_write`."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(args[0], "acquire", _ALIGN, typ=_I64)

    return types.int64(pointer), codegen


@intrinsic
def _write(typingctx, pointer, value):
    """Write the integer at `pointer` with release semantics: after all earlier writes."""

    def codegen(context, builder, sig, args):
        builder.store_atomic(args[1], args[0], "release", _ALIGN)

    return types.void(pointer, types.int64), codegen


@intrinsic
def _relax(typingctx):
    """Tell the core that this is a spinning loop."""

    def codegen(context, builder, sig, args):
        triple = machine_of(context.codegen())[0]
        if triple.startswith(("x86", "i686")):
            emit_call(builder, "llvm.x86.sse2.pause", ir.VoidType(), [])
        elif triple.startswith(("aarch64", "arm64")):
            emit_call(builder, "llvm.aarch64.hint", ir.VoidType(), [ir.Constant(_I32, 1)])

    return types.void(), codegen


@intrinsic
def _yield(typingctx):
    """Yield the core to another thread, if the system has a call for it."""

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

    Return False if `barrier[LEAVE]` is set: then another thread will not call it.
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
