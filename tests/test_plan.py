"""The plan of a network hands out what the catalogue says that a layer needs."""

import itertools

import pytest
from catalogue_cases import LAYERS

import fastnn
from fastnn.kernels import room
from fastnn.kernels.catalogue import OPERATION_OF, OPERATIONS, Operation
from fastnn.kernels.records import LAYER
from fastnn.kernels.table import BLOCK
from fastnn.program.plan import make_plan, program_layers

CAPACITY, WIDTH = 35, 21
LINE = 16  # elements
ROW = 32  # WIDTH, padded


def plan_around(layer, training):
    """Return the plan of Dense, `layer`, Dense for float32."""
    layers = [fastnn.Dense(7, WIDTH, rng=0), layer, fastnn.Dense(WIDTH, 3, rng=1)]
    return make_plan(program_layers(layers), 7, CAPACITY, 4, training=training)


def make_layer(title):
    sizes = {"Dense": (WIDTH, WIDTH), "LayerNorm": (WIDTH,), "BatchNorm": (WIDTH,)}
    return LAYERS[title](*sizes.get(title, ()))


def pieces_of(plan):
    """Return the sorted places in the workspace of a training, and its size."""
    names = ["inputs", "outputs", "dinputs", "doutputs", "dbiases", "panels", "transposed_panels"]
    names += {name for row in OPERATIONS for name in row.room}
    places = {int(layer[name]) for layer in plan.layers for name in names}
    return [*sorted(places - {-1}), plan.workspace_size]


def test_sizes_of_room():
    sizes = CAPACITY, WIDTH, ROW
    assert BLOCK == 16
    assert room.batch(*sizes) == 35 * 32
    assert room.one_a_row(*sizes) == 35
    assert room.one_a_column(*sizes) == 21
    assert room.three_a_column(*sizes) == 3 * 32
    assert room.two_a_block(*sizes) == 2 * 3 * 32


@pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: row.name)
def test_rows_name_fields_of_the_record(row):
    names = {*row.room, *row.room_to_predict, *row.running, *row.attributes}
    assert names <= {*LAYER.names}


@pytest.mark.parametrize("title", LAYERS)
def test_each_piece_has_the_room_that_its_row_says(title):
    plan = plan_around(make_layer(title), training=True)
    pieces = pieces_of(plan)
    for layer in plan.layers:
        assert layer["output_row"] in (16, 32)
        sizes = CAPACITY, int(layer["n_outputs"]), int(layer["output_row"])
        for name, size_of in OPERATION_OF[layer["operation"]].room.items():
            behind = pieces[pieces.index(layer[name]) + 1]
            assert size_of(*sizes) <= behind - layer[name] < size_of(*sizes) + LINE


def test_a_prediction_has_room_of_its_own():
    for title in LAYERS:
        plan = plan_around(make_layer(title), training=False)
        alone = plan_around(fastnn.ReLU(), training=False).workspace_size
        assert plan.workspace_size - alone == (3 * ROW if title == "BatchNorm" else 0)


@pytest.mark.parametrize("training", [True, False])
def test_a_new_row_needs_no_edit_of_the_plan(monkeypatch, training):
    """Room, running arrays and attributes came from branches on operations."""
    plain = plan_around(fastnn.Tanh(), training)
    row = OPERATION_OF[Operation.TANH]._replace(
        attributes=("momentum",),
        running=("running_variance",),
        room={"sums": room.two_a_block, "moments": lambda capacity, width, row: 5 * capacity},
        room_to_predict={"moments": room.one_a_row},
    )
    monkeypatch.setitem(OPERATION_OF, Operation.TANH, row)
    layer = fastnn.Tanh()
    layer.momentum = 0.25
    plan = plan_around(layer, training)
    record = plan.layers[1]
    assert record["momentum"] == 0.25
    assert record["running_variance"] == 7 * WIDTH + WIDTH + WIDTH * 3 + 3
    assert record["running_mean"] == -1
    more = plan.workspace_size - plain.workspace_size
    if training:
        assert record["moments"] - record["sums"] == 2 * 3 * ROW
        assert more == 2 * 3 * ROW + -(-5 * CAPACITY // LINE) * LINE
    else:
        assert record["sums"] == -1
        assert more == -(-CAPACITY // LINE) * LINE


@pytest.mark.parametrize("title", LAYERS)
def test_the_gradient_takes_the_place_of_the_last_outputs_unless_they_are_read(title):
    layers = [fastnn.Dense(7, WIDTH, rng=0), make_layer(title)]
    last = make_plan(program_layers(layers), 7, CAPACITY, 4, training=True).layers[-1]
    in_place = title in ("Dense", "ReLU", "Dropout", "LayerNorm", "BatchNorm")
    assert (last["doutputs"] == last["outputs"]) == in_place


@pytest.mark.parametrize(
    ("widths", "batch", "packed"),
    [
        ((784, 512, 10), 256, [(False, False), (False, False)]),
        ((784, 512, 10), 4096, [(True, True), (False, False)]),
        ((784, 512, 10), 1400, [(True, False), (False, False)]),  # 4.2 and 2.7 MiB
        ((784, 128, 10), 4096, [(False, False), (False, False)]),  # too few columns
        ((784, 2048, 10), 64, [(False, True), (False, False)]),  # rows of 8 KiB
        ((3072, 64, 10), 64, [(True, False), (False, False)]),
    ],
)
def test_long_rows_and_large_batches_are_packed(widths, batch, packed):
    layers = [fastnn.Dense(*sizes, init="zeros") for sizes in itertools.pairwise(widths)]
    plan = make_plan(program_layers(layers), widths[0], batch, 4, training=True)
    assert [(bool(x["packs_left"]), bool(x["packs_right"])) for x in plan.layers] == packed
