"""fastnn: dense neural networks for NumPy users, at the speed limit of the CPU."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from . import layout as _layout  # noqa: F401 (first: it finds the kernels of a checkout)

# isort: split
from . import kernels, metrics
from .errors import (
    FileFormatError,
    MissingClassWarning,
    PreparedInputsWarning,
    SlowTrainingWarning,
)
from .learning_rates import LearningRateFinder
from .many import fit_many
from .metrics import Metric, accuracy
from .model import Sequential, load
from .nn.activations import ELU, GELU, Identity, LeakyReLU, Sigmoid, SiLU, Softplus, Tanh
from .nn.batches import generate_batch_indices
from .nn.dropout import Dropout
from .nn.embedding import Embedding, embedding_dimension
from .nn.initializers import scaled_normal
from .nn.labels import one_hot
from .nn.layer import Layer
from .nn.layers import Dense, ReLU, Softmax
from .nn.loss import Loss
from .nn.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Huber,
    MeanAbsoluteError,
    MeanSquaredError,
    Poisson,
    Quantile,
    SoftmaxCrossEntropy,
)
from .nn.normalization import BatchNorm, LayerNorm
from .nn.optimizer import Optimizer
from .nn.optimizers import SGD, AdaGrad, Adam, AdamW, Lion, RMSprop
from .nn.residual import Add, Branch, Residual
from .nn.schedules import (
    ConstantRate,
    CosineRate,
    ExponentialRate,
    InverseTimeRate,
    OneCycleRate,
    ReduceOnPlateau,
    StepRate,
)
from .nn.summary import Summary
from .program.handle import CompiledModel
from .program.precision import precision, set_precision
from .program.threads import num_threads, set_num_threads
from .run.averages import WeightAverage
from .run.callbacks import Callback, CSVLogger, EarlyStopping, LambdaCallback, Run
from .run.checkpoints import Checkpoint
from .run.errors import DivergedModelsError, NonFiniteLossError
from .run.history import History
from .run.progress import ProgressBar, ProgressLines
from .version import __version__ as __version__
from .warmup import warmup

if not kernels.REFERENCE:
    from .program import jitted  # noqa: F401 (numba learns of CompiledModel)

__all__ = [
    "ELU",
    "GELU",
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Add",
    "BatchNorm",
    "BinaryCrossEntropy",
    "Branch",
    "CSVLogger",
    "Callback",
    "CategoricalCrossEntropy",
    "Checkpoint",
    "CompiledModel",
    "ConstantRate",
    "CosineRate",
    "Dense",
    "DivergedModelsError",
    "Dropout",
    "EarlyStopping",
    "Embedding",
    "ExponentialRate",
    "FileFormatError",
    "History",
    "Huber",
    "Identity",
    "InverseTimeRate",
    "LambdaCallback",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "LearningRateFinder",
    "Lion",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "MissingClassWarning",
    "NonFiniteLossError",
    "OneCycleRate",
    "Optimizer",
    "Poisson",
    "PreparedInputsWarning",
    "ProgressBar",
    "ProgressLines",
    "Quantile",
    "RMSprop",
    "ReLU",
    "ReduceOnPlateau",
    "Residual",
    "Run",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SlowTrainingWarning",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Softplus",
    "StepRate",
    "Summary",
    "Tanh",
    "WeightAverage",
    "accuracy",
    "embedding_dimension",
    "export",
    "export_torch",
    "fit_many",
    "generate_batch_indices",
    "kernels",
    "load",
    "load_torch",
    "metrics",
    "num_threads",
    "one_hot",
    "precision",
    "scaled_normal",
    "set_num_threads",
    "set_precision",
    "tables",
    "warmup",
]

_ESTIMATORS = ("MLPClassifier", "MLPRegressor")


if TYPE_CHECKING:  # a name that is not there is a mistake that a type checker finds
    from . import export as export
    from . import tables as tables
    from .export import from_torch as load_torch
    from .export import to_torch as export_torch
    from .scikit.converters import register_skl2onnx as register_skl2onnx
    from .scikit.estimators import MLPClassifier as MLPClassifier
    from .scikit.estimators import MLPRegressor as MLPRegressor
else:

    def __getattr__(name):
        # What few programs need is imported when it is asked for.
        if name in _ESTIMATORS:  # scikit-learn takes longer to import than the rest
            from .scikit import estimators

            return getattr(estimators, name)
        if name in ("export", "export_torch", "load_torch"):
            export = importlib.import_module(".export", __name__)
            return {"export_torch": export.to_torch, "load_torch": export.from_torch}.get(
                name, export
            )
        if name == "register_skl2onnx":
            return importlib.import_module(".scikit.converters", __name__).register_skl2onnx
        if name == "tables":
            return importlib.import_module(".tables", __name__)
        from .foreign import missing_name

        raise missing_name(sys.modules[__name__], name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ESTIMATORS, "register_skl2onnx"})
