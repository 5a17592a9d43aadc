"""Faults in the arguments of `train_shards`: see `faults.py`."""

import numba

from .catalogue import Loss, Operation
from .columns import columns_of
from .faults import (
    _COLUMNS,
    _INPUTS,
    _KEYS,
    _LAST_BATCH,
    _MOMENTS,
    _NODES,
    _RESULTS,
    _SAMPLES,
    _SCORES,
    _STATES_ROWS,
    _STEPS,
    count_states,
    depends_on_mode,
    embedding_fault,
    has_parameters,
    is_below,
    layout_fault,
    parameters_fault,
    places_fault,
    targets_fault,
    tiles_fault,
    weights_fault,
)


@numba.njit
def shards_fault(memory, layers, inputs, extended, answers, indices, keys, shards, task):
    """Return the fault of the arguments of `train_shards`, or 0."""
    parameters, averages, workspace, scores, _ = memory
    labels, targets = answers
    link, nodes, gradients, results, moments, _ = shards
    job, steps = task
    first_step, last_step, batch_size = job[0].first_step, job[0].last_step, job[0].batch_size
    batch = min(batch_size, len(indices))
    fault = parameters_fault(layers, parameters, extended is not None)
    if fault == 0:
        fault = embedding_fault(layers, columns_of(extended))
    if fault == 0:
        fault = places_fault(layers, workspace, None, batch, 0)
    if fault == 0:
        fault = tiles_fault(layers, None, batch, True)
    if fault == 0:
        fault = nodes_fault(link, nodes, len(gradients))
    if fault != 0:
        return fault
    for index in range(len(layers)):
        layer = layers[index]
        if has_parameters(layer.operation):
            if layer.biases + layer.n_outputs > gradients.shape[1]:
                return _COLUMNS
        if layer.operation == Operation.BATCH_NORM:
            if len(moments) < len(gradients) + 3 or moments.shape[1] < 2 * layer.n_outputs:
                return _MOMENTS
        if keys is None and depends_on_mode(layer.operation):
            return _KEYS
    if len(results) != link[0].total:
        return _RESULTS
    if len(averages) < count_states(steps, job[0].rule):
        return _STATES_ROWS
    if scores.shape[1] < batch_size:
        return _SCORES
    if last_step > (len(indices) + batch_size - 1) // batch_size:
        return _LAST_BATCH
    if len(steps) < last_step - first_step:
        return _STEPS
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


@numba.njit
def nodes_fault(link, nodes, n_shards):
    """Return _NODES unless the nodes are neighbors, and have the shards of a rank together."""
    end = link[0].first
    if end < 0 or n_shards == 0:
        return _NODES
    for node in range(len(nodes)):
        if nodes[node, 0] != end or nodes[node, 1] <= end:
            return _NODES
        end = nodes[node, 1]
    return 0 if end == link[0].first + n_shards and end <= link[0].total else _NODES
