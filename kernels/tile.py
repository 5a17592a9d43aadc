"""The micro-kernel under every matrix product: a tile of the result in registers.

The micro-kernel keeps a tile of the result, some rows by some vectors of columns, in registers
while it walks the whole inner dimension. Each step loads one row of the right operand and
broadcasts one element of the left operand for each row: with 8 rows and 3 vectors that is 24
multiply-adds for 11 loads, so arithmetic is the limit and memory is not.

The right operand is read from panels: the columns of one tile, packed row after row and padded to
whole vectors. So rows at distances of a power of two cannot evict each other from the cache, and
the loop needs no masks.

Reading the left operand through two strides makes one micro-kernel serve all products of a
dense layer: `inputs @ weights` (row stride ld, step 1), `inputs.T @ doutputs` (row stride 1,
step ld) and `doutputs @ weights.T` (on a transposed copy of the weights).

Every element of a result is summed by one thread from the first to the last term of the inner
dimension, one multiply-add at a time. So the bits do not depend on tile sizes, vector width or
threads. If that dimension is a batch, callers divide it into blocks (`sums.py`).
"""

import itertools
import math
from typing import NamedTuple

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
    emit_stack,
    emit_store,
    emit_tail_mask,
    ir_float,
)
from .target import UNROLL

# Groups of arguments, for jitted code only: there they cost nothing, but unpacking a named tuple in
# a call from Python would take 10 us.


class Rows(NamedTuple):
    """A matrix by rows: a pointer to its first element, and the distance between two rows."""

    pointer: object
    distance: int


class Columns(NamedTuple):
    """The transpose of such a matrix; the distance is between two columns."""

    pointer: object
    distance: int


class Extent(NamedTuple):
    """The sizes of a product: a result (rows, columns) of sums of `depth` terms."""

    rows: int
    columns: int
    depth: int


class Activate(NamedTuple):
    """The epilogue of a product whose sums are values or their gradients.

    epilogue : STORE, RELU or RELU_MASK. RELU_MASK reads `other`.
    """

    epilogue: int
    other: Rows


class Descend(NamedTuple):
    """The epilogue of a product whose sums are gradients of weights.

    epilogue : STORE or DESCENT, which multiplies them by `rate`.
    """

    epilogue: int
    rate: float


def tile_shape(context, dtype):
    """Return the `TileShape` of the micro-kernel for the target CPU."""
    return target.of_codegen(context.codegen()).shape(dtype.bitwidth)


def _size_of_tile(choose):
    """Return a function for jitted code: `choose` of the tile for the dtype of a pointer."""

    @intrinsic
    def size(typingctx, like):
        def codegen(context, builder, sig, args):
            return context.get_constant(types.intp, choose(tile_shape(context, like.dtype)))

        return types.intp(like), codegen

    return size


tile_rows = _size_of_tile(lambda shape: shape.rows)
part_rows = _size_of_tile(lambda shape: shape.part_rows)
tile_columns = _size_of_tile(lambda shape: shape.columns)
tile_lanes = _size_of_tile(lambda shape: shape.lanes)  # elements of one register
tile_block = _size_of_tile(lambda shape: shape.block)
piece_rows = _size_of_tile(lambda shape: shape.piece_rows)


def _stack_of_tile(choose):
    """Return a function for jitted code: a pointer to `choose` of the tile elements on the stack.

    The memory is valid until the caller returns.
    """

    @intrinsic
    def stack(typingctx, like):
        def codegen(context, builder, sig, args):
            return emit_stack(context, builder, like, choose(tile_shape(context, like.dtype)))

        return like(like), codegen

    return stack


stack_panel = _stack_of_tile(lambda shape: shape.panel_size)
stack_piece = _stack_of_tile(lambda shape: shape.piece_size)


@intrinsic
def is_transposed(typingctx, left):
    """Return whether a left operand is `Columns`."""
    columns = left.instance_class is Columns

    def codegen(context, builder, sig, args):
        return context.get_constant(types.boolean, columns)

    return types.boolean(left), codegen


@intrinsic
def skip_terms(typingctx, left, terms):
    """Return the left operand without the first terms of its sums."""
    columns = left.instance_class is Columns

    def codegen(context, builder, sig, args):
        pointer, distance = (builder.extract_value(args[0], i) for i in (0, 1))
        offset = builder.mul(args[1], distance) if columns else args[1]
        element = context.get_data_type(left[0].dtype)
        moved = builder.gep(pointer, [offset], source_etype=element)
        return builder.insert_value(args[0], moved, 0)

    return left(left, types.intp), codegen


@intrinsic
def tile(typingctx, result, left, panel, ahead, extent, start, ending, row, rows):
    """Compute the rows [row, row + rows) of `products.matmul_panel`: at most a tile of them.

    With a transposed left operand `rows` is `tile_rows`, or at most `part_rows`.
    Whole vectors of the panel are read, also beyond its last column.
    """
    kinds = result, left, panel, ahead, extent, start, ending
    dtype = ahead.dtype

    def codegen(context, builder, sig, args):
        *operands, row, rows = args
        operands = [
            _unpacked(context, builder, dtype, kind, value)
            for kind, value in zip(kinds, operands, strict=True)
        ]
        extent = operands[4]
        shape = tile_shape(context, dtype)
        after = builder.append_basic_block("tile.done")
        # A loop for a low tile (a whole one would compute a single row eight times) and for a whole
        # one, and for each number of vectors.
        lowest = shape.part_rows if kinds[1].instance_class is Columns else 1
        heights, widths = sorted({lowest, shape.rows}), range(1, shape.vectors + 1)
        for tall, vectors in itertools.product(heights, widths):
            fits = builder.and_(
                builder.icmp_signed("<=", extent.columns, ir.Constant(I64, vectors * shape.lanes)),
                builder.icmp_signed("<=", rows, ir.Constant(I64, tall)),
            )
            here = builder.append_basic_block(f"tile.{tall}x{vectors}")
            other_size = builder.append_basic_block("tile.other")
            builder.cbranch(fits, here, other_size)
            builder.position_at_end(here)
            emitter = _TileEmitter(context, builder, dtype, tall, vectors)
            emitter.emit(*operands, row, rows)
            builder.branch(after)
            builder.position_at_end(other_size)
        builder.branch(after)
        builder.position_at_end(after)

    return types.void(*kinds, types.intp, types.intp), codegen


def _unpacked(context, builder, dtype, kind, value):
    """Return a named tuple as one of LLVM values: integers of 64 bits, and numbers of `dtype`."""
    if isinstance(kind, types.NoneType):
        return None
    if isinstance(kind, types.BaseNamedTuple):
        parts = [
            _unpacked(context, builder, dtype, part, builder.extract_value(value, i))
            for i, part in enumerate(kind)
        ]
        return kind.instance_class(*parts)
    if isinstance(kind, types.Integer):
        return context.cast(builder, value, kind, types.int64)
    if isinstance(kind, types.Float):
        return context.cast(builder, value, kind, dtype)
    return value


class _TileEmitter:
    """Writes the LLVM IR of one micro-kernel, of a fixed number of rows and vectors."""

    def __init__(self, context, builder, dtype, height, vectors):
        self.context, self.builder = context, builder
        self.height, self.vectors = height, vectors
        self.is_part = height < tile_shape(context, dtype).rows
        self.lanes = tile_shape(context, dtype).lanes
        self.element = ir_float(dtype)
        self.vector = ir.VectorType(self.element, self.lanes)

    def constant(self, value):
        return ir.Constant(I64, value)

    def at(self, base, *offsets):
        """Return the pointer `base` plus the sum of `offsets`, in elements."""
        for offset in offsets:
            base = self.builder.gep(base, [offset], source_etype=self.element)
        return base

    def rows_of(self, matrix):
        """Return the pointers to the tile's rows of `matrix`."""
        begin = self.at(matrix.pointer, self.builder.mul(self.row, matrix.distance))
        return [self.at(begin, self.builder.mul(i, matrix.distance)) for i in self.row_ids]

    def load(self, row, vector, mask=None):
        pointer = self.at(row, self.constant(vector * self.lanes))
        return emit_load(self.builder, pointer, self.vector, mask)

    def prefetch(self, pointer):
        """Prefetch the line at `pointer` into the L2 cache. Any address is safe."""
        flags = [ir.Constant(I32, flag) for flag in (0, 2, 1)]
        emit_call(self.builder, "llvm.prefetch.p0", ir.VoidType(), [pointer, *flags])

    def store(self, value, row, vector, mask=None):
        pointer = self.at(row, self.constant(vector * self.lanes))
        emit_store(self.builder, value, pointer, mask)

    def emit(self, result, left, panel, ahead, extent, start, ending, row, rows):
        builder = self.builder
        self.row = row
        last = builder.sub(rows, self.constant(1))
        # Rows after the last one repeat it: they compute and store the same values again. This is
        # harmless, as every load of a tile comes before its first store.
        self.row_ids = [self.constant(0)]
        for i in map(self.constant, range(1, self.height)):
            inside = builder.icmp_signed("<", i, rows)
            self.row_ids.append(builder.select(inside, i, last))
        before = self.constant((self.vectors - 1) * self.lanes)
        rest = builder.sub(extent.columns, before)
        # Only the last vector may reach beyond the columns.
        last = emit_tail_mask(builder, rest, self.lanes)
        self.masks = [None] * (self.vectors - 1) + [last]
        self.along_rows = isinstance(left, Rows)
        if self.along_rows:
            # Constants, so that the terms of a pass of the loop share their pointers.
            self.left_step = self.constant(1)
            self.panel_step = self.constant(self.vectors * self.lanes)
            lefts = self.rows_of(left)
        else:
            self.left_step, self.panel_step = left.distance, panel.distance
            lefts = [self.at(left.pointer, row)]
            if self.is_part:  # what lies behind the last row may not be there
                lefts = [self.at(lefts[0], i) for i in self.row_ids]
        sums = self.emit_loop(extent.depth, lefts, panel.pointer, ahead, self.emit_start(start))
        self.emit_ending(result, ending, sums)

    def emit_start(self, start):
        """Return the first sums: the rows of `start` (a bias has row stride 0), or zeros."""
        builder = self.builder
        present = builder.append_basic_block("tile.start")
        begin = builder.append_basic_block("tile.begin")
        before = builder.block
        absent = builder.icmp_unsigned("==", start.pointer, ir.Constant(start.pointer.type, None))
        builder.cbranch(absent, begin, present)
        builder.position_at_end(present)
        loaded = [
            self.load(row, v, self.masks[v])
            for row in self.rows_of(start)
            for v in range(self.vectors)
        ]
        builder.branch(begin)
        builder.position_at_end(begin)
        sums = []
        for value in loaded:
            phi = builder.phi(self.vector)
            phi.add_incoming(ir.Constant(self.vector, [0.0] * self.lanes), before)
            phi.add_incoming(value, present)
            sums.append(phi)
        return sums

    def emit_loop(self, depth, lefts, right, ahead, sums):
        """Return the sums of `depth` terms."""
        whole = self.builder.and_(depth, self.constant(-UNROLL))
        state = self.emit_terms(self.constant(0), whole, UNROLL, lefts, right, ahead, sums)
        return self.emit_terms(whole, depth, 1, *state)[-1]

    def emit_terms(self, begin, end, unroll, lefts, right, far, sums):
        """Add the terms from `begin` to `end`; return the pointers and the sums after them."""
        builder = self.builder
        before = builder.block
        head = builder.append_basic_block("tile.head")
        body = builder.append_basic_block("tile.body")
        after = builder.append_basic_block("tile.after")
        builder.branch(head)

        builder.position_at_end(head)
        firsts = [begin, *lefts, right, far, *sums]
        phis = [builder.phi(value.type) for value in firsts]
        term, *lefts = phis[: 1 + len(lefts)]
        right, far, *sums = phis[1 + len(lefts) :]
        builder.cbranch(builder.icmp_signed("<", term, end), body, after)

        builder.position_at_end(body)
        if unroll > 1:
            self.prefetch(far)
        total = sums
        for ahead in map(self.constant, range(unroll)):
            total = self.emit_term(lefts, right, ahead, total)
        ahead = self.constant(unroll)
        following = [
            builder.add(term, ahead),
            *(self.at(left, builder.mul(self.left_step, ahead)) for left in lefts),
            self.at(right, builder.mul(self.panel_step, ahead)),
            self.at(far, self.constant(self.lanes)),
            *total,
        ]
        for phi, first, value in zip(phis, firsts, following, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(value, body)
        builder.branch(head)
        builder.position_at_end(after)
        return lefts, right, far, sums

    def emit_term(self, lefts, right, ahead, sums):
        """Return the sums with the term that is `ahead` of the pointers."""
        builder = self.builder
        row = self.at(right, builder.mul(self.panel_step, ahead))
        rights = [self.load(row, v) for v in range(self.vectors)]
        sums = iter(sums)
        total = []
        for i in range(self.height):
            left, offset = (lefts[i], 0) if len(lefts) > 1 else (lefts[0], i)
            place = self.at(left, builder.mul(self.left_step, ahead), self.constant(offset))
            factor = emit_splat(builder, builder.load(place, typ=self.element), self.lanes)
            for value in rights:
                total.append(emit_fma(self.context, builder, factor, value, next(sums)))
        return total

    def emit_ending(self, result, ending, sums):
        """Apply the epilogue to the sums and store them; an unknown epilogue stores NaN."""
        builder, masks = self.builder, self.masks
        places = [(i, v) for i in range(self.height) for v in range(self.vectors)]
        zero = ir.Constant(self.vector, [0.0] * self.lanes)
        results = self.rows_of(result)

        def store(transform):
            values = [transform(i, v, total) for (i, v), total in zip(places, sums, strict=True)]
            for (i, v), value in zip(places, values, strict=True):
                self.store(value, results[i], v, masks[v])

        def scalar(value):
            return ir.Constant(self.element, value)

        def is_epilogue(code):
            return builder.icmp_signed("==", ending.epilogue, self.constant(code))

        def replace(i, v, value):
            return builder.select(builder.fcmp_ordered("<=", value, limit), other, value)

        def mask(i, v, value):
            output = self.load(others[i], v, masks[v])
            return builder.select(builder.fcmp_ordered("<=", output, zero), zero, value)

        def descend(i, v, value):
            before = self.load(results[i], v, masks[v])
            return emit_flush(
                builder, emit_fma(self.context, builder, rate, value, before), keep_sign=False
            )

        if ending is None:
            store(lambda i, v, value: value)
            return
        # One piece of code for all that looks at the sums only, as each takes time to compile. Sums
        # up to `limit` are replaced: by STORE none, as the limit is NaN; of an unknown code all.
        limit = builder.select(is_epilogue(Epilogue.STORE), scalar(math.nan), scalar(math.inf))
        other = scalar(math.nan)
        if isinstance(ending, Activate):
            is_relu = is_epilogue(Epilogue.RELU)
            limit, other = (builder.select(is_relu, scalar(0.0), at) for at in (limit, other))
            others = self.rows_of(ending.other)
            code, transform = Epilogue.RELU_MASK, mask
        else:
            rate = emit_splat(builder, builder.fneg(ending.rate), self.lanes)
            code, transform = Epilogue.DESCENT, descend
        limit, other = (emit_splat(builder, value, self.lanes) for value in (limit, other))
        with builder.if_else(is_epilogue(code)) as (then, otherwise):
            with then:
                store(transform)
            with otherwise:
                store(replace)
