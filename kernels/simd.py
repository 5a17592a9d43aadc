"""Vectors of one fixed width for jitted code.

A :class:`Vector` holds 64 bytes on every machine: 16 float32 or 8 float64. LLVM splits it if the
registers are narrower. So sums over lanes have the same order, and results the same bits, with AVX2
as with AVX-512. A multiply-add is rounded once (`llvm.fma`) if the CPU supports it.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core import errors
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, overload, register_model

from .emit import (
    I1,
    I32,
    I64,
    emit_call,
    emit_fma,
    emit_fold,
    emit_load,
    emit_splat,
    emit_store,
    emit_tail_mask,
    ir_float,
    suffix_of,
)
from .pointers import Pointer

VECTOR_BYTES = 64


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
        super().__init__(dmm, fe_type, ir.VectorType(I1, fe_type.lanes))


def by_dtype(narrow, wide):
    """Return a function for jitted code, of a vector or a pointer.

    It returns `narrow` for float32 and `wide` for float64.
    """

    def constant(like):
        raise NotImplementedError("it runs in jitted code only")

    @overload(constant)
    def _constant(like):
        value = narrow if like.dtype == types.float32 else wide
        return lambda like: value

    return constant


def _element_pointer(pointer):
    if not isinstance(pointer, Pointer) or not isinstance(pointer.dtype, types.Float):
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
    """Return the first `count` elements at `pointer`; the other lanes hold `fill`."""
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
def store_difference(typingctx, pointer, a, b, count):
    """Write the first `count` lanes of `a - b`, formed in float64, at a pointer to float64."""

    def codegen(context, builder, sig, args):
        address, a, b, count = args
        wide = ir.VectorType(ir.DoubleType(), sig.args[1].lanes)
        if wide != a.type:
            a, b = (builder.fpext(value, wide) for value in (a, b))
        mask = emit_tail_mask(builder, count, wide.count)
        emit_store(builder, builder.fsub(a, b), address, mask)

    return types.void(pointer, a, a, types.intp), codegen


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
def keep(typingctx, vector, count):
    """Return the first `count` lanes of `vector`, and zeros in the others."""

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
        return emit_call(builder, f"llvm.sqrt.{suffix_of(kind)}", kind, args)

    return vector(vector), codegen


@intrinsic
def select(typingctx, mask, a, b):
    """Return `a` where `mask` holds and `b` elsewhere."""

    def codegen(context, builder, sig, args):
        return builder.select(*args)

    return a(mask, a, a), codegen


def _arithmetic(function, instruction):
    """Let `function` (of module operator) take two vectors, or a vector and a scalar."""

    class Template(AbstractTemplate):
        key = function

        def generic(self, args, kws):
            if len(args) != 2:
                return None
            vector = next((arg for arg in args if isinstance(arg, Vector)), None)
            if vector is None:
                return None
            operands = [vector if isinstance(arg, Vector) else vector.dtype for arg in args]
            return signature(vector, *operands)

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
    """Let `function` (of module operator) compare two vectors, or a vector and a scalar."""

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


@intrinsic
def sum_lanes(typingctx, vector):
    """Return the sum of all lanes."""

    def codegen(context, builder, sig, args):
        return emit_fold(builder, args[0], vector.lanes, builder.fadd)

    return vector.dtype(vector), codegen


@intrinsic
def max_lanes(typingctx, vector):
    """Return the largest lane. A NaN lane may be ignored."""

    def codegen(context, builder, sig, args):
        def larger(a, b):
            return builder.select(builder.fcmp_ordered(">", a, b), a, b)

        return emit_fold(builder, args[0], vector.lanes, larger)

    return vector.dtype(vector), codegen


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
        return builder.extract_element(args[0], ir.Constant(I32, 0))

    return vector.dtype(vector), codegen


@intrinsic
def one_hot_lanes(typingctx, like, index):
    """Return a vector like `like`, 1 in lane `index` and 0 in the others."""

    def codegen(context, builder, sig, args):
        kind, lanes = args[0].type, like.lanes
        ids = ir.Constant(ir.VectorType(I64, lanes), list(range(lanes)))
        mask = builder.icmp_signed("==", ids, emit_splat(builder, args[1], lanes))
        one, zero = (ir.Constant(kind, [value] * lanes) for value in (1.0, 0.0))
        return builder.select(mask, one, zero)

    return like(like, types.intp), codegen


@intrinsic
def first_true(typingctx, mask):
    """Return the first lane where `mask` holds, or the number of lanes."""

    def codegen(context, builder, sig, args):
        bits = builder.bitcast(args[0], ir.IntType(mask.lanes))
        # A bit after the last lane stops the search.
        wide = builder.or_(builder.zext(bits, I64), ir.Constant(I64, 1 << mask.lanes))
        return emit_call(builder, "llvm.cttz.i64", I64, [wide, ir.Constant(I1, 1)])

    return types.intp(mask), codegen


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
