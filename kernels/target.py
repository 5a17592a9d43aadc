"""What the CPU can do, asked of the compiler itself, and the tile sizes that follow.

Feature lists name what a CPU has; a CPU name (`NUMBA_CPU_NAME`) implies features that no list
holds. So a two-line function is compiled for the target, and its assembly shows which registers
and which multiply-add LLVM would use.
"""

import functools
from typing import NamedTuple

import llvmlite.binding as llvm


class Target(NamedTuple):
    """One row of the CPU table. `tile_rows` by `tile_vectors` accumulators fill the registers."""

    name: str
    vector_bytes: int  # of one register
    fma: bool
    tile_rows: int
    tile_vectors: int


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
    triple, cpu, features = codegen.magic_tuple()
    return _probe(triple, cpu, features)


def current():
    """Return the row of `TARGETS` for the CPU that kernels are compiled for."""
    from numba.core.registry import cpu_target

    return of_codegen(cpu_target.target_context.codegen())
