"""Pointers for jitted code: address arithmetic, loads and stores.

Nothing here checks bounds. The Python layer above does.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core import errors
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model


class Pointer(types.Type):
    """The address of an element of `dtype`.

    A type of its own: numba's `CPointer` has no arithmetic, and an addition defined for it here
    would hold for every user of numba in the process.
    """

    def __init__(self, dtype):
        self.dtype = dtype
        super().__init__(f"Pointer({dtype})")


@register_model(Pointer)
class _PointerModel(models.PointerModel):
    """An LLVM pointer, as numba's own pointers are."""


@intrinsic
def pointer(typingctx, array):
    """Return the address of the first element of a C-contiguous `array`."""
    if not isinstance(array, types.Array) or array.layout != "C":
        raise errors.TypingError(f"fastnn kernels take C-contiguous arrays, got {array}")

    def codegen(context, builder, sig, args):
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return Pointer(array.dtype)(array), codegen


@intrinsic
def retyped(typingctx, like, pointer):
    """Return `pointer` as one of the type of `like`."""

    def codegen(context, builder, sig, args):
        return builder.bitcast(args[1], context.get_value_type(sig.return_type))

    return like(like, pointer), codegen


@intrinsic
def null(typingctx, like):
    """Return a null pointer of the type of `like`."""

    def codegen(context, builder, sig, args):
        return context.get_constant_null(sig.return_type)

    return like(like), codegen


@intrinsic
def is_null(typingctx, pointer):
    """Return whether `pointer` is null."""

    def codegen(context, builder, sig, args):
        return builder.icmp_unsigned("==", args[0], ir.Constant(args[0].type, None))

    return types.boolean(pointer), codegen


@infer_global(operator.add)
class _OffsetPointer(AbstractTemplate):
    def generic(self, args, kws):
        if len(args) == 2 and isinstance(args[0], Pointer) and isinstance(args[1], types.Integer):
            return signature(args[0], args[0], types.intp)
        return None


@lower_builtin(operator.add, Pointer, types.intp)
def _offset_pointer(context, builder, sig, args):
    element = context.get_data_type(sig.return_type.dtype)
    return builder.gep(args[0], [args[1]], source_etype=element)


@intrinsic
def get(typingctx, pointer):
    """Return the element at `pointer`."""

    def codegen(context, builder, sig, args):
        return builder.load(args[0], typ=context.get_data_type(sig.return_type))

    return pointer.dtype(pointer), codegen


@intrinsic
def put(typingctx, pointer, value):
    """Write `value`, converted to the pointer's type, at `pointer`."""

    def codegen(context, builder, sig, args):
        builder.store(args[1], args[0])

    return types.void(pointer, pointer.dtype), codegen


@intrinsic
def element(typingctx, pointer, value):
    """Return the scalar `value` converted to the pointer's type."""

    def codegen(context, builder, sig, args):
        return args[1]

    return pointer.dtype(pointer, pointer.dtype), codegen
