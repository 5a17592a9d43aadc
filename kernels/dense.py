"""Dense (fully connected) layer: outputs = inputs @ weights + biases."""

from .jit import kernel
from .pointers import null, pointer
from .products import column_sums, matmul, sum_products
from .table import SUM_ROWS


@kernel
def dense_forward(outputs, inputs, weights, biases):
    """outputs (B, O) = inputs (B, I) @ weights (I, O) + biases (1, O)."""
    rows, depth = inputs.shape
    columns = weights.shape[1]
    matmul(
        pointer(outputs), columns,
        pointer(inputs), depth, 1,
        pointer(weights), columns, False,
        rows, columns, depth,
        pointer(biases),
    )  # fmt: skip


@kernel
def dense_backward(dinputs, dweights, dbiases, doutputs, inputs, weights):
    """Gradients of a dense layer; an output that is None is not computed.

    Inverts outputs = inputs (B, I) @ weights (I, O) + biases (1, O), given doutputs (B, O):

    dinputs (B, I) = doutputs @ weights.T
    dweights (I, O) = inputs.T @ doutputs
    dbiases (1, O) = sum of doutputs over the batch
    """
    rows, columns = doutputs.shape
    slopes = pointer(doutputs)
    if dinputs is not None:
        depth = weights.shape[0]
        matmul(
            pointer(dinputs), depth,
            slopes, columns, 1,
            pointer(weights), columns, True,
            rows, depth, columns,
            null(slopes),
        )  # fmt: skip
    if dweights is not None:
        depth = inputs.shape[1]
        if rows > SUM_ROWS:
            sum_products(
                pointer(dweights), pointer(inputs), depth, slopes, columns, depth, columns, rows
            )
        else:
            matmul(
                pointer(dweights), columns,
                pointer(inputs), 1, depth,
                slopes, columns, False,
                depth, columns, rows,
                null(slopes),
            )  # fmt: skip
    if dbiases is not None:
        column_sums(pointer(dbiases), slopes, columns, rows, columns)
