"""The bits of vectors of floats: exponents, mantissas, and subnormal lanes."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .emit import emit_flush, emit_fold


@intrinsic
def flushed(typingctx, vector):
    """Return `vector` with 0.0 in place of subnormal lanes: for parameters and optimizer states.

    A penalty or a decay multiplies a parameter by a factor below 1 in each step, until it is
    subnormal. The same happens to an average whose gradients are 0. Arithmetic on subnormal
    numbers is slow: a matrix product with an operand full of them takes 460 times as long on
    Intel's CPUs.
    """

    def codegen(context, builder, sig, args):
        return emit_flush(builder, args[0], False)

    return vector(vector), codegen


@intrinsic
def cut(typingctx, vector):
    """Return `vector` with a zero of the same sign in place of subnormal lanes: for values.

    Exponentials of very negative numbers are subnormal, and so are vanishing gradients. Arithmetic
    on them is slow, see `flushed`.
    """

    def codegen(context, builder, sig, args):
        return emit_flush(builder, args[0], True)

    return vector(vector), codegen


def _magnitudes(builder, value):
    """Return the bits of a vector without signs, minus 1: zero becomes the largest integer."""
    kind = value.type
    bits = ir.IntType(32 if isinstance(kind.element, ir.FloatType) else 64)
    whole = ir.VectorType(bits, kind.count)
    ones = ir.Constant(whole, [1] * kind.count)
    return builder.sub(builder.shl(builder.bitcast(value, whole), ones), ones)


@intrinsic
def least_magnitude(typingctx, least, vector):
    """Return the smaller magnitude of `least` and `vector` in each lane, ignoring zeros, as bits.

    `least` is zeros at first, then an earlier result. The bits are not a float: only `is_subnormal`
    can read them.
    """

    def codegen(context, builder, sig, args):
        # Complements, so that the initial zeros count as the largest magnitude.
        here = builder.not_(_magnitudes(builder, args[1]))
        before = builder.bitcast(args[0], here.type)
        larger = builder.icmp_unsigned(">", here, before)
        return builder.bitcast(builder.select(larger, here, before), args[0].type)

    return vector(vector, vector), codegen


@intrinsic
def is_subnormal(typingctx, least):
    """Return whether a lane of `least`, a result of `least_magnitude`, is subnormal."""
    bits, mantissa = (32, 23) if least.dtype.bitwidth == 32 else (64, 52)

    def codegen(context, builder, sig, args):
        def larger(a, b):
            return builder.select(builder.icmp_unsigned(">", a, b), a, b)

        whole = builder.bitcast(args[0], ir.VectorType(ir.IntType(bits), least.lanes))
        largest = emit_fold(builder, whole, least.lanes, larger)
        # The bits of the smallest normal number, without the sign and less 1, as `_magnitudes`.
        normal = (1 << (mantissa + 1)) - 1
        return builder.icmp_unsigned("<", builder.not_(largest), ir.Constant(largest.type, normal))

    return types.boolean(least), codegen


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

        word = builder.bitcast(args[0], whole)
        # Counted from sqrt(1/2), the exponent bits are n.
        n = builder.ashr(builder.sub(word, constant(root)), constant(mantissa))
        m = builder.sub(word, builder.shl(n, constant(mantissa)))
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
