"""Rows of numbers of other dtypes, however they lie in memory, become rows of the network's dtype.

The code for each kind is a loop of its own; the program that calls it is compiled once for all.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .batches import fill_row
from .codes import SampleType
from .emit import ir_float
from .jit import inner, kernel
from .pointers import Pointer, element, pointer, put
from .simd import Vector, lanes, load, load_part, splat, store, store_part

_BITS = {"uint8": 8, "int8": 8, "float16": 16, "float32": 32, "float64": 64}


def _emit_half(builder, words, shape):
    """Return float16 bits as float32, by integer arithmetic: not every CPU has an instruction.

    Exponent and mantissa move to their places in a float32 whose exponent is then 112 too small;
    the product brings it up and is exact, subnormal numbers included.
    """
    whole, real = shape(ir.IntType(32)), shape(ir.FloatType())

    def constant(kind, value):
        return ir.Constant(kind, [value] * kind.count if hasattr(kind, "count") else value)

    words = builder.zext(words, whole)
    size = builder.and_(words, constant(whole, 0x7FFF))
    sign = builder.shl(builder.and_(words, constant(whole, 0x8000)), constant(whole, 16))
    moved = builder.shl(size, constant(whole, 13))
    value = builder.fmul(builder.bitcast(moved, real), constant(real, 2.0**112))
    special = builder.icmp_unsigned(">=", size, constant(whole, 0x7C00))  # infinite, or NaN
    value = builder.select(
        special, builder.or_(moved, constant(whole, 0x7F800000)), builder.bitcast(value, whole)
    )
    return builder.bitcast(builder.or_(value, sign), real)


def _emit_float(builder, words, kind, shape, result):
    """Return the bits `words` of `kind` as `result`, a float type; `shape` makes vectors of it."""
    if kind == "uint8":
        return builder.uitofp(words, shape(result))
    if kind == "int8":
        return builder.sitofp(words, shape(result))
    if kind == "float64":
        value = builder.bitcast(words, shape(ir.DoubleType()))
        single = isinstance(result, ir.FloatType)
        return builder.fptrunc(value, shape(result)) if single else value
    if kind == "float16":
        value = _emit_half(builder, words, shape)
    else:
        value = builder.bitcast(words, shape(ir.FloatType()))
    single = isinstance(result, ir.FloatType)
    return value if single else builder.fpext(value, shape(result))


def _reader(kind, in_vectors):
    """Return a jittable function (like, source): the value, or the vector of values, at `source`.

    `like` points to the dtype that they become, `source` to bytes of any alignment.
    """

    @intrinsic
    def read(typingctx, like, source):
        vector = Vector(like.dtype)

        def shape(kind):
            return ir.VectorType(kind, vector.lanes) if in_vectors else kind

        def codegen(context, builder, sig, args):
            raw = shape(ir.IntType(_BITS[kind]))
            words = builder.load(builder.bitcast(args[1], raw.as_pointer()), align=1, typ=raw)
            return _emit_float(builder, words, kind, shape, ir_float(like.dtype))

        return (vector if in_vectors else like.dtype)(like, Pointer(types.uint8)), codegen

    return read


def _converter(kind):
    """Return the loop for one kind."""
    size = _BITS[kind] // 8
    read_vector, read_value = _reader(kind, True), _reader(kind, False)

    @inner
    def convert(result, source, step, count):
        whole = 0
        if step == size:
            whole = count - count % lanes(result)
            for j in range(0, whole, lanes(result)):
                store(result + j, read_vector(result, source + j * size))
        for j in range(whole, count):
            put(result + j, read_value(result, source + j * step))

    return convert


_from_uint8, _from_int8 = _converter("uint8"), _converter("int8")
_from_float16 = _converter("float16")
_from_float32, _from_float64 = _converter("float32"), _converter("float64")


@inner
def _scale_row(row, count, layout):
    """row = row * scale + offset: two roundings, as NumPy has it."""
    scale, offset = element(row, layout.scale), element(row, layout.offset)
    scales, offsets, step = splat(row, scale), splat(row, offset), lanes(row)
    whole = count - count % step
    for j in range(0, whole, step):
        store(row + j, load(row + j) * scales + offsets)
    if whole < count:
        rest = count - whole
        values = load_part(row + whole, rest, 0.0) * scales + offsets
        store_part(row + whole, values, rest)


@inner
def convert_row(result, source, layout, index, count):
    """result = the row `index` of `source` (bytes), converted and then scaled.

    `layout` is a record, SAMPLE_LAYOUT.
    """
    kind, step = layout.type, layout.column_step
    start = source + (layout.start + index * layout.row_step)
    if kind == SampleType.UINT8:
        _from_uint8(result, start, step, count)
    elif kind == SampleType.INT8:
        _from_int8(result, start, step, count)
    elif kind == SampleType.FLOAT16:
        _from_float16(result, start, step, count)
    elif kind == SampleType.FLOAT32:
        _from_float32(result, start, step, count)
    elif kind == SampleType.FLOAT64:
        _from_float64(result, start, step, count)
    else:
        fill_row(result, count, np.nan)  # no such type
    if layout.scale != 1.0 or layout.offset != 0.0:
        _scale_row(result, count, layout)


@kernel
def convert_rows(rows, source, layout, indices):
    """rows (B, I) = those at indices (B,) of `source` (bytes), converted and then scaled.

    layout (1,) of SAMPLE_LAYOUT says where they lie: see `records.py`.
    """
    width = rows.shape[1]
    for i in range(len(indices)):
        result = pointer(rows) + i * width
        convert_row(result, pointer(source), layout[0], indices[i], width)
