"""The table that describes a network to `program.py`: one row a step, one column a name below.

Offsets and distances count elements: of the parameter buffer for WEIGHTS and BIASES, of the
packed weights for PANELS and TRANSPOSED_PANELS, of the workspace for the rest (which holds the
packed weights too while training). The table is data, so one machine code runs every network.
"""

# Columns.
OPERATION = 0  # one of `codes.py`, as all codes here
N_INPUTS = 1
N_OUTPUTS = 2
WEIGHTS = 3  # (N_INPUTS, N_OUTPUTS)
BIASES = 4  # (1, N_OUTPUTS)
INPUTS = 5  # (capacity, N_INPUTS); the first row finds the gathered batch there
INPUT_ROW = 6  # distance between two rows of INPUTS and of DINPUTS
OUTPUTS = 7  # (capacity, N_OUTPUTS)
OUTPUT_ROW = 8  # distance between two rows of OUTPUTS and of DOUTPUTS
DINPUTS = 9  # gradient of the loss with respect to INPUTS; -1 where nobody needs it
DOUTPUTS = 10  # gradient of the loss with respect to OUTPUTS
DBIASES = 11  # (1, N_OUTPUTS)
FINISH = 12  # Epilogue.STORE or RELU
BACKWARD_FINISH = 13  # Epilogue.STORE, or RELU_MASK where INPUTS came out of a ReLU
PANELS = 14  # the weights, packed as `tile.py` reads them in the forward pass
TRANSPOSED_PANELS = 15  # their transpose, packed likewise for DINPUTS; -1 where there are none
STATES = 16  # the optimizer's states of the weights, packed likewise, one behind the other
GRADIENTS = 17  # gradients of the weights, packed likewise, where their norm is clipped; or -1
TRAINS = 18  # 0 where the parameters stay as they are
HAS_BIASES = 19  # 0 where there are zeros in their place, which stay
FIRST_SUM = 20  # of the layer's N_INPUTS + N_OUTPUTS columns of the sums
KEPT = 21  # for the way back: DROPOUT's mask, or normalized values; as OUTPUTS
DRAW = 22  # which DROPOUT of the network it is, from 0
SCALES = 23  # (capacity,) of LAYER_NORM's rows; (3, OUTPUT_ROW) of BATCH_NORM, see `norm_passes.py`
MOMENTS = 24  # (capacity / BLOCK, 2, OUTPUT_ROW) of BATCH_NORM's blocks of rows: of its inputs
SUMS = 25  # likewise, of its gradients
DWEIGHTS = 26  # (1, N_OUTPUTS)
RUNNING_MEAN = 27  # (1, N_OUTPUTS), in the parameter buffer behind all parameters
RUNNING_VARIANCE = 28  # likewise
N_COLUMNS = 29

# Rows over which sums of a batch are formed before they meet: 16 rows leave little to merge, and
# few enough are in one thread's share.
BLOCK = 16

# Rows over which a sum of a batch goes from first to last: a multiple of BLOCK. In one plain sum
# 30 million equal float32 numbers lost 4 %; that of a block is at most 2.4e-4 off (and of numbers
# of both signs some 1e-6), and the sums of the blocks are added without a loss (`sums.py`). Fewer
# rows would change the bits of usual batches.
SUM_ROWS = 4096

# What an optimizer needs to know for one step: a row of float64.
RATE = 0
FIRST = 1  # momentum, or beta_1
SECOND = 2  # rho, or beta_2
EPSILON = 3
CORRECTION = 4  # factor of the root of the mean square
DECAY = 5  # weight decay as a part of the gradient
SHRINK = 6  # factor of the parameters before the step: weight decay beside the gradient
CLIP = 7  # limit of the gradient's elements, or inf
CLIP_NORM = 8  # limit of its length over all parameters, or inf
PER_SAMPLE = 9  # not 0: penalties are divided by the weight of the batch
N_NUMBERS = 10

# The first columns of a row of coefficients (float64) that belongs to a row of the table.
WEIGHTS_L1 = 0  # below 0: |l1|, with the slope |l1| at 0 (`update.slope_of`)
WEIGHTS_L2 = 1
BIASES_L1 = 2  # likewise
BIASES_L2 = 3
NUMBER = 4  # of an activation, or as the operation says
MOMENTUM_NUMBER = 5
N_COEFFICIENTS = 6

# What a call of `train_steps` adds up.
TOTAL_LOSS = 0  # sum of weight * loss
TOTAL_RIGHT = 1  # sum of weight * right
TOTAL_WEIGHT = 2
TOTAL_PENALTY = 3  # sum over the samples of the penalty that their step met
TOTAL_STEPS = 4  # that were applied
N_TOTALS = 5

# How samples lie in memory (int64) that are no C-contiguous array of the network's dtype: a
# SampleType, and in bytes where the first number is and how far apart two rows, and columns, are.
KIND = 0
START = 1
ROW_STEP = 2
COLUMN_STEP = 3
N_LAYOUT = 4

# What follows the conversion (float64): number * SCALE + OFFSET, unless they are 1 and 0.
SCALE = 0
OFFSET = 1
N_SCALING = 2
