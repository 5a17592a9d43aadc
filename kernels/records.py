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
        # The weights as they train: a matrix (rows, columns), whose gradient is left.T @ right.
        ("trains_transposed", np.bool_),  # in the transposed panels; the others are copied
        ("rows", np.int64),
        ("columns", np.int64),
        ("trained_panels", np.int64),  # in the workspace, as the two operands
        ("left", np.int64),
        ("left_row", np.int64),  # distance between two rows of the operand
        ("right", np.int64),
        ("right_row", np.int64),
        # Whether they lie there in panels, of so many rows (`operands.py`).
        ("packs_left", np.bool_),
        ("packs_right", np.bool_),
        ("operand_rows", np.int64),
        # Penalties; an l1 below 0 is |l1|, with the slope |l1| at 0 (`update.slope_of`).
        ("weights_l1", np.float64),
        ("weights_l2", np.float64),
        ("biases_l1", np.float64),
        ("biases_l2", np.float64),
        ("first_sum", np.int64),  # of the layer's n_inputs + n_outputs columns of the sums
        # Places in the parameter buffer; -1 where there is none, as for all places below.
        # (n_inputs, n_outputs); (1, n_outputs) where the layer normalizes; (1, table_size) of
        # EMBEDDING, which has no biases: all tables, one after the other (COLUMN).
        ("weights", np.int64),
        ("table_size", np.int64),  # 0 of all others
        ("biases", np.int64),  # (1, n_outputs)
        ("running_mean", np.int64),  # (1, n_outputs), behind all parameters
        ("running_variance", np.int64),  # likewise
        # Places in the packed weights: in training those are a part of the workspace.
        ("panels", np.int64),  # the weights, packed as `packing.py` has them, for the forward pass
        ("transposed_panels", np.int64),  # their transpose, packed likewise, for dinputs
        # Of products with operands in bfloat16 (`reduced.py`).
        ("parts", np.int64),  # of an operand: 1 or 2, or 0 where the layer calculates in float32
        ("unit", np.int64),  # a Unit of `codes.py`
        ("weight_tiles", np.int64),  # places in the packed weights: as a right operand
        ("transposed_weight_tiles", np.int64),  # and their transpose, for dinputs
        ("row_tiles", np.int64),  # places in the packed operands: of rows, as a left operand
        ("row_distance", np.int64),  # between two rows of those tiles, for all layers
        ("input_tiles", np.int64),  # the transposed inputs of a batch, for dweights
        ("gradient_tiles", np.int64),  # doutputs of a batch, for dweights
        ("batch_tiles", np.int64),  # along the depth of the last two
        ("pieces", np.int64),  # a place in the workspace: the gradient of the weights, by rows
        # Places in the workspace.
        ("inputs", np.int64),  # (capacity, n_inputs); those of the first layer: the gathered batch
        ("input_row", np.int64),  # distance between two rows of inputs, and of dinputs
        ("outputs", np.int64),  # (capacity, n_outputs)
        ("output_row", np.int64),  # distance between two rows of outputs, and of doutputs
        ("dinputs", np.int64),  # gradient of the loss with respect to the inputs
        ("doutputs", np.int64),  # gradient of the loss with respect to the outputs
        ("dweights", np.int64),  # (1, n_outputs), of LAYER_NORM and BATCH_NORM
        ("dbiases", np.int64),  # (1, n_outputs)
        ("states", np.int64),  # the optimizer's of the weights, packed as these train, one by one
        ("gradients", np.int64),  # of the weights, packed likewise, where their norm is clipped
        ("mask", np.int64),  # of DROPOUT, as the outputs
        # What BRANCH and ADD share, as the outputs: the inputs of BRANCH (in training ADD reads
        # its outputs), and the gradient of ADD's outputs. `row_skip` is a place in the workspace of
        # `predict_few`.
        ("skip", np.int64),
        ("dskip", np.int64),
        ("row_skip", np.int64),
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

COLUMN = np.dtype(
    [
        ("n_categories", np.int64),  # 0: a number, which passes through
        ("dimension", np.int64),  # columns of the outputs: those of the table, 1 of a number
        ("table", np.int64),  # the place of the table in the weights, by rows; -1 of a number
        ("output", np.int64),  # the first of these columns
    ],
    align=True,
)
"""What EMBEDDING makes of a column of its inputs."""

JOB = np.dtype(
    [
        ("first_step", np.int64),  # of the steps [first_step, last_step) of all epochs
        ("last_step", np.int64),
        ("batch_size", np.int64),  # of all steps but the last of an epoch, which may have less
        ("loss", np.int64),  # a Loss of `catalogue.py`
        # The number of a loss with one. Of a cross-entropy above 0: its epsilon. Of a squared or
        # absolute error: how far from its target an answer is right.
        ("loss_parameter", np.float64),
        ("smoothing", np.float64),  # of labels: the part of a target that all classes share
        ("rule", np.int64),  # a Rule of `catalogue.py`
        ("repack", np.bool_),  # whether parameters or states are others than the workspace has
    ],
    align=True,
)
"""What a call of `train_steps` is to do."""

STEP = np.dtype(
    [
        ("learning_rate", np.float64),
        ("first", np.float64),  # momentum, or beta_1
        ("second", np.float64),  # rho, or beta_2
        ("epsilon", np.float64),
        ("correction", np.float64),  # factor of the root of the mean square
        ("decay", np.float64),  # weight decay as a part of the gradient
        ("shrink", np.float64),  # factor of the parameters: weight decay beside the gradient
        ("clip", np.float64),  # limit of the gradient's elements, or inf
        ("clip_norm", np.float64),  # limit of its length over all parameters, or inf
        ("per_sample", np.float64),  # not 0: penalties are divided by the weight of the batch
        # Not 0: weight decay leaves biases, and the weights of layers that normalize, as they are.
        ("spares_biases", np.float64),
        # How far the average of each parameter moves toward it; 0 where there is no average. It is
        # a state behind those of the rule.
        ("average", np.float64),
    ],
    align=True,
)
"""What an optimizer needs to know for one step: `Optimizer.numbers` has a column for each field."""

SAMPLE_LAYOUT = np.dtype(
    [
        ("type", np.int64),  # a SampleType of `codes.py`
        # In bytes, from the start of the memory and then from one number to the next.
        ("start", np.int64),  # the first number
        ("row_step", np.int64),
        ("column_step", np.int64),
        # Behind the conversion: number * scale + offset, unless they are 1 and 0.
        ("scale", np.float64),
        ("offset", np.float64),
    ],
    align=True,
)
"""How samples lie in memory, and what becomes of them, where a network cannot take them as is."""

PENALTIES = ["weights_l1", "weights_l2", "biases_l1", "biases_l2"]

_PLACES = [
    "weights", "biases", "running_mean", "running_variance", "panels", "transposed_panels",
    "inputs", "outputs", "dinputs", "doutputs", "dweights", "dbiases", "states", "gradients",
    "mask", "skip", "dskip", "row_skip", "normalized", "scales", "moments", "sums",
    "weight_tiles", "transposed_weight_tiles", "row_tiles", "input_tiles", "gradient_tiles",
    "pieces",
]  # fmt: skip


def empty_layers(count):
    """Return `count` records of layers that have no place yet."""
    layers = np.zeros(count, LAYER)
    for name in _PLACES:
        layers[name] = -1
    return layers
