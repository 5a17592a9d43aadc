"""The network for a table, and its training."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ..model import Sequential
from ..nn.classes import ACTIVATIONS as ACTIVATIONS_BY_NAME
from ..nn.dropout import Dropout
from ..nn.initializers import scaled_normal
from ..nn.layers import Dense
from ..nn.losses import MeanSquaredError
from ..nn.optimizer import Optimizer
from ..run.callbacks import EarlyStopping
from ..run.history import History
from ..run.progress import Verbose
from ..types import Precision
from .defaults import FIRST_WEIGHTS, Settings

if TYPE_CHECKING:
    from .dataset import Dataset
    from .targets import Target


ACTIVATIONS = {name: layer for name, layer in ACTIVATIONS_BY_NAME.items() if name != "identity"}


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
    is_table: bool = True,
    rng: np.random.Generator,
) -> Sequential:
    """Return a network with `widths` neurons, inputs first and outputs last.

    That of a table begins with outputs near 0.
    """
    layers: list[Any] = []
    for n_inputs, n_neurons in itertools.pairwise(widths):
        if layers:
            layers.append(ACTIVATIONS[activation]())
            if dropout:
                layers.append(Dropout(dropout))
        layers.append(Dense(n_inputs, n_neurons, dtype=dtype, rng=rng))
    if is_table:
        last = layers[-1]
        last.init = scaled_normal(FIRST_WEIGHTS)
        last.reset_parameters(rng)
    loss = None if target.task == "classification" else MeanSquaredError()
    return Sequential(layers, loss=loss)


class Run(NamedTuple):
    """What a training takes beside its `Settings`."""

    seed: int = 0
    threads: int | None = None
    precision: Precision | None = None
    balanced: bool = False
    verbose: Verbose = "auto"


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
    if settings.patience:
        extra["callbacks"] = [EarlyStopping("val_loss", patience=settings.patience)]
    return model.fit(
        X, y,
        epochs=settings.epochs, batch_size=settings.batch_size, optimizer=optimizer,
        seed=run.seed, validation_data=(X_held_out, y_held_out), threads=run.threads,
        precision=run.precision, verbose=run.verbose, **extra,
    )  # fmt: skip
