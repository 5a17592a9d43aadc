"""Names of Keras and PyTorch, for errors that say what has their place in fastnn.

`docs/keras.md` and `docs/pytorch.md` have tables of them.
"""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import TYPE_CHECKING, Any

_BEHIND = "a layer behind this one, such as fastnn.ReLU()"

ARGUMENTS = {
    # of optimizers
    "lr": "learning_rate", "betas": "beta_1 and beta_2", "beta1": "beta_1", "beta2": "beta_2",
    "eps": "epsilon", "alpha": "rho", "clipnorm": "clip_norm", "global_clipnorm": "clip_norm",
    "clipvalue": "clip_value", "params": "none: fit passes the parameters",
    "use_ema": "the callback WeightAverage", "ema_momentum": "the callback WeightAverage",
    # of layers
    "units": "n_neurons", "input_dim": "n_inputs", "input_shape": "n_inputs",
    "in_features": "n_inputs", "out_features": "n_neurons", "num_features": "n_features",
    "normalized_shape": "n_features", "activation": _BEHIND, "bias": "use_bias",
    "kernel_initializer": "init", "kernel_regularizer": "weights_l1 or weights_l2",
    "bias_regularizer": "biases_l1 or biases_l2", "p": "rate",
}  # fmt: skip
"""{argument: the argument that has its place}."""

_ALL_AT_ONCE = "pass all layers at once, Sequential([...])"
_NOTHING_TO_COMPILE = (
    "nothing has to be compiled; pass loss to Sequential, and optimizer and metrics to fit"
)
_PARAMETERS = "use model.parameters, or weights and biases of model.layers[i]"
_LAYERS = "use model.layers"
_NOT_NEEDED = "it is not needed: fit leaves out units, and predict never does"
_CPU = "it is not needed: fastnn runs on the CPU, and takes and returns NumPy arrays"

ATTRIBUTES = {
    "add": _ALL_AT_ONCE, "append": _ALL_AT_ONCE, "add_module": _ALL_AT_ONCE,
    "compile": _NOTHING_TO_COMPILE, "build": "Dense(n_inputs, n_neurons) says all shapes",
    "get_weights": _PARAMETERS, "set_weights": _PARAMETERS, "weights": _PARAMETERS,
    "trainable_weights": _PARAMETERS, "trainable_variables": _PARAMETERS, "coefs_": _PARAMETERS,
    "named_parameters": _PARAMETERS,
    "state_dict": "use model.parameters; export_torch(model, path) writes one for PyTorch",
    "load_state_dict": "use fastnn.load_torch(path, activation=...)",
    "save_weights": "use save", "load_weights": "use fastnn.load(path), which returns the model",
    "get_config": "use to_config", "to_json": "use to_config", "get_layer": _LAYERS,
    "children": _LAYERS, "modules": _LAYERS, "count_params": "use model.parameters.size",
    "train": "use fit", "eval": _NOT_NEEDED, "train_on_batch": "use partial_fit",
    "train_step": "use partial_fit", "fit_generator": "use fit(batches=...)",
    "test_on_batch": "use evaluate", "score": "use evaluate", "predict_on_batch": "use predict",
    "predict_classes": "use predict", "history": "fit returns it",
    "to": _CPU, "cpu": _CPU, "cuda": _CPU, "numpy": _CPU,
    "zero_grad": "it is not needed: backward replaces the gradients",
}  # fmt: skip
"""{attribute of a model: what to do}."""

NAMES = {
    "Activation": "ReLU(), Tanh() and so on", "BCELoss": "BinaryCrossEntropy(from_logits=False)",
    "BCEWithLogitsLoss": "BinaryCrossEntropy", "BatchNorm1d": "BatchNorm",
    "BatchNormalization": "BatchNorm", "BinaryCrossentropy": "BinaryCrossEntropy",
    "CategoricalCrossentropy": "SoftmaxCrossEntropy", "CrossEntropyLoss": "SoftmaxCrossEntropy",
    "CosineAnnealingLR": "CosineRate", "CosineDecay": "CosineRate",
    "ExponentialDecay": "ExponentialRate", "ExponentialLR": "ExponentialRate",
    "AveragedModel": "WeightAverage", "SwapEMAWeights": "WeightAverage",
    "HuberLoss": "Huber", "Input": "Dense(n_inputs, n_neurons)",
    "InputLayer": "Dense(n_inputs, n_neurons)",
    "L1Loss": "MeanAbsoluteError", "LayerNormalization": "LayerNorm", "Linear": "Dense",
    "MSELoss": "MeanSquaredError", "Model": "Sequential", "ModelCheckpoint": "Checkpoint",
    "Module": "Sequential", "NLLLoss": "SoftmaxCrossEntropy", "OneCycleLR": "OneCycleRate",
    "PoissonNLLLoss": "Poisson", "ReduceLROnPlateau": "ReduceOnPlateau",
    "SparseCategoricalCrossentropy": "SoftmaxCrossEntropy", "StepLR": "StepRate",
    "load_model": "load", "set_random_seed": "rng= of the layers and seed= of fit",
    "manual_seed": "rng= of the layers and seed= of fit", "to_categorical": "one_hot",
}  # fmt: skip
"""{name in Keras or PyTorch: name in fastnn}."""

LOSSES = {
    "sparse_categorical_crossentropy": "softmax_cross_entropy",
    "categorical_crossentropy": "softmax_cross_entropy",
    "cross_entropy": "softmax_cross_entropy", "crossentropy": "softmax_cross_entropy",
    "log_loss": "softmax_cross_entropy", "binary_crossentropy": "binary_cross_entropy",
    "bce": "binary_cross_entropy", "l1": "mean_absolute_error", "l2": "mean_squared_error",
    "squared_error": "mean_squared_error", "absolute_error": "mean_absolute_error",
}  # fmt: skip
"""{name of a loss elsewhere: its name in fastnn}."""


class Pointed:
    """Base of classes whose errors point from arguments of other libraries to those of fastnn."""

    if not TYPE_CHECKING:  # a type checker reads `__init__`

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            foreign = ARGUMENTS.keys() & kwargs
            if foreign:
                own = inspect.signature(cls.__init__).parameters
                for name in kwargs:
                    if name in foreign and name not in own:
                        raise TypeError(f"{name} is given, expected {ARGUMENTS[name]}")
            return super().__new__(cls)


def missing_attribute(owner: object, name: str) -> AttributeError:
    """Return the error for an attribute of a model that does not exist."""
    text = f"{type(owner).__name__!r} object has no attribute {name!r}"
    if name in ATTRIBUTES:
        return AttributeError(f"{text}: {ATTRIBUTES[name]}")
    return AttributeError(text, name=name, obj=owner)  # Python names a similar one


def missing_name(module: ModuleType, name: str) -> AttributeError:
    """Return the error for a name that is not in `fastnn`."""
    text = f"module {module.__name__!r} has no attribute {name!r}"
    if name in NAMES:
        return AttributeError(f"{text}: use {NAMES[name]}")
    return AttributeError(text, name=name, obj=module)
