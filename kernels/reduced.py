"""The products of dense layers whose operands are in bfloat16: forward, backward, and of weights.

Only operands are reduced: sums, biases, activations, gradients, and the weights that an optimizer
updates, are float32. `tiles` is a tuple of two arrays, (weights, operands), with the packed weights
and the packed activations and gradients. Each operand of each product is packed once.

Layers that do not gain by it calculate in float32 (`plan.py` in `fastnn/program`); their `parts`
are 0.
"""

import math

from .batches import copy_row
from .bfloat16 import (
    depth_tiles,
    pack_left,
    pack_left_transposed,
    pack_right,
    pack_right_transposed,
    stack_block,
)
from .codes import Epilogue
from .jit import inner
from .pointers import is_null, null, pointer
from .products import add_piece, clear
from .simd import lanes, load, load_part, select, splat, store_part
from .table import SUM_ROWS
from .target import BF16_TILE_DEPTH, BF16_TILE_ROWS, BF16_TILE_SIZE
from .tile import Activate, Extent, Rows, tile_lanes
from .units import multiply_tiles

# Rows and columns of the block of a product that a micro-kernel calculates.
BLOCK = 2 * BF16_TILE_ROWS


@inner
def is_reduced(layer, tiles):
    """Return whether the products of a dense layer have operands in bfloat16."""
    if tiles is None:
        return False
    return layer.parts > 0


@inner
def unit_of(layers):
    """Return the Unit of a network's layers: they have the same one."""
    unit = 0
    for index in range(len(layers)):
        if layers[index].parts > 0:
            unit = layers[index].unit
    return unit


@inner
def whole_tiles(rows):
    """Return the least multiple of `rows` that is whole tiles, of whatever operand."""
    total = rows
    while total % BF16_TILE_DEPTH != 0:
        total += rows
    return total


@inner
def form_block(block, left, left_row, right, right_column, depth, columns, layer):
    """block (32, 32) = a block of a product, of which `columns` are needed."""
    multiply_tiles(
        block, left, left_row, right, right_column, depth, layer.parts, layer.unit,
        1 if columns <= BF16_TILE_ROWS else 2,
    )  # fmt: skip


@inner
def product(result, left, left_row, right, extent, start, ending, layer):
    """result (rows, columns) = ending of start + left (rows, depth) @ right (depth, columns).

    left, right : pointers to packed operands; `left_row` is the distance between two rows of tiles.
    The other arguments are those of `products.matmul_packed`.
    """
    block = stack_block(left)
    depth = depth_tiles(extent.depth)
    right_column = depth * layer.parts * BF16_TILE_SIZE
    other = ending.other
    for column in range(0, extent.columns, BLOCK):
        columns = min(BLOCK, extent.columns - column)
        begin = start
        if not is_null(start):
            begin = start + column
        for row in range(0, extent.rows, BLOCK):
            form_block(
                block, left + row // BF16_TILE_ROWS * left_row, left_row,
                right + column // BF16_TILE_ROWS * right_column, right_column, depth, columns,
                layer,
            )  # fmt: skip
            end_block(
                Rows(result.pointer + (row * result.distance + column), result.distance),
                block,
                min(BLOCK, extent.rows - row),
                columns,
                begin,
                ending.epilogue,
                # Not read where the epilogue needs none.
                Rows(other.pointer + (row * other.distance + column), other.distance),
            )


@inner
def end_block(result, block, rows, columns, start, epilogue, other):
    """result (rows, columns) = epilogue of start + block; `start` (columns,) may be null.

    The epilogues are those of `tile.py`.
    """
    zero = splat(block, 0.0)
    for j in range(0, columns, lanes(block)):
        count = min(lanes(block), columns - j)
        first = zero
        if not is_null(start):
            first = load_part(start + j, count, 0.0)
        for i in range(rows):
            value = load(block + (i * BLOCK + j)) + first
            if epilogue == Epilogue.RELU:
                value = select(value <= zero, zero, value)
            elif epilogue == Epilogue.RELU_MASK:
                mask = load_part(other.pointer + (i * other.distance + j), count, 0.0)
                value = select(mask <= zero, zero, value)
            elif epilogue != Epilogue.STORE:
                value = splat(block, math.nan)
            store_part(result.pointer + (i * result.distance + j), value, count)


# ------------------------------------------------------------------ rows of a batch


@inner
def reduced_forward(layer, parameters, tiles, inputs, input_row, outputs, first, rows):
    """Run some rows through a dense layer; the pointers are those of row `first`."""
    left = pointer(tiles[1]) + (layer.row_tiles + first // BF16_TILE_ROWS * layer.row_distance)
    pack_left(left, layer.row_distance, inputs, input_row, rows, layer.n_inputs, layer.parts)
    product(
        Rows(outputs, layer.output_row), left, layer.row_distance,
        pointer(tiles[0]) + layer.weight_tiles,
        Extent(rows, layer.n_outputs, layer.n_inputs),
        parameters + layer.biases,
        Activate(layer.epilogue, Rows(null(outputs), 0)),
        layer,
    )  # fmt: skip


@inner
def reduced_backward(layer, tiles, dinputs, doutputs, inputs, first, rows):
    """Form the gradient with respect to the inputs of some rows, as `reduced_forward`."""
    left = pointer(tiles[1]) + (layer.row_tiles + first // BF16_TILE_ROWS * layer.row_distance)
    pack_left(
        left, layer.row_distance, doutputs, layer.output_row, rows, layer.n_outputs, layer.parts
    )
    product(
        Rows(dinputs, layer.input_row), left, layer.row_distance,
        pointer(tiles[0]) + layer.transposed_weight_tiles,
        Extent(rows, layer.n_inputs, layer.n_outputs),
        null(dinputs),
        Activate(layer.backward_epilogue, Rows(inputs, layer.input_row)),
        layer,
    )  # fmt: skip


@inner
def keep_inputs(layer, tiles, inputs, first, rows):
    """Pack some rows of a layer's inputs for the gradient of its weights: their transpose."""
    step = layer.parts * BF16_TILE_SIZE
    place = layer.input_tiles + first // BF16_TILE_DEPTH * step
    pack_left_transposed(
        pointer(tiles[1]) + place, layer.batch_tiles * step,
        inputs, layer.input_row, rows, layer.n_inputs, layer.parts,
    )  # fmt: skip


@inner
def keep_gradients_of(layer, tiles, doutputs, first, rows):
    """Pack some rows of the gradient of a layer's outputs for the gradient of its weights."""
    step = layer.parts * BF16_TILE_SIZE
    place = layer.gradient_tiles + first // BF16_TILE_DEPTH * step
    pack_right(
        pointer(tiles[1]) + place, layer.batch_tiles * step,
        doutputs, layer.output_row, rows, layer.n_outputs, layer.parts,
    )  # fmt: skip


# ------------------------------------------------------------------ weights


@inner
def form_reduced_piece(layer, tiles, piece, row, height, rows):
    """piece = gradient of the weights [row, row + height) over the `rows` of a batch.

    It has the padded rows of the panel. The sums of long batches are formed as in `sums.py`.
    """
    step = layer.parts * BF16_TILE_SIZE
    across = layer.batch_tiles * step
    left = pointer(tiles[1]) + (layer.input_tiles + row // BF16_TILE_ROWS * across)
    right = pointer(tiles[1]) + layer.gradient_tiles
    block, part, lost = stack_block(left), stack_block(left), stack_block(left)
    padded = padded_columns(piece, layer.n_outputs)
    for column in range(0, layer.n_outputs, BLOCK):
        columns = min(BLOCK, layer.n_outputs - column)
        for i in range(0, height, BLOCK):
            a = left + i // BF16_TILE_ROWS * across
            b = right + column // BF16_TILE_ROWS * across
            depth = depth_tiles(min(rows, SUM_ROWS))
            form_block(block, a, across, b, across, depth, columns, layer)
            if rows > SUM_ROWS:
                clear(lost, BLOCK * BLOCK)
                clear(part, BLOCK * BLOCK)
                for first in range(SUM_ROWS, rows, SUM_ROWS):
                    place = first // BF16_TILE_DEPTH * step
                    depth = depth_tiles(min(rows - first, SUM_ROWS))
                    form_block(part, a + place, across, b + place, across, depth, columns, layer)
                    add_piece(block, lost, part, BLOCK * BLOCK)
            for k in range(min(BLOCK, height - i)):
                copy_row(piece + ((i + k) * padded + column), block + k * BLOCK, columns)


@inner
def padded_columns(like, columns):
    """Return the distance between two rows of a panel that has all columns of a layer."""
    step = tile_lanes(like)
    return (columns + step - 1) // step * step


@inner
def pack_weight_tiles(layer, panel, tiles, begin, end):
    """Pack the rows [begin, end) of a layer's weights, both ways; `panel` is that of the layer."""
    step, rows = layer.parts * BF16_TILE_SIZE, end - begin
    padded = padded_columns(panel, layer.n_outputs)
    weights = panel + begin * padded
    place = layer.weight_tiles + begin // BF16_TILE_DEPTH * step
    pack_right(
        pointer(tiles[0]) + place, depth_tiles(layer.n_inputs) * step,
        weights, padded, rows, layer.n_outputs, layer.parts,
    )  # fmt: skip
    if layer.transposed_weight_tiles >= 0:
        across = depth_tiles(layer.n_outputs) * step
        place = layer.transposed_weight_tiles + begin // BF16_TILE_ROWS * across
        pack_right_transposed(
            pointer(tiles[0]) + place, across,
            weights, padded, rows, layer.n_outputs, layer.parts,
        )  # fmt: skip
