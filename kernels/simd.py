"""Pointers and vectors of one fixed width for jitted code, and the CPU table behind `gemm.py`.

A :class:`Vector` holds 64 bytes: 16 float32 or 8 float64, on every machine. Where registers are
narrower LLVM splits it, so a sum over lanes has one order, and results the same bits, on AVX2 as
on AVX-512. Every multiply-add is one rounding (`llvm.fma`) where the CPU has it.

Pointers are plain C pointers: nothing here checks a bound. The Python layer above does.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils, errors
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, overload, register_model

from . import target

VECTOR_BYTES = 64
_I1, _I32, _I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)


class Vector(types.Type):
    """64 bytes of `dtype` in registers."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.lanes = VECTOR_BYTES * 8 // dtype.bitwidth
        super().__init__(f"Vector({dtype}, {self.lanes})")


class Mask(types.Type):
    """One truth value for each lane of a :class:`Vector`."""

    def __init__(self, lanes):
        self.lanes = lanes
        super().__init__(f"Mask({lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.VectorType(ir_float(fe_type.dtype), fe_type.lanes))


@register_model(Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.VectorType(_I1, fe_type.lanes))


# ---------------------------------------------------------------------- helpers that emit LLVM IR


def ir_float(dtype):
    """Return the LLVM type of numba's `dtype`."""
    return ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType()


def emit_splat(builder, scalar, lanes):
    """Return a vector whose lanes all hold `scalar`."""
    vector = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(_I32, 0))
    zeros = ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes)
    return builder.shuffle_vector(first, first, zeros)


def emit_tail_mask(builder, count, lanes):
    """Return a mask of the lanes below `count` (a 64-bit integer)."""
    ids = ir.Constant(ir.VectorType(_I64, lanes), list(range(lanes)))
    return builder.icmp_signed("<", ids, emit_splat(builder, count, lanes))


def emit_call(builder, name, result, arguments):
    """Call the LLVM intrinsic `name`."""
    function_type = ir.FunctionType(result, [value.type for value in arguments])
    function = cgutils.get_or_insert_function(builder.module, function_type, name)
    return builder.call(function, arguments)


def _suffix(vector):
    return f"v{vector.count}f{32 if isinstance(vector.element, ir.FloatType) else 64}"


def emit_load(builder, pointer, vector, mask=None):
    """Load `vector` (an LLVM type) from an element pointer of any alignment; masked lanes are 0."""
    size = 4 if isinstance(vector.element, ir.FloatType) else 8
    address = builder.bitcast(pointer, vector.as_pointer())
    if mask is None:
        return builder.load(address, align=size, typ=vector)
    zero = ir.Constant(vector, [0.0] * vector.count)
    name = f"llvm.masked.load.{_suffix(vector)}.p0"
    return emit_call(builder, name, vector, [address, ir.Constant(_I32, size), mask, zero])


def emit_store(builder, value, pointer, mask=None):
    """Store a vector; lanes outside `mask` are not touched."""
    vector = value.type
    size = 4 if isinstance(vector.element, ir.FloatType) else 8
    address = builder.bitcast(pointer, vector.as_pointer())
    if mask is None:
        return builder.store(value, address, align=size)
    name = f"llvm.masked.store.{_suffix(vector)}.p0"
    arguments = [value, address, ir.Constant(_I32, size), mask]
    return emit_call(builder, name, ir.VoidType(), arguments)


def emit_fma(context, builder, a, b, c):
    """Return `a * b + c`, rounded once; twice where `llvm.fma` would be a library call a lane."""
    name = "llvm.fma" if target.of_codegen(context.codegen()).fma else "llvm.fmuladd"
    return emit_call(builder, f"{name}.{_suffix(a.type)}", a.type, [a, b, c])


def emit_flush(builder, value, keep_sign):
    """Return the vector `value` with zeros for subnormal lanes: 0.0, or of the lane's sign.

    By the bits, which takes two instructions: an exponent of 0 is that of zeros and of these.
    """
    kind, is_float = value.type, isinstance(value.type.element, ir.FloatType)
    bits, exponent = (32, 0xFF << 23) if is_float else (64, 0x7FF << 52)
    whole = ir.VectorType(ir.IntType(bits), kind.count)

    def constant(number):
        return ir.Constant(whole, [number] * kind.count)

    number = builder.bitcast(value, whole)
    is_small = builder.icmp_unsigned("==", builder.and_(number, constant(exponent)), constant(0))
    zero = builder.and_(number, constant(1 << (bits - 1))) if keep_sign else constant(0)
    return builder.bitcast(builder.select(is_small, zero, number), kind)


# ---------------------------------------------------------------------------- pointers


@intrinsic
def pointer(typingctx, array):
    """Return the address of the first element of a C-contiguous `array`."""
    if not isinstance(array, types.Array) or array.layout != "C":
        raise errors.TypingError(f"fastnn kernels take C-contiguous arrays, got {array}")

    def codegen(context, builder, sig, args):
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


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
        if len(args) == 2 and isinstance(args[0], types.CPointer):
            if isinstance(args[1], types.Integer):
                return signature(args[0], args[0], types.intp)
        return None


@lower_builtin(operator.add, types.CPointer, types.intp)
def _offset_pointer(context, builder, sig, args):
    element = context.get_data_type(sig.return_type.dtype)
    return builder.gep(args[0], [args[1]], source_etype=element)


# ---------------------------------------------------------------------------- vectors


def by_dtype(narrow, wide):
    """Return a function for jitted code: `narrow` where vector or pointer is float32, or `wide`."""

    def number(like):
        raise NotImplementedError("it runs in jitted code only")

    @overload(number)
    def _number(like):
        value = narrow if like.dtype == types.float32 else wide
        return lambda like: value

    return number


def _element_pointer(pointer):
    if not isinstance(pointer, types.CPointer) or not isinstance(pointer.dtype, types.Float):
        raise errors.TypingError(f"expected a pointer to float32 or float64, got {pointer}")
    return Vector(pointer.dtype)


def _check_element(pointer, vector):
    if pointer.dtype != vector.dtype:
        raise errors.TypingError(f"{vector} does not fit {pointer}: fastnn kernels take one dtype")


@intrinsic
def lanes(typingctx, pointer):
    """Return how many elements of the pointer's type one vector holds."""
    vector = _element_pointer(pointer)

    def codegen(context, builder, sig, args):
        return context.get_constant(types.intp, vector.lanes)

    return types.intp(pointer), codegen


@intrinsic
def load(typingctx, pointer):
    """Return the vector at `pointer`."""
    vector = _element_pointer(pointer)

    def codegen(context, builder, sig, args):
        return emit_load(builder, args[0], context.get_value_type(vector))

    return vector(pointer), codegen


@intrinsic
def load_part(typingctx, pointer, count, fill):
    """Return the first `count` elements at `pointer`; the lanes behind them hold `fill`."""
    vector = _element_pointer(pointer)

    def codegen(context, builder, sig, args):
        address, count, fill = args
        mask = emit_tail_mask(builder, count, vector.lanes)
        values = emit_load(builder, address, context.get_value_type(vector), mask)
        return builder.select(mask, values, emit_splat(builder, fill, vector.lanes))

    return vector(pointer, types.intp, vector.dtype), codegen


@intrinsic
def store(typingctx, pointer, value):
    """Write the vector `value` at `pointer`."""
    _check_element(pointer, value)

    def codegen(context, builder, sig, args):
        emit_store(builder, args[1], args[0])

    return types.void(pointer, value), codegen


@intrinsic
def store_part(typingctx, pointer, value, count):
    """Write the first `count` lanes of `value` at `pointer`."""
    _check_element(pointer, value)

    def codegen(context, builder, sig, args):
        mask = emit_tail_mask(builder, args[2], value.lanes)
        emit_store(builder, args[1], args[0], mask)

    return types.void(pointer, value, types.intp), codegen


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
    """Return the number `value` converted to the pointer's type."""

    def codegen(context, builder, sig, args):
        return args[1]

    return pointer.dtype(pointer, pointer.dtype), codegen


@intrinsic
def splat(typingctx, like, scalar):
    """Return a vector whose lanes all hold `scalar`; `like` is a vector or a pointer."""
    vector = like if isinstance(like, Vector) else _element_pointer(like)

    def codegen(context, builder, sig, args):
        return emit_splat(builder, args[1], vector.lanes)

    return vector(like, vector.dtype), codegen


@intrinsic
def fma(typingctx, a, b, c):
    """Return `a * b + c` lane by lane, rounded once where the CPU can."""

    def codegen(context, builder, sig, args):
        return emit_fma(context, builder, *args)

    return a(a, a, a), codegen


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


@intrinsic
def keep(typingctx, vector, count):
    """Return the first `count` lanes of `vector`, and zeros in the lanes behind them."""

    def codegen(context, builder, sig, args):
        mask = emit_tail_mask(builder, args[1], vector.lanes)
        zero = ir.Constant(args[0].type, [0.0] * vector.lanes)
        return builder.select(mask, args[0], zero)

    return vector(vector, types.intp), codegen


@intrinsic
def sqrt(typingctx, vector):
    """Return the square root of each lane."""

    def codegen(context, builder, sig, args):
        kind = args[0].type
        return emit_call(builder, f"llvm.sqrt.{_suffix(kind)}", kind, args)

    return vector(vector), codegen


@intrinsic
def select(typingctx, mask, a, b):
    """Return `a` where `mask` holds and `b` elsewhere."""

    def codegen(context, builder, sig, args):
        return builder.select(*args)

    return a(mask, a, a), codegen


def _arithmetic(function, instruction):
    """Let `function` (of module operator) take two vectors, or a vector and a number."""

    class Template(AbstractTemplate):
        key = function

        def generic(self, args, kws):
            if len(args) != 2:
                return None
            vector = next((arg for arg in args if isinstance(arg, Vector)), None)
            if vector is None:
                return None
            numbers = [vector if isinstance(arg, Vector) else vector.dtype for arg in args]
            return signature(vector, *numbers)

    infer_global(function)(Template)

    def lower(context, builder, sig, args):
        vectors = [
            arg if isinstance(kind, Vector) else emit_splat(builder, arg, sig.return_type.lanes)
            for kind, arg in zip(sig.args, args, strict=True)
        ]
        return getattr(builder, instruction)(*vectors)

    for left, right in ((Vector, Vector), (Vector, types.Float), (types.Float, Vector)):
        lower_builtin(function, left, right)(lower)


for _function, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _arithmetic(_function, _instruction)


def _comparison(function, symbol):
    """Let `function` (of module operator) compare two vectors, or a vector and a number."""

    class Template(AbstractTemplate):
        key = function

        def generic(self, args, kws):
            if len(args) == 2 and isinstance(args[0], Vector):
                other = args[0] if isinstance(args[1], Vector) else args[0].dtype
                return signature(Mask(args[0].lanes), args[0], other)
            return None

    infer_global(function)(Template)

    def lower(context, builder, sig, args):
        right = args[1]
        if not isinstance(sig.args[1], Vector):
            right = emit_splat(builder, right, sig.args[0].lanes)
        return builder.fcmp_ordered(symbol, args[0], right)

    lower_builtin(function, Vector, Vector)(lower)
    lower_builtin(function, Vector, types.Float)(lower)


for _function, _symbol in (
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.eq, "=="),
):
    _comparison(_function, _symbol)


def _emit_fold(builder, value, lane_count, combine):
    """Combine halves with halves down to one lane: the one order of every sum over lanes."""
    while lane_count > 1:
        lane_count //= 2
        undefined = ir.Constant(value.type, ir.Undefined)
        low, high = (
            builder.shuffle_vector(
                value,
                undefined,
                ir.Constant(
                    ir.VectorType(_I32, lane_count), list(range(start, start + lane_count))
                ),
            )
            for start in (0, lane_count)
        )
        value = combine(low, high)
    return builder.extract_element(value, ir.Constant(_I32, 0))


@intrinsic
def sum_lanes(typingctx, vector):
    """Return the sum of all lanes."""

    def codegen(context, builder, sig, args):
        return _emit_fold(builder, args[0], vector.lanes, builder.fadd)

    return vector.dtype(vector), codegen


@intrinsic
def max_lanes(typingctx, vector):
    """Return the largest lane (of numbers: a NaN lane may be passed over)."""

    def codegen(context, builder, sig, args):
        def larger(a, b):
            return builder.select(builder.fcmp_ordered(">", a, b), a, b)

        return _emit_fold(builder, args[0], vector.lanes, larger)

    return vector.dtype(vector), codegen


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
        largest = _emit_fold(builder, whole, found.lanes, larger)
        # Of the smallest normal number, without the sign's bit and less 1.
        normal = (1 << (mantissa + 1)) - 1
        return builder.icmp_unsigned("<", builder.not_(largest), ir.Constant(largest.type, normal))

    return types.boolean(found), codegen


@intrinsic
def broadcast(typingctx, scalar):
    """Return a vector of the type of `scalar` whose lanes all hold it."""
    vector = Vector(scalar)

    def codegen(context, builder, sig, args):
        return emit_splat(builder, args[0], vector.lanes)

    return vector(scalar), codegen


@intrinsic
def first_lane(typingctx, vector):
    """Return the first lane."""

    def codegen(context, builder, sig, args):
        return builder.extract_element(args[0], ir.Constant(_I32, 0))

    return vector.dtype(vector), codegen


@intrinsic
def one_hot_lanes(typingctx, like, index):
    """Return a vector like `like`, 1 in lane `index` and 0 in the others."""

    def codegen(context, builder, sig, args):
        kind, lanes = args[0].type, like.lanes
        ids = ir.Constant(ir.VectorType(_I64, lanes), list(range(lanes)))
        mask = builder.icmp_signed("==", ids, emit_splat(builder, args[1], lanes))
        one, zero = (ir.Constant(kind, [value] * lanes) for value in (1.0, 0.0))
        return builder.select(mask, one, zero)

    return like(like, types.intp), codegen


@intrinsic
def first_true(typingctx, mask):
    """Return the first lane where `mask` holds, or the number of lanes."""

    def codegen(context, builder, sig, args):
        bits = builder.bitcast(args[0], ir.IntType(mask.lanes))
        # A bit behind the last lane stops the search.
        wide = builder.or_(builder.zext(bits, _I64), ir.Constant(_I64, 1 << mask.lanes))
        return emit_call(builder, "llvm.cttz.i64", _I64, [wide, ir.Constant(_I1, 1)])

    return types.intp(mask), codegen


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


def polynomial(*coefficients):
    """Return a jittable function of a vector: the polynomial, highest power first, by Horner."""

    @intrinsic
    def horner(typingctx, vector):
        def codegen(context, builder, sig, args):
            def constant(c):
                return ir.Constant(args[0].type, [c] * vector.lanes)

            result = constant(coefficients[0])
            for c in coefficients[1:]:
                result = emit_fma(context, builder, result, args[0], constant(c))
            return result

        return vector(vector), codegen

    return horner


@intrinsic
def scratch(typingctx, pointer, size):
    """Return a pointer to `size` (a literal) elements on the stack, until the caller returns."""
    if not isinstance(size, types.IntegerLiteral):
        raise errors.RequireLiteralValue("scratch needs a literal size")
    count = size.literal_value

    def codegen(context, builder, sig, args):
        # A count, not an array type: LLVM spends 7 seconds on a variable of 12,288 parts.
        element = context.get_data_type(pointer.dtype)
        with builder.goto_entry_block():
            block = builder.alloca(element, size=ir.Constant(_I64, count))
        block.align = VECTOR_BYTES
        return block

    return pointer(pointer, size), codegen


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
