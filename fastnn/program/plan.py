"""From layers to the table and the workspace of the compiled program.

`kernels/program.py` runs any network that these tables can describe. A layer class of a user's
own has no row in them: `program_layers` then gives None, and the model works layer by layer.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..kernels import catalogue
from ..kernels.catalogue import OPERATION_OF, Operation
from ..kernels.codes import Epilogue
from ..kernels.records import PENALTIES, empty_layers
from ..kernels.room import Room
from ..kernels.table import TABLE_PIECE
from ..kernels.target import (
    BF16_TILE_DEPTH,
    BF16_TILE_ROWS,
    BF16_TILE_SIZE,
    CACHE_LINE,
    ENOUGH_COLUMNS,
    L1_SET_DISTANCE,
    LONG_COLUMNS,
    LONG_ROW,
)
from ..nn.activations import Activation
from ..nn.classes import CLASSES
from ..nn.layer import ParameterLayer, arrays_of
from ..nn.own import overrides
from ..settings import Setting
from ..types import MaybeNone, Records, Steps

# Activations say by themselves which operation they are.
_KINDS = tuple(
    (row.code, CLASSES[row.layer])
    for row in catalogue.OPERATIONS
    if row.layer and not row.is_activation
)


@functools.cache
def _names_of(kind: type[Any]) -> tuple[str, ...]:
    """Return the names of what may change in a layer of a class: its settings, and its passes."""
    named = {name: each for base in reversed(kind.__mro__) for name, each in vars(base).items()}
    settings = (name for name, each in named.items() if isinstance(each, Setting))
    return *settings, "forward", "backward"


def describe(layers: Iterable[Any]) -> list[Any]:
    """Return what a plan depends on of layers, and a script may change.

    A run compares it wherever a user's code may have run: 1 us, where a step takes 3.
    """
    found: list[Any] = []
    for layer in layers:
        kind: Any = type(layer)
        values = vars(layer)
        found.append(kind)
        found.append(id(values.get("_weights")))
        found.extend(map(values.get, _names_of(kind)))
    return found


class Operands(NamedTuple):
    """How the operands of products are stored in bfloat16, and what multiplies them."""

    parts: int  # of an operand
    unit: int  # a Unit of `kernels/codes.py`


LEAST_INPUTS, LEAST_OUTPUTS = 32, 8
"""A dense layer with fewer inputs or outputs calculates in float32 in any precision.

Its tiles would be mostly empty. The number of samples has no part in it, so that a sample has the
same outputs in any batch.
"""


class Plan(NamedTuple):
    """What the compiled program needs beside data and parameters."""

    layers: Records  # (L,) of LAYER, see `kernels/records.py`
    workspace_size: int  # in elements
    panels_size: int  # of a prediction's packed weights; those of training are in the workspace
    n_sums: int  # rows of weights, biases, and pieces of tables
    tiles: tuple[int, int] | None  # the sizes of packed weights and operands; None: all in float32
    columns: Records | None = None  # (I,) of COLUMN, of an Embedding; None without one

    @property
    def few_size(self) -> int:
        """The size of the workspace of `predict_few`, in elements."""
        widest = int(max(self.layers["n_inputs"].max(), self.layers["n_outputs"].max()))
        branches = self.layers["operation"] == Operation.BRANCH
        return 2 * (widest + int(self.layers["n_outputs"][branches].sum()))

    @property
    def operations(self) -> list[int]:
        """The operation of each layer."""
        operations: list[int] = self.layers["operation"].tolist()
        return operations


def runs_as(layer: Any, kind: type[Any]) -> bool:
    """Return whether the program may take `layer` for one of class `kind`.

    A subclass may rename or initialize; one with passes of its own is another layer, and so is an
    object that was given some.
    """
    return isinstance(layer, kind) and not overrides(layer, kind, "forward", "backward")


def operation_of(layer: Any) -> int | None:
    """Return the operation of the compiled program that a layer is, or None."""
    for operation, kind in _KINDS:
        if runs_as(layer, kind):
            return operation
    return layer.operation if runs_as(layer, Activation) else None


def program_layers(layers: Iterable[Any]) -> Steps | MaybeNone:
    """Return [(operation, layer), ...] for the compiled program, or None."""
    found: list[Any] = [(operation_of(layer), layer) for layer in layers]
    operations = [operation for operation, _ in found]
    return found if None not in operations and Operation.DENSE in operations else None


def make_plan(
    steps: Steps,
    n_inputs: int,
    capacity: int,
    itemsize: int,
    *,
    training: bool,
    n_states: int = 0,
    keep_gradients: bool = False,
    operands: Operands | None = None,
) -> Plan:
    """Lay out the workspace for batches of up to `capacity` rows.

    `steps` comes from `program_layers`; parameters lie in its order, weights before biases. The
    optimizer has `n_states`; `keep_gradients` where it has to see all of a gradient at once.
    `operands` says how those of products are stored, by default in the dtype of the network.
    """
    if not training:
        steps = [step for step in steps if OPERATION_OF[step[0]].group != "dropout"]
    fused = _fuse(steps)
    records = empty_layers(len(fused))
    workspace = _Workspace(capacity, itemsize)
    panels = workspace if training else _Workspace(capacity, itemsize)
    parameter, n_sums, n_draws, trains = 0, 0, 0, False
    embedded: Records | None = None  # the columns of an Embedding
    running = sum(_n_parameters(layer) for _, layer, _ in fused)
    dinputs, width, previous_epilogue = -1, n_inputs, Epilogue.STORE
    branches: list[Any] = []  # those without an ADD so far
    # Without training only the values of two neighboring layers are alive at a time.
    widest = max([n_inputs, *(_n_outputs(op, layer, n_inputs) for op, layer, _ in fused)])
    row_skip = widest  # behind the outputs of a layer
    pair = [] if training else [workspace.rows(widest) for _ in range(2)]
    inputs, input_row = workspace.rows(n_inputs) if training else pair[1]
    for i, (record, (operation, layer, epilogue)) in enumerate(zip(records, fused, strict=True)):
        row = OPERATION_OF[operation]
        n_outputs = _n_outputs(operation, layer, width)
        record["operation"], record["n_inputs"], record["n_outputs"] = operation, width, n_outputs
        record["inputs"], record["input_row"] = inputs, input_row
        record["dinputs"] = dinputs if trains else -1
        record["backward_epilogue"] = (
            Epilogue.RELU_MASK if previous_epilogue == Epilogue.RELU else Epilogue.STORE
        )
        previous_epilogue = record["epilogue"] = epilogue
        if isinstance(layer, ParameterLayer):
            _check_sizes(layer, row.weights, width, n_outputs)
            record["weights"], record["biases"] = parameter, parameter + arrays_of(layer)[0].size
            parameter += _n_parameters(layer)
            record["trains"], record["has_biases"] = layer.trainable, layer.use_bias
            record["first_sum"] = n_sums
            n_sums += _count_sums(layer, row.weights, width, n_outputs)
            for name, penalty in zip(PENALTIES, layer.penalties, strict=True):
                record[name] = penalty
            trains = trains or layer.trainable
        if row.weights == "matrix":
            record["panels"] = panels.panels(width, n_outputs)
            if operands and width >= LEAST_INPUTS and n_outputs >= LEAST_OUTPUTS:
                record["parts"], record["unit"] = operands
                if training:
                    record["pieces"] = workspace.panels(width, n_outputs)
            elif record["dinputs"] >= 0:
                record["transposed_panels"] = panels.panels(n_outputs, width)
            if training:
                # Penalties and squares are added up in the order of the other panels.
                summed = keep_gradients or any(layer.penalties)
                may_be_thin = record["transposed_panels"] >= 0 and not summed
                record["trains_transposed"] = may_be_thin and workspace.is_thin(width, n_outputs)
                rows, columns = width, n_outputs
                if record["trains_transposed"]:
                    rows, columns = columns, rows
                record["rows"], record["columns"] = rows, columns
                record["states"] = workspace.panels(n_states * rows, columns)
            if keep_gradients and layer.trainable:
                record["gradients"] = workspace.panels(width, n_outputs)
        if row.weights == "tables":
            record["table_size"], embedded = arrays_of(layer)[0].size, layer.records
            if training and keep_gradients and layer.trainable:
                record["gradients"] = workspace.take(record["table_size"])
        if row.number:
            record["parameter"] = getattr(layer, row.number)
        for name in row.attributes:
            record[name] = getattr(layer, name)
        for name in row.running:
            record[name] = running
            running += width
        if row.group == "dropout":
            record["dropout_index"] = n_draws
            n_draws += 1
        inputs, input_row = workspace.rows(n_outputs) if training else pair[i % 2]
        record["outputs"], record["output_row"] = inputs, input_row
        if training:
            # The gradient of the last outputs takes their place, unless the way back reads them.
            in_place = i == len(fused) - 1 and not row.reads_outputs
            dinputs = inputs if in_place else workspace.rows(n_outputs)[0]
            record["doutputs"] = dinputs
            record["dbiases"] = workspace.take(n_outputs)
            _set_operands(record)
            if record["trains"] and row.weights == "matrix" and not record["parts"]:
                _pack_operands(record, workspace)
        _make_room(record, row.room if training else row.room_to_predict, workspace)
        if operation == Operation.BRANCH:
            record["row_skip"] = row_skip
            row_skip += n_outputs
            branches.append(record)
        elif operation == Operation.ADD:
            _connect(branches.pop(), record, training=training)
        width = n_outputs
    tiles = _place_tiles(records, capacity, training=training) if records["parts"].any() else None
    return Plan(records, workspace.size, 0 if training else panels.size, n_sums, tiles, embedded)


def _place_tiles(records: Records, capacity: int, *, training: bool) -> tuple[int, int]:
    """Place the packed operands of products in bfloat16; return how large both arrays are."""
    reduced = records[records["parts"] > 0]
    parts = int(reduced["parts"][0])
    depths = [reduced["n_inputs"].max(), *([reduced["n_outputs"].max()] if training else [])]
    row_distance = _depth_tiles(int(max(depths))) * parts * BF16_TILE_SIZE
    weights, operands = 0, _tiles_size(capacity, 1, parts) * _depth_tiles(int(max(depths)))
    for record in records:
        if not record["parts"]:
            continue
        n_inputs, n_outputs = int(record["n_inputs"]), int(record["n_outputs"])
        record["row_tiles"], record["row_distance"] = 0, row_distance
        record["batch_tiles"] = _depth_tiles(capacity)
        record["weight_tiles"] = weights
        weights += _tiles_size(n_outputs, n_inputs, parts)
        if record["dinputs"] >= 0:
            record["transposed_weight_tiles"] = weights
            weights += _tiles_size(n_inputs, n_outputs, parts)
        if training and record["trains"]:
            record["input_tiles"] = operands
            operands += _tiles_size(n_inputs, capacity, parts)
            record["gradient_tiles"] = operands
            operands += _tiles_size(n_outputs, capacity, parts)
    return weights, operands


def _depth_tiles(depth: int) -> int:
    count: int = -(-depth // BF16_TILE_DEPTH)
    return count


def _tiles_size(rows: int, depth: int, parts: int) -> int:
    """Return the numbers in the tiles of an operand; its rows come in pairs of tiles."""
    across = -(-rows // (2 * BF16_TILE_ROWS)) * 2
    size: int = across * _depth_tiles(depth) * parts * BF16_TILE_SIZE
    return size


def _n_outputs(operation: int, layer: Any, width: int) -> int:
    """Return how many outputs a layer has for `width` inputs."""
    kind = OPERATION_OF[operation].weights
    if kind == "tables":
        n_outputs: int = layer.n_outputs
        return n_outputs
    return arrays_of(layer)[0].shape[1] if kind == "matrix" else width


def _count_sums(layer: Any, kind: str, width: int, n_outputs: int) -> int:
    """Return how many sums of penalties, or of squares, the weights phase forms of a layer."""
    if kind == "tables":
        return -(-arrays_of(layer)[0].size // TABLE_PIECE)
    return width + n_outputs


def _n_parameters(layer: Any) -> int:
    if not isinstance(layer, ParameterLayer):
        return 0
    return sum(array.size for array in arrays_of(layer))


def _check_sizes(layer: Any, kind: str, width: int, n_outputs: int) -> None:
    """Refuse parameters that are not where a kernel would look for them."""
    weights, biases = arrays_of(layer)
    expected = (width if kind == "matrix" else 1, n_outputs), (1, n_outputs)
    if kind == "tables":
        size = int((layer.records["n_categories"] * layer.records["dimension"]).sum())
        expected = (1, size), (1, 0)
    if (weights.shape, biases.shape) != expected:
        raise ValueError(
            f"{layer!r} has weights and biases of shapes {weights.shape} and {biases.shape}, "
            f"expected {expected[0]} and {expected[1]}"
        )


def _set_operands(record: np.void) -> None:
    """Set where the weights of a layer train, and the operands of their gradient."""
    sides = [("panels", "inputs", "input_row"), ("transposed_panels", "doutputs", "output_row")]
    if record["trains_transposed"]:
        sides.reverse()
    (panels, left, left_row), (_, right, right_row) = sides
    record["trained_panels"] = record[panels]
    record["left"], record["left_row"] = record[left], record[left_row]
    record["right"], record["right_row"] = record[right], record[right_row]


def _pack_operands(record: np.void, workspace: _Workspace) -> None:
    """Make room for panels of the operands of a gradient whose rows are long."""
    if record["trains_transposed"]:
        return
    record["operand_rows"] = workspace.capacity
    widths = int(record["n_inputs"]), int(record["n_outputs"])
    for side, width in zip(("left", "right"), widths, strict=True):
        if workspace.is_long(width, min(widths)):
            record[f"packs_{side}"] = True
            record[side] = workspace.panels(workspace.capacity, width)


def _connect(branch: np.void, add: np.void, *, training: bool) -> None:
    """Tell the two ends of a skip connection where the other one keeps its numbers."""
    add["skip"] = branch["outputs"] if training else branch["skip"]
    add["row_skip"] = branch["row_skip"]
    branch["dskip"] = add["doutputs"]


def _make_room(record: np.void, room: Mapping[str, Room], workspace: _Workspace) -> None:
    """Hand out what a layer needs for itself, in the order of its row in the catalogue."""
    sizes = workspace.capacity, int(record["n_outputs"]), int(record["output_row"])
    for name, size_of in room.items():
        record[name] = workspace.take(size_of(*sizes))


def _fuse(steps: Steps) -> list[tuple[int, Any, int]]:
    """Return (operation, layer, finish) steps, with each ReLU between two dense layers merged.

    Only there: the input gradient of the dense layer behind applies the ReLU's mask.
    """
    fused: list[Any] = []
    for i, (operation, layer) in enumerate(steps):
        around = [steps[j][0] for j in (i - 1, i + 1) if 0 <= j < len(steps)]
        if operation == Operation.RELU and around == [Operation.DENSE, Operation.DENSE]:
            fused[-1] = (*fused[-1][:2], Epilogue.RELU)
        else:
            fused.append((operation, layer, Epilogue.STORE))
    return fused


class _Workspace:
    """Hands out pieces of one buffer, each at the start of a cache line."""

    def __init__(self, capacity: int, itemsize: int) -> None:
        self.capacity, self.itemsize, self.size = capacity, itemsize, 0

    def take(self, count: int) -> int:
        line = CACHE_LINE // self.itemsize
        offset = self.size
        self.size += -(-count // line) * line
        return offset

    def panels(self, depth: int, width: int) -> int:
        """Return the offset of `width` columns packed to panels: padded to whole vectors."""
        line = CACHE_LINE // self.itemsize
        return self.take(-(-width // line) * line * depth)

    def is_thin(self, depth: int, width: int) -> bool:
        """Return whether `width` columns are a part of a vector, and fill their transpose better.

        A step of Adam takes as long for the padding of panels as for weights.
        """
        line: int = CACHE_LINE // self.itemsize
        return width < line and -(-depth // line) * width < depth

    def is_long(self, width: int, narrowest: int) -> bool:
        """Return whether a gradient is faster on panels than on rows of `width` columns.

        `narrowest` is the smaller of the two widths of its layer.
        """
        row = width * self.itemsize
        is_large = row * self.capacity >= LONG_COLUMNS and narrowest >= ENOUGH_COLUMNS
        return bool(row >= LONG_ROW or is_large)

    def rows(self, width: int) -> tuple[int, int]:
        """Return (offset, distance between rows) of `capacity` rows."""
        line = CACHE_LINE // self.itemsize
        distance = -(-width // line) * line
        if distance * self.itemsize % L1_SET_DISTANCE == 0:
            distance += line
        return self.take(distance * self.capacity), distance
