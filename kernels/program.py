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
from .reduced import unit_of, whole_tiles
from .table import TOTAL_LOSS, TOTAL_PENALTY, TOTAL_RIGHT, TOTAL_STEPS, TOTAL_WEIGHT
from .threads import share, wait
from .tile import tile_rows
from .units import configure_tiles, release_tiles
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
def gather(samples, sample_row, inputs, extended, indices, first, end, n_inputs):
    """samples [first, end) = the inputs at `indices`, of which the first is sample 0.

    Subnormal numbers become 0: products of them take many times as long. `extended` is that of
    `train_steps`.
    """
    source = pointer(inputs)
    if extended is None:
        rows = retyped(samples, source)  # they are of this type, which the compiler cannot see
        for i in range(first, end):
            cut_row(samples + i * sample_row, rows + indices[i] * n_inputs, n_inputs)
    else:
        _, layout, _ = extended
        for i in range(first, end):
            result = samples + i * sample_row
            convert_row(result, source, layout[0], indices[i], n_inputs)
            cut_row(result, result, n_inputs)


@kernel
def train_steps(
    memory, layers, inputs, extended, tiles, answers, order, keys, task, totals, thread, threads
):
    """Take the steps [first_step, last_step) of some epochs.

    memory: a tuple (parameters, workspace, scores, sums, barrier), which a step writes:
    - parameters (P + R,), of which R are running moments: updated in place;
    - workspace: as large as `layers` say, zeros before the first call. Weights and their states
      stay packed in it from one call to the next; with `repack` of the job they are packed anew;
    - scores (N_SCORES, batch_size) float64: contents unused; sums (N_SUMS, ...) float64: zeros;
    - barrier (BARRIER_SIZE,) int64: zeros before the first call.
    layers (L,) of LAYER.
    inputs: the bytes (uint8) in which the samples lie; (N, I) where `extended` is None.
    extended: a tuple (states, layout, sample_weights):
    - states (S, P): the optimizer's, updated in place. Those of weights stay in the workspace until
      `unpack_states`;
    - layout (1,) of SAMPLE_LAYOUT: how the samples lie in `inputs`;
    - sample_weights (N,) float64, or (0,) where all are 1.
    `extended` may be None for FUSED_DESCENT on a network of dense layers, ReLU and softmax, labels
    that weigh the same and are not smoothed, and inputs of the dtype of the parameters. Then
    nothing is compiled that only others need: 5.0 seconds instead of 8.6.
    tiles: a tuple (weights, operands) of uint16, on lines of the cache, contents unused, and zeros
    before the first call: the packed weights, and the packed operands of a step, of layers whose
    products have operands in bfloat16 (`reduced.py`). Or None, and nothing is compiled for those.
    answers: a tuple (labels, targets): labels (N,) int64, and targets (N, O), or (0, O) where the
    labels say all.
    order (epochs, M) int64: the steps of an epoch are ceil(M / batch_size), and its step s takes
    the samples [s * batch_size, (s + 1) * batch_size) of its row.
    keys (epochs, 2) int64: 63 bits of each epoch's dropout, and the number of its first batch;
    None where no layer drops or normalizes, and nothing is compiled that only those need.
    task: a tuple (job, steps):
    - job (1,) of JOB: which steps, and with which loss and rule;
    - steps (last_step - first_step,) of STEP: what the optimizer needs to know for each.
    totals (epochs, N_TOTALS) float64: what the steps of each epoch add up.
    `threads` threads make the same call, with `thread` from 0.

    The records are those of `records.py`. They come in arrays, and the tuples have no names: a
    record or a named tuple takes a call from Python 13.7 us.

    Return last_step, or the step whose loss is not finite: nothing of that step is applied. When
    one thread returns, all have written what they write.
    """
    if tiles is None:
        return take_steps(
            memory, layers, inputs, extended, None, answers, order, keys, task, totals,
            thread, threads,
        )  # fmt: skip
    unit = unit_of(layers)
    configure_tiles(unit)
    reached = take_steps(
        memory, layers, inputs, extended, tiles, answers, order, keys, task, totals,
        thread, threads,
    )  # fmt: skip
    release_tiles(unit)
    return reached


@inner
def take_steps(
    memory, layers, inputs, extended, tiles, answers, order, keys, task, totals, thread, threads
):
    """As `train_steps`, where the tiles of AMX are ready if they are needed."""
    parameters, workspace, scores, sums, barrier = memory
    jobs, steps = task
    job = jobs[0]
    first_step, last_step, batch_size = job.first_step, job.last_step, job.batch_size
    # Numba leaves out what asks an argument that is None; of the parts it does not know it.
    if extended is not None:
        states, _, sample_weights = extended
    p, w, gate = pointer(parameters), pointer(workspace), pointer(barrier)
    head = layers[0]
    n_inputs, unit = head.n_inputs, tile_rows(w)
    samples, sample_row = w + head.inputs, head.input_row
    if keys is not None:
        unit = rows_unit(layers, w)
    if tiles is not None:
        unit = whole_tiles(unit)
    if job.repack:
        pack_weights(layers, p, w, tiles, thread, threads)
        if extended is not None:
            exchange_states(
                layers, pointer(states), w, tiles, len(states), states.shape[1], True,
                thread, threads,
            )  # fmt: skip
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
        gather(samples, sample_row, inputs, extended, indices, first, end, n_inputs)
        if not train_forward(
            layers, extended, p, w, tiles, keys, (epoch, number), first, end - first, batch,
            gate, threads,
        ):  # fmt: skip
            return step
        loss_rows(layers, w, scores, extended, answers, indices, first, end - first, job)
        if not backward_rows(
            layers, extended, p, w, tiles, keys, first, end - first, batch, gate, threads
        ):
            return step
        if not wait(gate, threads):
            return step
        # Each thread adds up all scores, so that all see the same sum and stop at the same step.
        total, right = 0.0, 0.0
        for i in range(batch):
            total += scores[ScoreRow.LOSS, i]
            right += scores[ScoreRow.RIGHT, i]
        if not math.isfinite(total):
            unpack_weights(layers, p, w, tiles, thread, threads)
            wait(gate, threads)
            return step
        if thread == 0:
            totals[epoch, TOTAL_LOSS] += total
            totals[epoch, TOTAL_RIGHT] += right
            if extended is None:
                totals[epoch, TOTAL_WEIGHT] += batch
            else:
                totals[epoch, TOTAL_WEIGHT] += batch_weight(sample_weights, indices)
        now, scale = steps[step - first_step], 1.0
        if keys is not None:
            form_norms(layers, w, sums, batch, thread, threads)
        if job.rule == Rule.FUSED_DESCENT:
            rate = element(w, now.learning_rate)
            descend_weights(layers, p, w, batch, rate, thread, threads)
        elif extended is not None:
            strength = 1.0
            if now.per_sample != 0.0:
                mass = batch_weight(sample_weights, indices)
                strength = 1.0 / mass if mass > 0.0 else 0.0
            if now.clip_norm != np.inf:
                keep_gradients(layers, memory, tiles, batch, strength, thread, threads)
                if not wait(gate, threads):
                    return step
                factor, squares = 1.0, total_squares(sums)
                if not math.isfinite(squares):  # they overflow, or a gradient is not finite itself
                    if not wait(gate, threads):
                        return step
                    factor = wide_unit(w)
                    keep_wide_squares(layers, w, tiles, sums, thread, threads)
                    if not wait(gate, threads):
                        return step
                    squares = total_squares(sums)
                scale = clip_factor(squares, factor, now.clip_norm)
            update_weights(
                layers,
                memory,
                states,
                tiles,
                batch,
                job.rule,
                now,
                scale,
                strength,
                thread,
                threads,
            )
        if keys is not None:
            follow_norms(
                layers, p, pointer(states), states.shape[1], w, batch,
                job.rule, now, scale, thread, threads,
            )  # fmt: skip
        if not wait(gate, threads):
            return step
        if thread == 0:
            totals[epoch, TOTAL_STEPS] += 1.0
            totals[epoch, TOTAL_PENALTY] += batch * sums[SumRow.PENALTY].sum()
    unpack_weights(layers, p, w, tiles, thread, threads)
    # No thread writes any more when one of them returns: Ctrl-C in the caller finds the
    # parameters as they stay (tests/test_interrupts.py).
    wait(gate, threads)
    return last_step


@kernel
def unpack_states(states, workspace, layers, tiles):
    """states (S, P) = the optimizer's states that `train_steps` left in the workspace."""
    exchange_states(
        layers, pointer(states), pointer(workspace), tiles, len(states), states.shape[1], False,
        0, 1,
    )  # fmt: skip
