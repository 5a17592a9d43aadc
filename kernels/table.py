"""Sizes of the blocks of a sum, and the columns of what a call of the program adds up."""

# Rows over which sums of a batch are formed before they meet: 16 rows leave little to merge, and
# few enough are in one thread's share.
BLOCK = 16

# Rows over which a sum of a batch goes from first to last: a multiple of BLOCK. In one plain sum
# 30 million equal float32 numbers lost 4 %; that of a block is at most 2.4e-4 off (and of numbers
# of both signs some 1e-6), and the sums of the blocks are added without a loss (`sums.py`). Fewer
# rows would change the bits of usual batches.
SUM_ROWS = 4096

# Numbers of tables whose gradient is formed in one go: 16 KiB of float32, which stay in the L1
# cache. They are a block of the weights phase.
TABLE_PIECE = 4096

# What a call of `train_steps` adds up.
TOTAL_LOSS = 0  # sum of weight * loss
TOTAL_RIGHT = 1  # sum of weight * right
TOTAL_WEIGHT = 2
TOTAL_PENALTY = 3  # sum over the samples of the penalty that their step met
TOTAL_STEPS = 4  # that were applied
N_TOTALS = 5
