"""The matrix product under everything: one register-tiled micro-kernel and the loops around it.

The micro-kernel keeps a tile of the result, some rows by some vectors of columns, in registers
while it walks the whole inner dimension. Each step loads one row of the right operand and
broadcasts one element of the left operand for each row: with 8 rows and 3 vectors that is 24
multiply-adds for 11 loads, so arithmetic is the limit and memory is not.

The right operand is read from panels: the columns of one tile, packed row behind row and padded
to whole vectors. A panel has no leading dimension, so rows a power of two apart cannot push each
other out of the cache, and the loop needs no masks.

Reading the left operand through two strides makes one micro-kernel serve all products of a
dense layer: `inputs @ weights` (row stride ld, step 1), `inputs.T @ doutputs` (row stride 1,
step ld) and `doutputs @ weights.T` (on a transposed copy of the weights).

Every element of a result is summed by one thread from the first to the last term of the inner
dimension, one multiply-add at a time, whatever the tile: the bits do not depend on tile sizes,
vector width or threads. Where that dimension is a batch, callers take it in blocks (`sums.py`).
"""

import itertools

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import target
from .codes import Epilogue
from .jit import inner
from .simd import (
    emit_call,
    emit_flush,
    emit_fma,
    emit_load,
    emit_splat,
    emit_store,
    emit_tail_mask,
    fma,
    get,
    ir_float,
    is_null,
    lanes,
    load,
    load_part,
    null,
    scratch,
    splat,
    store,
    store_part,
)
from .sums import add_block
from .table import SUM_ROWS

_I64 = ir.IntType(64)

# Steps of the inner dimension in one pass of the loop. With one, the loop's own additions take
# turns from the multiply-adds on their ports: 83 % of the peak instead of 94 %.
_UNROLL = 4


def _tile_shape(context, dtype):
    """Return (rows, vectors, lanes) of the micro-kernel for the target CPU."""
    row = target.of_codegen(context.codegen())
    return row.tile_rows, row.tile_vectors, row.vector_bytes * 8 // dtype.bitwidth


@intrinsic
def tile_rows(typingctx, like):
    """Return the rows of a tile."""

    def codegen(context, builder, sig, args):
        return context.get_constant(types.intp, _tile_shape(context, like.dtype)[0])

    return types.intp(like), codegen


@intrinsic
def tile_columns(typingctx, like):
    """Return the columns of a whole tile, and of a whole panel."""

    def codegen(context, builder, sig, args):
        _, vectors, lanes = _tile_shape(context, like.dtype)
        return context.get_constant(types.intp, vectors * lanes)

    return types.intp(like), codegen


@intrinsic
def tile_lanes(typingctx, like):
    """Return the elements of one register."""

    def codegen(context, builder, sig, args):
        return context.get_constant(types.intp, _tile_shape(context, like.dtype)[2])

    return types.intp(like), codegen


@intrinsic
def _tile(
    typingctx,
    result, result_row,
    left, left_row, left_step,
    right, right_step, ahead,
    rows, columns, depth,
    start, start_row,
    finish, other, other_row, rate,
):  # fmt: skip
    """Compute one tile of at most `tile_rows` by `tile_columns`; see `matmul_panel`.

    Whole vectors of `right` are read, also behind its last column.
    """
    dtype = result.dtype

    def codegen(context, builder, sig, args):
        height, most, lanes = _tile_shape(context, dtype)
        left_step, rows, columns = args[4], args[8], args[9]

        def equals_one(value):
            return builder.icmp_signed("==", value, ir.Constant(_I64, 1))

        done = builder.append_basic_block("tile.done")
        # A loop for each way to read the left operand, for one row and for a whole tile (which
        # would compute a single row eight times), and for each number of vectors.
        for along_rows, tall, vectors in itertools.product(
            (True, False), (1, height), range(1, most + 1)
        ):
            fits = builder.icmp_signed("<=", columns, ir.Constant(_I64, vectors * lanes))
            if along_rows:
                fits = builder.and_(fits, equals_one(left_step))
            if tall == 1:
                fits = builder.and_(fits, equals_one(rows))
            here = builder.append_basic_block(f"tile.{tall}x{vectors}")
            other_size = builder.append_basic_block("tile.other")
            builder.cbranch(fits, here, other_size)
            builder.position_at_end(here)
            _TileEmitter(context, builder, dtype, args, along_rows, tall, vectors).emit()
            builder.branch(done)
            builder.position_at_end(other_size)
        builder.branch(done)
        builder.position_at_end(done)

    intp, pointer = types.intp, result
    sig = types.void(
        pointer, intp,
        pointer, intp, intp,
        pointer, intp, pointer,
        intp, intp, intp,
        pointer, intp,
        intp, pointer, intp, dtype,
    )  # fmt: skip
    return sig, codegen


class _TileEmitter:
    """Writes the LLVM IR of one micro-kernel, of a fixed number of rows and vectors.

    `along_rows`: consecutive steps of the inner dimension lie side by side in the left operand
    (step 1), and the right one is a packed panel. Else the rows do (row stride 1), and there are
    as many of them as the tile has.
    """

    def __init__(self, context, builder, dtype, args, along_rows, height, vectors):
        self.context, self.builder = context, builder
        self.along_rows, self.height, self.vectors = along_rows, height, vectors
        self.lanes = _tile_shape(context, dtype)[2]
        self.element = ir_float(dtype)
        self.vector = ir.VectorType(self.element, self.lanes)
        (
            self.result, self.result_row,
            self.left, self.left_row, self.left_step,
            self.right, self.right_step, self.ahead,
            self.rows, self.columns, self.depth,
            self.start, self.start_row,
            self.finish, self.other, self.other_row, self.rate,
        ) = args  # fmt: skip
        if along_rows:
            # Constants, so that four steps of the loop share their pointers.
            self.left_step = self.constant(1)
            self.right_step = self.constant(vectors * self.lanes)
        last = builder.sub(self.rows, self.constant(1))
        # Rows behind the last one repeat it: they compute and store the same values again, which
        # is harmless because every load of a tile comes before its first store.
        self.row_ids = [self.constant(0)]
        for i in map(self.constant, range(1, self.height)):
            inside = builder.icmp_signed("<", i, self.rows)
            self.row_ids.append(builder.select(inside, i, last))

    def constant(self, value):
        return ir.Constant(_I64, value)

    def at(self, base, *offsets):
        """Return the pointer `base` plus the sum of `offsets`, in elements."""
        for offset in offsets:
            base = self.builder.gep(base, [offset], source_etype=self.element)
        return base

    def rows_of(self, base, stride):
        return [self.at(base, self.builder.mul(i, stride)) for i in self.row_ids]

    def load(self, row, vector, mask=None):
        pointer = self.at(row, self.constant(vector * self.lanes))
        return emit_load(self.builder, pointer, self.vector, mask)

    def prefetch(self, pointer):
        """Have the line at `pointer` fetched into the L2 cache; no address is wrong."""
        flags = [ir.Constant(ir.IntType(32), flag) for flag in (0, 2, 1)]
        emit_call(self.builder, "llvm.prefetch.p0", ir.VoidType(), [pointer, *flags])

    def store(self, value, row, vector, mask=None):
        pointer = self.at(row, self.constant(vector * self.lanes))
        emit_store(self.builder, value, pointer, mask)

    def emit(self):
        taken = self.constant((self.vectors - 1) * self.lanes)
        rest = self.builder.sub(self.columns, taken)
        # Only the last vector may reach beyond the columns.
        last = emit_tail_mask(self.builder, rest, self.lanes)
        self.masks = [None] * (self.vectors - 1) + [last]
        self.emit_finish(self.emit_loop(self.emit_start()))

    def emit_start(self):
        """Return the first sums: the rows of `start` (a bias has row stride 0), or zeros."""
        builder = self.builder
        given = builder.append_basic_block("tile.start")
        begin = builder.append_basic_block("tile.begin")
        before = builder.block
        absent = builder.icmp_unsigned("==", self.start, ir.Constant(self.start.type, None))
        builder.cbranch(absent, begin, given)
        builder.position_at_end(given)
        loaded = [
            self.load(row, v, self.masks[v])
            for row in self.rows_of(self.start, self.start_row)
            for v in range(self.vectors)
        ]
        builder.branch(begin)
        builder.position_at_end(begin)
        sums = []
        for value in loaded:
            phi = builder.phi(self.vector)
            phi.add_incoming(ir.Constant(self.vector, [0.0] * self.lanes), before)
            phi.add_incoming(value, given)
            sums.append(phi)
        return sums

    def emit_loop(self, sums):
        """Return the sums after `depth` steps of the inner dimension."""
        whole = self.builder.and_(self.depth, self.constant(-_UNROLL))
        lefts = self.rows_of(self.left, self.left_row) if self.along_rows else [self.left]
        zero = self.constant(0)
        state = self.emit_steps(zero, whole, _UNROLL, lefts, self.right, self.ahead, sums)
        return self.emit_steps(whole, self.depth, 1, *state)[-1]

    def emit_steps(self, begin, end, unroll, lefts, right, far, sums):
        """Take the steps from `begin` to `end`; return the pointers and the sums after them."""
        builder = self.builder
        before = builder.block
        head = builder.append_basic_block("tile.head")
        body = builder.append_basic_block("tile.body")
        after = builder.append_basic_block("tile.after")
        builder.branch(head)

        builder.position_at_end(head)
        firsts = [begin, *lefts, right, far, *sums]
        phis = [builder.phi(value.type) for value in firsts]
        step, *lefts = phis[: 1 + len(lefts)]
        right, far, *sums = phis[1 + len(lefts) :]
        builder.cbranch(builder.icmp_signed("<", step, end), body, after)

        builder.position_at_end(body)
        if unroll > 1 and self.along_rows:
            self.prefetch(far)
        stepped = sums
        for ahead in map(self.constant, range(unroll)):
            stepped = self.emit_step(lefts, right, ahead, stepped)
        ahead = self.constant(unroll)
        following = [
            builder.add(step, ahead),
            *(self.at(left, builder.mul(self.left_step, ahead)) for left in lefts),
            self.at(right, builder.mul(self.right_step, ahead)),
            self.at(far, self.constant(self.lanes)),
            *stepped,
        ]
        for phi, first, value in zip(phis, firsts, following, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(value, body)
        builder.branch(head)
        builder.position_at_end(after)
        return lefts, right, far, sums

    def emit_step(self, lefts, right, ahead, sums):
        """Return the sums after one step of the inner dimension, `ahead` of the pointers."""
        builder = self.builder
        row = self.at(right, builder.mul(self.right_step, ahead))
        rights = [self.load(row, v) for v in range(self.vectors)]
        sums = iter(sums)
        stepped = []
        for i in range(self.height):
            left, offset = (lefts[i], 0) if self.along_rows else (lefts[0], i)
            place = self.at(left, builder.mul(self.left_step, ahead), self.constant(offset))
            factor = emit_splat(builder, builder.load(place, typ=self.element), self.lanes)
            for value in rights:
                stepped.append(emit_fma(self.context, builder, factor, value, next(sums)))
        return stepped

    def emit_finish(self, sums):
        builder, masks = self.builder, self.masks
        zero = ir.Constant(self.vector, [0.0] * self.lanes)
        rate = emit_splat(builder, builder.fneg(self.rate), self.lanes)

        def relu(i, v, value):
            return builder.select(builder.fcmp_ordered("<=", value, zero), zero, value)

        def mask(i, v, value):
            output = self.load(others[i], v, masks[v])
            return builder.select(builder.fcmp_ordered("<=", output, zero), zero, value)

        def descend(i, v, value):
            before = self.load(results[i], v, masks[v])
            return emit_flush(
                builder, emit_fma(self.context, builder, rate, value, before), keep_sign=False
            )

        end = builder.append_basic_block("tile.end")
        default = builder.append_basic_block("tile.finish")
        switch = builder.switch(self.finish, default)
        finishes = {
            Epilogue.STORE: lambda i, v, value: value,
            Epilogue.RELU: relu,
            Epilogue.RELU_MASK: mask,
            Epilogue.DESCENT: descend,
        }
        for code, transform in finishes.items():
            block = default if code == Epilogue.STORE else builder.append_basic_block("tile.finish")
            if code != Epilogue.STORE:
                switch.add_case(self.constant(code), block)
            builder.position_at_end(block)
            results = self.rows_of(self.result, self.result_row)
            others = self.rows_of(self.other, self.other_row)
            places = [(i, v) for i in range(self.height) for v in range(self.vectors)]
            values = [transform(i, v, total) for (i, v), total in zip(places, sums, strict=True)]
            for (i, v), value in zip(places, values, strict=True):
                self.store(value, results[i], v, masks[v])
            builder.branch(end)
        builder.position_at_end(end)


@intrinsic
def _transpose_block(typingctx, result, result_row, source, source_row, rows, columns):
    """result (columns, rows) = source (rows, columns).T for at most `tile_lanes` of each.

    Whole vectors of `result` are written, also behind its last column.
    """
    dtype = result.dtype

    def codegen(context, builder, sig, args):
        result, result_row, source, source_row, rows, columns = args
        lanes = _tile_shape(context, dtype)[2]
        element = ir_float(dtype)
        vector = ir.VectorType(element, lanes)
        mask = emit_tail_mask(builder, columns, lanes)

        def row(base, stride, i, count):
            last = builder.sub(count, ir.Constant(_I64, 1))
            i = ir.Constant(_I64, i)
            i = builder.select(builder.icmp_signed("<", i, count), i, last)
            return builder.gep(base, [builder.mul(i, stride)], source_etype=element)

        values = [
            emit_load(builder, row(source, source_row, i, rows), vector, mask) for i in range(lanes)
        ]
        # Swap ever larger blocks across the diagonal: log2(lanes) rounds of two-vector shuffles.
        size = 1
        while size < lanes:
            low = [j + lanes - size if j & size else j for j in range(lanes)]
            high = [j + lanes if j & size else j + size for j in range(lanes)]
            for i in (i for i in range(lanes) if not i & size):
                pair = values[i], values[i + size]
                for target_row, order in ((i, low), (i + size, high)):
                    indices = ir.Constant(ir.VectorType(ir.IntType(32), lanes), order)
                    values[target_row] = builder.shuffle_vector(*pair, indices)
            size *= 2
        # From the last row back: rows behind the last one fall on it, and are overwritten by it.
        for j in reversed(range(lanes)):
            emit_store(builder, values[j], row(result, result_row, j, columns))

    intp = types.intp
    return types.void(result, intp, source, intp, intp, intp), codegen


@intrinsic
def _copy_vector(typingctx, result, source, count):
    """Copy the first `count` elements of a register's worth, and zeros behind them."""
    dtype = result.dtype

    def codegen(context, builder, sig, args):
        lanes = _tile_shape(context, dtype)[2]
        vector = ir.VectorType(ir_float(dtype), lanes)
        mask = emit_tail_mask(builder, args[2], lanes)
        emit_store(builder, emit_load(builder, args[1], vector, mask), args[0])

    return types.void(result, source, types.intp), codegen


@inner
def panel_width(like, columns):
    """Return the columns of the next panel, of `columns` left: whole vectors."""
    width, step = tile_columns(like), tile_lanes(like)
    return width if columns >= width else (columns + step - 1) // step * step


@inner
def panels_size(like, columns, depth):
    """Return the size of all panels of a right operand (depth, columns)."""
    step = tile_lanes(like)
    return (columns + step - 1) // step * step * depth


@inner
def pack(panel, width, right, right_row, columns, depth):
    """panel (depth, width) = right (depth, columns), with zeros behind the columns."""
    step = tile_lanes(right)
    for k in range(depth):
        for j in range(0, columns, step):
            _copy_vector(panel + (k * width + j), right + (k * right_row + j), columns - j)


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
    share = depth // _UNROLL * tile_lanes(result) // height
    row = 0
    while row < rows:
        taken = min(height, rows - row)
        if left_step != 1 and taken < height:
            taken = 1  # the loop along columns knows whole tiles and single rows
        _tile(
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
