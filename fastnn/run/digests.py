"""Digests of samples and states: numbers that tell those of two ranks apart."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..metrics import Metric
from ..program.ranks import digest_of
from ..program.samples import Samples
from ..program.trainer import Data
from ..settings import settings_of
from ..types import Array
from .callbacks import Callback, Run

_SAMPLES = 64
"""How many samples are compared; comparing all would read the whole table on every rank."""


def describe_data(data: Data) -> dict[str, Any]:
    """Return what tells two tables apart: their sizes, all targets, and some of the samples."""
    arrays = {} if data.inputs.is_part else {"samples of X": _take_some(data.inputs)}
    arrays |= _answers_of(data)
    digests = {f"the digest of {name}": digest_of(array) for name, array in arrays.items()}
    return {"the shape of X": tuple(data.inputs.shape), **digests}


def describe_validation(data: Data) -> dict[str, Any]:
    """Return what tells validation data apart; each rank reads all of them after each epoch."""
    digests = {name: digest_of(array) for name, array in _answers_of(data).items()}
    digests = {"X": digest_of_samples(data.inputs), **digests}
    return {
        "the shape of X for validation": tuple(data.inputs.shape),
        **{f"the digest of {name} for validation": digest for name, digest in digests.items()},
    }


def describe_callbacks(callbacks: Iterable[Callback], run: Run) -> list[dict[str, Any]]:
    """Return the settings and the states of callbacks that have settings.

    Callbacks that write are on one rank only. What those of a user depend on is not known.
    """
    plain = bool, int, float, str, type(None)
    descriptions = []
    for each in callbacks:
        settings = {} if each.writes else settings_of(each)
        if settings:
            values = {name: value for name, value in settings.items() if isinstance(value, plain)}
            state = digest_of_tree(each.state(run))
            descriptions.append({"class": type(each).__name__, **values, "state": state})
    return descriptions


def describe_metrics(metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    """Return what tells metrics apart, as far as functions can be compared."""
    names = "name", "higher_is_better", "probabilities"
    return [{name: getattr(each, name) for name in names} for each in metrics]


def digest_of_samples(samples: Samples, digest: int = 0) -> int:
    """Return a digest of the numbers that a network gets; it continues another one."""
    for _, rows in samples.blocks(0, len(samples)):
        digest = zlib.crc32(rows.data, digest)
    return digest


def digest_of_batch(data: Data, digest: int) -> int:
    """Return a digest that continues another one with all of some samples."""
    digest = digest_of_samples(data.inputs, digest)
    for array in _answers_of(data).values():
        digest = zlib.crc32(np.ascontiguousarray(array).data, digest)
    return digest


def digest_of_tree(tree: Any, digest: int = 0) -> int:
    """Return a digest of a tree of dicts, lists, arrays and plain values; it continues another."""
    if isinstance(tree, np.ndarray):
        digest = zlib.crc32(f"{tree.dtype.str}{tree.shape}".encode(), digest)
        return zlib.crc32(np.ascontiguousarray(tree).data, digest)
    if isinstance(tree, Mapping):
        tree = [each for pair in tree.items() for each in pair]
    if isinstance(tree, list | tuple):
        digest = zlib.crc32(f"[{len(tree)}]".encode(), digest)
        for each in tree:
            digest = digest_of_tree(each, digest)
        return digest
    value = tree.item() if isinstance(tree, np.generic) else tree
    return zlib.crc32(repr(value).encode(), digest)


def _take_some(samples: Samples) -> Array:
    places = np.linspace(0, len(samples) - 1, _SAMPLES).astype(np.int64)
    return samples.take(np.unique(places))


def _answers_of(data: Data) -> dict[str, Array]:
    return {"y": data.labels, "the rows of y": data.targets, "sample_weight": data.weights}
