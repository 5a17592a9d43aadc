"""Tiles of other shapes than those of the CPU table: no buffer is too small, no bit changes."""

import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
import test_targets
from child import run_python
from numpy_network import build
from test_kernels import arguments, call, check_values
from test_training import check_against_numpy, make_data

import fastnn
from fastnn.kernels import target
from fastnn.kernels.codes import Epilogue
from fastnn.kernels.pointers import null, pointer
from fastnn.kernels.products import matmul_packed, matmul_panel
from fastnn.kernels.tile import Activate, Columns, Descend, Extent, Rows

OWN = target.current()

# (rows, vectors, bytes of a vector): wider than those of the table, no power of two, and higher
# than a block of rows that a BatchNorm sums.
TILES = [(4, 4, 64), (5, 3, 32), (24, 1, 32)]

# More columns than any panel, more terms than a panel has, and more rows of a batch than a sum.
DEEP = target.PANEL_DEPTH + 3
SHAPES = [(5, DEEP, 130), (33, 7, DEEP), (9, 259, 49), (1, 1, 1)]
LONG = (4100, 113, 70)


def outputs_of_products():
    """Return {name: output} of the products of dense layers."""
    cases = itertools.product(("dense_forward", "dense_backward"), SHAPES)
    return {
        f"{case} {shape} {i}": output
        for case, shape in [*cases, ("dense_backward", LONG)]
        for i, output in enumerate(call(case, *arguments(case, shape, np.float32))[1])
    }


def outputs_of_fits():
    """Return {name: parameters} after runs of each compiled program."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((4200, 210), dtype=np.float32), rng.integers(0, 130, 4200)
    plain = fastnn.Sequential(
        [fastnn.Dense(210, 70, rng=0), fastnn.ReLU(), fastnn.Dense(70, 130, rng=1)]
    )
    plain.fit(X, y, epochs=1, batch_size=300, seed=0, optimizer=fastnn.SGD(0.1), verbose=False)
    norms = fastnn.Sequential(
        [
            fastnn.Dense(210, 70, rng=0, weights_l2=1e-3),
            fastnn.BatchNorm(70),
            fastnn.ReLU(),
            fastnn.Dense(70, 130, rng=1),
        ]
    )
    adam = fastnn.Adam(1e-3)
    norms.fit(X, y, epochs=3, batch_size=4150, seed=0, optimizer=adam, verbose=False, threads=2)
    return {
        "plain": plain.parameters,
        "norms": norms.parameters,
        "running": np.concatenate([norms.layers[1].running_mean, norms.layers[1].running_variance]),
        "rows": plain.predict_proba(X[:200]),
        "few": plain.predict_proba(X[:3]),
    }


def work(tile, path):
    """Check the kernels with tiles of another shape, and store what they give."""
    rows, vectors, size = tile
    row = target.Target("another", size, OWN.fma, rows, vectors)
    target.of_codegen = lambda codegen: row
    np.savez(path, **outputs_of_products(), **outputs_of_fits())
    for shape in SHAPES:
        check_values("dense_forward", shape, np.float32)
        check_values("dense_backward", shape, np.float32)
    X, targets = make_data(np.float32)
    for words in ("70 r 149 r 3", "17 r 9 r 33 r 3"):
        model = build(words, X.shape[1], np.float32)
        check_against_numpy(words, model, X, targets["labels"], np.float32)
    lanes = target.TileShape(rows, vectors, size // 4)
    print(json.dumps(test_targets.tile(np.ones(1, np.float32)) == (rows, lanes.columns, size // 4)))


@pytest.fixture(scope="module")
def children(tmp_path_factory):
    """Return {tile: the future of what its process says and stores}; two at a time."""
    folder = tmp_path_factory.mktemp("tiles")

    def start(tile):
        path = folder / f"{tile}.npz"
        code = f"import test_tiles; test_tiles.work({tile}, {str(path)!r})"
        printed = run_python(code, FASTNN_CACHE="0")
        with np.load(path) as stored:
            return printed, dict(stored)

    with ThreadPoolExecutor(2) as pool:
        yield {tile: pool.submit(start, tile) for tile in TILES}


@pytest.mark.parametrize("tile", TILES)
def test_any_tile_gives_the_bits_of_the_own_one(tile, children):
    printed, outputs = children[tile].result()
    assert json.loads(printed)
    expected = {**outputs_of_products(), **outputs_of_fits()}
    assert set(outputs) == set(expected)
    assert [n for n in expected if expected[n].tobytes() != outputs[n].tobytes()] == []


@pytest.mark.parametrize("bits", [32, 64])
def test_sizes_follow_from_the_tile(bits):
    others = [target.Target("another", size, True, *shape) for *shape, size in TILES]
    for row in (*target.TARGETS, *others):
        shape = row.shape(bits)
        assert shape.columns * bits == row.tile_vectors * row.vector_bytes * 8
        assert shape.block % shape.rows == shape.block % shape.lanes == 0
        assert shape.piece_rows % shape.block == 0 < shape.piece_rows
        assert shape.piece_size == shape.piece_rows * shape.columns
    for row in target.TARGETS:
        assert row.shape(bits).piece_rows == target.MOST_PIECE_ROWS
        assert target.BLOCK_ROWS % row.tile_rows == 0
        assert row.vector_bytes <= target.CACHE_LINE


@numba.njit(error_model="numpy")
def activated(result, left, panels, epilogue):
    start = Rows(null(pointer(result)), 0)
    matmul_packed(
        Rows(pointer(result), result.shape[1]), Rows(pointer(left), left.shape[1]),
        pointer(panels), Extent(len(left), result.shape[1], left.shape[1]),
        start, Activate(epilogue, Rows(pointer(result), 0)),
    )  # fmt: skip


@numba.njit(error_model="numpy")
def descended(result, left, panel, epilogue):
    start = Rows(null(pointer(result)), 0)
    matmul_panel(
        Rows(pointer(result), result.shape[1]), Columns(pointer(left), left.shape[1]),
        Rows(pointer(panel), panel.shape[1]), pointer(panel),
        Extent(left.shape[1], result.shape[1], len(left)),
        start, Descend(epilogue, 0.5),
    )  # fmt: skip


@pytest.mark.parametrize("rows", [1, 19])
def test_an_epilogue_that_the_product_does_not_have_gives_nan(rows):
    # Panels are readable to whole vectors.
    panel, result = np.ones((3, 64), np.float32), np.empty((rows, 4), np.float32)
    for product, left, known in (
        (activated, np.ones((rows, 3), np.float32), Epilogue.RELU),
        (descended, np.ones((3, rows), np.float32), Epilogue.DESCENT),
    ):
        for code in range(-1, 9):
            result[:] = 1
            product(result, left, panel, code)
            if code == Epilogue.STORE:
                assert (result == 3).all()
            elif code == known:
                assert (result == (3 if product is activated else 1 - 0.5 * 3)).all()
            elif not (product is activated and code == Epilogue.RELU_MASK):
                assert np.isnan(result).all(), code
