"""The class names of networks written from scratch: change one import, keep the script.

The names, arguments, attributes and formulas are those of the last chapter of Kinsley, Kukieła,
"Neural Networks from Scratch in Python" (2020); what earlier chapters call differently works too.
The classes are fastnn's own under these names. Parameters start as they do there, from NumPy's
global generator, so a seeded script prints the numbers that it printed: in float64, or in float32
after `nnfs.init()`. :meth:`Model.train` runs in the compiled program.

What differs: arrays are checked, and a number that is not finite is an error. The gradient of the
absolute error points uphill, as a gradient does. The cross-entropy of soft rows is
-sum(y_true * log(y_pred)), whose gradient is the book's. `Model.train` draws the masks of dropout
as :class:`fastnn.Dropout` does, from a key of NumPy's global generator; in loops by hand they are
the book's. Files are safetensors, not pickles.
"""

from .accuracy import Accuracy, Accuracy_Categorical, Accuracy_Regression
from .layers import (
    Activation_Linear,
    Activation_ReLU,
    Activation_Sigmoid,
    Activation_Softmax,
    Layer_Dense,
    Layer_Dropout,
    Layer_Input,
)
from .losses import (
    Activation_Softmax_Loss_CategoricalCrossentropy,
    Loss,
    Loss_BinaryCrossentropy,
    Loss_CategoricalCrossentropy,
    Loss_MeanAbsoluteError,
    Loss_MeanSquaredError,
)
from .model import Model
from .optimizers import Optimizer_Adagrad, Optimizer_Adam, Optimizer_RMSprop, Optimizer_SGD

# Notebooks after the book spell it like this.
Loss_CategoricalCrossEntropy = Loss_CategoricalCrossentropy
Activation_Softmax_Loss_CategoricalCrossEntropy = Activation_Softmax_Loss_CategoricalCrossentropy

__all__ = [
    "Accuracy",
    "Accuracy_Categorical",
    "Accuracy_Regression",
    "Activation_Linear",
    "Activation_ReLU",
    "Activation_Sigmoid",
    "Activation_Softmax",
    "Activation_Softmax_Loss_CategoricalCrossEntropy",
    "Activation_Softmax_Loss_CategoricalCrossentropy",
    "Layer_Dense",
    "Layer_Dropout",
    "Layer_Input",
    "Loss",
    "Loss_BinaryCrossentropy",
    "Loss_CategoricalCrossEntropy",
    "Loss_CategoricalCrossentropy",
    "Loss_MeanAbsoluteError",
    "Loss_MeanSquaredError",
    "Model",
    "Optimizer_Adagrad",
    "Optimizer_Adam",
    "Optimizer_RMSprop",
    "Optimizer_SGD",
]
