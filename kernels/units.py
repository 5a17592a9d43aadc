"""The units that multiply tiles of bfloat16 numbers (`bfloat16.py`), and their micro-kernels.

All read the same tiles, and calculate a block of the result, two by two tiles of float32.

AMX multiplies whole tiles. For each tile of the depth, it forms the sum of the products of the
even numbers and that of the odd numbers, each multiply-add rounded once. It adds the two sums, and
then adds this to the result. Subnormal operands and results count as 0. `EMULATED` does the same in
vectors of float32, with the same bits. `DOT` has an instruction for the dot product of two words,
whose sums have another order: its bits are its own.
"""

import contextlib

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from . import target
from .bfloat16 import WORDS, constant_words
from .codes import Unit
from .emit import I32, I64, emit_call, emit_flush, emit_fma, emit_splat
from .numba_private import machine_of
from .target import BF16_TILE_DEPTH, BF16_TILE_ROWS, BF16_TILE_SIZE

_I8 = ir.IntType(8)
_VECTOR = ir.VectorType(ir.FloatType(), BF16_TILE_ROWS)
_ZEROS = ir.Constant(_VECTOR, [0.0] * BF16_TILE_ROWS)
_PAIRS = BF16_TILE_DEPTH // 2
_BLOCK_ROW = 2 * BF16_TILE_ROWS  # floats of a row of the block
_LINE = 64


class _Numbers(ir.Type):
    """LLVM's vector of 32 bfloat16 numbers, which llvmlite has no type for."""

    def _to_string(self):
        return f"<{BF16_TILE_DEPTH} x bfloat>"

    def __eq__(self, other):
        return isinstance(other, _Numbers)

    def __hash__(self):
        return hash(_Numbers)


def _index(value):
    return ir.Constant(I64, value)


def has_unit(codegen, unit):
    """Return whether the target of a numba code generator has the instructions of a unit."""
    features = machine_of(codegen)[2].split(",")
    needed = {
        Unit.EMULATED: [],
        Unit.DOT: ["+avx512bf16"],
        Unit.AMX: ["+amx-tile", "+amx-bf16"],
    }
    return all(name in features for name in needed[unit])


class _BlockEmitter:
    """Writes the LLVM IR of one block of a product.

    c : the block, (32, 32) float32 by rows.
    a, a_row : left operand: its first tile, and the distance from one row of tiles to the next.
    b, b_column : right operand, likewise.
    depth : tiles along the depth.
    parts : of the operands. With two, the products are those of (first, first), (first, second) and
        (second, first) parts.
    columns : 1 or 2, the columns of tiles.
    """

    def __init__(self, context, builder, c, a, a_row, b, b_column, depth, parts, columns):
        self.context, self.builder = context, builder
        self.c, self.a, self.a_row, self.b, self.b_column = c, a, a_row, b, b_column
        self.depth, self.parts, self.columns = depth, parts, columns

    def words_at(self, tile, *offsets):
        """Return the address of a number of a tile."""
        for offset in offsets:
            tile = self.builder.gep(tile, [offset], source_etype=ir.IntType(16))
        return tile

    def block_at(self, row, column):
        """Return the address of a number of the block, whose column is a Python integer."""
        builder = self.builder
        place = builder.add(builder.mul(row, _index(_BLOCK_ROW)), _index(column))
        return builder.gep(self.c, [place], source_etype=ir.FloatType())

    def variables(self, count):
        """Return variables for vectors: LLVM keeps them in registers."""
        with self.builder.goto_entry_block():
            return [self.builder.alloca(_VECTOR) for _ in range(count)]

    def get(self, variable):
        return self.builder.load(variable, typ=_VECTOR)

    def set(self, variables, value):
        for variable in variables:
            self.builder.store(value, variable)

    @contextlib.contextmanager
    def each_product(self, a, bs):
        """Loop over the depth and the products of parts: yield the tiles of both operands."""
        builder = self.builder
        step = builder.mul(self.parts, _index(BF16_TILE_SIZE))
        products = builder.sub(builder.shl(self.parts, _index(1)), _index(1))
        with (
            cgutils.for_range(builder, self.depth) as tiles,
            cgutils.for_range(builder, products) as product,
        ):
            place = builder.mul(tiles.index, step)

            def part_if(number):
                second = builder.icmp_signed("==", product.index, _index(number))
                return builder.select(second, _index(BF16_TILE_SIZE), _index(0))

            left, right = part_if(2), part_if(1)
            yield self.words_at(a, place, left), [self.words_at(b, place, right) for b in bs]

    def columns_of(self, first, count):
        """Return the right operand's columns of tiles [first, first + count)."""
        return [
            self.words_at(self.b, self.builder.mul(self.b_column, _index(first + v)))
            for v in range(count)
        ]

    @contextlib.contextmanager
    def row_groups(self, height):
        """Loop over groups of rows of the block: yield the first row, and its place in `a`."""
        builder, per_tile = self.builder, BF16_TILE_ROWS // height
        with cgutils.for_range(builder, _index(2 * per_tile)) as group:
            tile = builder.udiv(group.index, _index(per_tile))
            inside = builder.urem(group.index, _index(per_tile))
            row = builder.mul(inside, _index(height * BF16_TILE_DEPTH))
            a = self.words_at(self.a, builder.mul(tile, self.a_row), row)
            yield builder.mul(group.index, _index(height)), a

    # ------------------------------------------------------------------ float32 vectors

    def emit_emulated(self):
        """Write the block with multiply-adds of float32."""
        row = target.of_codegen(self.context.codegen())
        # The sums of even and of odd numbers, the words of the right operand and those of the left
        # one fill the registers: 8 x 2 + 4 + 2 of 32 with AVX-512.
        height, width = (4, self.columns) if row.vector_bytes == 64 else (2, 1)
        with self._flushing() as flush, self.row_groups(height) as (first, a):
            for start in range(0, self.columns, width):
                self._emit_emulated_group(first, a, start, height, width, flush)

    def _emit_emulated_group(self, first, a, start, height, width, flush):
        builder, places = self.builder, [(i, v) for i in range(height) for v in range(width)]
        totals = self.variables(len(places))
        self.set(totals, _ZEROS)
        with self.each_product(a, self.columns_of(start, width)) as (left, rights):
            even, odd = self.variables(len(places)), self.variables(len(places))
            self.set(even + odd, _ZEROS)
            with cgutils.for_range(builder, _index(_PAIRS)) as pair:
                row = builder.mul(pair.index, _index(BF16_TILE_DEPTH))
                b = [
                    self._numbers(self._load_words(self.words_at(right, row)), flush)
                    for right in rights
                ]
                for i in range(height):
                    offset = builder.mul(pair.index, _index(2))
                    place = self.words_at(left, offset, _index(i * BF16_TILE_DEPTH))
                    factors = self._numbers(self._splat_word(place), flush)
                    for v in range(width):
                        for sums, factor, number in zip((even, odd), factors, b[v], strict=True):
                            total = sums[i * width + v]
                            value = emit_fma(self.context, builder, factor, number, self.get(total))
                            builder.store(flush(value), total)
            for total, first_sum, second_sum in zip(totals, even, odd, strict=True):
                both = flush(builder.fadd(self.get(first_sum), self.get(second_sum)))
                builder.store(flush(builder.fadd(self.get(total), both)), total)
        for (i, v), total in zip(places, totals, strict=True):
            address = self.block_at(builder.add(first, _index(i)), (start + v) * BF16_TILE_ROWS)
            builder.store(self.get(total), self._as(address, _VECTOR), align=_LINE)

    def _numbers(self, words, flush):
        """Return the even and the odd numbers of words, in float32."""
        builder = self.builder
        even = builder.shl(words, constant_words(16))
        odd = builder.and_(words, constant_words(0xFFFF0000))
        return [flush(builder.bitcast(word, _VECTOR)) for word in (even, odd)]

    def _as(self, address, kind):
        return self.builder.bitcast(address, kind.as_pointer())

    def _load_words(self, address):
        return self.builder.load(self._as(address, WORDS), align=_LINE, typ=WORDS)

    def _splat_word(self, address):
        word = self.builder.load(self._as(address, I32), align=4, typ=I32)
        return emit_splat(self.builder, word, BF16_TILE_ROWS)

    @contextlib.contextmanager
    def _flushing(self):
        """Yield a function that gives zeros for subnormal numbers; x86 does so by itself.

        There, two bits of the control register do it: with them on, a multiply-add takes no longer.
        All arithmetic stands in loops, whose operands are loaded there: no compiler moves it to
        before or behind the loop. (`tests/test_bfloat16.py` looks at subnormal numbers.)
        """
        builder = self.builder
        if not machine_of(self.context.codegen())[0].startswith(("x86", "i686")):
            yield lambda value: emit_flush(builder, value, keep_sign=True)
            return
        with builder.goto_entry_block():
            before, during = builder.alloca(I32), builder.alloca(I32)
        _call(builder, "llvm.x86.sse.stmxcsr", before)
        flags = builder.or_(builder.load(before, typ=I32), ir.Constant(I32, 0x8040))
        builder.store(flags, during)
        _call(builder, "llvm.x86.sse.ldmxcsr", during)
        yield lambda value: value
        _call(builder, "llvm.x86.sse.ldmxcsr", before)

    # ------------------------------------------------------------------ AVX512-BF16

    def emit_dot(self):
        """Write the block with `vdpbf16ps`, whose operands are words."""
        builder, height = self.builder, 8
        numbers = _Numbers()
        with self.row_groups(height) as (first, a):
            totals = self.variables(height * self.columns)
            self.set(totals, _ZEROS)
            with (
                self.each_product(a, self.columns_of(0, self.columns)) as (left, rights),
                cgutils.for_range(builder, _index(_PAIRS)) as pair,
            ):
                row = builder.mul(pair.index, _index(BF16_TILE_DEPTH))
                b = [self._load_words(self.words_at(right, row)) for right in rights]
                b = [builder.bitcast(words, numbers) for words in b]
                for i in range(height):
                    offset = builder.mul(pair.index, _index(2))
                    place = self.words_at(left, offset, _index(i * BF16_TILE_DEPTH))
                    factor = builder.bitcast(self._splat_word(place), numbers)
                    for v in range(self.columns):
                        total = totals[i * self.columns + v]
                        value = emit_call(
                            builder, "llvm.x86.avx512bf16.dpbf16ps.512", _VECTOR,
                            [self.get(total), factor, b[v]],
                        )  # fmt: skip
                        builder.store(value, total)
            for i in range(height):
                for v in range(self.columns):
                    address = self.block_at(builder.add(first, _index(i)), v * BF16_TILE_ROWS)
                    value = self.get(totals[i * self.columns + v])
                    builder.store(value, self._as(address, _VECTOR), align=_LINE)

    # ------------------------------------------------------------------ AMX

    def emit_amx(self):
        """Write the block with tiles: numbers 0 to 3 of the result, 4 and 5 of the left operand."""
        builder, columns = self.builder, range(self.columns)
        line = _index(2 * BF16_TILE_DEPTH)  # bytes

        def load(tile, address):
            _call(builder, "llvm.x86.tileloadd64", _tile(tile), self._as(address, _I8), line)

        for tile in range(4):
            _call(builder, "llvm.x86.tilezero", _tile(tile))
        with self.each_product(self.a, self.columns_of(0, self.columns)) as (left, rights):
            for v in columns:
                load(6 + v, rights[v])
            for i in range(2):
                load(4 + i, self.words_at(left, builder.mul(self.a_row, _index(i))))
                for v in columns:
                    tiles = map(_tile, (2 * i + v, 4 + i, 6 + v))
                    _call(builder, "llvm.x86.tdpbf16ps", *tiles)
        for i in range(2):
            for v in columns:
                address = self.block_at(_index(i * BF16_TILE_ROWS), v * BF16_TILE_ROWS)
                distance = _index(4 * _BLOCK_ROW)
                place = self._as(address, _I8)
                _call(builder, "llvm.x86.tilestored64", _tile(2 * i + v), place, distance)

    def emit_unknown(self):
        """Write NaN."""
        nan = ir.Constant(_VECTOR, [float("nan")] * BF16_TILE_ROWS)
        for i in range(_BLOCK_ROW):
            for v in range(self.columns):
                address = self.block_at(_index(i), v * BF16_TILE_ROWS)
                self.builder.store(nan, self._as(address, _VECTOR), align=_LINE)


def _tile(number):
    return ir.Constant(_I8, number)


def _call(builder, name, *arguments):
    emit_call(builder, name, ir.VoidType(), list(arguments))


@intrinsic
def multiply_tiles(typingctx, c, a, a_row, b, b_column, depth, parts, unit, columns):
    """Compute a block of a product of tiles; see `_BlockEmitter`.

    Nothing is written behind the `columns`.
    """

    def codegen(context, builder, sig, args):
        *operands, unit, columns = args
        codegen = context.codegen()
        units = {Unit.EMULATED: _BlockEmitter.emit_emulated}
        for code, emit in ((Unit.DOT, _BlockEmitter.emit_dot), (Unit.AMX, _BlockEmitter.emit_amx)):
            if has_unit(codegen, code):
                units[code] = emit
        end = builder.append_basic_block("block.end")
        unknown = builder.append_basic_block("block.unknown")
        combined = builder.add(builder.mul(unit, _index(4)), columns)
        switch = builder.switch(combined, unknown)
        for code, emit in units.items():
            for count in (1, 2):
                here = builder.append_basic_block("block.unit")
                switch.add_case(_index(4 * code + count), here)
                builder.position_at_end(here)
                emit(_BlockEmitter(context, builder, *operands, count))
                builder.branch(end)
        builder.position_at_end(unknown)
        _BlockEmitter(context, builder, *operands, 2).emit_unknown()
        builder.branch(end)
        builder.position_at_end(end)

    n = types.intp
    return types.void(c, a, n, b, n, n, n, n, n), codegen


@intrinsic
def configure_tiles(typingctx, unit):
    """Make the tiles of AMX ready in this thread, if `unit` is AMX."""

    def codegen(context, builder, sig, args):
        if not has_unit(context.codegen(), Unit.AMX):
            return
        # Palette 1; from byte 16 on the bytes of a row, from byte 48 on the rows of each tile.
        rows = [2 * BF16_TILE_DEPTH, 0] * 8 + [0] * 16 + [BF16_TILE_ROWS] * 8 + [0] * 8
        settings = [1] + [0] * 15 + rows
        kind = ir.ArrayType(_I8, len(settings))
        with builder.goto_entry_block():
            place = builder.alloca(kind)
            place.align = _LINE
        with builder.if_then(builder.icmp_signed("==", args[0], _index(Unit.AMX))):
            builder.store(ir.Constant(kind, settings), place)
            _call(builder, "llvm.x86.ldtilecfg", builder.bitcast(place, _I8.as_pointer()))

    return types.void(types.intp), codegen


@intrinsic
def release_tiles(typingctx, unit):
    """Give the tiles of AMX back, if `unit` is AMX."""

    def codegen(context, builder, sig, args):
        if not has_unit(context.codegen(), Unit.AMX):
            return
        with builder.if_then(builder.icmp_signed("==", args[0], _index(Unit.AMX))):
            _call(builder, "llvm.x86.tilerelease")

    return types.void(types.intp), codegen
