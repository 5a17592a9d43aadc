"""Codes that kernels branch on, and indices of the rows of their arrays.

As in `catalogue.py`, each enumeration is a named tuple of plain integers.
"""

from typing import NamedTuple


class _Epilogues(NamedTuple):
    STORE: int = 0  # result = sums
    RELU: int = 1  # result = sums where > 0 or NaN, else 0
    RELU_MASK: int = 2  # result = sums where `other` > 0 or NaN, else 0: the gradient of a ReLU
    DESCENT: int = 3  # result = result - rate * sums, 0 where subnormal: in place


Epilogue = _Epilogues()
"""What a tile of a matrix product does with its sums while they are in registers."""


class _SampleTypes(NamedTuple):
    UINT8: int = 0
    INT8: int = 1
    FLOAT16: int = 2
    FLOAT32: int = 3
    FLOAT64: int = 4


SampleType = _SampleTypes()
"""The dtypes of samples that are converted while a batch is gathered (`conversion.py`)."""

ITEM_SIZES = (1, 1, 2, 4, 8)  # bytes of a number of each SampleType


class _Units(NamedTuple):
    EMULATED: int = 0  # multiply-adds of float32, with the bits of AMX
    DOT: int = 1  # the dot products of AVX512-BF16
    AMX: int = 2


Unit = _Units()
"""What multiplies the tiles of bfloat16 numbers (`units.py`)."""


class _ScoreRows(NamedTuple):
    LOSS: int = 0
    RIGHT: int = 1  # the weight of a right answer, else 0
    TOTAL: int = 2
    WEIGHT: int = 3


ScoreRow = _ScoreRows()
"""The rows of the scores (N_SCORES, batch_size) float64 of the samples of a step.

At first they hold the terms of the loss (`cross_entropy.label_row`). Then LOSS is the loss.
"""

N_SCORES = len(ScoreRow)


class _SumRows(NamedTuple):
    SQUARES: int = 0  # of the gradient
    PENALTY: int = 1


SumRow = _SumRows()
"""The rows of the sums (float64) that the weights phase forms for rows of weights and biases."""

N_SUMS = len(SumRow)


MOST_SHARES = 32
"""Shares into which the work of a phase is divided at most (`threads.py`)."""


class _BarrierPlaces(NamedTuple):
    ARRIVED: int = 0
    GENERATION: int = 8
    LEAVE: int = 16  # not 0: all threads leave
    PHASE: int = 24  # the number of the phase that is under way
    DONE: int = 32  # blocks of it that are done
    STOPPED: int = 40  # the phase, plus 1, whose loss was not finite
    OVERFLOWN: int = 41  # the phase, plus 1, in which the squares of the gradient overflowed
    CROWDED_UNTIL: int = 48  # the time until which other processes seem to want the cores too
    CROWDED: int = 49  # not 0: that was so when the step began
    COUNTERS: int = 56  # of the shares' blocks: of weights or rows, and then of what normalizes
    CLOCKS: int = 56 + 2 * MOST_SHARES * 8  # two times of each thread, see `threads.rest`


BarrierPlace = _BarrierPlaces()
"""The places in the barrier of `threads.py` (int64), each on a cache line of its own."""

BARRIER_SIZE = BarrierPlace.CLOCKS + MOST_SHARES * 8


class _HeaderPlaces(NamedTuple):
    PARAMETERS: int = 0  # address of the first element, as of the next three
    PANELS: int = 1
    LAYERS: int = 2
    TILES: int = 3  # packed weights of products in bfloat16
    PARAMETERS_SIZE: int = 4  # in elements, as all that follow
    PANELS_SIZE: int = 5
    LAYERS_SIZE: int = 6
    TILES_SIZE: int = 7
    N_INPUTS: int = 8
    N_OUTPUTS: int = 9
    FEW_SIZE: int = 10  # of the workspace of `predict_few`
    MANY_SIZE: int = 11  # of that of `predict_rows`
    OPERANDS_SIZE: int = 12  # of the packed operands of products in bfloat16
    COLUMNS: int = 13  # address of what EMBEDDING makes of each column of the inputs
    COLUMNS_SIZE: int = 14


HeaderPlace = _HeaderPlaces()
"""The places in the header (int64) by which jitted code finds the network of a handle."""
