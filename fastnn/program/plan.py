"""From layers to the table and the workspace of the compiled program.

`kernels/program.py` runs any network that these tables can describe. A layer class of a user's
own has no row in them: `program_layers` then gives None, and the model works layer by layer.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ..kernels import catalogue
from ..kernels import table as t
from ..kernels.catalogue import Operation, depends_on_mode, is_norm
from ..kernels.codes import Epilogue
from ..kernels.target import CACHE_LINE, L1_SET_DISTANCE
from ..nn.activations import Activation
from ..nn.classes import CLASSES
from ..nn.layers import ParameterLayer, arrays_of
from ..nn.own import overrides
from ..settings import Setting
from ..types import Floats, Integers, MaybeNone, Steps

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


class Plan(NamedTuple):
    """What the compiled program needs beside data and parameters."""

    table: Integers  # (steps, t.N_COLUMNS) of int64
    coefficients: Floats  # (steps, t.N_COEFFICIENTS) of float64
    workspace_size: int  # in elements
    panels_size: int  # of a prediction's packed weights; those of training are in the workspace
    n_sums: int  # rows of weights, and biases

    @property
    def widest(self) -> int:
        """The most inputs or outputs of any step."""
        return int(self.table[:, [t.N_INPUTS, t.N_OUTPUTS]].max())


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
) -> Plan:
    """Lay out the workspace for batches of up to `capacity` rows.

    `steps` comes from `program_layers`; parameters lie in its order, weights before biases. The
    optimizer has `n_states`; `keep_gradients` where it has to see all of a gradient at once.
    """
    if not training:
        steps = [step for step in steps if step[0] != Operation.DROPOUT]
    fused = _fuse(steps)
    table = np.full((len(fused), t.N_COLUMNS), -1, np.int64)
    coefficients = np.full((len(fused), t.N_COEFFICIENTS), 0.0)
    workspace = _Workspace(capacity, itemsize)
    panels = workspace if training else _Workspace(capacity, itemsize)
    parameter, n_sums, n_draws, trains = 0, 0, 0, False
    running = sum(_n_parameters(layer) for _, layer, _ in fused)
    dinputs, width, finish = -1, n_inputs, Epilogue.STORE
    # Without training only the values of two neighboring layers are alive at a time.
    n_neurons = [arrays_of(layer)[0].shape[1] for op, layer, _ in fused if op == Operation.DENSE]
    widest = max([*n_neurons, n_inputs])
    pair = [] if training else [workspace.rows(widest) for _ in range(2)]
    inputs, input_row = workspace.rows(n_inputs) if training else pair[1]
    rows = zip(table, coefficients, fused, strict=True)
    for i, (row, factors, (operation, layer, activation)) in enumerate(rows):
        n_outputs = arrays_of(layer)[0].shape[1] if operation == Operation.DENSE else width
        row[t.OPERATION], row[t.N_INPUTS], row[t.N_OUTPUTS] = operation, width, n_outputs
        row[t.INPUTS], row[t.INPUT_ROW] = inputs, input_row
        row[t.DINPUTS] = dinputs if trains else -1
        row[t.BACKWARD_FINISH] = Epilogue.RELU_MASK if finish == Epilogue.RELU else Epilogue.STORE
        finish = activation
        row[t.FINISH] = activation
        if isinstance(layer, ParameterLayer):
            _check_sizes(layer, width if operation == Operation.DENSE else 1, n_outputs)
            row[t.WEIGHTS], row[t.BIASES] = parameter, parameter + arrays_of(layer)[0].size
            parameter += _n_parameters(layer)
            row[t.TRAINS], row[t.HAS_BIASES] = layer.trainable, layer.use_bias
            row[t.FIRST_SUM] = n_sums
            n_sums += width + n_outputs
            factors[: t.NUMBER] = layer.penalties
            trains = trains or layer.trainable
        if operation == Operation.DENSE:
            row[t.PANELS] = panels.panels(width, n_outputs)
            if row[t.DINPUTS] >= 0:
                row[t.TRANSPOSED_PANELS] = panels.panels(n_outputs, width)
            if training:
                row[t.STATES] = workspace.panels(n_states * width, n_outputs)
            if keep_gradients and layer.trainable:
                row[t.GRADIENTS] = workspace.panels(width, n_outputs)
        elif operation == Operation.DROPOUT:
            factors[t.NUMBER], row[t.DRAW] = layer.rate, n_draws
            n_draws += 1
        elif is_norm(operation):
            factors[t.NUMBER] = layer.epsilon
            if operation == Operation.BATCH_NORM:
                factors[t.MOMENTUM_NUMBER] = layer.momentum
                row[t.RUNNING_MEAN], row[t.RUNNING_VARIANCE] = running, running + width
                running += 2 * width
        elif isinstance(layer, Activation):
            factors[t.NUMBER] = layer.number
        inputs, input_row = workspace.rows(n_outputs) if training else pair[i % 2]
        row[t.OUTPUTS], row[t.OUTPUT_ROW] = inputs, input_row
        if training:
            last = i == len(fused) - 1
            # The gradient of the outputs takes their place, unless the last step needs them to go
            # back.
            reads_inputs = operation in (Operation.DENSE, Operation.RELU)
            in_place = last and (reads_inputs or depends_on_mode(operation))
            dinputs = inputs if in_place else workspace.rows(n_outputs)[0]
            row[t.DOUTPUTS] = dinputs
            row[t.DBIASES] = workspace.take(n_outputs)
            _make_room(row, workspace)
        elif operation == Operation.BATCH_NORM:
            row[t.SCALES] = workspace.take(3 * input_row)
        width = n_outputs
    return Plan(table, coefficients, workspace.size, 0 if training else panels.size, n_sums)


def _n_parameters(layer: Any) -> int:
    if not isinstance(layer, ParameterLayer):
        return 0
    return sum(array.size for array in arrays_of(layer))


def _check_sizes(layer: Any, n_rows: int, n_outputs: int) -> None:
    """Refuse parameters that are not where a kernel would look for them."""
    weights, biases = arrays_of(layer)
    if (weights.shape, biases.shape) != ((n_rows, n_outputs), (1, n_outputs)):
        raise ValueError(
            f"{layer!r} has weights and biases of shapes {weights.shape} and {biases.shape}, "
            f"expected ({n_rows}, {n_outputs}) and (1, {n_outputs})"
        )


def _make_room(row: Integers, workspace: _Workspace) -> None:
    """Hand out what DROPOUT and normalization keep for the way back."""
    operation, width = row[t.OPERATION], row[t.N_OUTPUTS]
    if depends_on_mode(operation):
        row[t.KEPT] = workspace.rows(width)[0]
    if is_norm(operation):
        row[t.DWEIGHTS] = workspace.take(width)
    if operation == Operation.LAYER_NORM:
        row[t.SCALES] = workspace.take(workspace.capacity)
    if operation == Operation.BATCH_NORM:
        size = 2 * -(-workspace.capacity // t.BLOCK) * row[t.OUTPUT_ROW]
        row[t.MOMENTS], row[t.SUMS] = workspace.take(size), workspace.take(size)
        row[t.SCALES] = workspace.take(3 * row[t.OUTPUT_ROW])


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

    def rows(self, width: int) -> tuple[int, int]:
        """Return (offset, distance between rows) of `capacity` rows."""
        line = CACHE_LINE // self.itemsize
        distance = -(-width // line) * line
        if distance * self.itemsize % L1_SET_DISTANCE == 0:
            distance += line
        return self.take(distance * self.capacity), distance
