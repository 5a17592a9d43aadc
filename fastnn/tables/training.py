"""The network for a table, and its training with defaults for each task."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ..model import Sequential
from ..nn.classes import ACTIVATIONS as ACTIVATIONS_BY_NAME
from ..nn.classes import OPTIMIZERS
from ..nn.dropout import Dropout
from ..nn.layers import Dense
from ..nn.losses import MeanSquaredError
from ..nn.optimizer import Optimizer
from ..run.callbacks import EarlyStopping
from ..run.history import History
from ..types import Precision

if TYPE_CHECKING:
    from .dataset import Dataset
    from .targets import Target


class Settings(NamedTuple):
    """The settings of a training that have defaults of their own for each kind of data."""

    hidden: tuple[int, ...]
    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str


DEFAULTS = {
    "classification": Settings((64, 64), 50, 32, 0.05, "sgd"),
    "regression": Settings((64, 64), 50, 32, 0.003, "adam"),
}
# Any other optimizer starts with the default rate of its class.
_CHOSEN_RATES = {"sgd": 0.05, "adam": 0.003, "adamw": 0.003, "rmsprop": 0.001, "adagrad": 0.03}
RATES: dict[str, float] = {
    name: _CHOSEN_RATES.get(name) or optimizer().learning_rate
    for name, optimizer in OPTIMIZERS.items()
}
ACTIVATIONS = {name: layer for name, layer in ACTIVATIONS_BY_NAME.items() if name != "identity"}


def settle(settings: Settings, values: dict[str, Any]) -> Settings:
    """Return settings with the `values` that are not None; an optimizer brings its rate."""
    if values["optimizer"] not in (None, settings.optimizer):
        settings = settings._replace(learning_rate=RATES[values["optimizer"]])
    return settings._replace(**{k: v for k, v in values.items() if v is not None})


def n_outputs(target: Target) -> int:
    """Return the number of outputs of a network for a target."""
    return len(target.labels) if target.task == "classification" else 1


def make_network(
    widths: Sequence[int],
    target: Target,
    *,
    activation: str = "relu",
    dropout: float = 0.0,
    dtype: DTypeLike = np.float32,
    rng: np.random.Generator,
) -> Sequential:
    """Return a network with `widths` neurons, inputs first and outputs last."""
    layers: list[Any] = []
    for n_inputs, n_neurons in itertools.pairwise(widths):
        if layers:
            layers.append(ACTIVATIONS[activation]())
            if dropout:
                layers.append(Dropout(dropout))
        layers.append(Dense(n_inputs, n_neurons, dtype=dtype, rng=rng))
    loss = None if target.task == "classification" else MeanSquaredError()
    return Sequential(layers, loss=loss)


class Run(NamedTuple):
    """What a training takes beside its `Settings`."""

    seed: int = 0
    threads: int | None = None
    precision: Precision | None = None
    patience: int | None = None
    balanced: bool = False


def fit_network(
    model: Sequential, dataset: Dataset, optimizer: Optimizer, settings: Settings, run: Run
) -> History:
    """Train on the first part of a Dataset, measured on the other part after each epoch."""
    (X, X_held_out), (y, y_held_out) = dataset.inputs, dataset.targets
    target = dataset.target
    extra: dict[str, Any] = {}
    if target.task == "regression":
        y, y_held_out = map(target.standardize, (y, y_held_out))
    elif run.balanced:
        counts = np.bincount(y, minlength=len(target.labels))
        extra["class_weight"] = {
            k: len(y) / (len(counts) * count) if count else 0.0 for k, count in enumerate(counts)
        }
    if run.patience:
        extra["callbacks"] = [EarlyStopping("val_loss", patience=run.patience)]
    return model.fit(
        X, y,
        epochs=settings.epochs, batch_size=settings.batch_size, optimizer=optimizer,
        seed=run.seed, validation_data=(X_held_out, y_held_out), threads=run.threads,
        precision=run.precision, **extra,
    )  # fmt: skip
