"""AMX in software: the code that is written for its tiles, run on any CPU.

`use` replaces the instructions of tiles by code for eight arrays of memory, so that all around
them can be run: the loops, the addresses of tiles, and what is configured. What the hardware
calculates is tested where there is some (`test_bfloat16.py`).
"""

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from fastnn.kernels import units
from fastnn.kernels.codes import Unit
from fastnn.kernels.emit import I64, emit_call, emit_flush, emit_splat
from fastnn.kernels.target import BF16_TILE_ROWS
from fastnn.program import precision

ROWS = BF16_TILE_ROWS
LINE = ir.ArrayType(ir.IntType(8), 4 * ROWS)
TILE = ir.ArrayType(LINE, ROWS)

events = np.zeros(2, np.int64)
"""How often tiles were configured, and released."""

_tiles = {}  # {function: its eight tiles}


def use():
    """Let kernels that are compiled from now on use AMX, in software."""
    original = units.has_unit
    units._call = _call
    units.has_unit = lambda codegen, unit: unit == Unit.AMX or original(codegen, unit)
    precision.unit_of_cpu = lambda: precision.UnitOfCpu(Unit.AMX, "AMX", "")


def _tile(builder, number):
    function = builder.function
    if function not in _tiles:
        with builder.goto_entry_block():
            _tiles[function] = [builder.alloca(TILE) for _ in range(8)]
        for tile in _tiles[function]:
            tile.align = 64
    return _tiles[function][number.constant]


def _row(builder, tile, row):
    zero = ir.Constant(I64, 0)
    address = builder.gep(tile, [zero, row], source_etype=TILE)
    return builder.bitcast(address, LINE.as_pointer())


def _call(builder, name, *arguments):
    name = name.removeprefix("llvm.x86.")
    if name in ("ldtilecfg", "tilerelease"):
        place = ir.Constant(I64, events.ctypes.data + 8 * (name == "tilerelease"))
        address = builder.inttoptr(place, I64.as_pointer())
        builder.atomic_rmw("add", address, ir.Constant(I64, 1), "seq_cst")
        return
    if name in ("sse.stmxcsr", "sse.ldmxcsr"):
        emit_call(builder, f"llvm.x86.{name}", ir.VoidType(), list(arguments))
        return
    {"tilezero": _zero, "tileloadd64": _load, "tilestored64": _store, "tdpbf16ps": _multiply}[name](
        builder, *arguments
    )


def _zero(builder, number):
    builder.store(ir.Constant(TILE, None), _tile(builder, number))


def _load(builder, number, address, distance):
    tile = _tile(builder, number)
    with cgutils.for_range(builder, ir.Constant(I64, ROWS)) as rows:
        place = builder.gep(
            address, [builder.mul(rows.index, distance)], source_etype=ir.IntType(8)
        )
        value = builder.load(builder.bitcast(place, LINE.as_pointer()), align=1, typ=LINE)
        builder.store(value, _row(builder, tile, rows.index))


def _store(builder, number, address, distance):
    tile = _tile(builder, number)
    with cgutils.for_range(builder, ir.Constant(I64, ROWS)) as rows:
        place = builder.gep(
            address, [builder.mul(rows.index, distance)], source_etype=ir.IntType(8)
        )
        value = builder.load(_row(builder, tile, rows.index), typ=LINE)
        builder.store(value, builder.bitcast(place, LINE.as_pointer()), align=1)


def _multiply(builder, result, left, right):
    """Write what the manual says of TDPBF16PS, row by row; subnormal numbers are put to 0."""
    c, a, b = (_tile(builder, number) for number in (result, left, right))
    vector = ir.VectorType(ir.FloatType(), ROWS)
    words = ir.VectorType(ir.IntType(32), ROWS)

    def flush(value):
        return emit_flush(builder, value, keep_sign=True)

    def numbers(word):
        """Return the even and the odd numbers of words."""
        low = builder.shl(word, ir.Constant(words, [16] * ROWS))
        high = builder.and_(word, ir.Constant(words, [0xFFFF0000] * ROWS))
        return [flush(builder.bitcast(each, vector)) for each in (low, high)]

    with builder.goto_entry_block():
        sums = [builder.alloca(vector) for _ in range(2)]
    with cgutils.for_range(builder, ir.Constant(I64, ROWS)) as rows:
        for each in sums:
            builder.store(ir.Constant(vector, [0.0] * ROWS), each)
        with cgutils.for_range(builder, ir.Constant(I64, ROWS)) as pairs:
            row = builder.bitcast(_row(builder, a, rows.index), ir.IntType(32).as_pointer())
            place = builder.gep(row, [pairs.index], source_etype=ir.IntType(32))
            factor = emit_splat(builder, builder.load(place, typ=ir.IntType(32)), ROWS)
            others = builder.bitcast(_row(builder, b, pairs.index), words.as_pointer())
            others = builder.load(others, align=64, typ=words)
            for total, x, y in zip(sums, numbers(factor), numbers(others), strict=True):
                before = builder.load(total, typ=vector)
                value = emit_call(builder, "llvm.fma.v16f32", vector, [x, y, before])
                builder.store(flush(value), total)
        both = [builder.load(each, typ=vector) for each in sums]
        place = builder.bitcast(_row(builder, c, rows.index), vector.as_pointer())
        before = builder.load(place, align=64, typ=vector)
        total = builder.fadd(before, flush(builder.fadd(*both)))
        builder.store(flush(total), place, align=64)
