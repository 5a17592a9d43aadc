"""Matrix products and sums of columns: the loops around the micro-kernel of `tile.py`."""

from .jit import inner
from .packing import pack, pack_rows, pack_transposed, panel_width
from .pointers import get, is_null, null
from .simd import fma, lanes, load, load_part, splat, store, store_part
from .sums import add_block
from .table import SUM_ROWS
from .target import ENOUGH_COLUMNS, LARGE_OPERAND, PANEL_DEPTH, TRANSPOSED_DEPTH, UNROLL
from .tile import (
    Activate,
    Columns,
    Extent,
    Rows,
    is_transposed,
    part_rows,
    piece_rows,
    skip_terms,
    stack_panel,
    stack_piece,
    tile,
    tile_columns,
    tile_lanes,
    tile_rows,
)


@inner
def matmul_panel(result, left, panel, following, extent, start, ending):
    """result (rows, columns) = ending of start + left (rows, depth) @ panel (depth, columns).

    result, panel, start : `Rows`. The panel is readable to whole vectors. The pointer of `start`
    may be null (zeros) and may be that of `result`, which continues a sum.
    left : `Rows`, whose panel is packed, or `Columns`.
    following : pointer to the memory that is read next. Each tile prefetches a part of it, as
    another core may have written it (saves 5 % of a step of 784-512-512-10 on two cores). With
    `Columns` on the left, the gradient of weights, a tile prefetches its own part of the result: a
    step of descent reads the weights there at the end (saves 1 % of a step of wide networks).
    extent : `Extent` (rows, columns, depth), of at most `tile_columns` columns.
    ending : `Activate`, `Descend`, or None to store the sums.
    """
    height = tile_rows(following)
    # One cache line for each pass of the loop: UNROLL * vectors tiles prefetch the whole panel.
    share = extent.depth // UNROLL * tile_lanes(following) // height
    row = 0
    while row < extent.rows:
        rows = min(height, extent.rows - row)
        if is_transposed(left) and rows < height:
            rows = min(rows, part_rows(following))  # whole tiles read whole rows of the operand
        ahead = following + row * share
        if is_transposed(left):
            ahead = result.pointer + row * result.distance
        tile(result, left, panel, ahead, extent, start, ending, row, rows)
        row += rows


@inner
def matmul_packed(result, left, panels, extent, start, ending):
    """As `matmul_panel`, over all columns, with the right operand packed beforehand.

    `panels` points to consecutive panels (depth, `panel_width`); `ending` is `Activate`.
    """
    columns, depth, other = extent.columns, extent.depth, ending.other
    width = tile_columns(panels)
    for column in range(0, columns, width):
        begin = start.pointer
        if not is_null(begin):
            begin = begin + column
        matmul_panel(
            Rows(result.pointer + column, result.distance),
            left,
            Rows(panels + column * depth, panel_width(panels, columns - column)),
            panels + min(column + width, columns - 1) * depth,
            Extent(extent.rows, min(width, columns - column), depth),
            Rows(begin, start.distance),
            Activate(ending.epilogue, Rows(other.pointer + column, other.distance)),
        )  # fmt: skip


@inner
def matmul(result, left, right, right_transposed, extent, start):
    """result (rows, columns) = start + left (rows, depth) @ right (depth, columns).

    result, right : `Rows`. The right operand is (columns, depth) if `right_transposed`. Panels of
    it are packed on the stack: sums go on from one block of the depth to the next through
    `result`.
    left : `Rows` or `Columns`.
    start : pointer to (columns,) elements; may be null (zeros).
    """
    columns, depth = extent.columns, extent.depth
    width = tile_columns(start)
    panel = stack_panel(start)
    # At least one block: a depth of zero leaves `start`.
    for term in range(0, max(depth, 1), PANEL_DEPTH):
        terms = min(PANEL_DEPTH, depth - term)
        for column in range(0, columns, width):
            count = min(width, columns - column)
            padded = panel_width(start, columns - column)
            if right_transposed:
                source = right.pointer + (column * right.distance + term)
                pack_transposed(panel, padded, source, right.distance, count, terms)
            else:
                source = right.pointer + (term * right.distance + column)
                pack(panel, padded, source, right.distance, count, terms)
            place = Rows(result.pointer + column, result.distance)
            begin, begin_row = place.pointer, place.distance
            if term == 0:
                begin, begin_row = start if is_null(start) else start + column, 0
            matmul_panel(
                place,
                skip_terms(left, term),
                Rows(panel, padded), panel,
                Extent(extent.rows, count, terms),
                Rows(begin, begin_row),
                None,
            )  # fmt: skip


@inner
def matmul_transposed(result, left, right, extent):
    """result (rows, columns) = left (depth, rows).T @ right (depth, columns).

    result, left, right : `Rows`.
    """
    if extent.rows * extent.depth >= LARGE_OPERAND and extent.columns >= ENOUGH_COLUMNS:
        _matmul_blocks(result, left, right, extent)
    else:
        columns = Columns(left.pointer, left.distance)
        matmul(result, columns, right, False, extent, null(result.pointer))


@inner
def _matmul_blocks(result, left, right, extent):
    """As `matmul_transposed`, with both operands packed on the stack.

    A tile reads a few columns of `left`. In a large operand these lie in as many pages of memory
    as there are rows, and compete for a few sets of the caches. Sums go on from one block of the
    depth to the next through `result`.
    """
    nothing = null(result.pointer)
    width, block, panel = tile_columns(nothing), stack_panel(nothing), stack_panel(nothing)
    most = PANEL_DEPTH // TRANSPOSED_DEPTH * width
    for term in range(0, extent.depth, TRANSPOSED_DEPTH):
        terms = min(TRANSPOSED_DEPTH, extent.depth - term)
        for row in range(0, extent.rows, most):
            rows = min(most, extent.rows - row)
            source = left.pointer + (term * left.distance + row)
            pack_rows(block, terms, source, left.distance, 0, terms, rows)
            for column in range(0, extent.columns, width):
                count = min(width, extent.columns - column)
                source = right.pointer + (term * right.distance + column)
                pack_rows(panel, terms, source, right.distance, 0, terms, count)
                for first in range(0, rows, width):
                    place = result.pointer + ((row + first) * result.distance + column)
                    matmul_panel(
                        Rows(place, result.distance),
                        Columns(block + first * terms, panel_width(nothing, rows - first)),
                        Rows(panel, panel_width(nothing, count)), panel,
                        Extent(min(width, rows - first), count, terms),
                        Rows(nothing if term == 0 else place, result.distance),
                        None,
                    )  # fmt: skip


@inner
def row_product(result, left, right, start, columns, depth):
    """result (columns,) = start (columns,) + left (depth,) @ right (depth, columns).

    `left` is a single row, and `right` is not packed. The order of the sums is that of `matmul`.
    """
    step = lanes(right)
    whole = columns - columns % (4 * step)
    # Four vectors of columns side by side: a single one would wait for its multiply-adds.
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
        count = min(step, columns - j)
        total = load_part(start + j, count, 0.0)
        for k in range(depth):
            factor = splat(right, get(left + k))
            total = fma(factor, load_part(right + (k * columns + j), count, 0.0), total)
        store_part(result + j, total, count)


@inner
def column_sums(result, source, source_row, rows, columns):
    """result (columns,) = sum of source (rows, columns) over the rows, as in `sums.py`."""
    step = lanes(source)
    whole = columns - columns % (4 * step)
    zero = splat(source, 0.0)
    # Four columns of vectors side by side: a single one would wait for its additions.
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
        count = min(step, columns - j)
        total = lost = zero
        for first in range(0, rows, SUM_ROWS):
            part = zero
            for i in range(first, min(rows, first + SUM_ROWS)):
                part = part + load_part(source + (i * source_row + j), count, 0.0)
            total, lost = add_block(total, lost, part)
        store_part(result + j, total, count)


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
        count = min(step, size - i)
        t, missing = add_block(
            load_part(total + i, count, 0.0), load_part(lost + i, count, 0.0),
            load_part(part + i, count, 0.0),
        )  # fmt: skip
        store_part(total + i, t, count)
        store_part(lost + i, missing, count)


@inner
def sum_products(result, left, right, extent):
    """result (rows, columns) = left (depth, rows).T @ right (depth, columns).

    The order of the sums is that of `sums.py`. result, left, right : `Rows`. The result is formed
    in pieces, so that the sums of blocks fit on the stack.
    """
    nothing = null(result.pointer)
    width, most, step = tile_columns(nothing), piece_rows(nothing), lanes(nothing)
    total, lost, part = stack_piece(nothing), stack_piece(nothing), stack_piece(nothing)
    for row in range(0, extent.rows, most):
        height = min(most, extent.rows - row)
        for column in range(0, extent.columns, width):
            count = min(width, extent.columns - column)
            clear(total, height * count)
            clear(lost, height * count)
            for first in range(0, extent.depth, SUM_ROWS):
                matmul(
                    Rows(part, count),
                    Columns(left.pointer + (first * left.distance + row), left.distance),
                    Rows(right.pointer + (first * right.distance + column), right.distance), False,
                    Extent(height, count, min(SUM_ROWS, extent.depth - first)),
                    nothing,
                )  # fmt: skip
                add_piece(total, lost, part, height * count)
            for i in range(height):
                for j in range(0, count, step):
                    size = min(step, count - j)
                    values = load_part(total + (i * count + j), size, 0.0)
                    place = result.pointer + ((row + i) * result.distance + column + j)
                    store_part(place, values, size)
