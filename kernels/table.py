"""The table that describes a network to `program.py`: one row a step, one column a name below.

Offsets and distances count elements: of the parameter buffer for WEIGHTS and BIASES, of the
packed weights for PANELS and TRANSPOSED_PANELS, of the workspace for the rest (which holds the
packed weights too while training). The table is data, so one machine code runs every network.
"""

# Operations.
DENSE = 0  # outputs = inputs @ weights + biases, and a ReLU where FINISH says so
RELU = 1
SOFTMAX = 2

# Columns.
OPERATION = 0
N_INPUTS = 1
N_OUTPUTS = 2
WEIGHTS = 3  # (N_INPUTS, N_OUTPUTS)
BIASES = 4  # (1, N_OUTPUTS)
INPUTS = 5  # (capacity, N_INPUTS); the first row reads the gathered batch there
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
N_COLUMNS = 16

# What a tile of a matrix product does with its sums. All but STORE are the last step of some
# layer's formula, taken while the sums are in registers.
STORE = 0  # result = sums
FINISH_RELU = 1  # result = sums where > 0 or NaN, else 0
FINISH_MASK = 2  # result = sums where `other` > 0 or NaN, else 0: the gradient through a ReLU
FINISH_DESCEND = 3  # result = result - rate * sums: a step of gradient descent, in place

# The barrier of `threads.py`, an int64 array: how many have arrived, and on cache lines of their
# own the generation, and whether everybody is to leave.
BARRIER_SIZE = 24
GENERATION = 8
LEAVE = 16

# Rows of the scores that a step keeps of its samples, each (batch_size,) float64: first what the
# loss is made of (`cross_entropy.label_row`), then the loss.
SCORES = 4
LOSS = 0
RIGHT = 1  # 1 for a right answer, else 0
TOTAL = 2
WEIGHT = 3
