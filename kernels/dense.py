"""Dense (fully connected) layer: outputs = inputs @ weights + biases."""

from .gemm import column_sums, matmul, matmul_transposed
from .jit import kernel
from .simd import null, pointer
from .table import STORE


@kernel
def dense_forward(outputs, inputs, weights, biases):
    """outputs (B, O) = inputs (B, I) @ weights (I, O) + biases (1, O)."""
    rows, depth = inputs.shape
    columns = weights.shape[1]
    result = pointer(outputs)
    nothing = null(result)
    matmul(
        result, columns,
        pointer(inputs), depth, 1,
        pointer(weights), columns,
        rows, columns, depth,
        pointer(biases), 0,
        STORE, nothing, 0, 0.0,
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
    nothing = null(slopes)
    if dinputs is not None:
        depth = weights.shape[0]
        matmul_transposed(
            pointer(dinputs), depth,
            slopes, columns, 1,
            pointer(weights), columns,
            rows, depth, columns,
            STORE, nothing, 0, 0.0,
        )  # fmt: skip
    if dweights is not None:
        depth = inputs.shape[1]
        matmul(
            pointer(dweights), columns,
            pointer(inputs), 1, depth,
            slopes, columns,
            depth, columns, rows,
            nothing, -1,
            STORE, nothing, 0, 0.0,
        )  # fmt: skip
    if dbiases is not None:
        column_sums(pointer(dbiases), slopes, columns, rows, columns)
