"""The whole-epoch program: any network, many steps, one compiled call that allocates nothing.

A step has two phases. In the rows phase a thread takes some rows of the shuffled batch through
forward pass, loss and input gradients; it needs no other thread. In the weights phase a thread
owns slices of every weight matrix, forms their gradient over the whole batch and applies the
optimizer while the sums are in registers: plain gradient descent has no gradient array. So two
barriers a step, whatever the depth, and the same sums in the same order for any number of threads.

The products read weights from panels (`packing.py`), and the weights phase updates the panels:
the parameter buffer itself is read when a call begins and written when it ends, so that a step
writes each weight once. (It took no less time than keeping both, but is simpler.)
"""

import math

import numpy as np

from .batches import cut_row
from .catalogue import Rule
from .codes import ScoreRow, SumRow
from .conversion import convert_row
from .jit import inner, kernel
from .norm_passes import follow_norms, form_norms, rows_unit
from .panels import exchange_states, pack_weights, unpack_weights
from .passes import backward_rows, batch_weight, loss_rows, train_forward
from .pointers import element, pointer, retyped
from .table import (
    CLIP_NORM,
    PER_SAMPLE,
    RATE,
    TOTAL_LOSS,
    TOTAL_PENALTY,
    TOTAL_RIGHT,
    TOTAL_STEPS,
    TOTAL_WEIGHT,
)
from .threads import share, wait
from .tile import tile_rows
from .weights import (
    clip_factor,
    descend_weights,
    keep_gradients,
    keep_wide_squares,
    total_squares,
    update_weights,
    wide_unit,
)


@inner
def gather(samples, sample_row, inputs, layout, scaling, indices, first, end, n_inputs):
    """samples [first, end) = the inputs at `indices`, of which the first is sample 0.

    Subnormal numbers become 0: products of them take many times as long.
    """
    source = pointer(inputs)
    if layout is None:
        rows = retyped(samples, source)  # they are of this type, which the compiler cannot see
        for i in range(first, end):
            cut_row(samples + i * sample_row, rows + indices[i] * n_inputs, n_inputs)
    else:
        for i in range(first, end):
            result = samples + i * sample_row
            convert_row(result, source, layout, scaling, indices[i], n_inputs)
            cut_row(result, result, n_inputs)


@kernel
def train_steps(
    parameters, states, workspace, scores, sums, barrier, layers,
    inputs, layout, scaling, labels, targets, sample_weights, order,
    first_step, last_step, batch_size, keys,
    loss, loss_number, smoothing, rule, numbers, totals, repack, thread, threads,
):  # fmt: skip
    """Take the steps [first_step, last_step) of some epochs.

    parameters (P + R,), of which R are running moments, and the optimizer's states (S, P): updated
    in place. The weights' states stay in the workspace until `unpack_states`.
    `states`, `layout`, `scaling` and `sample_weights` may be None, all four, for
    FUSED_DESCENT on a network of dense layers, ReLU and softmax, labels that weigh the same and
    are not smoothed, and inputs (N, I) of the dtype of the parameters. Then nothing is compiled
    that only others need: 5.0 seconds instead of 8.6.
    layers (L,) of LAYER: see `records.py`.
    workspace: as large as `layers` say, zeros before the first call; weights stay packed in it
    from one call to the next, and `repack` packs them and the states anew.
    inputs: the bytes (uint8) in which the samples lie as layout (N_LAYOUT,) int64 says; scaling
    (N_SCALING,) float64 is applied to what they are in the dtype of the parameters.
    labels (N,) int64, targets (N, O) or (0, O) where the labels say all, sample_weights (N,)
    float64 or (0,) where all are 1.
    order (epochs, M) int64: the steps of an epoch are ceil(M / batch_size), and its step s takes
    the samples [s * batch_size, (s + 1) * batch_size) of its row.
    keys (epochs, 2) int64: 63 bits of each epoch's dropout, and the number of its first batch;
    None where no layer drops or normalizes, and nothing is compiled that only those need.
    loss, loss_number, smoothing, rule: see `table.py`; numbers (last_step - first_step,
    N_NUMBERS) float64: what the optimizer needs to know for each step.
    totals (epochs, N_TOTALS) float64: what the steps of each epoch add up.
    scores (SCORES, batch_size) float64: contents unused. sums (N_SUMS, ...) float64: zeros.
    `threads` threads make the same call, with `thread` from 0 and one `barrier`
    (BARRIER_SIZE,) int64, zeros before the first call.

    Return last_step, or the step whose loss is not finite: nothing of that step is applied. When
    one thread returns, all have written what they write.
    """
    p, w, gate = pointer(parameters), pointer(workspace), pointer(barrier)
    head = layers[0]
    n_inputs, unit = head.n_inputs, tile_rows(w)
    samples, sample_row = w + head.inputs, head.input_row
    if keys is not None:
        unit = rows_unit(layers, w)
    if repack:
        pack_weights(layers, p, w, thread, threads)
        if states is not None:
            exchange_states(
                layers, pointer(states), w, len(states), states.shape[1], True, thread, threads
            )
        if not wait(gate, threads):
            return first_step
    n_samples = order.shape[1]
    epoch_steps = (n_samples + batch_size - 1) // batch_size
    for step in range(first_step, last_step):
        epoch = step // epoch_steps
        number = step - epoch * epoch_steps
        start = number * batch_size
        batch = min(batch_size, n_samples - start)
        indices = order[epoch, start : start + batch]
        first, end = share(batch, unit, thread, threads)
        gather(samples, sample_row, inputs, layout, scaling, indices, first, end, n_inputs)
        if not train_forward(
            layers, states, p, w, keys, epoch, number, first, end - first, batch, gate, threads
        ):
            return step
        loss_rows(
            layers, w, scores, labels, targets, sample_weights, indices,
            first, end - first, loss, loss_number, smoothing,
        )  # fmt: skip
        if not backward_rows(layers, states, p, w, keys, first, end - first, batch, gate, threads):
            return step
        if not wait(gate, threads):
            return step
        # Each thread adds up all scores, so that all see the same sum and stop at the same step.
        total, right = 0.0, 0.0
        for i in range(batch):
            total += scores[ScoreRow.LOSS, i]
            right += scores[ScoreRow.RIGHT, i]
        if not math.isfinite(total):
            unpack_weights(layers, p, w, thread, threads)
            wait(gate, threads)
            return step
        if thread == 0:
            totals[epoch, TOTAL_LOSS] += total
            totals[epoch, TOTAL_RIGHT] += right
            if sample_weights is None:
                totals[epoch, TOTAL_WEIGHT] += batch
            else:
                totals[epoch, TOTAL_WEIGHT] += batch_weight(sample_weights, indices)
        now, scale = numbers[step - first_step], 1.0
        if keys is not None:
            form_norms(layers, w, sums, batch, thread, threads)
        if rule == Rule.FUSED_DESCENT:
            descend_weights(layers, p, w, batch, element(w, now[RATE]), thread, threads)
        elif states is not None:
            strength = 1.0
            if now[PER_SAMPLE] != 0.0:
                mass = batch_weight(sample_weights, indices)
                strength = 1.0 / mass if mass > 0.0 else 0.0
            if now[CLIP_NORM] != np.inf:
                keep_gradients(layers, p, w, sums, batch, strength, thread, threads)
                if not wait(gate, threads):
                    return step
                factor, squares = 1.0, total_squares(sums)
                if not math.isfinite(squares):  # they overflow, or a gradient is not finite itself
                    if not wait(gate, threads):
                        return step
                    factor = wide_unit(w)
                    keep_wide_squares(layers, w, sums, thread, threads)
                    if not wait(gate, threads):
                        return step
                    squares = total_squares(sums)
                scale = clip_factor(squares, factor, now[CLIP_NORM])
            update_weights(
                layers, p, states, w, sums, batch,
                rule, now, scale, strength, thread, threads,
            )  # fmt: skip
        if keys is not None:
            follow_norms(
                layers, p, pointer(states), states.shape[1], w, batch,
                rule, now, scale, thread, threads,
            )  # fmt: skip
        if not wait(gate, threads):
            return step
        if thread == 0:
            totals[epoch, TOTAL_STEPS] += 1.0
            totals[epoch, TOTAL_PENALTY] += batch * sums[SumRow.PENALTY].sum()
    unpack_weights(layers, p, w, thread, threads)
    # Nobody writes any more when one of the threads returns: Ctrl-C in the caller finds the
    # parameters as they stay (tests/test_interrupts.py).
    wait(gate, threads)
    return last_step


@kernel
def unpack_states(states, workspace, layers):
    """states (S, P) = the optimizer's states that `train_steps` left in the workspace."""
    exchange_states(
        layers, pointer(states), pointer(workspace), len(states), states.shape[1], False, 0, 1
    )
