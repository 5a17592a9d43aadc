"""The matrix product under everything: one register-tiled micro-kernel and the loops around it.

The micro-kernel keeps a tile of the result, some rows by some vectors of columns, in registers
while it walks the whole inner dimension. Each step loads one row of the right operand and
broadcasts one element of the left operand for each row: with 8 rows and 3 vectors that is 24
multiply-adds for 11 loads, so arithmetic is the limit and memory is not.

Reading the left operand through two strides makes one micro-kernel serve all products of a
dense layer: `inputs @ weights` (row stride ld, step 1), `inputs.T @ doutputs` (row stride 1,
step ld) and `doutputs @ weights.T` (on a transposed copy of the weights).

Every element of a result is summed by one thread from the first to the last term of the inner
dimension, one multiply-add at a time, whatever the tile: the bits do not depend on tile sizes,
vector width or threads.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import target
from .jit import inner
from .simd import (
    emit_fma,
    emit_load,
    emit_splat,
    emit_store,
    emit_tail_mask,
    get,
    ir_float,
    lanes,
    load_part,
    null,
    put,
    scratch,
    splat,
    store_part,
)
from .table import FINISH_DESCEND, FINISH_MASK, FINISH_RELU, STORE

_I64 = ir.IntType(64)


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
    """Return the columns of a whole tile."""

    def codegen(context, builder, sig, args):
        _, vectors, lanes = _tile_shape(context, like.dtype)
        return context.get_constant(types.intp, vectors * lanes)

    return types.intp(like), codegen


@intrinsic
def _tile(
    typingctx,
    result, result_row,
    left, left_row, left_step,
    right, right_step,
    rows, columns, depth,
    start, start_row,
    finish, other, other_row, rate,
):  # fmt: skip
    """Compute one tile of at most `tile_rows` by `tile_columns`; see `matmul` for the arguments."""
    dtype = result.dtype

    def codegen(context, builder, sig, args):
        tile = _TileEmitter(context, builder, dtype, args)
        # The number of vectors is fixed in each copy of the loop; only the last one is masked.
        done = builder.append_basic_block("tile.done")
        whole = builder.icmp_signed("==", tile.columns, tile.constant(tile.vectors * tile.lanes))
        for vectors, masked in [(tile.vectors, False)] + [
            (count, True) for count in range(tile.vectors, 0, -1)
        ]:
            if masked:
                fits = builder.icmp_signed(
                    ">", tile.columns, tile.constant((vectors - 1) * tile.lanes)
                )
            else:
                fits = whole
            here = builder.append_basic_block(f"tile.{vectors}")
            other_width = builder.append_basic_block("tile.narrower")
            builder.cbranch(fits, here, other_width)
            builder.position_at_end(here)
            tile.emit(vectors, masked)
            builder.branch(done)
            builder.position_at_end(other_width)
        builder.branch(done)
        builder.position_at_end(done)

    intp, pointer = types.intp, result
    sig = types.void(
        pointer, intp,
        pointer, intp, intp,
        pointer, intp,
        intp, intp, intp,
        pointer, intp,
        intp, pointer, intp, dtype,
    )  # fmt: skip
    return sig, codegen


class _TileEmitter:
    """Writes the LLVM IR of one micro-kernel."""

    def __init__(self, context, builder, dtype, args):
        self.context, self.builder = context, builder
        self.height, self.vectors, self.lanes = _tile_shape(context, dtype)
        self.element = ir_float(dtype)
        self.vector = ir.VectorType(self.element, self.lanes)
        (
            self.result, self.result_row,
            self.left, self.left_row, self.left_step,
            self.right, self.right_step,
            self.rows, self.columns, self.depth,
            self.start, self.start_row,
            self.finish, self.other, self.other_row, self.rate,
        ) = args  # fmt: skip
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

    def load(self, row, vector, mask):
        pointer = self.at(row, self.constant(vector * self.lanes))
        return emit_load(self.builder, pointer, self.vector, mask)

    def emit(self, vectors, masked):
        builder = self.builder
        masks = [None] * vectors
        if masked:
            taken = self.constant((vectors - 1) * self.lanes)
            masks[-1] = emit_tail_mask(builder, builder.sub(self.columns, taken), self.lanes)
        sums = self.emit_start(vectors, masks)
        sums = self.emit_loop(vectors, masks, sums)
        self.emit_finish(vectors, masks, sums)

    def emit_start(self, vectors, masks):
        """Return the first sums: the rows of `start` (a bias has row stride 0), or zeros."""
        builder = self.builder
        given = builder.append_basic_block("tile.start")
        begin = builder.append_basic_block("tile.begin")
        before = builder.block
        absent = builder.icmp_unsigned("==", self.start, ir.Constant(self.start.type, None))
        builder.cbranch(absent, begin, given)
        builder.position_at_end(given)
        loaded = [
            self.load(row, v, masks[v])
            for row in self.rows_of(self.start, self.start_row)
            for v in range(vectors)
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

    def emit_loop(self, vectors, masks, sums):
        """Return the sums after `depth` steps of the inner dimension."""
        builder = self.builder
        lefts = self.rows_of(self.left, self.left_row)
        before = builder.block
        head = builder.append_basic_block("tile.head")
        body = builder.append_basic_block("tile.body")
        after = builder.append_basic_block("tile.after")
        builder.branch(head)

        builder.position_at_end(head)
        count, left_offset = builder.phi(_I64), builder.phi(_I64)
        right = builder.phi(self.right.type)
        phis = [builder.phi(self.vector) for _ in sums]
        builder.cbranch(builder.icmp_signed("<", count, self.depth), body, after)

        builder.position_at_end(body)
        rights = [self.load(right, v, masks[v]) for v in range(vectors)]
        stepped = []
        for i, row in enumerate(lefts):
            scalar = builder.load(self.at(row, left_offset), typ=self.element)
            factor = emit_splat(builder, scalar, self.lanes)
            for v in range(vectors):
                stepped.append(
                    emit_fma(self.context, builder, factor, rights[v], phis[i * vectors + v])
                )
        pairs = [
            (count, self.constant(0), builder.add(count, self.constant(1))),
            (left_offset, self.constant(0), builder.add(left_offset, self.left_step)),
            (right, self.right, self.at(right, self.right_step)),
            *zip(phis, sums, stepped, strict=True),
        ]
        for phi, first, following in pairs:
            phi.add_incoming(first, before)
            phi.add_incoming(following, body)
        builder.branch(head)
        builder.position_at_end(after)
        return phis

    def emit_finish(self, vectors, masks, sums):
        builder = self.builder
        zero = ir.Constant(self.vector, [0.0] * self.lanes)
        rate = emit_splat(builder, builder.fneg(self.rate), self.lanes)

        def relu(i, v, value):
            return builder.select(builder.fcmp_ordered("<=", value, zero), zero, value)

        def mask(i, v, value):
            output = self.load(others[i], v, masks[v])
            return builder.select(builder.fcmp_ordered("<=", output, zero), zero, value)

        def descend(i, v, value):
            return emit_fma(self.context, builder, rate, value, self.load(results[i], v, masks[v]))

        end = builder.append_basic_block("tile.end")
        finishes = {
            STORE: lambda i, v, value: value,
            FINISH_RELU: relu,
            FINISH_MASK: mask,
            FINISH_DESCEND: descend,
        }
        default = builder.append_basic_block("tile.finish")
        switch = builder.switch(self.finish, default)
        for code, transform in finishes.items():
            block = default if code == STORE else builder.append_basic_block("tile.finish")
            if code != STORE:
                switch.add_case(self.constant(code), block)
            builder.position_at_end(block)
            results = self.rows_of(self.result, self.result_row)
            others = self.rows_of(self.other, self.other_row) if code == FINISH_MASK else []
            values = [
                transform(i, v, sums[i * vectors + v])
                for i in range(self.height)
                for v in range(vectors)
            ]
            for n, value in enumerate(values):
                i, v = divmod(n, vectors)
                pointer = self.at(results[i], self.constant(v * self.lanes))
                emit_store(builder, value, pointer, masks[v])
            builder.branch(end)
        builder.position_at_end(end)


@inner
def matmul(
    result, result_row,
    left, left_row, left_step,
    right, right_step,
    rows, columns, depth,
    start, start_row,
    finish, other, other_row, rate,
):  # fmt: skip
    """result (rows, columns) = finish(start + left (rows, depth) @ right (depth, columns)).

    All arrays are pointers; `*_row` and `*_step` are distances in elements: from one row to the
    next, and from one step of the inner dimension to the next. Columns of `result`, `right`,
    `start` and `other` are contiguous. `start` may be null (zeros) and may be `result`, which
    continues a sum. `finish` is one of those of `table.py`.
    """
    height, width = tile_rows(result), tile_columns(result)
    for column in range(0, columns, width):
        for row in range(0, rows, height):
            begin = start
            if start_row >= 0:
                begin = start + (row * start_row + column)
            _tile(
                result + (row * result_row + column), result_row,
                left + row * left_row, left_row, left_step,
                right + column, right_step,
                min(height, rows - row), min(width, columns - column), depth,
                begin, start_row,
                finish, other + (row * other_row + column), other_row, rate,
            )  # fmt: skip


# A panel of the transposed right operand: at most 48 columns (the widest tile) by 256 steps of
# float32, 48 KiB on the stack; float64 tiles have half the columns.
_PANEL_DEPTH = 256
_PANEL_SIZE = 48 * _PANEL_DEPTH


@inner
def matmul_transposed(
    result, result_row,
    left, left_row, left_step,
    right, right_row,
    rows, columns, depth,
    finish, other, other_row, rate,
):  # fmt: skip
    """result (rows, columns) = finish(left (rows, depth) @ right (columns, depth).T).

    As `matmul`, with rows of `right` in place of its columns: they are transposed, a panel at a
    time, into a buffer on the stack. Sums go on from one panel to the next through `result`, so
    each is still formed in the order of `depth`, with the bits of `matmul` on a transposed copy.
    """
    width = tile_columns(result)
    panel = scratch(result, _PANEL_SIZE)
    for column in range(0, columns, width):
        taken = min(width, columns - column)
        part = result + column
        for step in range(0, max(depth, 1), _PANEL_DEPTH):
            steps = min(_PANEL_DEPTH, depth - step)
            transpose(panel, width, right + (column * right_row + step), right_row, taken, steps)
            last = step + steps >= depth
            matmul(
                part, result_row,
                left + step * left_step, left_row, left_step,
                panel, width,
                rows, taken, steps,
                part if step > 0 else null(result), result_row if step > 0 else -1,
                finish if last else STORE, other + column, other_row, rate,
            )  # fmt: skip


@inner
def transpose(result, result_row, source, source_row, rows, columns):
    """result (columns, rows) = source (rows, columns).T at two pointers."""
    for i in range(rows):
        row = source + i * source_row
        for j in range(columns):
            put(result + (j * result_row + i), get(row + j))


@inner
def column_sums(result, source, source_row, rows, columns):
    """result (columns,) = sum of source (rows, columns) over the rows, from first to last."""
    step = lanes(source)
    for j in range(0, columns, step):
        taken = min(step, columns - j)
        total = splat(source, 0.0)
        for i in range(rows):
            total = total + load_part(source + (i * source_row + j), taken, 0.0)
        store_part(result + j, total, taken)
