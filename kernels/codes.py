"""The codes of everything that a kernel chooses by number: operations, optimizer rules, losses.

Each enumeration is a named tuple, not an `enum.IntEnum`: its members are plain integers, so that a
code from Python and one from jitted code have one type; `constants.py` makes them constants there.
The order of the codes has no meaning. What belongs to a group is asked by the functions below,
which `groups.py` has for jitted code: none of them calls another.
"""

from typing import NamedTuple


class _Operations(NamedTuple):
    DENSE: int = 0  # outputs = inputs @ weights + biases, and a ReLU where the epilogue says so
    RELU: int = 1
    SOFTMAX: int = 2
    IDENTITY: int = 3
    SIGMOID: int = 4
    TANH: int = 5
    LEAKY_RELU: int = 6
    ELU: int = 7
    GELU: int = 8
    GELU_TANH: int = 9
    SILU: int = 10
    EXP: int = 11  # only behind the last layer, where a loss asks for it
    DROPOUT: int = 12  # only while training
    LAYER_NORM: int = 13
    BATCH_NORM: int = 14


Operation = _Operations()
"""What a layer of the program calculates."""


def is_activation(operation: int) -> bool:
    """Return whether `activations.py` calculates an operation, element by element."""
    return (
        operation == Operation.IDENTITY
        or operation == Operation.SIGMOID
        or operation == Operation.TANH
        or operation == Operation.LEAKY_RELU
        or operation == Operation.ELU
        or operation == Operation.GELU
        or operation == Operation.GELU_TANH
        or operation == Operation.SILU
        or operation == Operation.EXP
    )


def is_norm(operation: int) -> bool:
    """Return whether an operation normalizes, and has weights and biases (1, O)."""
    return operation == Operation.LAYER_NORM or operation == Operation.BATCH_NORM


def is_basic(operation: int) -> bool:
    """Return whether the program for plain networks has an operation: it takes no number."""
    return (
        operation == Operation.DENSE
        or operation == Operation.RELU
        or operation == Operation.SOFTMAX
    )


def depends_on_mode(operation: int) -> bool:
    """Return whether an operation does something else in training than in a prediction."""
    return (
        operation == Operation.DROPOUT
        or operation == Operation.LAYER_NORM
        or operation == Operation.BATCH_NORM
    )


def has_parameters(operation: int) -> bool:
    """Return whether an operation has weights and biases."""
    return (
        operation == Operation.DENSE
        or operation == Operation.LAYER_NORM
        or operation == Operation.BATCH_NORM
    )


class _Rules(NamedTuple):
    # DESCENT that neither clips nor decays, without penalties, where all layers train and have
    # biases: tiles of a gradient take the step by themselves. For batches of up to SUM_ROWS.
    FUSED_DESCENT: int = -1
    DESCENT: int = 0
    MOMENTUM: int = 1
    NESTEROV: int = 2
    VELOCITY: int = 3
    ADAGRAD: int = 4
    RMSPROP: int = 5
    ADAM: int = 6
    AMSGRAD: int = 7
    LOOKAHEAD: int = 8  # VELOCITY in Nesterov's form


Rule = _Rules()
"""How parameters follow their gradients (`update.py`)."""


def n_states_of(rule: int) -> int:
    """Return how many states a rule keeps of each parameter; -1 where there is no such rule."""
    if rule == Rule.FUSED_DESCENT or rule == Rule.DESCENT:
        return 0
    if rule == Rule.ADAM:
        return 2
    if rule == Rule.AMSGRAD:
        return 3
    if (
        rule == Rule.MOMENTUM
        or rule == Rule.NESTEROV
        or rule == Rule.VELOCITY
        or rule == Rule.LOOKAHEAD
        or rule == Rule.ADAGRAD
        or rule == Rule.RMSPROP
    ):
        return 1
    return -1


class _Losses(NamedTuple):
    SOFTMAX_CROSS_ENTROPY: int = 0  # parameter: how far probabilities stay from 0 and 1
    BINARY_FROM_LOGITS: int = 1
    BINARY_FROM_PROBABILITIES: int = 2
    SQUARED_ERROR: int = 3  # parameter: answers less than this away count as right
    ABSOLUTE_ERROR: int = 4  # likewise
    HUBER: int = 5
    QUANTILE: int = 6
    POISSON: int = 7


Loss = _Losses()
"""What `cross_entropy.py` and `losses.py` calculate."""


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


class _ScoreRows(NamedTuple):
    LOSS: int = 0
    RIGHT: int = 1  # the weight of a right answer, else 0
    TOTAL: int = 2
    WEIGHT: int = 3


ScoreRow = _ScoreRows()
"""The rows of the scores (batch_size,) float64 that a step keeps of its samples.

First they hold what the loss is made of (`cross_entropy.label_row`), then LOSS is the loss.
"""

N_SCORES = len(ScoreRow)


class _SumRows(NamedTuple):
    SQUARES: int = 0  # of the gradient
    PENALTY: int = 1


SumRow = _SumRows()
"""The rows of the sums (float64) that the weights phase keeps of rows of weights, and of biases."""

N_SUMS = len(SumRow)


class _BarrierPlaces(NamedTuple):
    ARRIVED: int = 0
    GENERATION: int = 8
    LEAVE: int = 16  # not 0: all threads leave


BarrierPlace = _BarrierPlaces()
"""The places in the barrier of `threads.py` (int64), each on a cache line of its own."""

BARRIER_SIZE = 24
