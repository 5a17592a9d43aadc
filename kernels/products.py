"""Matrix products and sums of columns: the loops around the micro-kernel of `tile.py`."""

from .codes import Epilogue
from .jit import inner
from .packing import pack, pack_transposed, panel_width
from .pointers import get, is_null, null, scratch
from .simd import fma, lanes, load, load_part, splat, store, store_part
from .sums import add_block
from .table import SUM_ROWS
from .tile import UNROLL, tile, tile_columns, tile_lanes, tile_rows


@inner
def matmul_panel(
    result, result_row,
    left, left_row, left_step,
    panel, panel_row, following,
    rows, columns, depth,
    start, start_row,
    finish, other, other_row, rate,
):  # fmt: skip
    """result (rows, columns) = finish(start + left (rows, depth) @ panel (depth, columns)).

    All arrays are pointers; `*_row` and `*_step` are distances in elements: from one row to the
    next, and from one step of the inner dimension to the next. `columns` is at most
    `tile_columns`; the panel is readable to whole vectors. `start` may be null (zeros) and may be
    `result`, which continues a sum. `finish` is one of those of `table.py`. `following` is what is
    read next: each tile has a part of it fetched (another core may have written it; 5 % of a step
    of 784-512-512-10 on two cores).
    """
    height = tile_rows(result)
    # One vector for each pass of the loop: together the tiles of 96 rows reach the whole panel.
    share = depth // UNROLL * tile_lanes(result) // height
    row = 0
    while row < rows:
        taken = min(height, rows - row)
        if left_step != 1 and taken < height:
            taken = 1  # the loop along columns knows whole tiles and single rows
        tile(
            result + row * result_row, result_row,
            left + row * left_row, left_row, left_step,
            panel, panel_row, following + row * share,
            taken, columns, depth,
            start + row * start_row, start_row,
            finish, other + row * other_row, other_row, rate,
        )  # fmt: skip
        row += taken


@inner
def matmul_packed(
    result, result_row,
    left, left_row,
    panels,
    rows, columns, depth,
    start, start_row,
    finish, other, other_row,
):  # fmt: skip
    """As `matmul_panel`, over all columns, with the right operand packed beforehand.

    `panels` holds one panel (depth, `panel_width`) behind the other.
    """
    width = tile_columns(result)
    for column in range(0, columns, width):
        matmul_panel(
            result + column, result_row,
            left, left_row, 1,
            panels + column * depth, panel_width(result, columns - column),
            panels + min(column + width, columns - 1) * depth,
            rows, min(width, columns - column), depth,
            start if is_null(start) else start + column, start_row,
            finish, other + column, other_row, 0.0,
        )  # fmt: skip


# On the stack: a panel of at most 48 columns (24 of float64) by 256 steps, 48 KiB of float32.
_PANEL_DEPTH = 256
_PANEL_SIZE = 48 * _PANEL_DEPTH


@inner
def matmul(
    result, result_row,
    left, left_row, left_step,
    right, right_row, right_transposed,
    rows, columns, depth,
    start,
):  # fmt: skip
    """result (rows, columns) = start + left (rows, depth) @ right (depth, columns).

    For a right operand as it lies in an array, (columns, depth) if `right_transposed`: panels of
    it are packed on the stack. Sums go on from one block of the depth to the next through
    `result`. `start` (columns,) may be null.
    """
    width = tile_columns(result)
    panel = scratch(result, _PANEL_SIZE)
    nothing = null(result)
    # At least one block: a depth of zero leaves `start`.
    for step in range(0, max(depth, 1), _PANEL_DEPTH):
        steps = min(_PANEL_DEPTH, depth - step)
        for column in range(0, columns, width):
            taken = min(width, columns - column)
            padded = panel_width(result, columns - column)
            if right_transposed:
                source = right + (column * right_row + step)
                pack_transposed(panel, padded, source, right_row, taken, steps)
            else:
                pack(panel, padded, right + (step * right_row + column), right_row, taken, steps)
            begin, begin_row = result + column, result_row
            if step == 0:
                begin, begin_row = start if is_null(start) else start + column, 0
            matmul_panel(
                result + column, result_row,
                left + step * left_step, left_row, left_step,
                panel, padded, panel,
                rows, taken, steps,
                begin, begin_row,
                Epilogue.STORE, nothing, 0, 0.0,
            )  # fmt: skip


@inner
def row_product(result, left, right, start, columns, depth):
    """result (columns,) = start (columns,) + left (depth,) @ right (depth, columns).

    One row, with the right operand as it lies in its array: nothing is packed. The sums are those
    of `matmul`, in the same order.
    """
    step = lanes(right)
    whole = columns - columns % (4 * step)
    # Four vectors of columns side by side: one alone would wait for its multiply-adds.
    for j in range(0, whole, 4 * step):
        a, b = load(start + j), load(start + (j + step))
        c, d = load(start + (j + 2 * step)), load(start + (j + 3 * step))
        for k in range(depth):
            factor = splat(right, get(left + k))
            row = right + (k * columns + j)
            a = fma(factor, load(row), a)
            b = fma(factor, load(row + step), b)
            c = fma(factor, load(row + 2 * step), c)
            d = fma(factor, load(row + 3 * step), d)
        store(result + j, a)
        store(result + (j + step), b)
        store(result + (j + 2 * step), c)
        store(result + (j + 3 * step), d)
    for j in range(whole, columns, step):
        taken = min(step, columns - j)
        total = load_part(start + j, taken, 0.0)
        for k in range(depth):
            factor = splat(right, get(left + k))
            total = fma(factor, load_part(right + (k * columns + j), taken, 0.0), total)
        store_part(result + j, total, taken)


@inner
def column_sums(result, source, source_row, rows, columns):
    """result (columns,) = sum of source (rows, columns) over the rows, as `sums.py` has it."""
    step = lanes(source)
    whole = columns - columns % (4 * step)
    zero = splat(source, 0.0)
    # Four columns of vectors side by side: one alone would wait for its additions.
    for j in range(0, whole, 4 * step):
        all_a = all_b = all_c = all_d = lost_a = lost_b = lost_c = lost_d = zero
        for first in range(0, rows, SUM_ROWS):
            a = b = c = d = zero
            for i in range(first, min(rows, first + SUM_ROWS)):
                row = source + (i * source_row + j)
                a = a + load(row)
                b = b + load(row + step)
                c = c + load(row + 2 * step)
                d = d + load(row + 3 * step)
            all_a, lost_a = add_block(all_a, lost_a, a)
            all_b, lost_b = add_block(all_b, lost_b, b)
            all_c, lost_c = add_block(all_c, lost_c, c)
            all_d, lost_d = add_block(all_d, lost_d, d)
        store(result + j, all_a)
        store(result + (j + step), all_b)
        store(result + (j + 2 * step), all_c)
        store(result + (j + 3 * step), all_d)
    for j in range(whole, columns, step):
        taken = min(step, columns - j)
        total = lost = zero
        for first in range(0, rows, SUM_ROWS):
            part = zero
            for i in range(first, min(rows, first + SUM_ROWS)):
                part = part + load_part(source + (i * source_row + j), taken, 0.0)
            total, lost = add_block(total, lost, part)
        store_part(result + j, total, taken)


# A piece of a matrix on the stack: 96 rows of a whole panel.
PIECE_ROWS = 96
PIECE_SIZE = PIECE_ROWS * 48


@inner
def clear(values, size):
    """values = 0, `size` elements at a pointer."""
    step = lanes(values)
    for i in range(0, size, step):
        store_part(values + i, splat(values, 0.0), min(step, size - i))


@inner
def add_piece(total, lost, part, size):
    """Add the sums of a block to `total` and `lost`, as `add_block` does, element by element."""
    step = lanes(total)
    for i in range(0, size, step):
        taken = min(step, size - i)
        t, missing = add_block(
            load_part(total + i, taken, 0.0), load_part(lost + i, taken, 0.0),
            load_part(part + i, taken, 0.0),
        )  # fmt: skip
        store_part(total + i, t, taken)
        store_part(lost + i, missing, taken)


@inner
def sum_products(result, left, left_row, right, right_row, rows, columns, depth):
    """result (rows, columns) = left (depth, rows).T @ right (depth, columns), as `sums.py` has it.

    Piece by piece, so that the sums of blocks of the depth fit on the stack.
    """
    width, nothing = tile_columns(result), null(result)
    total, lost = scratch(result, PIECE_SIZE), scratch(result, PIECE_SIZE)
    part = scratch(result, PIECE_SIZE)
    for row in range(0, rows, PIECE_ROWS):
        height = min(PIECE_ROWS, rows - row)
        for column in range(0, columns, width):
            taken = min(width, columns - column)
            clear(total, height * taken)
            clear(lost, height * taken)
            for first in range(0, depth, SUM_ROWS):
                matmul(
                    part, taken,
                    left + (first * left_row + row), 1, left_row,
                    right + (first * right_row + column), right_row, False,
                    height, taken, min(SUM_ROWS, depth - first),
                    nothing,
                )  # fmt: skip
                add_piece(total, lost, part, height * taken)
            for i in range(height):
                for j in range(0, taken, lanes(result)):
                    count = min(lanes(result), taken - j)
                    values = load_part(total + (i * taken + j), count, 0.0)
                    store_part(result + ((row + i) * columns + column + j), values, count)
