"""Sizes of the blocks of a sum, and the columns of what a call of the program takes and gives."""

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
