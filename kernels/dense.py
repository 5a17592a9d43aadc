"""Dense (fully connected) layer: outputs = inputs @ weights + biases."""

from .jit import kernel
from .pointers import null, pointer
from .products import column_sums, matmul, matmul_transposed, sum_products
from .table import SUM_ROWS
from .tile import Extent, Rows


@kernel
def dense_forward(outputs, inputs, weights, biases):
    """outputs (B, O) = inputs (B, I) @ weights (I, O) + biases (1, O)."""
    rows, depth = inputs.shape
    columns = weights.shape[1]
    matmul(
        Rows(pointer(outputs), columns),
        Rows(pointer(inputs), depth),
        Rows(pointer(weights), columns), False,
        Extent(rows, columns, depth),
        pointer(biases),
    )  # fmt: skip


@kernel
def dense_backward(dinputs, dweights, dbiases, doutputs, inputs, weights):
    """Gradients of a dense layer; an output that is None is not computed.

    For outputs = inputs (B, I) @ weights (I, O) + biases (1, O), and doutputs (B, O):

    dinputs (B, I) = doutputs @ weights.T
    dweights (I, O) = inputs.T @ doutputs
    dbiases (1, O) = sum of doutputs over the batch
    """
    rows, columns = doutputs.shape
    slopes = pointer(doutputs)
    if dinputs is not None:
        depth = weights.shape[0]
        matmul(
            Rows(pointer(dinputs), depth),
            Rows(slopes, columns),
            Rows(pointer(weights), columns), True,
            Extent(rows, depth, columns),
            null(slopes),
        )  # fmt: skip
    if dweights is not None:
        depth = inputs.shape[1]
        if rows > SUM_ROWS:
            sum_products(
                Rows(pointer(dweights), columns), Rows(pointer(inputs), depth),
                Rows(slopes, columns), Extent(depth, columns, rows),
            )  # fmt: skip
        else:
            matmul_transposed(
                Rows(pointer(dweights), columns), Rows(pointer(inputs), depth),
                Rows(slopes, columns), Extent(depth, columns, rows),
            )  # fmt: skip
    if dbiases is not None:
        column_sums(pointer(dbiases), slopes, columns, rows, columns)
