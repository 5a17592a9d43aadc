"""The clocks of the system, for jitted code: nanoseconds since some moment.

Where the system has none of POSIX, both stand still at 0.
"""

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .numba_private import machine_of

_I32, _I64 = ir.IntType(32), ir.IntType(64)

# {a part of the target's name: (CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID) of <time.h>}
_CLOCKS = {"linux": (1, 3), "darwin": (6, 16), "apple": (6, 16)}


def _emit_clock(context, builder, which):
    """Return the time of one of the two clocks, an LLVM value."""
    triple = machine_of(context.codegen())[0]
    clocks = [clocks for system, clocks in _CLOCKS.items() if system in triple]
    # The two fields of a `timespec` have 64 bits where addresses have.
    if not clocks or types.intp.bitwidth != 64 or not llvm.address_of_symbol("clock_gettime"):
        return ir.Constant(_I64, 0)
    place = cgutils.alloca_once(builder, ir.ArrayType(_I64, 2))
    kind = ir.FunctionType(_I32, [_I32, place.type])
    function = cgutils.get_or_insert_function(builder.module, kind, "clock_gettime")
    builder.call(function, [ir.Constant(_I32, clocks[0][which]), place])
    seconds, rest = (
        builder.load(cgutils.gep_inbounds(builder, place, 0, i), typ=_I64) for i in (0, 1)
    )
    return builder.add(builder.mul(seconds, ir.Constant(_I64, 10**9)), rest)


@intrinsic
def wall_time(typingctx):
    """Return the time that passes whatever this thread does."""

    def codegen(context, builder, sig, args):
        return _emit_clock(context, builder, 0)

    return types.int64(), codegen


@intrinsic
def core_time(typingctx):
    """Return the time that this thread has had a core. It takes a call of the system."""

    def codegen(context, builder, sig, args):
        return _emit_clock(context, builder, 1)

    return types.int64(), codegen
