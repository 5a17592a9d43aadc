"""Faults in the arguments of the kernels that predict: see `faults.py`."""

import numba

from .catalogue import Operation
from .faults import (
    _PANELS,
    _TABLE,
    _WORKSPACE,
    _holds,
    _panels,
    _span,
    _transposed,
    is_residual,
    network_fault,
    parameters_fault,
    tiles_fault,
)


@numba.njit
def few_fault(outputs, workspace, layers, extended, parameters, inputs):
    fault = network_fault(outputs, layers, extended, parameters, inputs)
    if fault != 0:
        return fault
    for index in range(len(layers)):
        if workspace.size < 2 * layers[index].n_outputs:
            return _WORKSPACE
        if is_residual(layers[index].operation):
            if not _holds(workspace, layers[index].row_skip, layers[index].n_outputs):
                return _WORKSPACE
    return 0


@numba.njit
def rows_fault(outputs, workspace, panels, layers, extended, tiles, parameters, inputs, block):
    fault = network_fault(outputs, layers, extended, parameters, inputs)
    rows = min(block, len(inputs))
    if fault == 0:
        fault = tiles_fault(layers, tiles, rows, False)
    if fault != 0:
        return fault
    for index in range(len(layers)):
        layer = layers[index]
        width, row = layer.n_outputs, layer.output_row
        if row < width or (index > 0 and layer.input_row < layer.n_inputs):
            return _TABLE
        if not _holds(workspace, layer.outputs, _span(row, width, rows)):
            return _WORKSPACE
        span = _span(layer.input_row, layer.n_inputs, rows)
        if index > 0 and not _holds(workspace, layer.inputs, span):
            return _WORKSPACE
        if layer.operation == Operation.BATCH_NORM:
            if not _holds(workspace, layer.scales, 2 * row + width):
                return _WORKSPACE
        if is_residual(layer.operation):
            if not _holds(workspace, layer.skip, _span(row, width, rows)):
                return _WORKSPACE
        if layer.operation == Operation.DENSE:
            if not _holds(panels, layer.panels, _panels(panels, layer)):
                return _PANELS
    return 0


@numba.njit
def pack_fault(panels, layers, tiles, parameters):
    fault = parameters_fault(layers, parameters, True)
    if fault == 0:
        fault = tiles_fault(layers, tiles, 0, False)
    if fault != 0:
        return fault
    for index in range(len(layers)):
        layer = layers[index]
        if layer.operation == Operation.DENSE:
            if not _holds(panels, layer.panels, _panels(panels, layer)):
                return _PANELS
            if layer.transposed_panels >= 0:
                if not _holds(panels, layer.transposed_panels, _transposed(panels, layer)):
                    return _PANELS
    return 0
