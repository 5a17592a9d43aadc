"""The records that Python and the compiled program share: one field a line, read by its name.

Numba reads a field of a structured array as fast as an element of a plain one, and has one type
for all records of a kind: one machine code runs every network.
"""

import numpy as np

LAYER = np.dtype(
    [
        # What the layer calculates: codes of `catalogue.py` and `codes.py`.
        ("operation", np.int64),
        ("n_inputs", np.int64),
        ("n_outputs", np.int64),
        ("epilogue", np.int64),  # STORE, or RELU
        ("backward_epilogue", np.int64),  # STORE, or RELU_MASK where the inputs came out of a ReLU
        # DROPOUT: the rate. LAYER_NORM and BATCH_NORM: epsilon. An activation: the negative slope
        # or alpha of those with one.
        ("parameter", np.float64),
        ("momentum", np.float64),  # of BATCH_NORM's running moments
        ("dropout_index", np.int64),  # which DROPOUT of the network it is, from 0
        # How the layer trains.
        ("trains", np.bool_),  # else the parameters stay as they are
        ("has_biases", np.bool_),  # else there are zeros in their place, which stay
        # Penalties; an l1 below 0 is |l1|, with the slope |l1| at 0 (`update.slope_of`).
        ("weights_l1", np.float64),
        ("weights_l2", np.float64),
        ("biases_l1", np.float64),
        ("biases_l2", np.float64),
        ("first_sum", np.int64),  # of the layer's n_inputs + n_outputs columns of the sums
        # Places in the parameter buffer; -1 where there is none, as for all places below.
        ("weights", np.int64),  # (n_inputs, n_outputs); (1, n_outputs) where the layer normalizes
        ("biases", np.int64),  # (1, n_outputs)
        ("running_mean", np.int64),  # (1, n_outputs), behind all parameters
        ("running_variance", np.int64),  # likewise
        # Places in the packed weights: in training those are a part of the workspace.
        ("panels", np.int64),  # the weights, packed as `packing.py` has them, for the forward pass
        ("transposed_panels", np.int64),  # their transpose, packed likewise, for dinputs
        # Places in the workspace.
        ("inputs", np.int64),  # (capacity, n_inputs); those of the first layer: the gathered batch
        ("input_row", np.int64),  # distance between two rows of inputs, and of dinputs
        ("outputs", np.int64),  # (capacity, n_outputs)
        ("output_row", np.int64),  # distance between two rows of outputs, and of doutputs
        ("dinputs", np.int64),  # gradient of the loss with respect to the inputs
        ("doutputs", np.int64),  # gradient of the loss with respect to the outputs
        ("dweights", np.int64),  # (1, n_outputs), of LAYER_NORM and BATCH_NORM
        ("dbiases", np.int64),  # (1, n_outputs)
        ("states", np.int64),  # the optimizer's of the weights, packed as these, one by one
        ("gradients", np.int64),  # of the weights, packed likewise, where their norm is clipped
        ("mask", np.int64),  # of DROPOUT, as the outputs
        ("normalized", np.int64),  # inputs of LAYER_NORM and BATCH_NORM, as the outputs
        # (capacity,) of LAYER_NORM's rows; (3, output_row) of BATCH_NORM, see `batch_norm.py`.
        ("scales", np.int64),
        # (capacity / BLOCK, 2, output_row) of BATCH_NORM's blocks of rows: of its inputs.
        ("moments", np.int64),
        ("sums", np.int64),  # likewise, of its gradients
    ],
    align=True,
)
"""A layer of the program. Places and distances count elements."""

PENALTIES = ["weights_l1", "weights_l2", "biases_l1", "biases_l2"]

_PLACES = [
    "weights", "biases", "running_mean", "running_variance", "panels", "transposed_panels",
    "inputs", "outputs", "dinputs", "doutputs", "dweights", "dbiases", "states", "gradients",
    "mask", "normalized", "scales", "moments", "sums",
]  # fmt: skip


def empty_layers(count):
    """Return `count` records of layers that have no place yet."""
    layers = np.zeros(count, LAYER)
    for name in _PLACES:
        layers[name] = -1
    return layers
