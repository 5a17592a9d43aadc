"""Steps along the sum of the gradients of shards: runs of rows of a batch (`Ranks` of fastnn).

The rows phase is that of `program.py`, over the rows of this rank alone, which keep their places in
the batch: so a row has the gradient and the mask that it has in the whole batch. The gradients come
in the order of the parameters, one for each shard, and are added in a binary tree. The bits depend
on the number of shards, and not on who has them.

What the ranks exchange goes through a door (`doors.py`): a function of Python that the step calls
by its address, at its end and for each BATCH_NORM (`shared_norms.py`). With one rank, and an
optimizer and layers that need nothing else, there is none.
"""

import math

from .catalogue import Operation
from .codes import Note, ScoreRow
from .columns import columns_of
from .doors import call_door
from .embedding import form_shard_tables
from .groups import is_norm
from .jit import inner, kernel
from .norm_sums import column_gradients
from .panels import pack_weights
from .passes import backward_rows, batch_weight, loss_rows, train_forward
from .pointers import pointer
from .products import column_sums, matmul_transposed, sum_products
from .program import gather
from .shared_norms import (
    Runs,
    add_subtrees,
    follow_running_moments,
    form_norm_gradients,
    rows_of,
)
from .table import (
    SUM_ROWS,
    TABLE_PIECE,
    TOTAL_LOSS,
    TOTAL_PENALTY,
    TOTAL_RIGHT,
    TOTAL_STEPS,
    TOTAL_WEIGHT,
)
from .threads import share, wait
from .tile import Extent, Rows, tile_block, tile_lanes, tile_rows
from .update import follow
from .weights import share_biases

# Gradients of all shards that are formed before they are added: they are still in the cache.
_FORMED = 2**16


@kernel
def train_shards(
    memory, layers, inputs, extended, answers, indices, keys, shards, task, totals, thread, threads
):
    """Take the steps [first_step, last_step), each along the sum of the gradients of all shards.

    memory: a tuple (parameters, averages, workspace, scores, barrier):
    - parameters (P,): updated in place, and packed anew in each step;
    - averages (A, P): the states of the optimizer, updated in place;
    - workspace, scores, barrier: as in `train_steps`.
    layers, inputs, extended, answers, thread, threads: as in `train_steps`; the states of
    `extended` are not used.
    indices (M,) int64: the samples of all steps, `batch_size` a step.
    keys (1, 2) int64: those of the dropout of these steps; None as in `train_steps`.
    shards: a tuple (link, nodes, gradients, results, moments, notes):
    - link (1,) of LINK: which shards these are, and the address of a door;
    - nodes (V, 2) int64: the subtrees [begin, end) of the tree over all shards that they make up;
    - gradients (S, P): those of the shards. The first row of a subtree becomes its sum. What the
      step takes is in row 0 when the door has been passed;
    - results (N, 2) float64: the sums of the losses and of the right answers of all N shards, of
      which the door writes those of other ranks;
    - moments (S + 3, M) float64: scratch, with M twice the most columns of a BATCH_NORM;
    - notes (N_NOTES,) float64: what the step tells the door, and the door the step.
    task: as in `train_steps`.
    totals (N_TOTALS,) float64: what the steps add up.

    Gradients of layers that do not train, and of parameters that no layer has, stay as they are.

    Return last_step, or the step that was not taken: the door has failed, or a loss is not finite.
    """
    parameters, averages, workspace, scores, barrier = memory
    link, nodes, gradients, results, moments, notes = shards
    jobs, steps = task
    job, links = jobs[0], link[0]
    p, w, gate = pointer(parameters), pointer(workspace), pointer(barrier)
    n_samples = len(indices)
    for step in range(job.first_step, job.last_step):
        start = step * job.batch_size
        batch = min(job.batch_size, n_samples - start)
        rows = indices[start : start + batch]
        runs = Runs(
            pointer(gradients), gradients.shape[1], pointer(nodes), len(nodes), links.first,
            len(gradients), (batch + links.total - 1) // links.total, batch,
            pointer(moments), moments.shape[1], pointer(notes), links.door, thread,
        )  # fmt: skip
        if thread == 0:
            notes[Note.OVERFLOWN] = 0.0
        pack_weights(layers, p, w, None, thread, threads)
        if not wait(gate, threads):
            return step
        own, _ = rows_of(runs, 0)
        stop, n_last = rows_of(runs, len(gradients) - 1)
        first, end = share(stop + n_last - own, tile_rows(w), thread, threads)
        first, end = first + own, end + own
        count, head = end - first, layers[0]
        samples = w + head.inputs
        gather(samples, head.input_row, inputs, extended, rows, first, end, head.n_inputs)
        # A thread without rows comes to the barriers of BATCH_NORM too.
        if not train_forward(
            layers, extended, p, w, None, keys, (0, step), first, count, runs, gate, threads
        ):
            return step
        loss_rows(layers, w, scores, extended, answers, rows, first, count, job)
        if not backward_rows(layers, extended, p, w, None, keys, first, count, runs, gate, threads):
            return step
        if not wait(gate, threads):
            return step
        sum_gradients(columns_of(extended), layers, w, keys, runs, thread, threads)
        if not wait(gate, threads):
            return step
        if thread == 0:
            pass_door(scores, runs, results, notes, links.door, step)
        if not wait(gate, threads):
            return step
        if notes[Note.STATUS] != 0.0 or notes[Note.IS_FINITE] == 0.0:
            return step
        follow_gradients(
            layers, p, pointer(averages), w, keys, runs, job.rule, steps[step - job.first_step],
            notes[Note.SCALE], thread, threads,
        )  # fmt: skip
        if thread == 0:
            loss, right = add_results(results)
            totals[TOTAL_LOSS] += loss
            totals[TOTAL_RIGHT] += right
            totals[TOTAL_PENALTY] += notes[Note.PENALTY] * batch
            totals[TOTAL_STEPS] += 1.0
            if extended is None:
                totals[TOTAL_WEIGHT] += batch
            else:
                totals[TOTAL_WEIGHT] += batch_weight(extended[2], rows)
        if not wait(gate, threads):
            return step
    return job.last_step


@inner
def pass_door(scores, runs, results, notes, door, step):
    """Sum up what the shards have scored, and call the door, if there is one."""
    is_finite = 1.0 if notes[Note.OVERFLOWN] == 0.0 else 0.0
    for shard in range(runs.n_shards):
        first, rows = rows_of(runs, shard)
        loss = right = 0.0
        for i in range(first, first + rows):
            loss += scores[ScoreRow.LOSS, i]
            right += scores[ScoreRow.RIGHT, i]
        at = runs.first_shard + shard
        results[at, 0], results[at, 1] = loss, right
        if not math.isfinite(loss):
            is_finite = 0.0
    notes[Note.IS_FINITE], notes[Note.SCALE], notes[Note.PENALTY] = is_finite, 1.0, 0.0
    notes[Note.STATUS] = 0.0
    if door != 0:
        notes[Note.STATUS] = 1.0  # until the function of Python has come to its end
        call_door(door, step)


@inner
def add_results(results):
    """Add the rows of `results` (N, 2), as gradients are added; return the sums of both columns."""
    count, span = len(results), 1
    while span < count:
        for i in range(0, count - span, 2 * span):
            results[i, 0] += results[i + span, 0]
            results[i, 1] += results[i + span, 1]
        span *= 2
    return results[0, 0], results[0, 1]


@inner
def sum_gradients(columns, layers, workspace, keys, runs, thread, threads):
    """Form a thread's share of the gradients of all shards, and add those of each subtree."""
    if columns is not None:
        for shard in range(runs.n_shards):
            first, rows = rows_of(runs, shard)
            result = gradient_of(runs, shard, 0)
            form_shard_tables(columns, layers, result, workspace, first, rows, thread, threads)
        if layers[0].trains != 0:
            begin, end = share(layers[0].table_size, TABLE_PIECE, thread, threads)
            add_gradients(runs, layers[0].weights + begin, end - begin)
    for index in range(len(layers)):
        layer = layers[index]
        if layer.trains == 0:
            continue
        n_outputs = layer.n_outputs
        if layer.operation == Operation.DENSE:
            unit = tile_block(workspace)
            begin, end = share(layer.n_inputs, unit, thread, threads)
            most = max(_FORMED // (runs.n_shards * n_outputs) // unit, 1) * unit
            for row in range(begin, end, most):
                height = min(most, end - row)
                place = layer.weights + row * n_outputs
                for shard in range(runs.n_shards):
                    form_weights(layer, workspace, runs, shard, place, row, height)
                add_gradients(runs, place, height * n_outputs)
            if layer.has_biases != 0:
                begin, end = share_biases(layer, workspace, thread, threads)
                for shard in range(runs.n_shards):
                    first, rows = rows_of(runs, shard)
                    column_sums(
                        gradient_of(runs, shard, layer.biases + begin),
                        workspace + (layer.doutputs + first * layer.output_row + begin),
                        layer.output_row, rows, end - begin,
                    )  # fmt: skip
                add_gradients(runs, layer.biases + begin, end - begin)
        if keys is not None:
            if is_norm(layer.operation):
                begin, end = share_biases(layer, workspace, thread, threads)
                if layer.operation == Operation.BATCH_NORM:
                    form_norm_gradients(layer, workspace, runs, begin, end)
                else:
                    form_row_gradients(layer, workspace, runs, begin, end)
                add_gradients(runs, layer.weights + begin, end - begin)
                add_gradients(runs, layer.biases + begin, end - begin)


@inner
def form_row_gradients(layer, workspace, runs, begin, end):
    """Form the gradients of the columns [begin, end) of a LAYER_NORM, for each shard."""
    for shard in range(runs.n_shards):
        first, rows = rows_of(runs, shard)
        at = first * layer.output_row + begin
        column_gradients(
            gradient_of(runs, shard, layer.weights + begin),
            gradient_of(runs, shard, layer.biases + begin),
            workspace + (layer.doutputs + at), workspace + (layer.normalized + at),
            layer.output_row, rows, end - begin,
        )  # fmt: skip


@inner
def gradient_of(runs, shard, place):
    """Return a pointer to the gradient of the parameter at a place, of a shard of this rank."""
    return runs.gradients + (shard * runs.distance + place)


@inner
def form_weights(layer, workspace, runs, shard, place, row, height):
    """Form the gradient of the weights of the inputs [row, row + height), the first at `place`."""
    first, rows = rows_of(runs, shard)
    inputs = workspace + (layer.inputs + first * layer.input_row + row)
    doutputs = workspace + (layer.doutputs + first * layer.output_row)
    result = Rows(gradient_of(runs, shard, place), layer.n_outputs)
    left, right = Rows(inputs, layer.input_row), Rows(doutputs, layer.output_row)
    extent = Extent(height, layer.n_outputs, rows)
    if rows > SUM_ROWS:
        sum_products(result, left, right, extent)
    else:
        matmul_transposed(result, left, right, extent)


@inner
def add_gradients(runs, place, size):
    """Add some gradients of all shards, `size` from a place on."""
    add_subtrees(runs, runs.gradients + place, runs.distance, size)


@inner
def follow_gradients(
    layers, parameters, averages, workspace, keys, runs, rule, now, scale, thread, threads
):
    """Step down a thread's share of the gradient, which is that of the first shard."""
    for index in range(len(layers)):
        layer = layers[index]
        if keys is not None:
            if layer.operation == Operation.BATCH_NORM:
                follow_running_moments(layer, parameters, workspace, runs, threads)
        if layer.trains == 0:
            continue
        norm, n_parts = is_norm(layer.operation), 2 if layer.has_biases != 0 else 1
        n_weights = layer.n_outputs if norm else layer.n_inputs * layer.n_outputs
        if layer.operation == Operation.EMBEDDING:
            n_weights, n_parts = layer.table_size, 1
        for part in range(n_parts):
            place, size = (
                (layer.weights, n_weights) if part == 0 else (layer.biases, layer.n_outputs)
            )
            begin, end = share(size, 4 * tile_lanes(workspace), thread, threads)
            if begin < end:
                at = place + begin
                follow(
                    parameters + at, runs.gradients + at, averages + at, runs.distance,
                    end - begin, rule, now, scale, 0.0, 0.0, norm or part == 1,
                )  # fmt: skip
