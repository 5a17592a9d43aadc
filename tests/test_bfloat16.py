"""Products with operands in bfloat16: packing, the units, and whole networks."""

import contextlib
import json
import re
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from child import run_python

import fastnn
from fastnn import kernels
from fastnn.kernels import bfloat16, reference_program, units
from fastnn.kernels.bfloat16 import depth_tiles, stack_block
from fastnn.kernels.codes import Unit
from fastnn.kernels.numba_private import current_codegen
from fastnn.kernels.pointers import get, pointer
from fastnn.kernels.reference_bfloat16 import bfloat16_parts, reduced_product, round_bfloat16
from fastnn.memory import aligned_empty
from fastnn.program import precision

# Units that this CPU can run. All are compared with the reference, those of AMX bit by bit.
UNITS = [code for code in Unit if units.has_unit(current_codegen(), code)]
if Unit.AMX in UNITS and precision.unit_of_cpu().code != Unit.AMX:
    UNITS.remove(Unit.AMX)  # the system refuses it

SHAPES = [(1, 1, 1), (5, 3, 2), (16, 32, 16), (33, 31, 17), (40, 100, 48), (64, 130, 65)]
POISON = 0x7FC1  # NaN

jit = numba.njit(error_model="numpy")


# ------------------------------------------------------------------ operands


@jit
def pack(form, tiles, across, matrix, parts):
    rows, columns = matrix.shape
    arguments = pointer(tiles), across, pointer(matrix), columns, rows, columns, parts
    if form == 0:
        bfloat16.pack_left(*arguments)
    elif form == 1:
        bfloat16.pack_right(*arguments)
    elif form == 2:
        bfloat16.pack_left_transposed(*arguments)
    else:
        bfloat16.pack_right_transposed(*arguments)


FORMS = {"left": 0, "right": 1, "left transposed": 2, "right transposed": 3}


def pack_again(form, matrix, parts):
    """Return the tiles (rows of tiles, depth, parts, 16, 16 pairs of 2) of an operand in NumPy."""
    if "transposed" in form:
        matrix = matrix.T
    if "right" in form:  # the depth goes down; a word has two rows
        matrix = matrix.T
    rows, depth = matrix.shape
    padded = np.pad(matrix, [(0, -rows % 16), (0, -depth % 32)])
    halves = [
        (part.view(np.uint32) >> 16).astype(np.uint16) for part in bfloat16_parts(padded, parts)
    ]
    blocks = np.stack(halves).reshape(parts, -(-rows // 16), 16, -(-depth // 32), 16, 2)
    blocks = blocks.transpose(1, 3, 0, 2, 4, 5)
    # A row of a left tile has the pairs of a row; a row of a right one a pair of each column.
    return blocks.swapaxes(3, 4) if "right" in form else blocks


def special(rng, shape):
    """Return numbers with ties, infinities, NaN, subnormal and huge numbers among them."""
    values = rng.standard_normal(shape).astype(np.float32)
    odd = np.array(
        [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-45, 3.4e38, 1.0 + 2.0**-8, 1 + 3 * 2.0**-8],
        np.float32,
    )
    places = rng.random(shape) < 0.2
    values[places] = rng.choice(odd, np.count_nonzero(places))
    return values


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("form", FORMS)
def test_packed_operands_are_those_of_numpy(form, parts):
    for shape in [(1, 1), (16, 32), (32, 16), (17, 33), (45, 70)]:
        matrix = special(np.random.default_rng(0), shape)
        expected = pack_again(form, matrix, parts)
        tiles = aligned_empty(expected.size + 32, np.uint16)
        tiles[...] = POISON
        pack(FORMS[form], tiles, expected[0].size, matrix, parts)
        assert (tiles[-32:] == POISON).all()
        result = tiles[:-32].reshape(expected.shape)
        numbers = [(each.astype(np.uint32) << 16).view(np.float32) for each in (result, expected)]
        np.testing.assert_array_equal(*numbers)


def test_rounding_is_to_nearest_even():
    ones = np.array([1, 1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-8 + 2.0**-20], np.float32)
    np.testing.assert_array_equal(round_bfloat16(ones), [1, 1, 1 + 2.0**-6, 1 + 2.0**-7])
    assert np.isnan(round_bfloat16(np.array([0x7F800001], np.uint32).view(np.float32)))[0]
    first, second = bfloat16_parts(np.float32([np.pi, np.inf, np.nan]), 2)
    assert abs(float(first[0]) + float(second[0]) - np.pi) < 2.0**-16 * np.pi
    np.testing.assert_array_equal(second[1:], 0)


# ------------------------------------------------------------------ products


@jit
def multiply(c, a, b, m, n, k, parts, unit):
    left, right = pointer(a), pointer(b)
    across = depth_tiles(k) * parts * 512
    block = stack_block(left)
    units.configure_tiles(unit)
    for i in range(0, m, 32):
        for j in range(0, n, 32):
            units.multiply_tiles(
                block, left + i // 16 * across, across, right + j // 16 * across, across,
                depth_tiles(k), parts, unit, 1 if n - j <= 16 else 2,
            )  # fmt: skip
            for r in range(min(32, m - i)):
                for s in range(min(32, n - j)):
                    c[i + r, j + s] = get(block + (32 * r + s))
    units.release_tiles(unit)


def product(x, w, parts, unit):
    """Return x @ w, calculated by a unit."""
    (m, k), n = x.shape, w.shape[1]
    operands = []
    for form, matrix, rows in (("left", x, m), ("right", w, n)):
        depth = -(-k // 32) * parts * 512
        tiles = aligned_empty(-(-rows // 32) * 2 * depth, np.uint16)
        tiles[...] = POISON
        pack(FORMS[form], tiles, depth, matrix, parts)
        operands.append(tiles)
    result = np.full((m, n), np.nan, np.float32)
    multiply(result, *operands, m, n, k, parts, unit)
    return result


def operands(kind, shape, seed=0):
    """Return the operands (M, K) and (K, N) of a product."""
    (m, k, n), rng = shape, np.random.default_rng(seed)
    x, w = (rng.standard_normal(size).astype(np.float32) for size in ((m, k), (k, n)))
    if kind == "subnormal products":
        return x * np.float32(1e-20), w * np.float32(1e-20)
    if kind == "subnormal operands":
        return np.where(rng.random(x.shape) < 0.5, x, x * np.float32(1e-40)), w
    if kind == "sums that cancel":
        return x * np.float32(2e-19), w * np.float32(1e-19)
    if kind == "huge":
        return x * np.float32(1e20), w * np.float32(1e19)
    if kind == "special":
        return special(rng, (m, k)), special(rng, (k, n))
    return x, w


KINDS = (
    "usual", "subnormal products", "subnormal operands", "sums that cancel", "huge", "special"
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit != Unit.DOT])
def test_products_have_the_bits_of_amx(unit, parts, kind):
    for shape in SHAPES:
        x, w = operands(kind, shape)
        np.testing.assert_array_equal(product(x, w, parts, unit), reduced_product(x, w, parts))


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("unit", UNITS)
def test_products_are_as_exact_as_their_operands(unit, parts):
    for shape in SHAPES:
        x, w = operands("usual", shape)
        a, b = (sum(part.astype(float) for part in bfloat16_parts(v, parts)) for v in (x, w))
        error = np.abs(product(x, w, parts, unit) - a @ b)
        # Sums of float32, and with two parts the products of the second ones that are left out.
        bound = 2.0**-24 * (shape[1] + 2) + (2.0**-15 if parts == 2 else 0)
        assert (error <= bound * (np.abs(x).astype(float) @ np.abs(w))).all()


def test_an_unknown_unit_gives_nan():
    assert np.isnan(product(*operands("usual", (3, 5, 7)), 1, 9)).all()


def test_a_product_of_two_parts_is_nearly_one_of_float32():
    x, w = operands("usual", (256, 784, 64))
    exact, size = x.astype(float) @ w, np.abs(x).astype(float) @ np.abs(w)
    errors = {
        parts: (np.abs(product(x, w, parts, Unit.EMULATED) - exact) / size).max()
        for parts in (1, 2)
    }
    assert 1e-7 < errors[2] < 2e-6 < 2e-4 < errors[1] < 1e-3


def test_eight_threads_multiply_at_once():
    x, w = operands("usual", (64, 130, 65))
    for unit in UNITS:
        expected = product(x, w, 1, unit)
        with ThreadPoolExecutor(8) as pool:
            for result in pool.map(product, [x] * 32, [w] * 32, [1] * 32, [unit] * 32):
                np.testing.assert_array_equal(result, expected)


# ------------------------------------------------------------------ networks


def make_network(name, threads=1, **options):
    """Return a network after a fit, and its outputs."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((150, 70), dtype=np.float32), rng.integers(0, 9, 150)
    layers = [
        fastnn.Dense(70, 50, rng=0, weights_l2=1e-3), fastnn.ReLU(), fastnn.Dense(50, 40, rng=1),
        fastnn.BatchNorm(40), fastnn.Tanh(), fastnn.Dropout(0.2), fastnn.Dense(40, 20, rng=2),
        fastnn.ReLU(), fastnn.Dense(20, 33, rng=3), fastnn.LayerNorm(33),
        fastnn.Dense(33, 9, rng=4),
    ]  # fmt: skip
    model = fastnn.Sequential(layers)
    options = {"epochs": 2, "batch_size": 40, "seed": 0, "verbose": 0} | options
    optimizer = fastnn.Adam(1e-2, clip_norm=1.0)
    model.fit(X, y, optimizer=optimizer, precision=name, threads=threads, **options)
    return model, X


@contextlib.contextmanager
def using(unit):
    """Let new networks use a unit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "unit_of_cpu", lambda: precision.UnitOfCpu(unit, "", ""))
        yield


def digest_of_networks():
    """Return {precision: digest} of trained networks and of their predictions."""
    from digest_cases import digest

    results = {}
    for name in ("high", "medium"):
        model, X = make_network(name)
        results[name] = digest(model.parameters, model.predict_proba(X, precision=name))
    return results


# Recorded with EMULATED; AMX, and every CPU with fused multiply-add, have to give the same.
RECORDED = {"high": "44f16dd255cb8f60", "medium": "3fee30a3e792a568"}


@pytest.mark.slow
@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit != Unit.DOT])
def test_networks_have_the_bits_that_were_recorded(unit):
    with using(unit):
        assert digest_of_networks() == RECORDED


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("name", ["high", "medium"])
def test_threads_change_no_bit(name, unit):
    with using(unit):
        check_threads(name)


def check_threads(name):
    model, X = make_network(name)
    for threads in (2, 3, 5):
        other, _ = make_network(name, threads)
        np.testing.assert_array_equal(other.parameters, model.parameters)
        np.testing.assert_array_equal(
            other.predict_proba(X, precision=name, threads=threads),
            model.predict_proba(X, precision=name),
        )


def gradient_of(name, kernels_of, rows):
    """Return what a step of gradient descent on so many samples takes from the parameters."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((rows, 70), dtype=np.float32), rng.integers(0, 9, rows)
    layers = [
        fastnn.Dense(70, 50, rng=0), fastnn.ReLU(), fastnn.Dense(50, 40, rng=1), fastnn.Tanh(),
        fastnn.Dense(40, 9, rng=2),
    ]  # fmt: skip
    model = fastnn.Sequential(layers)
    before = model.parameters.copy()
    with pytest.MonkeyPatch.context() as patch:
        for kernel in ("train_steps", "unpack_states"):
            patch.setattr(kernels, kernel, getattr(kernels_of, kernel))
        model.fit(X, y, batch_size=rows, optimizer=fastnn.SGD(1.0), precision=name, verbose=0)
    return before - model.parameters


@pytest.mark.parametrize("rows", [75, 4200])  # more than are summed in one go
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("name", ["high", "medium"])
def test_a_step_is_that_of_numpy(name, unit, rows):
    expected = gradient_of(name, reference_program, rows)
    with using(unit):
        distance = np.abs(gradient_of(name, kernels, rows) - expected)
    # The sums of DOT have another order.
    assert np.median(distance) < (1e-7 if unit == Unit.DOT else 1e-8)
    # Where the last bit of a number differs, its rounding to bfloat16 may be another one.
    assert distance.max() < 1e-5
    if name == "medium":
        others = np.abs(gradient_of("highest", kernels, rows) - expected)
        assert np.median(others) > 1e-6


def test_amx_gives_the_recorded_bits_in_software():
    code = """
import amx_double, json
amx_double.use()
import test_bfloat16
print(json.dumps(test_bfloat16.digest_of_networks()))
"""
    assert json.loads(run_python(code, FASTNN_CACHE="0")) == RECORDED


# ------------------------------------------------------------------ machine code


FEATURES = "+avx512f,+avx512bw,+avx512vl,+avx512dq,+fma,+avx2,+avx512bf16,+amx-tile,+amx-bf16"


INSTRUCTIONS = (
    "tdpbf16ps", "ldtilecfg", "tilerelease", "tileloadd", "tilestored", "tilezero", "vdpbf16ps"
)  # fmt: skip


def count_instructions():
    """Return {instruction: how often it stands in the code of `multiply`}, which is not run."""
    tiles, block = numba.typeof(np.empty(1, np.uint16)), numba.typeof(np.empty((1, 1), np.float32))
    signature = block, tiles, tiles, *[numba.types.int64] * 5
    multiply.compile(signature)
    text = multiply.inspect_asm(signature)
    return {word: len(re.findall(rf"\b{word}\b", text)) for word in INSTRUCTIONS}


def test_each_unit_has_its_instructions_where_the_cpu_has_them():
    code = "import json, test_bfloat16; print(json.dumps(test_bfloat16.count_instructions()))"
    environment = {"FASTNN_CACHE": "0", "NUMBA_CPU_NAME": "generic"}
    text = run_python(code, **environment, NUMBA_CPU_FEATURES=FEATURES)
    counts = json.loads(text)
    assert all(counts.values()), counts
    plain = FEATURES.replace(",+avx512bf16,+amx-tile,+amx-bf16", "")
    text = run_python(code, **environment, NUMBA_CPU_FEATURES=plain)
    assert not any(json.loads(text).values())
