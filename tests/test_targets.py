"""Every row of the CPU table: its code is run where this CPU can, and the rest is looked at."""

import json
import re
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest
import test_kernels
import test_training
from child import run_python
from kernel_cases import KERNELS
from numpy_network import build
from test_kernels import DTYPES, arguments, call, check_values, ragged_shapes
from test_training import FEATURES, check_against_numpy, make_data

import fastnn
from fastnn.kernels import target
from fastnn.kernels.pointers import pointer
from fastnn.kernels.tile import tile_columns, tile_lanes, tile_rows

ROWS = {row.name: row for row in target.TARGETS}
OWN = target.current().name

# A name of LLVM for each row of x86. Any CPU can run the code of the rows behind its own.
CPUS = {"AVX-512": "skylake-avx512", "AVX2": "haswell", "AVX": "sandybridge", "baseline": "generic"}
BEHIND = list(CPUS)[list(CPUS).index(OWN) + 1 :] if OWN in CPUS else []

# The tiles of NEON can be run elsewhere, with the vectors of this CPU.
CHILDREN = [*BEHIND, "NEON"] if OWN in CPUS and ROWS[OWN].fma else BEHIND

# Nearly all of the time is compilation, so not every row has all of it. All fits of a dtype are one
# kernel, of everything but the products on panels of the stack.
FEW = ("dense_forward", "softmax_forward")
CASES = {
    "AVX2": (
        *FEW,
        "dense_backward",
        "softmax_backward",
        "softmax_cross_entropy-labels",
        "softmax_cross_entropy-rows",
        "sgd_update",
    ),
    "AVX": FEW,
    "baseline": FEW,
    "NEON": ("dense_forward", "dense_backward"),
}
FITS = {"AVX2": DTYPES, "AVX": [np.float32], "baseline": [np.float64], "NEON": [np.float32]}

NETWORKS = ("3", "17 r 9 r 33 r 3", "r 17 r 3", "9 s 3", "70 r 49 r 3")
AARCH64 = "aarch64-unknown-linux-gnu"


# ------------------------------------------------------------------ in a process for another row


def outputs_of_kernels(name):
    """Return all outputs of the kernels of a row, by name, dtype, shape and number."""
    return {
        f"{case} {dtype.__name__} {shape} {i}": output
        for case in CASES[name]
        for dtype in DTYPES
        for shape in ragged_shapes(KERNELS[case].dimensions)
        for i, output in enumerate(call(case, *arguments(case, shape, dtype))[1])
    }


def outputs_of_fits(name):
    """Return the parameters of all `NETWORKS` after a run, by words, targets and dtype."""
    outputs = {}
    for dtype in FITS[name]:
        X, targets = make_data(dtype)
        for words in NETWORKS:
            for kind in ("labels", "soft"):
                model = build(words, FEATURES, dtype)
                test_training.fit(model, X, targets[kind])
                outputs[f"{words} {kind} {dtype.__name__}"] = model.parameters
    return outputs


def check_kernels(name):
    for case in CASES[name]:
        for dtype in DTYPES:
            for shape in ragged_shapes(KERNELS[case].dimensions):
                check_values(case, shape, dtype)


def check_exp_and_log(name):
    test_kernels.test_exp_of_float32()
    test_kernels.test_exp_of_float64()
    test_kernels.test_log_of_float32()
    test_kernels.test_log_of_float64()


def check_fits(name):
    for dtype in FITS[name]:
        X, targets = make_data(dtype)
        for words in NETWORKS:
            for kind in ("labels", "soft"):
                check_against_numpy(words, build(words, FEATURES, dtype), X, targets[kind], dtype)
        for inputs, outputs in ((1, 1), (100, 300), (257, 49)):
            test_training.test_sizes_from_one_column_to_many_tiles(inputs, outputs, dtype)


def check_penalties(name):
    """Compare the penalty of the first step with NumPy's, where panels end within 64 bytes."""
    for dtype in FITS[name]:
        for n_outputs in (3, 8, 9, 11, 24, 49):
            layer = fastnn.Dense(7, n_outputs, rng=0, dtype=dtype, weights_l1=0.01, weights_l2=0.02)
            weights = layer.weights.astype(np.float64)
            expected = 0.01 * np.abs(weights).sum() + 0.02 * np.square(weights).sum()
            history = fastnn.Sequential([layer]).fit(
                np.ones((8, 7)), np.arange(8) % n_outputs, optimizer=fastnn.SGD(1e-30), batch_size=8
            )
            np.testing.assert_allclose(history.penalty[0], expected, rtol=1e-6)


CHECKS = {
    check.__name__: check
    for check in (check_kernels, check_exp_and_log, check_fits, check_penalties)
}


@numba.njit
def tile(like):
    place = pointer(like)
    return tile_rows(place), tile_columns(place), tile_lanes(place)


def compiled(name, dtype):
    """Return a kernel and the types that it is compiled for."""
    kernel = KERNELS[name].kernel
    kernel.compile(tuple(map(numba.typeof, sum(arguments(name, (1, 1, 1), dtype), ()))))
    return kernel, kernel.signatures[-1]


def print_code():
    """Print how a matrix product multiplies: the instruction, and the registers, of most places."""
    kernel, signature = compiled("dense_forward", np.float32)
    code = kernel.inspect_asm(signature)
    found = Counter(re.findall(r"\bv?(fmadd|mulps|fmaf)\w*\b.*?([xyz]mm|$)", code, re.M))
    print(*max(found, key=found.get))


def work(name, path):
    """Run the kernels of the row `name`, which is that of this process."""
    np.savez(path, **outputs_of_kernels(name), **outputs_of_fits(name))
    found = {"row": target.current().name, "tiles": [tile(np.ones(1, t)) for t in DTYPES]}
    for check in CHECKS:
        try:
            CHECKS[check](name)
        except AssertionError:
            found[check] = traceback.format_exc()
    print(json.dumps(found))


def become_neon():
    target.of_codegen = lambda codegen: ROWS["NEON"]


def find_arm():
    """Return LLVM's compiler for ARM processors, or None."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        return llvm.Target.from_triple(AARCH64)
    except RuntimeError:
        return None


def print_neon():
    """Print the assembly of some kernels on an ARM processor."""
    compiler = find_arm().create_target_machine(cpu="generic", opt=3)
    become_neon()
    found = {}
    for name in FEW:
        for dtype in DTYPES:
            kernel, signature = compiled(name, dtype)
            code = kernel.inspect_llvm(signature)
            # Without numba's counting of references: it is for the CPU of this process.
            counting = re.compile(r"^define [^@\n]* void (@NRT_\w+)\(.*?^}", re.M | re.S)
            code = counting.sub(r"declare void \1(ptr)", code)
            module = llvm.parse_assembly(re.sub(r"^target .*", "", code, flags=re.M))
            module.triple, module.data_layout = AARCH64, str(compiler.target_data)
            found[f"{name} {dtype.__name__}"] = compiler.emit_assembly(module)
    print(json.dumps(found))


# --------------------------------------------------------------------------------- the tests


def run(code, cpu=""):
    """Run Python code in this module, in a process whose kernels are compiled for `cpu`."""
    names = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""} if cpu else {}
    return run_python(f"import test_targets as t; {code}", FASTNN_CACHE="0", **names)


@pytest.fixture(scope="module")
def children(tmp_path_factory):
    """Return {row: the future of what its process says and stores}; two at a time."""
    folder = tmp_path_factory.mktemp("targets")

    def start(name):
        path = folder / f"{name}.npz"
        code = f"t.work({name!r}, {str(path)!r})"
        found = run(f"t.become_neon(); {code}") if name == "NEON" else run(code, CPUS[name])
        with np.load(path) as stored:
            return json.loads(found), dict(stored)

    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(start, name) for name in CHILDREN}


x86 = pytest.mark.skipif(OWN not in CPUS, reason="CPU names of x86")
arm = pytest.mark.skipif(find_arm() is None, reason="this llvmlite has no compiler for ARM")


@x86
@pytest.mark.parametrize(("name", "cpu"), CPUS.items())
def test_row_follows_the_name_of_the_cpu(name, cpu):
    assert run("print(t.target.current().name)", cpu) == name


@arm
@pytest.mark.parametrize(
    ("triple", "cpu"), [(AARCH64, "generic"), ("arm64-apple-darwin23.0.0", "apple-m1")]
)
def test_row_of_arm(triple, cpu):
    codegen = SimpleNamespace(magic_tuple=lambda: (triple, cpu, ""))
    assert target.of_codegen(codegen).name == "NEON"


def test_tiles_fit_the_registers():
    assert OWN in ROWS
    for row in target.TARGETS:
        registers = 32 if row.name in ("AVX-512", "NEON") else 16
        assert row.tile_rows * row.tile_vectors + row.tile_vectors + 1 <= registers


@x86
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (name, expected)
        for name, expected in {
            "AVX-512": "fmadd zmm",
            "AVX2": "fmadd ymm",
            "AVX": "mulps ymm",
            "baseline": "mulps xmm",
        }.items()
        if name in (OWN, *BEHIND)
    ],
)
def test_machine_code_is_that_of_the_row(name, expected):
    assert run("t.print_code()", CPUS[name]) == expected
    assert ROWS[name].fma == expected.startswith("fmadd")


@arm
def test_machine_code_of_neon_multiplies_and_adds_vectors():
    for name, code in json.loads(run("t.print_neon()")).items():
        lanes = "4s" if "float32" in name else "2d"
        tile = ROWS["NEON"].tile_rows * ROWS["NEON"].tile_vectors
        assert len(re.findall(rf"\bfmla\s+v\d+\.{lanes}", code)) >= tile
        assert re.findall(r"\bf(?:mul|add|sub|madd|msub)\s+[sd]\d", code) == []
        assert re.findall(r"\bbl\s+_?(?:fma|exp)", code) == []


@pytest.mark.parametrize("name", CHILDREN)
def test_tile_is_that_of_the_row(name, children):
    found, _ = children[name].result()
    assert found["row"] == name
    row = ROWS[name]
    lanes = [row.vector_bytes // np.dtype(dtype).itemsize for dtype in DTYPES]
    assert found["tiles"] == [[row.tile_rows, row.tile_vectors * n, n] for n in lanes]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", CHILDREN)
def test_results_are_those_of_float64(name, check, children):
    found, _ = children[name].result()
    assert check not in found, found[check]


@pytest.mark.parametrize("name", [name for name in CHILDREN if ROWS[name].fma])
def test_every_row_with_fused_multiply_add_gives_the_same_bits(name, children):
    _, outputs = children[name].result()
    native = {**outputs_of_kernels(name), **outputs_of_fits(name)}
    assert set(outputs) == set(native)
    assert [n for n in native if native[n].tobytes() != outputs[n].tobytes()] == []
