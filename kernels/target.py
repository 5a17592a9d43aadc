"""The vector instructions of the CPU, and all sizes of tiles and blocks.

The feature list of a target is not enough: a CPU name (`NUMBA_CPU_NAME`) implies features that are
not in the list. So a two-line function is compiled for the target, and its assembly shows which
registers and which multiply-add LLVM uses.
"""

import functools
import math
from typing import NamedTuple

# ----------------------------------------------------------- sizes that are the same on every CPU
# No result depends on them or on the tiles: the order of each sum is fixed.

CACHE_LINE = 64
"""Bytes. Buffers, parts of a workspace and their rows begin at a multiple of it."""

L1_SET_DISTANCE = 2048
"""Bytes. Rows at distances that are multiples of it compete for two sets of the L1 cache.

Caches of 32 and 48 KiB have 64 sets of lines, which repeat after 4 KiB.
"""

UNROLL = 4
"""Terms of the inner dimension in one pass of a tile's loop.

With one term, the additions of the loop counter use ports that the multiply-adds need: 83 % of the
peak instead of 94 %.
"""

PANEL_DEPTH = 1024
"""Terms of the inner dimension for which a panel is packed on the stack.

Such a panel takes 192 KiB for tiles of 48 float32: a part of the L2 cache. With a fourth of them,
which fit the L1 cache, sums go on in the result four times as often: a product of matrices of
(1024, 1024) took 1.18 times as long.
"""

TRANSPOSED_DEPTH = 256
"""Terms of the inner dimension for which a block of a transposed left operand is packed.

The block has as many elements as a panel of `PANEL_DEPTH`: 192 rows of the result for tiles of 48
columns. Blocks of 512 and 1,024 terms, and blocks of 384 rows, took within 2 % of the same time.
"""

LARGE_OPERAND = 3 * 2**17
"""Elements: 1.5 MiB of float32. A transposed left operand of this size is packed if the result has
enough columns.

New time / old time for (batch, inputs, outputs): 0.64 for (512, 2048, 2048), 0.81 for (1024, 512,
512) and 0.96 for (512, 784, 512); but 1.03 for (256, 784, 512), whose operand stays in the L2
cache, and 1.06 for (4000, 128, 128), where few columns share the cost of a block.
"""

ENOUGH_COLUMNS = 256
"""Columns of the result, at least, that a large operand is packed for."""

MOST_PIECE_ROWS = 96
"""Rows of a weight matrix, at most, whose gradient is formed in one go.

It is small enough that these rows and their inputs stay in the L2 cache, and that a piece of the
gradient fits on the stack (18 KiB of float32). It is large enough that each panel of output
gradients is used often.
"""

LONG_ROW = 8192
"""Bytes: two pages. Rows of a batch from this length on are packed for the gradient of weights.

`operands.py` has the measurements on both sides of it.
"""

LONG_COLUMNS = 4 * 2**20
"""Bytes: 4 MiB. Operands of the gradient of weights from this size on are packed, too.

New time / old time of a step on one thread: 0.83 for 784-512-512-10 with a batch of 2,048 and of
4,096, 0.81 for 256-256-256-10 with 4,096, and 0.95 with a batch of 1,536. With fewer columns than
ENOUGH_COLUMNS they stay as they are: 1.06 for 784-128-10 with 4,096.
"""

SHARED_ROWS = 64
"""Rows of a batch that a thread takes through the network at a time, beside other processes.

Alone it takes its whole share, as each block reads all weights: blocks of 64 rows cost 3 % of a
step of 784-512-512-10, and those of 32 rows 7 %.
"""

BLOCK_ROWS = 128
"""Rows of a prediction that go through all layers together.

A multiple of the usual heights of tiles, and small enough that the values of a layer of 512 stay in
the L2 cache.
"""

FEW_ROWS = 8
"""Up to so many rows, a prediction is faster with unpacked weights."""

BF16_TILE_ROWS = 16
"""Rows of a tile of bfloat16 numbers, and numbers of a row of its results: those of AMX."""

BF16_TILE_DEPTH = 32
"""Terms of the inner dimension in one tile of bfloat16 numbers."""

BF16_TILE_SIZE = BF16_TILE_ROWS * BF16_TILE_DEPTH
"""Numbers in a tile."""


# ------------------------------------------------------------------------------------------ tiles


class TileShape(NamedTuple):
    """The tile of a CPU for one dtype: `rows` by `vectors` of `lanes` elements."""

    rows: int
    vectors: int
    lanes: int

    @property
    def columns(self):
        """The columns of a whole tile, and of a whole panel."""
        return self.vectors * self.lanes

    @property
    def part_rows(self):
        """The rows of a lower tile, for what remains of a transposed left operand."""
        return max(self.rows // 2, 1)

    @property
    def block(self):
        """Rows of a weight matrix that are whole tiles, and whole blocks of a transposition."""
        return math.lcm(self.rows, self.lanes)

    @property
    def piece_rows(self):
        """Rows of a weight matrix whose gradient is formed in one go: whole blocks."""
        return max(MOST_PIECE_ROWS // self.block, 1) * self.block

    @property
    def piece_size(self):
        """Elements of a piece of a gradient on the stack: `piece_rows` of one panel."""
        return self.piece_rows * self.columns

    @property
    def panel_size(self):
        """Elements of a panel on the stack."""
        return PANEL_DEPTH * self.columns


class Target(NamedTuple):
    """One row of the CPU table. `tile_rows` by `tile_vectors` accumulators fill the registers."""

    name: str
    vector_bytes: int  # of one register
    fma: bool
    tile_rows: int
    tile_vectors: int

    def shape(self, bits):
        """Return the tile for elements of so many bits."""
        return TileShape(self.tile_rows, self.tile_vectors, self.vector_bytes * 8 // bits)


# rows x vectors accumulators + `vectors` of the right operand + 1 of the left one.
#             name        bytes  fma    rows  vectors   registers used, of
TARGETS = (
    Target("AVX-512", 64, True, 8, 3),  # 28 of 32; 8 rows divide every usual batch size
    Target("AVX2", 32, True, 4, 3),  # 16 of 16
    Target("NEON", 16, True, 4, 4),  # 21 of 32: LLVM spills 12 of the 28 of 8 x 3 in its loop
    Target("AVX", 32, False, 4, 2),  # 11 of 16: no FMA, so a product needs a register too
    Target("baseline", 16, False, 4, 2),  # 11 of 16 (SSE2, or anything else)
)

_PROBE = """
define <16 x float> @probe(<16 x float> %a, <16 x float> %b, <16 x float> %c) {
  %r = call <16 x float> @llvm.fmuladd.v16f32(<16 x float> %a, <16 x float> %b, <16 x float> %c)
  ret <16 x float> %r
}
declare <16 x float> @llvm.fmuladd.v16f32(<16 x float>, <16 x float>, <16 x float>)
"""


@functools.cache
def _probe(triple, cpu, features):
    import llvmlite.binding as llvm  # not needed with FASTNN_REFERENCE=1

    machine = llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=2
    )
    assembly = machine.emit_assembly(llvm.parse_assembly(_PROBE))
    fma = "vfmadd" in assembly or "fmla" in assembly
    if "zmm" in assembly:
        name = "AVX-512"
    elif "ymm" in assembly:
        name = "AVX2" if fma else "AVX"
    else:
        name = "NEON" if fma else "baseline"
    return next(target for target in TARGETS if target.name == name)


def of_codegen(codegen):
    """Return the row of `TARGETS` for a numba code generator."""
    from .numba_private import machine_of

    return _probe(*machine_of(codegen))


def current():
    """Return the row of `TARGETS` for the CPU that kernels are compiled for."""
    from .numba_private import current_codegen

    return of_codegen(current_codegen())
