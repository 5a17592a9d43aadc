"""What the checks of FASTNN_CHECKS=1 look at when a kernel is called, as compiled functions.

Those of tables and of what lies where a table says return the number of the fault, 0 if there is
none: its text is in `FAULTS`.
"""

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import catalogue
from . import table as t
from .catalogue import Loss, Operation, Rule
from .chains import one_of, states_of
from .codes import ITEM_SIZES
from .columns import columns_of
from .target import BF16_TILE_DEPTH, BF16_TILE_ROWS, BF16_TILE_SIZE, CACHE_LINE

is_basic, is_norm = one_of(numba.njit, catalogue.BASIC), one_of(numba.njit, catalogue.NORMS)
is_activation = one_of(numba.njit, [row.code for row in catalogue.ACTIVATIONS])
depends_on_mode = one_of(numba.njit, catalogue.DEPENDENT_ON_MODE)
is_residual = one_of(numba.njit, catalogue.RESIDUAL)
is_embedding = one_of(numba.njit, [Operation.EMBEDDING])
has_parameters = one_of(numba.njit, catalogue.WITH_PARAMETERS)
n_states_of = states_of(numba.njit)


@intrinsic
def _address(typingctx, array):
    """Return the address of the first element of an array."""

    def codegen(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, ir.IntType(64))

    return types.int64(array), codegen


@numba.njit
def is_apart(a, b):
    """Return whether two arrays share no byte."""
    first, second = _address(a), _address(b)
    if a.size == 0 or b.size == 0:
        return True
    return first + a.size * a.itemsize <= second or second + b.size * b.itemsize <= first


@numba.njit
def is_same_or_apart(a, b):
    """Return whether two arrays of one shape and dtype share all bytes or none."""
    return _address(a) == _address(b) or is_apart(a, b)


@numba.njit
def is_below(indices, size):
    """Return whether all indices, of any shape, are in [0, size)."""
    flat = indices.reshape(-1)
    for i in range(flat.size):
        if flat[i] < 0 or flat[i] >= size:
            return False
    return True


# A fault is a place in it. Each text begins with the argument.
FAULTS = (
    "",
    "layers do not describe a network, expected those of a plan",
    "parameters has fewer elements than layers ask for",
    "workspace has fewer elements than layers ask for",
    "panels has fewer elements than layers ask for",
    "extended is None, and an operation of layers is not basic",
    "inputs has another number of columns than layers have inputs",
    "outputs has another number of columns than layers have outputs",
    "layout reaches outside of the bytes, for the numbers in it or for an index of the samples",
    "indices has a negative one",
    "states has fewer rows than rule needs",
    "states has fewer columns than layers have parameters",
    "keys is None, and a layer drops or normalizes",
    "sums has fewer columns than layers count",
    "scores has fewer columns than batch_size",
    "steps has fewer records than there are steps from first_step to last_step",
    "order has an index outside of [0, N), the number of samples",
    "last_step is behind the last epoch of order",
    "labels has a label outside of [0, O), or not one for each sample",
    "targets is neither (0, O) nor (N, O), with N samples and O outputs of layers",
    "sample_weights has another number of elements than there are samples, or one below 0",
    "rule is not FUSED_DESCENT, and extended is None",
    "tiles are fewer than layers ask for, or do not begin at a line of the cache",
    "bounds are not one more than the rows of gradients, or do not rise within [0, M]",
    "gradients has fewer columns than layers have parameters",
    "scores has fewer columns than indices has elements",
    "indices has an index outside of [0, N), the number of samples",
    "columns are not in the order of outputs and weights, or do not fit inputs, outputs or weights",
    "extended has columns that do not fit the first layer, or none, and it is an EMBEDDING",
    "rule is FUSED_DESCENT, and the first layer is an EMBEDDING",
)
(_TABLE, _PARAMETERS, _WORKSPACE, _PANELS, _COEFFICIENTS, _INPUTS, _OUTPUTS, _LAYOUT, _INDICES,
 _STATES_ROWS, _STATES_COLUMNS, _KEYS, _SUMS, _SCORES, _STEPS, _ORDER, _LAST_STEP, _LABELS,
 _TARGETS, _WEIGHTS, _RULE, _TILES, _BOUNDS, _COLUMNS, _BATCH,
 _SAMPLES, _RECORDS, _EMBEDDING, _FUSED) = range(1, len(FAULTS))  # fmt: skip


@numba.njit
def _holds(array, start, size):
    """Return whether [start, start + size) lies in an array of one dimension."""
    return 0 <= start and start + size <= array.size


@numba.njit
def _panels(array, layer):
    """Return the elements of a packed matrix: the columns are padded to whole cache lines."""
    line = CACHE_LINE // array.itemsize
    columns = (layer.n_outputs + line - 1) // line * line
    return columns * layer.n_inputs


@numba.njit
def _transposed(array, layer):
    """Return the elements of the transpose of a matrix, packed likewise."""
    line = CACHE_LINE // array.itemsize
    columns = (layer.n_inputs + line - 1) // line * line
    return columns * layer.n_outputs


@numba.njit
def _span(row, width, rows):
    """Return the elements from the first of `rows` rows to the end of the last."""
    return (rows - 1) * row + width if rows > 0 else 0


@numba.njit
def _tiles(rows, depth, parts):
    """Return the numbers in the tiles of an operand, of which the rows come in pairs of tiles."""
    across = (rows + 2 * BF16_TILE_ROWS - 1) // (2 * BF16_TILE_ROWS) * 2
    return across * ((depth + BF16_TILE_DEPTH - 1) // BF16_TILE_DEPTH) * parts * BF16_TILE_SIZE


@numba.njit
def tiles_fault(layers, tiles, rows, is_training):
    """Return _TILES unless all packed operands of `rows` samples have room, or _TABLE.

    Without rows, only the packed weights are needed.
    """
    if tiles is None:
        return 0
    weights, operands = tiles
    for array in tiles:
        if array.size > 0 and _address(array) % CACHE_LINE != 0:
            return _TILES
    for index in range(len(layers)):
        layer = layers[index]
        parts, width, height = layer.parts, layer.n_inputs, layer.n_outputs
        if parts == 0:
            continue
        if not (1 <= parts <= 2 and layer.operation == Operation.DENSE):
            return _TABLE
        right = _holds(weights, layer.weight_tiles, _tiles(height, width, parts))
        if layer.transposed_weight_tiles >= 0 or (is_training and layer.dinputs >= 0):
            size = _tiles(width, height, parts)
            right = right and _holds(weights, layer.transposed_weight_tiles, size)
        if rows > 0:
            # The first row of tiles to the last: each begins `row_distance` behind the one before.
            depth = max(width, height) if is_training and layer.dinputs >= 0 else width
            across = (rows + 2 * BF16_TILE_ROWS - 1) // (2 * BF16_TILE_ROWS) * 2
            right = right and layer.row_distance >= _tiles(1, depth, parts) // 2
            right = right and _holds(operands, layer.row_tiles, across * layer.row_distance)
        if is_training and layer.trains:
            depth = layer.batch_tiles * BF16_TILE_DEPTH
            right = right and depth >= rows
            right = right and _holds(operands, layer.input_tiles, _tiles(width, depth, parts))
            right = right and _holds(operands, layer.gradient_tiles, _tiles(height, depth, parts))
        if not right:
            return _TILES
    return 0


@numba.njit
def n_weights(layer):
    """Return how many weights a layer with parameters has."""
    if layer.operation == Operation.DENSE:
        return layer.n_inputs * layer.n_outputs
    return layer.table_size if layer.operation == Operation.EMBEDDING else layer.n_outputs


@numba.njit
def n_biases(layer):
    """Return how many biases a layer with parameters has."""
    return 0 if layer.operation == Operation.EMBEDDING else layer.n_outputs


@numba.njit
def columns_fault(columns, n_inputs, n_outputs, size):
    """Return _RECORDS unless columns describe tables of `size` numbers, and these widths."""
    output, table = 0, 0
    for i in range(len(columns)):
        column = columns[i]
        count, dimension = column.n_categories, column.dimension
        if count < 0 or dimension < 1 or column.output != output:
            return _RECORDS
        if (count == 0 and dimension != 1) or (count > 0 and column.table != table):
            return _RECORDS
        output, table = output + dimension, table + count * dimension
    return 0 if (len(columns), output, table) == (n_inputs, n_outputs, size) else _RECORDS


@numba.njit
def embedding_fault(layers, columns):
    """Return _EMBEDDING unless the first layer has the columns that it needs."""
    head = layers[0]
    if columns is None:
        return _EMBEDDING if head.operation == Operation.EMBEDDING else 0
    fault = columns_fault(columns, head.n_inputs, head.n_outputs, head.table_size)
    return _EMBEDDING if fault != 0 or head.operation != Operation.EMBEDDING else 0


@numba.njit
def table_fault(layers):
    """Return _TABLE unless the rows of a table fit together."""
    for index in range(len(layers)):
        layer = layers[index]
        n_inputs, n_outputs, operation = layer.n_inputs, layer.n_outputs, layer.operation
        known = is_basic(operation) or is_activation(operation) or depends_on_mode(operation)
        known = known or is_residual(operation) or (is_embedding(operation) and index == 0)
        if not (known and n_inputs >= 0 and n_outputs >= 0):
            return _TABLE
        resizes = operation == Operation.DENSE or is_embedding(operation)
        if not resizes and n_inputs != n_outputs:
            return _TABLE
        if index > 0 and n_inputs != layers[index - 1].n_outputs:
            return _TABLE
    return 0 if len(layers) > 0 else _TABLE


@numba.njit
def parameters_fault(layers, parameters, extended):
    """Return _PARAMETERS unless they hold what a table asks for; _COEFFICIENTS, _TABLE likewise."""
    fault = table_fault(layers)
    for index in range(len(layers)):
        layer = layers[index]
        operation, size = layer.operation, layer.n_outputs
        if not is_basic(operation) and not extended:
            return _COEFFICIENTS
        if has_parameters(operation):
            if not _holds(parameters, layer.weights, n_weights(layer)):
                return _PARAMETERS
            if not _holds(parameters, layer.biases, n_biases(layer)):
                return _PARAMETERS
        if operation == Operation.BATCH_NORM:
            if not _holds(parameters, layer.running_mean, size):
                return _PARAMETERS
            if not _holds(parameters, layer.running_variance, size):
                return _PARAMETERS
    return fault


@numba.njit
def network_fault(outputs, layers, extended, parameters, inputs):
    """Return the fault of a network and its inputs and outputs."""
    fault = parameters_fault(layers, parameters, extended is not None)
    if fault == 0:
        fault = embedding_fault(layers, columns_of(extended))
    if fault != 0:
        return fault
    if inputs.shape[1] != layers[0].n_inputs:
        return _INPUTS
    return 0 if outputs.shape[1] == layers[len(layers) - 1].n_outputs else _OUTPUTS


@numba.njit
def states_fault(layers, states):
    """Return _STATES_COLUMNS unless there are as many as parameters that an optimizer moves."""
    for index in range(len(layers)):
        layer = layers[index]
        if has_parameters(layer.operation):
            weights_end = layer.weights + n_weights(layer)
            biases_end = layer.biases + n_biases(layer)
            if layer.weights < 0 or max(weights_end, biases_end) > states.shape[1]:
                return _STATES_COLUMNS
    return 0


@numba.njit
def unpack_fault(states, workspace, layers):
    fault = table_fault(layers)
    if fault == 0 and len(states) > 0:
        fault = states_fault(layers, states)
    if fault != 0:
        return fault
    for index in range(len(layers)):
        layer = layers[index]
        if layer.operation == Operation.DENSE:
            if not _holds(workspace, layer.states, len(states) * _panels(workspace, layer)):
                return _WORKSPACE
    return 0


@numba.njit
def count_states(steps, rule):
    """Return how many states some steps need: those of the rule, and the averages."""
    averages = False
    for i in range(len(steps)):
        averages = averages or steps[i].average != 0.0
    return n_states_of(rule) + (1 if averages else 0)


@numba.njit
def optimizer_fault(states, rule, step):
    return _STATES_ROWS if len(states) < count_states(step, rule) else 0


@numba.njit
def layout_fault(size, layout, indices, width):
    """Return _LAYOUT unless the numbers of some rows lie in `size` bytes."""
    place = layout[0]
    if not 0 <= place.type < len(ITEM_SIZES):
        return _LAYOUT
    if width == 0:
        return 0
    last = (width - 1) * place.column_step
    low, high = min(last, 0), max(last, 0) + ITEM_SIZES[place.type]
    for index in indices.reshape(-1):
        if index < 0:
            return _INDICES
        start = place.start + index * place.row_step
        if start + low < 0 or start + high > size:
            return _LAYOUT
    return 0


@numba.njit
def convert_fault(rows, source, layout, indices):
    return layout_fault(source.size, layout, indices, rows.shape[1])


@numba.njit
def places_fault(layers, workspace, tiles, batch, n_states):
    """Return _WORKSPACE unless all that a training step keeps of a batch has room, or _TABLE."""
    for index in range(len(layers)):
        layer = layers[index]
        operation, width, row = layer.operation, layer.n_outputs, layer.output_row
        if row < width or layer.input_row < layer.n_inputs:
            return _TABLE
        inputs = _span(layer.input_row, layer.n_inputs, batch)
        outputs = _span(row, width, batch)
        right = _holds(workspace, layer.inputs, inputs)
        right = right and (layer.dinputs < 0 or _holds(workspace, layer.dinputs, inputs))
        right = right and _holds(workspace, layer.outputs, outputs)
        right = right and _holds(workspace, layer.doutputs, outputs)
        right = right and _holds(workspace, layer.dbiases, width)
        if operation == Operation.DENSE:
            size = _panels(workspace, layer)
            right = right and _holds(workspace, layer.panels, size)
            if n_states > 0:
                right = right and _holds(workspace, layer.states, n_states * size)
            if layer.gradients >= 0:
                right = right and _holds(workspace, layer.gradients, size)
            if tiles is not None and layer.parts > 0:
                right = right and _holds(workspace, layer.pieces, size)
            elif layer.dinputs >= 0 or layer.transposed_panels >= 0:
                place = layer.transposed_panels
                right = right and _holds(workspace, place, _transposed(workspace, layer))
        if is_embedding(operation) and layer.gradients >= 0:
            right = right and _holds(workspace, layer.gradients, layer.table_size)
        if operation == Operation.DROPOUT:
            right = right and _holds(workspace, layer.mask, outputs)
        if operation == Operation.BRANCH:
            right = right and _holds(workspace, layer.dskip, outputs)
        if (operation == Operation.BRANCH and layer.skip >= 0) or operation == Operation.ADD:
            right = right and _holds(workspace, layer.skip, outputs)
        if is_norm(operation):
            right = right and _holds(workspace, layer.normalized, outputs)
            right = right and _holds(workspace, layer.dweights, width)
        if operation == Operation.LAYER_NORM:
            right = right and _holds(workspace, layer.scales, batch)
        if operation == Operation.BATCH_NORM:
            size = 2 * ((batch + t.BLOCK - 1) // t.BLOCK) * row
            right = right and _holds(workspace, layer.scales, 2 * row + width)
            right = right and _holds(workspace, layer.moments, size)
            right = right and _holds(workspace, layer.sums, size)
        if not right:
            return _WORKSPACE
    return 0


@numba.njit
def sums_fault(sums, layers, steps):
    """Return _SUMS unless there is room where penalties or the length of a gradient are summed."""
    clips = False
    for i in range(len(steps)):
        clips = clips or not steps[i].clip_norm > 1e308  # infinite where nothing is clipped
    for index in range(len(layers)):
        layer = layers[index]
        if layer.weights < 0 or layer.trains == 0:
            continue
        summed = clips or sums.shape[1] > 0
        summed = summed or layer.weights_l1 != 0.0 or layer.weights_l2 != 0.0
        summed = summed or layer.biases_l1 != 0.0 or layer.biases_l2 != 0.0
        at = layer.first_sum
        size = layer.n_inputs + layer.n_outputs
        if is_embedding(layer.operation):
            size = (layer.table_size + t.TABLE_PIECE - 1) // t.TABLE_PIECE
        if summed and not 0 <= at <= sums.shape[1] - size:
            return _SUMS
        keeps = layer.operation == Operation.DENSE or is_embedding(layer.operation)
        if clips and keeps and layer.gradients < 0:
            return _TABLE
    return 0


@numba.njit
def targets_fault(labels, targets, n_samples, n_outputs, loss):
    """Return the fault of what a loss compares outputs with."""
    if len(targets) not in (0, n_samples) or targets.shape[1] != n_outputs:
        return _TARGETS
    if loss != Loss.SOFTMAX_CROSS_ENTROPY:
        return 0 if len(targets) == n_samples else _TARGETS
    if len(labels) != n_samples or not is_below(labels, n_outputs):
        return _LABELS
    return 0


@numba.njit
def weights_fault(sample_weights, n_samples):
    if len(sample_weights) != 0 and len(sample_weights) != n_samples:
        return _WEIGHTS
    for weight in sample_weights:
        if not weight >= 0:
            return _WEIGHTS
    return 0


@numba.njit
def train_fault(memory, layers, inputs, extended, tiles, answers, order, keys, task):
    """Return the fault of the arguments of `train_steps`, or 0."""
    job, steps = task
    parameters, workspace, scores, sums, _ = memory
    labels, targets = answers
    first_step, last_step, batch_size = job[0].first_step, job[0].last_step, job[0].batch_size
    loss, rule = job[0].loss, job[0].rule
    fault = parameters_fault(layers, parameters, extended is not None)
    if fault == 0:
        fault = embedding_fault(layers, columns_of(extended))
    if fault != 0:
        return fault
    if rule == Rule.FUSED_DESCENT and is_embedding(layers[0].operation):
        return _FUSED
    if extended is None and rule != Rule.FUSED_DESCENT:
        return _RULE
    n_samples = len(targets) if loss != Loss.SOFTMAX_CROSS_ENTROPY else len(labels)
    n_outputs = layers[len(layers) - 1].n_outputs
    n_steps = len(order) * ((order.shape[1] + batch_size - 1) // batch_size)
    if scores.shape[1] < batch_size:
        return _SCORES
    if last_step > n_steps:
        return _LAST_STEP
    if len(steps) < last_step - first_step:
        return _STEPS
    if keys is None:
        for index in range(len(layers)):
            if depends_on_mode(layers[index].operation):
                return _KEYS
    n_states = 0
    if extended is not None:
        states, layout, sample_weights = extended[0], extended[1], extended[2]
        n_states = count_states(steps, rule)
        if len(states) < n_states:
            return _STATES_ROWS
        n_states = len(states)
        if n_states > 0:
            fault = states_fault(layers, states)
        if fault != 0:
            return fault
    batch = min(batch_size, order.shape[1])
    fault = places_fault(layers, workspace, tiles, batch, n_states)
    if fault == 0:
        fault = tiles_fault(layers, tiles, batch, True)
    if fault == 0:
        fault = targets_fault(labels, targets, n_samples, n_outputs, loss)
    if fault == 0 and not is_below(order, n_samples):
        fault = _ORDER
    if fault != 0:
        return fault
    if extended is not None:
        fault = sums_fault(sums, layers, steps)
        if fault == 0:
            fault = weights_fault(sample_weights, n_samples)
        if fault != 0:
            return fault
        return layout_fault(inputs.size, layout, order, layers[0].n_inputs)
    return 0 if inputs.size == n_samples * layers[0].n_inputs else _INPUTS
