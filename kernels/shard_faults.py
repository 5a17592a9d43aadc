"""Faults in the arguments of `shard_gradients`: see `faults.py`."""

import numba

from .catalogue import Loss, Operation
from .columns import columns_of
from .faults import (
    _BATCH,
    _BOUNDS,
    _COLUMNS,
    _INPUTS,
    _KEYS,
    _SAMPLES,
    _TABLE,
    depends_on_mode,
    embedding_fault,
    is_below,
    is_norm,
    layout_fault,
    parameters_fault,
    places_fault,
    targets_fault,
    tiles_fault,
    weights_fault,
)


@numba.njit
def shards_fault(memory, layers, inputs, extended, answers, indices, keys, bounds, job, gradients):
    """Return the fault of the arguments of `shard_gradients`, or 0."""
    parameters, workspace, scores, _ = memory
    labels, targets = answers
    fault = parameters_fault(layers, parameters, extended is not None)
    if fault == 0:
        fault = embedding_fault(layers, columns_of(extended))
    if fault == 0:
        fault = places_fault(layers, workspace, None, len(indices), 0)
    if fault == 0:
        fault = tiles_fault(layers, None, len(indices), True)
    if fault != 0:
        return fault
    if len(bounds) != len(gradients) + 1 or bounds[0] < 0 or bounds[len(bounds) - 1] > len(indices):
        return _BOUNDS
    for i in range(len(gradients)):
        if bounds[i] > bounds[i + 1]:
            return _BOUNDS
    for index in range(len(layers)):
        layer = layers[index]
        if layer.operation == Operation.BATCH_NORM:
            return _TABLE
        if layer.operation == Operation.DENSE or is_norm(layer.operation):
            if gradients.shape[1] < layer.biases + layer.n_outputs:
                return _COLUMNS
        if keys is None and depends_on_mode(layer.operation):
            return _KEYS
    if scores.shape[1] < len(indices):
        return _BATCH
    loss, n_outputs = job[0].loss, layers[len(layers) - 1].n_outputs
    n_samples = len(targets) if loss != Loss.SOFTMAX_CROSS_ENTROPY else len(labels)
    fault = targets_fault(labels, targets, n_samples, n_outputs, loss)
    if fault == 0 and not is_below(indices, n_samples):
        fault = _SAMPLES
    if fault != 0:
        return fault
    if extended is not None:
        layout, sample_weights = extended[1], extended[2]
        fault = weights_fault(sample_weights, n_samples)
        if fault != 0:
            return fault
        return layout_fault(inputs.size, layout, indices, layers[0].n_inputs)
    return 0 if inputs.size == n_samples * layers[0].n_inputs else _INPUTS
