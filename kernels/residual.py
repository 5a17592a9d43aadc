"""BRANCH and ADD: the outputs of some layers are added to their inputs.

outputs = inputs + layers(inputs), a residual block: He and others, "Deep Residual Learning for
Image Recognition" (2015), equation 1. BRANCH stands before the layers and passes its inputs on. ADD
stands behind them, and adds what came in at its BRANCH. On the way back ADD passes the gradient on,
and BRANCH adds that of its ADD. Each place in a table says where the other one of a pair keeps its
numbers.
"""

from .batches import copy_row
from .catalogue import Operation
from .jit import inner
from .simd import lanes, load, load_part, store, store_part


@inner
def add_row(result, a, b, size):
    """result = a + b, over `size` elements at pointers; `result` may be `a` or `b`."""
    step = lanes(a)
    whole = size - size % step
    for j in range(0, whole, step):
        store(result + j, load(a + j) + load(b + j))
    if whole < size:
        rest = size - whole
        values = load_part(a + whole, rest, 0.0) + load_part(b + whole, rest, 0.0)
        store_part(result + whole, values, rest)


@inner
def residual_rows(layer, workspace, outputs, inputs, input_row, first, rows):
    """Run the rows [first, first + rows) through a BRANCH or an ADD, at pointers to `first`."""
    row, size = layer.output_row, layer.n_outputs
    for i in range(rows):
        result, values = outputs + i * row, inputs + i * input_row
        if layer.operation == Operation.ADD:
            add_row(result, values, workspace + (layer.skip + (first + i) * row), size)
        else:
            copy_row(result, values, size)
            if layer.skip >= 0:  # in a prediction, where the outputs do not stay
                copy_row(workspace + (layer.skip + (first + i) * row), values, size)


@inner
def residual_rows_back(layer, workspace, dinputs, doutputs, first, rows):
    """Take the gradient of some rows back through a BRANCH or an ADD, at pointers to `first`."""
    size = layer.n_outputs
    for i in range(rows):
        result, slopes = dinputs + i * layer.input_row, doutputs + i * layer.output_row
        if layer.operation == Operation.BRANCH:
            skip = workspace + (layer.dskip + (first + i) * layer.output_row)
            add_row(result, slopes, skip, size)
        else:
            copy_row(result, slopes, size)


@inner
def residual_row(result, values, layer, workspace):
    """Run one row through a BRANCH or an ADD in a prediction of a few rows."""
    skip = workspace + layer.row_skip
    if layer.operation == Operation.ADD:
        add_row(result, values, skip, layer.n_outputs)
    else:
        copy_row(result, values, layer.n_outputs)
        copy_row(skip, values, layer.n_outputs)
