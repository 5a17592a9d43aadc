"""LLVM instructions that the intrinsics of several modules emit."""

from llvmlite import ir
from numba.core import cgutils

from . import target

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)


def ir_float(dtype):
    """Return the LLVM type of numba's `dtype`."""
    return ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType()


def emit_splat(builder, scalar, lanes):
    """Return a vector whose lanes all hold `scalar`."""
    vector = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(I32, 0))
    zeros = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
    return builder.shuffle_vector(first, first, zeros)


def emit_tail_mask(builder, count, lanes):
    """Return a mask of the lanes below `count` (a 64-bit integer)."""
    ids = ir.Constant(ir.VectorType(I64, lanes), list(range(lanes)))
    return builder.icmp_signed("<", ids, emit_splat(builder, count, lanes))


def emit_call(builder, name, result, arguments):
    """Call the LLVM intrinsic `name`."""
    function_type = ir.FunctionType(result, [value.type for value in arguments])
    function = cgutils.get_or_insert_function(builder.module, function_type, name)
    return builder.call(function, arguments)


def suffix_of(vector):
    return f"v{vector.count}f{32 if isinstance(vector.element, ir.FloatType) else 64}"


def emit_load(builder, pointer, vector, mask=None):
    """Load `vector` (an LLVM type) from an element pointer of any alignment; masked lanes are 0."""
    size = 4 if isinstance(vector.element, ir.FloatType) else 8
    address = builder.bitcast(pointer, vector.as_pointer())
    if mask is None:
        return builder.load(address, align=size, typ=vector)
    zero = ir.Constant(vector, [0.0] * vector.count)
    name = f"llvm.masked.load.{suffix_of(vector)}.p0"
    return emit_call(builder, name, vector, [address, ir.Constant(I32, size), mask, zero])


def emit_store(builder, value, pointer, mask=None):
    """Store a vector, or only its lanes in `mask`."""
    vector = value.type
    size = 4 if isinstance(vector.element, ir.FloatType) else 8
    address = builder.bitcast(pointer, vector.as_pointer())
    if mask is None:
        return builder.store(value, address, align=size)
    name = f"llvm.masked.store.{suffix_of(vector)}.p0"
    arguments = [value, address, ir.Constant(I32, size), mask]
    return emit_call(builder, name, ir.VoidType(), arguments)


def emit_fma(context, builder, a, b, c):
    """Return `a * b + c`, rounded once; twice on a CPU where `llvm.fma` is a library call."""
    name = "llvm.fma" if target.of_codegen(context.codegen()).fma else "llvm.fmuladd"
    return emit_call(builder, f"{name}.{suffix_of(a.type)}", a.type, [a, b, c])


def emit_flush(builder, value, keep_sign):
    """Return the vector `value` with zeros for subnormal lanes: 0.0, or of the lane's sign.

    Zeros and subnormal numbers are those whose exponent bits are 0: two instructions find them.
    """
    kind, is_float = value.type, isinstance(value.type.element, ir.FloatType)
    bits, exponent = (32, 0xFF << 23) if is_float else (64, 0x7FF << 52)
    whole = ir.VectorType(ir.IntType(bits), kind.count)

    def constant(bits):
        return ir.Constant(whole, [bits] * kind.count)

    word = builder.bitcast(value, whole)
    is_small = builder.icmp_unsigned("==", builder.and_(word, constant(exponent)), constant(0))
    zero = builder.and_(word, constant(1 << (bits - 1))) if keep_sign else constant(0)
    return builder.bitcast(builder.select(is_small, zero, word), kind)


def emit_fold(builder, value, lane_count, combine):
    """Combine the two halves of the lanes until one lane remains. All sums over lanes use it."""
    while lane_count > 1:
        lane_count //= 2
        undefined = ir.Constant(value.type, ir.Undefined)
        low, high = (
            builder.shuffle_vector(
                value,
                undefined,
                ir.Constant(ir.VectorType(I32, lane_count), list(range(start, start + lane_count))),
            )
            for start in (0, lane_count)
        )
        value = combine(low, high)
    return builder.extract_element(value, ir.Constant(I32, 0))


def emit_transpose(builder, rows):
    """Return the columns of a square of vectors.

    Swap ever larger blocks across the diagonal: a round of two-vector shuffles for each size.
    """
    rows, lanes, size = list(rows), len(rows), 1
    while size < lanes:
        low = [j + lanes - size if j & size else j for j in range(lanes)]
        high = [j + lanes if j & size else j + size for j in range(lanes)]
        for i in (i for i in range(lanes) if not i & size):
            pair = rows[i], rows[i + size]
            for target_row, order in ((i, low), (i + size, high)):
                indices = ir.Constant(ir.VectorType(I32, lanes), order)
                rows[target_row] = builder.shuffle_vector(*pair, indices)
        size *= 2
    return rows


def emit_stack(context, builder, pointer, count):
    """Return an address like `pointer` (a numba type) of `count` elements on the stack."""
    # A count, not an array type: LLVM takes 7 seconds for a variable of 12,288 elements.
    with builder.goto_entry_block():
        block = builder.alloca(context.get_data_type(pointer.dtype), size=ir.Constant(I64, count))
    block.align = target.CACHE_LINE
    return block
