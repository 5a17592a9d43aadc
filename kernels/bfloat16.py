"""Operands of a product in bfloat16: float32 numbers rounded and packed into tiles.

A bfloat16 number is the upper half of a float32 number, rounded to nearest, ties to even. An
operand has one part, its numbers rounded, or two, which add up to 16 bits of each number: what the
rounding leaves is rounded too. The tiles of the parts of a block stand one behind the other.

A tile has 1,024 bytes, which are 16 rows of 16 words of 32 bits. A word holds two numbers that
are neighbors along the depth of the product. So there are four ways to pack a block of a matrix:

- as a left operand: 16 rows of 32 numbers. A row of the tile has the numbers of a row;
- as a right operand: 32 rows of 16 numbers. A row of the tile has the pairs of two rows;
- the transpose as a left operand is the tile of the second way with its words transposed;
- the transpose as a right operand is the tile of the first way with its words transposed.

These are the tiles of AMX ("Intel 64 and IA-32 Architectures Software Developer's Manual",
`TDPBF16PS`). The other units of `units.py` read the same.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .emit import I32, I64, emit_load, emit_stack, emit_tail_mask, emit_transpose
from .jit import inner
from .pointers import Pointer
from .target import BF16_TILE_DEPTH, BF16_TILE_ROWS, BF16_TILE_SIZE

_VECTOR = ir.VectorType(ir.FloatType(), BF16_TILE_ROWS)
WORDS = ir.VectorType(I32, BF16_TILE_ROWS)
_LINE = 64  # bytes of a row of a tile, which is aligned to it


def constant_words(bits):
    """Return a vector of words that all have these bits."""
    return ir.Constant(WORDS, [bits] * BF16_TILE_ROWS)


def _emit_round(builder, values):
    """Return words whose upper halves are the numbers in bfloat16; the lower halves are 0.

    An overflow gives infinity, and NaN stays NaN, which is made quiet: the rounding of one whose
    bits are all in its lower half would give infinity.
    """
    bits = builder.bitcast(values, WORDS)
    last = builder.and_(builder.lshr(bits, constant_words(16)), constant_words(1))
    rounded = builder.add(bits, builder.add(last, constant_words(0x7FFF)))
    is_nan = builder.fcmp_unordered("uno", values, values)
    rounded = builder.select(is_nan, builder.or_(bits, constant_words(1 << 22)), rounded)
    return builder.and_(rounded, constant_words(0xFFFF0000))


def _emit_rest(builder, values):
    """Return what the rounding of numbers leaves: 0 where it gives infinity or NaN."""
    rounded = _emit_round(builder, values)
    rest = builder.fsub(values, builder.bitcast(rounded, _VECTOR))
    exponent = constant_words(0xFF << 23)
    is_huge = builder.icmp_unsigned("==", builder.and_(rounded, exponent), exponent)
    return builder.select(is_huge, ir.Constant(_VECTOR, [0.0] * _VECTOR.count), rest)


def _emit_part(builder, values, part):
    """Return the words of the first or second part of numbers."""
    return _emit_round(builder, _emit_rest(builder, values) if part else values)


def _load(builder, source, offset, count):
    """Load up to 16 numbers of which `count` remain; the others are 0."""
    source = builder.gep(source, [ir.Constant(I64, offset)], source_etype=ir.FloatType())
    mask = emit_tail_mask(builder, count, BF16_TILE_ROWS)
    return emit_load(builder, source, _VECTOR, mask)


def _store(builder, words, result, part):
    place = ir.Constant(I64, part * BF16_TILE_SIZE)
    address = builder.gep(result, [place], source_etype=ir.IntType(16))
    builder.store(words, builder.bitcast(address, WORDS.as_pointer()), align=_LINE)


def _words_of(part):
    """Return two functions for jitted code that write a row of a tile of one part."""

    @intrinsic
    def row_words(typingctx, result, source, count):
        """A row of a tile = the first `count` of 32 numbers at `source`, and zeros behind them."""

        def codegen(context, builder, sig, args):
            result, source, count = args
            halves = []
            for offset in (0, BF16_TILE_ROWS):
                rest = builder.sub(count, ir.Constant(I64, offset))
                values = _load(builder, source, offset, rest)
                halves.append(builder.lshr(_emit_part(builder, values, part), constant_words(16)))
            order = ir.Constant(ir.VectorType(I32, BF16_TILE_DEPTH), list(range(BF16_TILE_DEPTH)))
            both = builder.shuffle_vector(*halves, order)
            numbers = builder.trunc(both, ir.VectorType(ir.IntType(16), BF16_TILE_DEPTH))
            _store(builder, builder.bitcast(numbers, WORDS), result, part)

        return types.void(result, source, types.intp), codegen

    @intrinsic
    def pair_words(typingctx, result, first, second, count, second_count):
        """A row of a tile = pairs of the first numbers of two rows, and zeros behind them."""

        def codegen(context, builder, sig, args):
            result, first, second, count, second_count = args
            low = _emit_part(builder, _load(builder, first, 0, count), part)
            high = _emit_part(builder, _load(builder, second, 0, second_count), part)
            words = builder.or_(builder.lshr(low, constant_words(16)), high)
            _store(builder, words, result, part)

        return types.void(result, first, second, types.intp, types.intp), codegen

    return row_words, pair_words


_row_words, _pair_words = _words_of(0)
_row_rest, _pair_rest = _words_of(1)


@intrinsic
def _transpose_words(typingctx, result, source):
    """result = the transpose of a tile of 16 x 16 words."""

    def codegen(context, builder, sig, args):
        result, source = args
        size = BF16_TILE_ROWS

        def row(tile, i):
            place = ir.Constant(I64, i * BF16_TILE_DEPTH)
            address = builder.gep(tile, [place], source_etype=ir.IntType(16))
            return builder.bitcast(address, WORDS.as_pointer())

        values = [builder.load(row(source, i), align=_LINE, typ=WORDS) for i in range(size)]
        for i, value in enumerate(emit_transpose(builder, values)):
            builder.store(value, row(result, i), align=_LINE)

    return types.void(result, source), codegen


@intrinsic
def _stack_tiles(typingctx, like):
    """Return a pointer to two tiles on the stack, valid until the caller returns."""

    def codegen(context, builder, sig, args):
        return emit_stack(context, builder, like, 2 * BF16_TILE_SIZE)

    return like(like), codegen


@intrinsic
def stack_block(typingctx, like):
    """Return a pointer to two by two tiles of float32 on the stack, likewise."""
    block = Pointer(types.float32)

    def codegen(context, builder, sig, args):
        return emit_stack(context, builder, block, 4 * BF16_TILE_ROWS * BF16_TILE_ROWS)

    return block(like), codegen


@inner
def depth_tiles(depth):
    """Return how many tiles the depth of a product takes."""
    return (depth + BF16_TILE_DEPTH - 1) // BF16_TILE_DEPTH


@inner
def _pack_rows(tile, source, distance, rows, columns, parts):
    """Pack a block of up to 16 rows of up to 32 numbers as a left operand."""
    for i in range(BF16_TILE_ROWS):
        # The numbers of rows that are not there are not read.
        place, count = source, 0
        if i < rows:
            place, count = source + i * distance, columns
        _row_words(tile + i * BF16_TILE_DEPTH, place, count)
        if parts > 1:
            _row_rest(tile + i * BF16_TILE_DEPTH, place, count)


@inner
def _pack_pairs(tile, source, distance, rows, columns, parts):
    """Pack a block of up to 32 rows of up to 16 numbers as a right operand."""
    for i in range(BF16_TILE_ROWS):
        first, count, second, second_count = source, 0, source, 0
        if 2 * i < rows:
            first, count = source + 2 * i * distance, columns
        if 2 * i + 1 < rows:
            second, second_count = source + (2 * i + 1) * distance, columns
        _pair_words(tile + i * BF16_TILE_DEPTH, first, second, count, second_count)
        if parts > 1:
            _pair_rest(tile + i * BF16_TILE_DEPTH, first, second, count, second_count)


@inner
def _transpose(tile, scratch, parts):
    for part in range(parts):
        _transpose_words(tile + part * BF16_TILE_SIZE, scratch + part * BF16_TILE_SIZE)


@inner
def pack_left(tiles, across, source, distance, rows, columns, parts):
    """Pack rows (rows, columns) as a left operand, of depth `columns`.

    `across` : elements from one row of tiles to the next, here and below.
    """
    step = parts * BF16_TILE_SIZE
    for row in range(0, rows, BF16_TILE_ROWS):
        for k in range(depth_tiles(columns)):
            column = k * BF16_TILE_DEPTH
            _pack_rows(
                tiles + (row // BF16_TILE_ROWS * across + k * step),
                source + (row * distance + column), distance,
                rows - row, columns - column, parts,
            )  # fmt: skip


@inner
def pack_right(tiles, across, source, distance, rows, columns, parts):
    """Pack rows (rows, columns) as a right operand, of depth `rows`."""
    step = parts * BF16_TILE_SIZE
    for column in range(0, columns, BF16_TILE_ROWS):
        for k in range(depth_tiles(rows)):
            row = k * BF16_TILE_DEPTH
            _pack_pairs(
                tiles + (column // BF16_TILE_ROWS * across + k * step),
                source + (row * distance + column), distance,
                rows - row, columns - column, parts,
            )  # fmt: skip


@inner
def pack_left_transposed(tiles, across, source, distance, rows, columns, parts):
    """Pack the transpose of rows (rows, columns) as a left operand, of depth `rows`."""
    scratch, step = _stack_tiles(tiles), parts * BF16_TILE_SIZE
    for column in range(0, columns, BF16_TILE_ROWS):
        for k in range(depth_tiles(rows)):
            row = k * BF16_TILE_DEPTH
            _pack_pairs(
                scratch, source + (row * distance + column), distance,
                rows - row, columns - column, parts,
            )  # fmt: skip
            _transpose(tiles + (column // BF16_TILE_ROWS * across + k * step), scratch, parts)


@inner
def pack_right_transposed(tiles, across, source, distance, rows, columns, parts):
    """Pack the transpose of rows (rows, columns) as a right operand, of depth `columns`."""
    scratch, step = _stack_tiles(tiles), parts * BF16_TILE_SIZE
    for row in range(0, rows, BF16_TILE_ROWS):
        for k in range(depth_tiles(columns)):
            column = k * BF16_TILE_DEPTH
            _pack_rows(
                scratch, source + (row * distance + column), distance,
                rows - row, columns - column, parts,
            )  # fmt: skip
            _transpose(tiles + (row // BF16_TILE_ROWS * across + k * step), scratch, parts)
