"""Integers that several threads read and write, and what a waiting thread tells its core."""

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .emit import emit_call
from .numba_private import machine_of

_ALIGN = 8
_I32, _I64 = ir.IntType(32), ir.IntType(64)


@intrinsic
def fetch_add(typingctx, pointer, value):
    """Add `value` atomically to the integer at `pointer`; return the value before."""

    def codegen(context, builder, sig, args):
        return builder.atomic_rmw("add", args[0], args[1], "seq_cst")

    return types.int64(pointer, types.int64), codegen


@intrinsic
def replace(typingctx, pointer, before, after):
    """Write `after` to `pointer` if `before` stands there, in one step; return whether it did."""

    def codegen(context, builder, sig, args):
        result = builder.cmpxchg(*args, "seq_cst", "seq_cst")
        return builder.extract_value(result, 1)

    return types.boolean(pointer, types.int64, types.int64), codegen


@intrinsic
def read(typingctx, pointer):
    """Read the integer at `pointer` with acquire semantics, as the pair of `write`."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(args[0], "acquire", _ALIGN, typ=_I64)

    return types.int64(pointer), codegen


@intrinsic
def write(typingctx, pointer, value):
    """Write the integer at `pointer` with release semantics: after all earlier writes."""

    def codegen(context, builder, sig, args):
        builder.store_atomic(args[1], args[0], "release", _ALIGN)

    return types.void(pointer, types.int64), codegen


@intrinsic
def relax(typingctx):
    """Tell the core that this is a spinning loop."""

    def codegen(context, builder, sig, args):
        triple = machine_of(context.codegen())[0]
        if triple.startswith(("x86", "i686")):
            emit_call(builder, "llvm.x86.sse2.pause", ir.VoidType(), [])
        elif triple.startswith(("aarch64", "arm64")):
            emit_call(builder, "llvm.aarch64.hint", ir.VoidType(), [ir.Constant(_I32, 1)])

    return types.void(), codegen


@intrinsic
def yield_core(typingctx):
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
