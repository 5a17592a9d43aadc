"""What LAYER_NORM and BATCH_NORM of a network have in common: their rows, and the weights phase."""

import numpy as np

from .batch_norm import follow_batch_moments, predict_batch_norm_row, predict_batch_norm_rows
from .catalogue import Operation, Rule
from .codes import MOST_SHARES, SumRow
from .groups import is_norm
from .jit import inner
from .layer_norm import predict_layer_norm_row, predict_layer_norm_rows
from .norm_sums import column_gradients
from .pointers import get
from .table import BLOCK
from .threads import complete, count_shares, next_share, share, take
from .tile import tile_lanes, tile_rows
from .update import follow


@inner
def predict_norm_rows(layer, parameters, workspace, inputs, input_row, first, rows):
    """Normalize the rows [first, first + rows), `inputs` a pointer to their first."""
    if layer.operation == Operation.LAYER_NORM:
        predict_layer_norm_rows(layer, parameters, workspace, inputs, input_row, first, rows)
    else:
        predict_batch_norm_rows(layer, workspace, inputs, input_row, first, rows)


@inner
def predict_norm_row(result, values, layer, parameters):
    """Normalize one row, at pointers, with the bits of `predict_norm_rows`."""
    if layer.operation == Operation.LAYER_NORM:
        predict_layer_norm_row(result, values, layer, parameters)
    else:
        predict_batch_norm_row(result, values, layer, parameters)


@inner
def has_batch_norm(layers):
    """Return whether the threads have to meet within the rows phase."""
    for index in range(len(layers)):
        if layers[index].operation == Operation.BATCH_NORM:
            return True
    return False


@inner
def batch_norm_unit(like):
    """Return the rows of which a share has a multiple: whole tiles, and whole blocks of columns."""
    rows = BLOCK
    while rows % tile_rows(like) != 0:
        rows += BLOCK
    return rows


@inner
def keep_norms(layers, workspace, sums, rows, phase):
    """Form the gradients of all layers that normalize, and keep their squares.

    A share is one block. Return whether this thread has completed the phase.
    """
    last, shares = False, count_shares(phase.threads)
    for turn in range(shares):
        if last:
            break
        owner = next_share(phase, turn)
        if take(phase, MOST_SHARES + owner, -1) == 0:
            form_norms(layers, workspace, sums, rows, owner, shares)
            last = complete(phase)
    return last


@inner
def form_norms(layers, workspace, sums, rows, owner, shares):
    """Form the gradients of a share, and keep their squares where there is room."""
    for index in range(len(layers)):
        layer = layers[index]
        if not is_norm(layer.operation) or layer.trains == 0:
            continue
        size, row = layer.n_outputs, layer.output_row
        begin, end = share(size, 4 * tile_lanes(workspace), owner, shares)
        dweights, dbiases = workspace + layer.dweights, workspace + layer.dbiases
        column_gradients(
            dweights + begin, dbiases + begin, workspace + (layer.doutputs + begin),
            workspace + (layer.normalized + begin), row, rows, end - begin,
        )  # fmt: skip
        if sums.shape[1] > 0:
            for j in range(begin, end):
                w, b = np.float64(get(dweights + j)), np.float64(get(dbiases + j))
                sums[SumRow.SQUARES, layer.first_sum + j] = w * w
                sums[SumRow.SQUARES, layer.first_sum + size + j] = b * b


@inner
def update_norms(
    layers, parameters, states, n_parameters, workspace, sums, rows, rule, now,
    scale, formed, phase,
):  # fmt: skip
    """Step down the gradients of all layers that normalize, which are `formed` or not.

    A share is one block. Return whether this thread has completed the phase.
    """
    last, shares = False, count_shares(phase.threads)
    for turn in range(shares):
        if last:
            break
        owner = next_share(phase, turn)
        if take(phase, MOST_SHARES + owner, -1) == 0:
            if not formed:
                form_norms(layers, workspace, sums, rows, owner, shares)
            follow_norms(
                layers, parameters, states, n_parameters, workspace, rows, rule, now,
                scale, owner, shares,
            )  # fmt: skip
            last = complete(phase)
    return last


@inner
def follow_norms(
    layers, parameters, states, n_parameters, workspace, rows, rule, now, scale,
    owner, shares,
):  # fmt: skip
    """Step down the gradients of a share, and let the running moments follow."""
    rule = Rule.DESCENT if rule == Rule.FUSED_DESCENT else rule
    for index in range(len(layers)):
        layer = layers[index]
        if not is_norm(layer.operation):
            continue
        begin, end = share(layer.n_outputs, 4 * tile_lanes(workspace), owner, shares)
        if layer.trains != 0:
            for place, slopes in (
                (layer.weights, layer.dweights), (layer.biases, layer.dbiases)
            ):  # fmt: skip
                follow(
                    parameters + (place + begin), workspace + (slopes + begin),
                    states + (place + begin), n_parameters, end - begin,
                    rule, now, scale, 0.0, 0.0, True,
                )  # fmt: skip
        if layer.operation == Operation.BATCH_NORM:
            follow_batch_moments(layer, parameters, workspace, begin, end, rows)
