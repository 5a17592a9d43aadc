"""Vectors of floats taken apart: exponents, mantissas, and subnormal lanes."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .emit import emit_flush, emit_fold


@intrinsic
def flushed(typingctx, vector):
    """Return `vector` with 0.0 for subnormal lanes: of parameters, and what is kept of them.

    Parameters that a penalty or a decay shrinks, and averages that no sample moves any more, fall
    by a factor a step until they are subnormal, and arithmetic on such numbers takes many times as
    long: a matrix product 460 times, on Intel's CPUs, where one operand is full of them.
    """

    def codegen(context, builder, sig, args):
        return emit_flush(builder, args[0], False)

    return vector(vector), codegen


@intrinsic
def cut(typingctx, vector):
    """Return `vector` with a zero of the same sign for subnormal lanes: of values on their way.

    They are the tails of exponentials, and what is left of a gradient; see `flushed`.
    """

    def codegen(context, builder, sig, args):
        return emit_flush(builder, args[0], True)

    return vector(vector), codegen


def _magnitudes(builder, value):
    """Return the bits of a vector without its signs, less 1: those of a zero are the largest."""
    kind = value.type
    bits = ir.IntType(32 if isinstance(kind.element, ir.FloatType) else 64)
    whole = ir.VectorType(bits, kind.count)
    ones = ir.Constant(whole, [1] * kind.count)
    return builder.sub(builder.shl(builder.bitcast(value, whole), ones), ones)


@intrinsic
def least_magnitude(typingctx, found, vector):
    """Return for each lane the bits of the least magnitude but 0, of `found` and of `vector`.

    `found` is a result, or zeros at first; no number is to be made of it.
    """

    def codegen(context, builder, sig, args):
        # As complements, so that zeros are none at first.
        here = builder.not_(_magnitudes(builder, args[1]))
        before = builder.bitcast(args[0], here.type)
        larger = builder.icmp_unsigned(">", here, before)
        return builder.bitcast(builder.select(larger, here, before), args[0].type)

    return vector(vector, vector), codegen


@intrinsic
def is_subnormal(typingctx, found):
    """Return whether the least magnitude of all lanes of `found` is that of a subnormal number."""
    bits, mantissa = (32, 23) if found.dtype.bitwidth == 32 else (64, 52)

    def codegen(context, builder, sig, args):
        def larger(a, b):
            return builder.select(builder.icmp_unsigned(">", a, b), a, b)

        whole = builder.bitcast(args[0], ir.VectorType(ir.IntType(bits), found.lanes))
        largest = emit_fold(builder, whole, found.lanes, larger)
        # Of the smallest normal number, without the sign's bit and less 1.
        normal = (1 << (mantissa + 1)) - 1
        return builder.icmp_unsigned("<", builder.not_(largest), ir.Constant(largest.type, normal))

    return types.boolean(found), codegen


@intrinsic
def split_power_of_two(typingctx, vector):
    """Return (m, n) with vector = m * 2**n and m from sqrt(1/2) to sqrt(2), for normal numbers."""
    bits, mantissa, root = (
        (32, 23, 0x3F3504F3) if vector.dtype.bitwidth == 32 else (64, 52, 0x3FE6A09E667F3BCD)
    )

    def codegen(context, builder, sig, args):
        whole = ir.VectorType(ir.IntType(bits), vector.lanes)

        def constant(value):
            return ir.Constant(whole, [value] * vector.lanes)

        number = builder.bitcast(args[0], whole)
        # Counted from sqrt(1/2), the exponent bits are n.
        n = builder.ashr(builder.sub(number, constant(root)), constant(mantissa))
        m = builder.sub(number, builder.shl(n, constant(mantissa)))
        parts = builder.bitcast(m, args[0].type), builder.sitofp(n, args[0].type)
        return context.make_tuple(builder, sig.return_type, parts)

    return types.UniTuple(vector, 2)(vector), codegen


@intrinsic
def scale_by_power_of_two(typingctx, vector, shifted):
    """Return `vector * 2**n` for lanes of `shifted` = 1.5 * 2**m + n (m: bits of the mantissa).

    The last bits of such a number are those of the integer n. Two factors of half the exponent
    each: a result below the smallest normal number is rounded once, and 2**128 (2**1024) does
    not overflow on the way. NaN lanes of `vector` stay NaN whatever `shifted` holds.
    """
    bits, mantissa, bias = (32, 23, 127) if vector.dtype.bitwidth == 32 else (64, 52, 1023)

    def codegen(context, builder, sig, args):
        whole = ir.VectorType(ir.IntType(bits), vector.lanes)

        def constant(value):
            return ir.Constant(whole, [value] * vector.lanes)

        def power(n):
            shifted = builder.shl(builder.add(n, constant(bias)), constant(mantissa))
            return builder.bitcast(shifted, args[0].type)

        magic = builder.bitcast(
            ir.Constant(args[1].type, [1.5 * 2.0**mantissa] * vector.lanes), whole
        )
        n = builder.sub(builder.bitcast(args[1], whole), magic)
        half = builder.ashr(n, constant(1))
        first = builder.fmul(args[0], power(half))
        return builder.fmul(first, power(builder.sub(n, half)))

    return vector(vector, vector), codegen
