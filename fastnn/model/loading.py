"""Loading models from files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .. import files
from ..errors import FileFormatError, warn_of_prepared_inputs
from ..files.contents import check_arrays
from ..nn import configs
from ..types import PathLike
from ..validation import as_path
from .base import network_of
from .sequential import Sequential


def load(path: PathLike) -> Sequential:
    """Return the model in a file that `Sequential.save` or :class:`Checkpoint` has written.

    Its outputs have the same bits as those of the saved model.

    Raises
    ------
    FileFormatError
        For any other file, and for an incomplete one. It is a ValueError that says what is wrong.
    OSError
        If the file cannot be read.

    Warns
    -----
    PreparedInputsWarning
        For a model of `fastnn train`, which does not take the columns of a table.

    Examples
    --------
    >>> model = fastnn.Sequential([fastnn.Dense(2, 3, rng=0)])
    >>> model.save("model.safetensors", notes={"made": "in an example"})
    >>> again = fastnn.load("model.safetensors")
    >>> again
    Sequential([
        Dense(2, 3, dtype=float32),
    ])
    >>> again.notes
    {'made': 'in an example'}
    """
    model = read_model(path)
    warn_of_prepared_inputs(model.notes, os.fspath(path), level=3)
    return model


def read_model(path: PathLike) -> Sequential:
    """Return the model in a file, as `load` does, without its warning."""
    path = Path(as_path(path))
    description, arrays = files.read(path)
    try:
        config: Any = description.get("model")
        notes = description.get("notes", {})
        if not isinstance(notes, dict):
            raise ValueError(f"notes is {notes!r:.80}, expected a dict")
        # The names of a layer's arrays begin with its index; a checkpoint also has other arrays.
        arrays = {name: each for name, each in arrays.items() if name[:1].isdigit()}
        check_arrays(arrays, configs.stored_shapes(config))
        model = Sequential.from_config(config)
    except (TypeError, ValueError) as error:
        raise FileFormatError(path, f"has no model that can be built: {error}") from None
    for name, array in network_of(model).stored_arrays().items():
        array[...] = arrays[name]
    model.notes = notes
    return model
