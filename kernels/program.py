"""The whole-epoch program: any network, many steps, one compiled call that allocates nothing.

A step has two phases. In the rows phase a thread takes some rows of the shuffled batch through
forward pass, loss and input gradients; it needs no other thread. In the weights phase a thread
takes slices of every weight matrix, forms their gradient over the whole batch and applies the
optimizer while the sums are in registers: plain gradient descent has no gradient array. So two
barriers a step, whatever the depth, and the same sums in the same order for any number of threads.
`threads.py` says who takes which rows and slices.

The products read weights from panels (`packing.py`), and the weights phase updates the panels:
the parameter buffer itself is read when a call begins and written when it ends, so that a step
writes each weight once. (It took no less time than keeping both, but is simpler.)
"""

import math

import numpy as np

from .batches import cut_row
from .catalogue import Rule
from .codes import BarrierPlace, ScoreRow, SumRow
from .columns import columns_of
from .conversion import convert_row
from .jit import inner, kernel
from .norm_passes import batch_norm_unit, has_batch_norm, keep_norms, update_norms
from .panels import exchange_states, pack_weights, unpack_weights
from .passes import backward_rows, batch_weight, loss_rows, train_forward
from .pointers import element, pointer, retyped
from .reduced import unit_of, whole_tiles
from .table import TOTAL_LOSS, TOTAL_PENALTY, TOTAL_RIGHT, TOTAL_STEPS, TOTAL_WEIGHT
from .target import SHARED_ROWS
from .threads import (
    Phase,
    complete,
    count_shares,
    is_crowded,
    is_marked,
    mark,
    next_share,
    note_crowd,
    open_next,
    phase_number,
    share,
    start_clocks,
    take,
    wait,
    wait_for_next,
)
from .tile import tile_rows
from .units import configure_tiles, release_tiles
from .update import wide_unit
from .weights import (
    clip_factor,
    count_blocks,
    descend_weights,
    keep_gradients,
    keep_wide_squares,
    total_squares,
    update_weights,
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
        layout = extended[1]
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
    extended: a tuple (states, layout, sample_weights), and a fourth part where the first layer is
    EMBEDDING:
    - states (S, P): the optimizer's, updated in place. Those of weights stay in the workspace until
      `unpack_states`;
    - layout (1,) of SAMPLE_LAYOUT: how the samples lie in `inputs`;
    - sample_weights (N,) float64, or (0,) where all are 1;
    - columns (I,) of COLUMN: what EMBEDDING makes of each column of the inputs.
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
        states, sample_weights = extended[0], extended[2]
    p, w, gate = pointer(parameters), pointer(workspace), pointer(barrier)
    head = layers[0]
    n_inputs, unit = head.n_inputs, tile_rows(w)
    samples, sample_row = w + head.inputs, head.input_row
    number, shares = phase_number(gate), count_shares(threads)
    row_shares, is_whole = shares, threads == 1  # whether a share of the rows is one block
    if keys is not None:
        if has_batch_norm(layers):
            unit, row_shares, is_whole = batch_norm_unit(w), threads, True
    if tiles is not None:
        unit = whole_tiles(unit)
    columns = columns_of(extended)
    n_blocks = count_blocks(columns, layers, w, tiles, threads)
    if keys is not None:
        n_blocks += shares  # those of layers that normalize
    if job.repack:
        pack_weights(layers, p, w, tiles, thread, threads)
        if extended is not None:
            exchange_states(
                layers, pointer(states), w, tiles, len(states), states.shape[1], True,
                thread, threads,
            )  # fmt: skip
    # Behind it no thread fails to come: what follows in a call cannot raise an exception.
    if not wait(gate, threads):
        return first_step
    if threads > 1:
        start_clocks(gate, thread)
    n_samples = order.shape[1]
    epoch_steps = (n_samples + batch_size - 1) // batch_size
    reached = last_step
    for step in range(first_step, last_step):
        epoch = step // epoch_steps
        batch_number = step - epoch * epoch_steps
        start = batch_number * batch_size
        batch = min(batch_size, n_samples - start)
        indices = order[epoch, start : start + batch]
        block_rows, n_row_blocks = batch_size, threads
        if not is_whole:
            if is_crowded(gate):
                block_rows = (SHARED_ROWS + unit - 1) // unit * unit
            n_row_blocks = count_row_blocks(batch, unit, block_rows, shares)
        phase = Phase(gate, number, n_row_blocks, thread, threads)
        is_last = False
        for turn in range(1 if is_whole else shares):
            if is_last:
                break
            owner = thread if is_whole else next_share(phase, turn)
            first, end = share(batch, unit, owner, row_shares)
            block = 0 if is_whole else take(phase, owner, -1)
            # With BATCH_NORM each thread comes to its barriers, also one without rows.
            while first + block * block_rows < end or (is_whole and block == 0):
                row = first + block * block_rows
                stop = min(row + block_rows, end)
                gather(samples, sample_row, inputs, extended, indices, row, stop, n_inputs)
                if not train_forward(
                    layers, extended, p, w, tiles, keys, (epoch, batch_number), row, stop - row,
                    batch, gate, threads,
                ):  # fmt: skip
                    return step
                loss_rows(layers, w, scores, extended, answers, indices, row, stop - row, job)
                if not backward_rows(
                    layers, extended, p, w, tiles, keys, row, stop - row, batch, gate, threads
                ):
                    return step
                is_last = complete(phase)
                block = 1 if is_whole else take(phase, owner, block)
        # What one thread does for all: the one that has completed a phase.
        if is_last:
            total, right = 0.0, 0.0
            for i in range(batch):
                total += scores[ScoreRow.LOSS, i]
                right += scores[ScoreRow.RIGHT, i]
            if math.isfinite(total):
                totals[epoch, TOTAL_LOSS] += total
                totals[epoch, TOTAL_RIGHT] += right
                if extended is None:
                    totals[epoch, TOTAL_WEIGHT] += batch
                else:
                    totals[epoch, TOTAL_WEIGHT] += batch_weight(sample_weights, indices)
            else:
                mark(phase, BarrierPlace.STOPPED)
            open_next(phase, 1)
        elif not wait_for_next(phase):
            return step
        number += 1
        if is_marked(phase, BarrierPlace.STOPPED):
            reached = step
            break
        phase = Phase(gate, number, n_blocks, thread, threads)
        now, scale, is_formed = steps[step - first_step], 1.0, False
        if job.rule == Rule.FUSED_DESCENT:
            rate = element(w, now.learning_rate)
            is_last = descend_weights(layers, p, w, batch, rate, phase)
        elif extended is not None:
            strength = 1.0
            if now.per_sample != 0.0:
                mass = batch_weight(sample_weights, indices)
                strength = 1.0 / mass if mass > 0.0 else 0.0
            if now.clip_norm != np.inf:
                is_formed = True
                is_last = keep_gradients(columns, layers, memory, tiles, batch, strength, phase)
                if keys is not None:
                    is_last = keep_norms(layers, w, sums, batch, phase) or is_last
                clipped = phase
                if is_last:
                    # They overflow, or a gradient is not finite itself.
                    if math.isfinite(total_squares(sums)):
                        open_next(phase, 2)
                    else:
                        mark(phase, BarrierPlace.OVERFLOWN)
                        open_next(phase, 1)
                elif not wait_for_next(phase):
                    return step
                phase = Phase(gate, number + 1, shares, thread, threads)
                if phase_number(gate) == number + 1:
                    if keep_wide_shares(columns, layers, w, tiles, sums, phase):
                        open_next(phase, 1)
                    elif not wait_for_next(phase):
                        return step
                factor = wide_unit(w) if is_marked(clipped, BarrierPlace.OVERFLOWN) else 1.0
                scale = clip_factor(total_squares(sums), factor, now.clip_norm)
                number += 2
                phase = Phase(gate, number, n_blocks, thread, threads)
            is_last = update_weights(
                columns, layers, memory, states, tiles, batch, job.rule, now, scale, strength, phase
            )
        if keys is not None:
            is_last = update_norms(
                layers, p, pointer(states), states.shape[1], w, sums, batch,
                job.rule, now, scale, is_formed, phase,
            ) or is_last  # fmt: skip
        if is_last:
            totals[epoch, TOTAL_STEPS] += 1.0
            totals[epoch, TOTAL_PENALTY] += batch * sums[SumRow.PENALTY].sum()
            note_crowd(gate, threads)
            open_next(phase, 1)
        elif not wait_for_next(phase):
            return step
        number += 1
    # No thread writes any more when one of them returns: Ctrl-C in the caller finds the
    # parameters as they stay (tests/test_interrupts.py).
    unpack_shares(layers, p, w, tiles, Phase(gate, number, shares, thread, threads))
    return reached


@inner
def count_row_blocks(batch, unit, block_rows, shares):
    """Return how many blocks all shares of the rows of a batch have together."""
    total = 0
    for owner in range(shares):
        first, end = share(batch, unit, owner, shares)
        total += (end - first + block_rows - 1) // block_rows
    return total


@inner
def keep_wide_shares(columns, layers, workspace, tiles, sums, phase):
    """Keep the squares of all gradients, times `wide_unit`; a share is one block.

    Return whether this thread has completed the phase.
    """
    is_last, shares = False, count_shares(phase.threads)
    for turn in range(shares):
        if is_last:
            break
        owner = next_share(phase, turn)
        if take(phase, owner, -1) == 0:
            keep_wide_squares(columns, layers, workspace, tiles, sums, owner, shares)
            is_last = complete(phase)
    return is_last


@inner
def unpack_shares(layers, parameters, workspace, tiles, phase):
    """Write all weights back into the parameter buffer, as the last phase of a call."""
    is_last, shares = False, count_shares(phase.threads)
    for turn in range(shares):
        if is_last:
            break
        owner = next_share(phase, turn)
        if take(phase, owner, -1) == 0:
            unpack_weights(layers, parameters, workspace, tiles, owner, shares)
            is_last = complete(phase)
    if is_last:
        open_next(phase, 1)
    else:
        wait_for_next(phase)


@kernel
def unpack_states(states, workspace, layers, tiles):
    """states (S, P) = the optimizer's states that `train_steps` left in the workspace."""
    exchange_states(
        layers, pointer(states), pointer(workspace), tiles, len(states), states.shape[1], False,
        0, 1,
    )  # fmt: skip
