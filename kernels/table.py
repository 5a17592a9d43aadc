"""The table that describes a network to `program.py`: one row a step, one column a name below.

Offsets and distances count elements: of the parameter buffer for WEIGHTS and BIASES, of the
packed weights for PANELS and TRANSPOSED_PANELS, of the workspace for the rest (which holds the
packed weights too while training). The table is data, so one machine code runs every network.
"""

# Operations.
DENSE = 0  # outputs = inputs @ weights + biases, and a ReLU where FINISH says so
RELU = 1
SOFTMAX = 2
IDENTITY = 3
SIGMOID = 4
TANH = 5
LEAKY_RELU = 6  # NUMBER: the negative slope
ELU = 7  # NUMBER: alpha
GELU = 8
GELU_TANH = 9
SILU = 10
EXP = 11  # only behind the last layer, where a loss asks for it
DROPOUT = 12  # NUMBER: the rate; only while training
LAYER_NORM = 13  # NUMBER: epsilon; WEIGHTS and BIASES are (1, N_OUTPUTS)
BATCH_NORM = 14  # likewise, MOMENTUM_NUMBER too

# Columns.
OPERATION = 0
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
FINISH = 12  # STORE or FINISH_RELU
BACKWARD_FINISH = 13  # STORE, or FINISH_MASK where INPUTS came out of a ReLU
PANELS = 14  # the weights, packed as `gemm.py` reads them in the forward pass
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

# How parameters follow their gradients (`update.py`), and how many states each has.
DESCENT = 0
MOMENTUM = 1
NESTEROV = 2
VELOCITY = 3
ADAGRAD = 4
RMSPROP = 5
ADAM = 6
AMSGRAD = 7
LOOKAHEAD = 8  # VELOCITY in Nesterov's form
N_STATES = (0, 1, 1, 1, 1, 1, 2, 3, 1)
# DESCENT that neither clips nor decays, without penalties, where all layers train and have
# biases: tiles of a gradient take the step by themselves. For batches of up to SUM_ROWS.
FUSED_DESCENT = -1

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

# What a tile of a matrix product does with its sums. All but STORE are the last step of some
# layer's formula, taken while the sums are in registers.
STORE = 0  # result = sums
FINISH_RELU = 1  # result = sums where > 0 or NaN, else 0
FINISH_MASK = 2  # result = sums where `other` > 0 or NaN, else 0: the gradient through a ReLU
FINISH_DESCEND = 3  # result = result - rate * sums, 0 where subnormal: a step of descent, in place

# Rows of the sums (float64) that the weights phase keeps of rows of weights, and of biases.
SQUARES = 0  # of the gradient
PENALTY = 1
N_SUMS = 2

# What a call of `train_steps` adds up.
TOTAL_LOSS = 0  # sum of weight * loss
TOTAL_RIGHT = 1  # sum of weight * right
TOTAL_WEIGHT = 2
TOTAL_PENALTY = 3  # sum over the samples of the penalty that their step met
TOTAL_STEPS = 4  # that were applied
N_TOTALS = 5

# How samples lie in memory (int64) that are no C-contiguous array of the network's dtype: what
# they are, and in bytes where the first number is and how far apart two rows, and columns, are.
KIND = 0
START = 1
ROW_STEP = 2
COLUMN_STEP = 3
N_LAYOUT = 4

# Kinds of numbers.
UINT8 = 0
INT8 = 1
FLOAT16 = 2
FLOAT32 = 3
FLOAT64 = 4

# What follows the conversion (float64): number * SCALE + OFFSET, unless they are 1 and 0.
SCALE = 0
OFFSET = 1
N_SCALING = 2

# The barrier of `threads.py`, an int64 array: how many have arrived, and on cache lines of their
# own the generation, and whether everybody is to leave.
BARRIER_SIZE = 24
GENERATION = 8
LEAVE = 16

# Rows of the scores that a step keeps of its samples, each (batch_size,) float64: first what the
# loss is made of (`cross_entropy.label_row`), then the loss.
SCORES = 4
LOSS = 0
RIGHT = 1  # the weight of a right answer, else 0
TOTAL = 2
WEIGHT = 3

# Losses (`cross_entropy.py`, `losses.py`).
SOFTMAX_CROSS_ENTROPY = 0  # number: how far the probabilities stay from 0 and 1, in what it adds up
BINARY_FROM_LOGITS = 1
BINARY_FROM_PROBABILITIES = 2
SQUARED_ERROR = 3  # number: answers less than this away count as right
ABSOLUTE_ERROR = 4  # likewise
HUBER = 5
QUANTILE = 6
POISSON = 7
