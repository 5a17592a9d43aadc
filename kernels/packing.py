"""Packing the right operand of a product into panels for the micro-kernel of `tile.py`."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .emit import I64, emit_load, emit_store, emit_tail_mask, emit_transpose, ir_float
from .jit import inner
from .tile import tile_columns, tile_lanes, tile_shape


@intrinsic
def _transpose_block(typingctx, result, result_row, source, source_row, rows, columns):
    """result (columns, rows) = source (rows, columns).T for at most `tile_lanes` of each.

    Whole vectors of `result` are written, also behind its last column.
    """
    dtype = result.dtype

    def codegen(context, builder, sig, args):
        result, result_row, source, source_row, rows, columns = args
        lanes = tile_shape(context, dtype)[2]
        element = ir_float(dtype)
        vector = ir.VectorType(element, lanes)
        mask = emit_tail_mask(builder, columns, lanes)

        def row(base, stride, i, count):
            last = builder.sub(count, ir.Constant(I64, 1))
            i = ir.Constant(I64, i)
            i = builder.select(builder.icmp_signed("<", i, count), i, last)
            return builder.gep(base, [builder.mul(i, stride)], source_etype=element)

        values = [
            emit_load(builder, row(source, source_row, i, rows), vector, mask) for i in range(lanes)
        ]
        values = emit_transpose(builder, values)
        # From last to first: rows after `count` go to the last row, which is then overwritten.
        for j in reversed(range(lanes)):
            emit_store(builder, values[j], row(result, result_row, j, columns))

    intp = types.intp
    return types.void(result, intp, source, intp, intp, intp), codegen


@intrinsic
def _copy_vector(typingctx, result, source, count):
    """Copy the first `count` elements of a register, and fill the others with zeros."""
    dtype = result.dtype

    def codegen(context, builder, sig, args):
        lanes = tile_shape(context, dtype)[2]
        vector = ir.VectorType(ir_float(dtype), lanes)
        mask = emit_tail_mask(builder, args[2], lanes)
        emit_store(builder, emit_load(builder, args[1], vector, mask), args[0])

    return types.void(result, source, types.intp), codegen


@inner
def panel_width(like, columns):
    """Return the width of the next panel if `columns` remain: whole vectors."""
    width, step = tile_columns(like), tile_lanes(like)
    return width if columns >= width else (columns + step - 1) // step * step


@inner
def panels_size(like, columns, depth):
    """Return the size of all panels of a right operand (depth, columns)."""
    step = tile_lanes(like)
    return (columns + step - 1) // step * step * depth


@inner
def pack(panel, width, right, right_row, columns, depth):
    """panel (depth, width) = right (depth, columns), padded with zeros."""
    step = tile_lanes(right)
    for k in range(depth):
        for j in range(0, columns, step):
            _copy_vector(panel + (k * width + j), right + (k * right_row + j), columns - j)


@inner
def pack_rows(panels, depth, source, source_row, first, rows, columns):
    """Write some rows of a right operand (depth, columns) into its panels: `rows` from `first` on.

    `source` points to the first of these rows.
    """
    width = tile_columns(panels)
    for column in range(0, columns, width):
        padded = panel_width(panels, columns - column)
        panel = panels + (column * depth + first * padded)
        pack(panel, padded, source + column, source_row, min(width, columns - column), rows)


@inner
def pack_transposed(panel, width, right, right_row, columns, depth):
    """panel (depth, width) = right (columns, depth).T."""
    step = tile_lanes(right)
    for j in range(0, columns, step):
        for k in range(0, depth, step):
            _transpose_block(
                panel + (k * width + j), width,
                right + (j * right_row + k), right_row,
                min(step, columns - j), min(step, depth - k),
            )  # fmt: skip
