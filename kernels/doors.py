"""A call from compiled code into Python, by address: a door.

Machine code with an address in it could not be kept in a file: so the address is data. A call takes
about a microsecond, where a return from compiled code and another call take 40.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .emit import I64


@intrinsic
def call_door(typingctx, address, step):
    """Call `void door(int64 step)` at an address, such as that of a callback of ctypes."""

    def codegen(context, builder, sig, args):
        function = ir.FunctionType(ir.VoidType(), [I64])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), [args[1]])

    return types.void(types.int64, types.int64), codegen
