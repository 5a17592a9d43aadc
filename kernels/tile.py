"""The micro-kernel under every matrix product: a tile of the result in registers.

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
from .emit import (
    I32,
    I64,
    emit_call,
    emit_flush,
    emit_fma,
    emit_load,
    emit_splat,
    emit_store,
    emit_tail_mask,
    ir_float,
)

# Steps of the inner dimension in one pass of the loop. With one, the loop's own additions take
# turns from the multiply-adds on their ports: 83 % of the peak instead of 94 %.
UNROLL = 4


def tile_shape(context, dtype):
    """Return (rows, vectors, lanes) of the micro-kernel for the target CPU."""
    row = target.of_codegen(context.codegen())
    return row.tile_rows, row.tile_vectors, row.vector_bytes * 8 // dtype.bitwidth


@intrinsic
def tile_rows(typingctx, like):
    """Return the rows of a tile."""

    def codegen(context, builder, sig, args):
        return context.get_constant(types.intp, tile_shape(context, like.dtype)[0])

    return types.intp(like), codegen


@intrinsic
def tile_columns(typingctx, like):
    """Return the columns of a whole tile, and of a whole panel."""

    def codegen(context, builder, sig, args):
        _, vectors, lanes = tile_shape(context, like.dtype)
        return context.get_constant(types.intp, vectors * lanes)

    return types.intp(like), codegen


@intrinsic
def tile_lanes(typingctx, like):
    """Return the elements of one register."""

    def codegen(context, builder, sig, args):
        return context.get_constant(types.intp, tile_shape(context, like.dtype)[2])

    return types.intp(like), codegen


@intrinsic
def tile(
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
        height, most, lanes = tile_shape(context, dtype)
        left_step, rows, columns = args[4], args[8], args[9]

        def equals_one(value):
            return builder.icmp_signed("==", value, ir.Constant(I64, 1))

        done = builder.append_basic_block("tile.done")
        # A loop for each way to read the left operand, for one row and for a whole tile (which
        # would compute a single row eight times), and for each number of vectors.
        for along_rows, tall, vectors in itertools.product(
            (True, False), (1, height), range(1, most + 1)
        ):
            fits = builder.icmp_signed("<=", columns, ir.Constant(I64, vectors * lanes))
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
        self.lanes = tile_shape(context, dtype)[2]
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
        return ir.Constant(I64, value)

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
        flags = [ir.Constant(I32, flag) for flag in (0, 2, 1)]
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
        whole = self.builder.and_(self.depth, self.constant(-UNROLL))
        lefts = self.rows_of(self.left, self.left_row) if self.along_rows else [self.left]
        zero = self.constant(0)
        state = self.emit_steps(zero, whole, UNROLL, lefts, self.right, self.ahead, sums)
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
