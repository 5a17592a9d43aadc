"""Gradients of runs of rows of a batch: what a rank adds to those of others (`Ranks` of fastnn).

The rows phase is that of `program.py`, over the rows of this rank alone, which keep their places in
the batch: so a row has the gradient and the mask that it has in the whole batch. The gradients come
in the order of the parameters, and no optimizer follows: the sum over all ranks is formed first.
"""

from .catalogue import Operation
from .columns import columns_of
from .embedding import form_shard_tables
from .jit import inner, kernel
from .norm_sums import column_gradients
from .panels import pack_weights
from .passes import backward_rows, loss_rows, train_forward
from .pointers import pointer
from .products import column_sums, matmul_transposed, sum_products
from .program import gather
from .table import SUM_ROWS
from .threads import share, wait
from .tile import Extent, Rows, tile_block, tile_rows
from .weights import share_biases


@kernel
def shard_gradients(
    memory,
    layers,
    inputs,
    extended,
    answers,
    indices,
    keys,
    bounds,
    job,
    gradients,
    thread,
    threads,
):
    """gradients (S, P) = what the rows [bounds[s], bounds[s + 1]) add to the gradient of a batch.

    memory: a tuple (parameters, workspace, scores, barrier), all as in `train_steps`. The
    parameters are only read. scores (N_SCORES, M) get those of the rows.
    indices (M,) int64: the samples of the whole batch; bounds (S + 1,) int64: neighboring runs.
    job (1,) of JOB: the loss. Its steps and its rule are not used.
    layers, inputs, extended, answers, keys, thread, threads: as in `train_steps`, of which the
    states are not used and `keys` has one row. For layers without BATCH_NORM. gradients of layers
    that do not train, and of parameters that no layer has, stay as they are.

    Return whether all threads have come to the end. When one thread returns, all have written what
    they write.
    """
    parameters, workspace, scores, barrier = memory
    p, w, gate = pointer(parameters), pointer(workspace), pointer(barrier)
    head, batch, columns = layers[0], len(indices), columns_of(extended)
    pack_weights(layers, p, w, None, thread, threads)
    if not wait(gate, threads):
        return False
    begin = bounds[0]
    first, end = share(bounds[len(bounds) - 1] - begin, tile_rows(w), thread, threads)
    first, end = first + begin, end + begin
    if first < end:
        rows = end - first
        samples = w + head.inputs
        gather(samples, head.input_row, inputs, extended, indices, first, end, head.n_inputs)
        train_forward(layers, extended, p, w, None, keys, (0, 0), first, rows, batch, gate, threads)
        loss_rows(layers, w, scores, extended, answers, indices, first, rows, job[0])
        backward_rows(layers, extended, p, w, None, keys, first, rows, batch, gate, threads)
    if not wait(gate, threads):
        return False
    for shard in range(len(bounds) - 1):
        rows = bounds[shard + 1] - bounds[shard]
        result = pointer(gradients) + shard * gradients.shape[1]
        for index in range(len(layers)):
            layer = layers[index]
            if layer.operation == Operation.DENSE and layer.trains != 0:
                form_gradients(layer, result, w, bounds[shard], rows, thread, threads)
            if keys is not None:
                if layer.operation == Operation.LAYER_NORM and layer.trains != 0:
                    form_norm_gradients(layer, result, w, bounds[shard], rows, thread, threads)
        form_shard_tables(columns, layers, result, w, bounds[shard], rows, thread, threads)
    return wait(gate, threads)


@inner
def form_gradients(layer, result, workspace, first, rows, thread, threads):
    """Form a thread's share of the gradients of a layer from the rows [first, first + rows)."""
    n_outputs, input_row, output_row = layer.n_outputs, layer.input_row, layer.output_row
    inputs = workspace + (layer.inputs + first * input_row)
    doutputs = workspace + (layer.doutputs + first * output_row)
    begin, end = share(layer.n_inputs, tile_block(workspace), thread, threads)
    if begin < end:
        place = Rows(result + (layer.weights + begin * n_outputs), n_outputs)
        left, right = Rows(inputs + begin, input_row), Rows(doutputs, output_row)
        extent = Extent(end - begin, n_outputs, rows)
        if rows > SUM_ROWS:
            sum_products(place, left, right, extent)
        else:
            matmul_transposed(place, left, right, extent)
    if layer.has_biases != 0:
        begin, end = share_biases(layer, workspace, thread, threads)
        column_sums(
            result + (layer.biases + begin), doutputs + begin, output_row, rows, end - begin
        )


@inner
def form_norm_gradients(layer, result, workspace, first, rows, thread, threads):
    """As `form_gradients`, of a layer that normalizes."""
    begin, end = share_biases(layer, workspace, thread, threads)
    at = first * layer.output_row + begin
    column_gradients(
        result + (layer.weights + begin), result + (layer.biases + begin),
        workspace + (layer.doutputs + at), workspace + (layer.normalized + at),
        layer.output_row, rows, end - begin,
    )  # fmt: skip
