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
from .codes import ITEM_SIZES
from .target import CACHE_LINE

depends_on_mode = numba.njit(catalogue.depends_on_mode)
has_parameters = numba.njit(catalogue.has_parameters)
is_basic = numba.njit(catalogue.is_basic)
is_norm, n_states_of = numba.njit(catalogue.is_norm), numba.njit(catalogue.n_states_of)

_ACTIVATION_CODES = tuple(row.code for row in catalogue.ACTIVATIONS)


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
    "table does not describe a network, expected one of fastnn.plan",
    "parameters has fewer elements than table asks for",
    "workspace has fewer elements than table asks for",
    "panels has fewer elements than table asks for",
    "coefficients is None, and table has a row that needs them",
    "inputs has another number of columns than table has inputs",
    "outputs has another number of columns than table has outputs",
    "layout reaches outside of the bytes, for the numbers in it or for an index of the samples",
    "indices has a negative one",
    "states has fewer rows than rule needs",
    "states has fewer columns than table has parameters",
    "keys is None, and table has a row that drops or normalizes",
    "sums has fewer columns than table counts",
    "scores has fewer columns than batch_size",
    "numbers has fewer rows than there are steps",
    "order has an index outside of [0, N), the number of samples",
    "last_step is behind the last epoch of order",
    "labels has a label outside of [0, O), or not one for each sample",
    "targets is neither (0, O) nor (N, O), with N samples and O outputs of table",
    "sample_weights has another number of elements than there are samples, or one below 0",
    "states, coefficients, layout, scaling and sample_weights go together: all None, or none",
    "rule is not FUSED_DESCENT, which all that is None asks for",
)
(_TABLE, _PARAMETERS, _WORKSPACE, _PANELS, _COEFFICIENTS, _INPUTS, _OUTPUTS, _LAYOUT, _INDICES,
 _STATES_ROWS, _STATES_COLUMNS, _KEYS, _SUMS, _SCORES, _NUMBERS, _ORDER, _LAST_STEP, _LABELS,
 _TARGETS, _WEIGHTS, _TOGETHER, _RULE) = range(1, len(FAULTS))  # fmt: skip


@numba.njit
def _holds(array, start, size):
    """Return whether [start, start + size) lies in an array of one dimension."""
    return 0 <= start and start + size <= array.size


@numba.njit
def _panels(array, step):
    """Return the elements of a packed matrix: the columns are padded to whole cache lines."""
    line = CACHE_LINE // array.itemsize
    columns = (step[t.N_OUTPUTS] + line - 1) // line * line
    return columns * step[t.N_INPUTS]


@numba.njit
def _transposed(array, step):
    """Return the elements of the transpose of a matrix, packed likewise."""
    line = CACHE_LINE // array.itemsize
    columns = (step[t.N_INPUTS] + line - 1) // line * line
    return columns * step[t.N_OUTPUTS]


@numba.njit
def _span(row, width, rows):
    """Return the elements from the first of `rows` rows to the end of the last."""
    return (rows - 1) * row + width if rows > 0 else 0


@numba.njit
def table_fault(table):
    """Return _TABLE unless the rows of a table fit together."""
    for layer in range(len(table)):
        step = table[layer]
        n_inputs, n_outputs, operation = step[t.N_INPUTS], step[t.N_OUTPUTS], step[t.OPERATION]
        known = is_basic(operation) or operation in _ACTIVATION_CODES or depends_on_mode(operation)
        if not (known and n_inputs >= 0 and n_outputs >= 0):
            return _TABLE
        if operation != Operation.DENSE and n_inputs != n_outputs:
            return _TABLE
        if layer > 0 and n_inputs != table[layer - 1, t.N_OUTPUTS]:
            return _TABLE
    return 0 if len(table) > 0 else _TABLE


@numba.njit
def parameters_fault(table, parameters, has_coefficients):
    """Return _PARAMETERS unless they hold what a table asks for; _COEFFICIENTS, _TABLE likewise."""
    fault = table_fault(table)
    for layer in range(len(table)):
        step = table[layer]
        operation, size = step[t.OPERATION], step[t.N_OUTPUTS]
        if not is_basic(operation) and not has_coefficients:
            return _COEFFICIENTS
        if has_parameters(operation):
            rows = step[t.N_INPUTS] if operation == Operation.DENSE else 1
            if not _holds(parameters, step[t.WEIGHTS], rows * size):
                return _PARAMETERS
            if not _holds(parameters, step[t.BIASES], size):
                return _PARAMETERS
        if operation == Operation.BATCH_NORM:
            if not _holds(parameters, step[t.RUNNING_MEAN], size):
                return _PARAMETERS
            if not _holds(parameters, step[t.RUNNING_VARIANCE], size):
                return _PARAMETERS
    return fault


@numba.njit
def network_fault(outputs, table, has_coefficients, parameters, inputs):
    """Return the fault of a network and its inputs and outputs."""
    fault = parameters_fault(table, parameters, has_coefficients)
    if fault != 0:
        return fault
    if inputs.shape[1] != table[0, t.N_INPUTS]:
        return _INPUTS
    return 0 if outputs.shape[1] == table[len(table) - 1, t.N_OUTPUTS] else _OUTPUTS


@numba.njit
def few_fault(outputs, workspace, table, has_coefficients, parameters, inputs):
    fault = network_fault(outputs, table, has_coefficients, parameters, inputs)
    if fault != 0:
        return fault
    for layer in range(len(table)):
        if workspace.size < 2 * table[layer, t.N_OUTPUTS]:
            return _WORKSPACE
    return 0


@numba.njit
def rows_fault(outputs, workspace, panels, table, has_coefficients, parameters, inputs, block):
    fault = network_fault(outputs, table, has_coefficients, parameters, inputs)
    if fault != 0:
        return fault
    rows = min(block, len(inputs))
    for layer in range(len(table)):
        step = table[layer]
        width, row = step[t.N_OUTPUTS], step[t.OUTPUT_ROW]
        if row < width or (layer > 0 and step[t.INPUT_ROW] < step[t.N_INPUTS]):
            return _TABLE
        if not _holds(workspace, step[t.OUTPUTS], _span(row, width, rows)):
            return _WORKSPACE
        span = _span(step[t.INPUT_ROW], step[t.N_INPUTS], rows)
        if layer > 0 and not _holds(workspace, step[t.INPUTS], span):
            return _WORKSPACE
        if step[t.OPERATION] == Operation.BATCH_NORM:
            if not _holds(workspace, step[t.SCALES], 2 * row + width):
                return _WORKSPACE
        if step[t.OPERATION] == Operation.DENSE:
            if not _holds(panels, step[t.PANELS], _panels(panels, step)):
                return _PANELS
    return 0


@numba.njit
def pack_fault(panels, table, parameters):
    fault = parameters_fault(table, parameters, True)
    if fault != 0:
        return fault
    for layer in range(len(table)):
        step = table[layer]
        if step[t.OPERATION] == Operation.DENSE:
            if not _holds(panels, step[t.PANELS], _panels(panels, step)):
                return _PANELS
            if step[t.TRANSPOSED_PANELS] >= 0:
                if not _holds(panels, step[t.TRANSPOSED_PANELS], _transposed(panels, step)):
                    return _PANELS
    return 0


@numba.njit
def states_fault(table, states):
    """Return _STATES_COLUMNS unless there are as many as parameters that an optimizer moves."""
    for layer in range(len(table)):
        step = table[layer]
        if has_parameters(step[t.OPERATION]):
            rows = step[t.N_INPUTS] if step[t.OPERATION] == Operation.DENSE else 1
            weights_end = step[t.WEIGHTS] + rows * step[t.N_OUTPUTS]
            biases_end = step[t.BIASES] + step[t.N_OUTPUTS]
            if step[t.WEIGHTS] < 0 or max(weights_end, biases_end) > states.shape[1]:
                return _STATES_COLUMNS
    return 0


@numba.njit
def unpack_fault(states, workspace, table):
    fault = table_fault(table)
    if fault == 0 and len(states) > 0:
        fault = states_fault(table, states)
    if fault != 0:
        return fault
    for layer in range(len(table)):
        step = table[layer]
        if step[t.OPERATION] == Operation.DENSE:
            if not _holds(workspace, step[t.STATES], len(states) * _panels(workspace, step)):
                return _WORKSPACE
    return 0


@numba.njit
def optimizer_fault(states, rule):
    return _STATES_ROWS if len(states) < n_states_of(rule) else 0


@numba.njit
def layout_fault(size, layout, indices, width):
    """Return _LAYOUT unless the numbers of some rows lie in `size` bytes."""
    if not 0 <= layout[t.KIND] < len(ITEM_SIZES):
        return _LAYOUT
    if width == 0:
        return 0
    last = (width - 1) * layout[t.COLUMN_STEP]
    low, high = min(last, 0), max(last, 0) + ITEM_SIZES[layout[t.KIND]]
    for index in indices.reshape(-1):
        if index < 0:
            return _INDICES
        start = layout[t.START] + index * layout[t.ROW_STEP]
        if start + low < 0 or start + high > size:
            return _LAYOUT
    return 0


@numba.njit
def convert_fault(rows, source, layout, indices):
    return layout_fault(source.size, layout, indices, rows.shape[1])


@numba.njit
def places_fault(table, workspace, batch, n_states):
    """Return _WORKSPACE unless all that a training step keeps of a batch has room, or _TABLE."""
    for layer in range(len(table)):
        step = table[layer]
        operation, width, row = step[t.OPERATION], step[t.N_OUTPUTS], step[t.OUTPUT_ROW]
        if row < width or step[t.INPUT_ROW] < step[t.N_INPUTS]:
            return _TABLE
        inputs = _span(step[t.INPUT_ROW], step[t.N_INPUTS], batch)
        outputs = _span(row, width, batch)
        right = _holds(workspace, step[t.INPUTS], inputs)
        right = right and (step[t.DINPUTS] < 0 or _holds(workspace, step[t.DINPUTS], inputs))
        right = right and _holds(workspace, step[t.OUTPUTS], outputs)
        right = right and _holds(workspace, step[t.DOUTPUTS], outputs)
        right = right and _holds(workspace, step[t.DBIASES], width)
        if operation == Operation.DENSE:
            size = _panels(workspace, step)
            right = right and _holds(workspace, step[t.PANELS], size)
            if n_states > 0:
                right = right and _holds(workspace, step[t.STATES], n_states * size)
            if step[t.GRADIENTS] >= 0:
                right = right and _holds(workspace, step[t.GRADIENTS], size)
            if step[t.DINPUTS] >= 0 or step[t.TRANSPOSED_PANELS] >= 0:
                place = step[t.TRANSPOSED_PANELS]
                right = right and _holds(workspace, place, _transposed(workspace, step))
        if depends_on_mode(operation):
            right = right and _holds(workspace, step[t.KEPT], outputs)
        if is_norm(operation):
            right = right and _holds(workspace, step[t.DWEIGHTS], width)
        if operation == Operation.LAYER_NORM:
            right = right and _holds(workspace, step[t.SCALES], batch)
        if operation == Operation.BATCH_NORM:
            size = 2 * ((batch + t.BLOCK - 1) // t.BLOCK) * row
            right = right and _holds(workspace, step[t.SCALES], 2 * row + width)
            right = right and _holds(workspace, step[t.MOMENTS], size)
            right = right and _holds(workspace, step[t.SUMS], size)
        if not right:
            return _WORKSPACE
    return 0


@numba.njit
def sums_fault(sums, table, coefficients, numbers):
    """Return _SUMS unless there is room where penalties or the length of a gradient are summed."""
    clips = False
    for i in range(len(numbers)):
        clips = clips or not numbers[i, t.CLIP_NORM] > 1e308  # infinite where nothing is clipped
    for layer in range(len(table)):
        step = table[layer]
        if step[t.WEIGHTS] < 0 or step[t.TRAINS] == 0:
            continue
        summed = clips or sums.shape[1] > 0
        for factor in range(t.NUMBER):
            summed = summed or coefficients[layer, factor] != 0.0
        at = step[t.FIRST_SUM]
        if summed and not 0 <= at <= sums.shape[1] - step[t.N_INPUTS] - step[t.N_OUTPUTS]:
            return _SUMS
        if clips and step[t.OPERATION] == Operation.DENSE and step[t.GRADIENTS] < 0:
            return _TABLE
    return 0


@numba.njit
def targets_fault(labels, targets, n_samples, n_outputs, loss):
    """Return the fault of what a loss compares outputs with."""
    if len(targets) > 0 and (len(targets) != n_samples or targets.shape[1] != n_outputs):
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
def train_fault(
    parameters, states, workspace, scores, sums, table, coefficients, inputs, layout, scaling,
    labels, targets, sample_weights, order, first_step, last_step, batch_size, keys, loss, rule,
    numbers,
):  # fmt: skip
    """Return the fault of the arguments of `train_steps`, or 0."""
    fault = parameters_fault(table, parameters, coefficients is not None)
    if fault != 0:
        return fault
    # How many of the five are None.
    left_out = (states is None) + (coefficients is None) + (layout is None)
    left_out += (scaling is None) + (sample_weights is None)
    if left_out not in (0, 5):
        return _TOGETHER
    if left_out == 5 and rule != Rule.FUSED_DESCENT:
        return _RULE
    n_samples = len(targets) if loss != Loss.SOFTMAX_CROSS_ENTROPY else len(labels)
    n_outputs = table[len(table) - 1, t.N_OUTPUTS]
    n_steps = len(order) * ((order.shape[1] + batch_size - 1) // batch_size)
    if scores.shape[1] < batch_size:
        return _SCORES
    if last_step > n_steps:
        return _LAST_STEP
    if len(numbers) < last_step - first_step:
        return _NUMBERS
    if keys is None:
        for layer in range(len(table)):
            if depends_on_mode(table[layer, t.OPERATION]):
                return _KEYS
    n_states = 0
    if states is not None:
        n_states = n_states_of(rule)
        if len(states) < n_states:
            return _STATES_ROWS
        n_states = len(states)
        if n_states > 0:
            fault = states_fault(table, states)
        if fault != 0:
            return fault
    fault = places_fault(table, workspace, min(batch_size, order.shape[1]), n_states)
    if fault == 0:
        fault = targets_fault(labels, targets, n_samples, n_outputs, loss)
    if fault == 0 and not is_below(order, n_samples):
        fault = _ORDER
    if fault != 0:
        return fault
    if coefficients is not None:
        fault = sums_fault(sums, table, coefficients, numbers)
    if fault != 0:
        return fault
    if sample_weights is not None:
        fault = weights_fault(sample_weights, n_samples)
    if fault != 0:
        return fault
    if layout is not None:
        return layout_fault(inputs.size, layout, order, table[0, t.N_INPUTS])
    return 0 if inputs.size == n_samples * table[0, t.N_INPUTS] else _INPUTS
