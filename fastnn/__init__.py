"""fastnn: dense neural networks for NumPy users, at the speed limit of the CPU."""

from . import kernels
from .batches import generate_batch_indices
from .compiled import CompiledModel
from .errors import NonFiniteLossError
from .history import History
from .labels import one_hot
from .layers import Dense, ReLU, Softmax
from .losses import CategoricalCrossEntropy, SoftmaxCrossEntropy
from .metrics import accuracy
from .model import Sequential
from .optimizers import SGD
from .parallel import num_threads, set_num_threads
from .warmup import warmup

if not kernels.REFERENCE:
    from . import jitted  # noqa: F401 (numba learns of CompiledModel)

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "CategoricalCrossEntropy",
    "CompiledModel",
    "Dense",
    "History",
    "NonFiniteLossError",
    "ReLU",
    "Sequential",
    "Softmax",
    "SoftmaxCrossEntropy",
    "accuracy",
    "generate_batch_indices",
    "kernels",
    "num_threads",
    "one_hot",
    "set_num_threads",
    "warmup",
]
