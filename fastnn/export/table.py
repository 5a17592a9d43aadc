"""A model of a table for exporters: its columns one by one, without polars."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..types import Floats

if TYPE_CHECKING:
    from ..tables.models import TableModel


class NumberInput(NamedTuple):
    """A column of numbers, or a part of a date: one feature, (value - shift) / scale."""

    name: str
    shift: float
    scale: float
    fill: float | None

    @property
    def n_features(self) -> int:
        """One feature."""
        return 1


class CategoryInput(NamedTuple):
    """A column of categories: a feature for each, and one for all others if `has_other`."""

    name: str
    categories: list[str]
    fill: int | None
    """The number of the category that a missing value becomes."""

    has_other: bool

    @property
    def n_features(self) -> int:
        """A feature a category."""
        return len(self.categories) + self.has_other


class ExportTable(NamedTuple):
    """What exporters write of a model of a table beside its network."""

    inputs: list[NumberInput | CategoryInput]
    task: str
    target: str
    labels: list[Any]
    """The classes; of a regression none."""

    shift: float
    scale: float
    """What makes the outputs of a regression values of the target: output * scale + shift."""

    @property
    def n_features(self) -> int:
        """The number of inputs of the network."""
        return sum(each.n_features for each in self.inputs)

    def metadata(self) -> dict[str, str]:
        """Return what a file says of its columns and classes, as JSON texts."""
        columns = [
            {"name": each.name, "kind": "number"} if isinstance(each, NumberInput) else
            {"name": each.name, "kind": "category", "categories": each.categories}
            for each in self.inputs
        ]  # fmt: skip
        values: dict[str, Any] = {"task": self.task, "target": self.target, "columns": columns}
        if self.labels:
            values["classes"] = self.labels
        return {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for name, value in values.items()
        }


def table_model_of(model: Any) -> TableModel | None:
    """Return `model` if it is a TableModel, else None."""
    models = sys.modules.get("fastnn.tables.models")  # needs polars: it is not imported for this
    return model if models is not None and isinstance(model, models.TableModel) else None


def read_table_model(model: TableModel) -> ExportTable:
    """Return what exporters write of a TableModel beside its network."""
    inputs: list[NumberInput | CategoryInput] = []
    for column in model.preprocessor.columns:
        if column.kind == "number":
            inputs.append(NumberInput(column.name, column.shift, column.scale, column.fill))
        elif column.kind == "category":
            known = column.categories
            fill = None if column.fill is None else (
                known.index(column.fill) if column.fill in known else len(known)
            )  # fmt: skip
            inputs.append(CategoryInput(column.name, known, fill, column.other is not None))
        else:
            fills: list[float | None] = [None] * len(column.parts)
            if column.fill is not None:
                fills = [*map(float, _parts_of_fill(column))]
            inputs += [
                NumberInput(name, shift, scale, fill)
                for name, (shift, scale), fill in zip(
                    column.feature_names, column.scales, fills, strict=True
                )
            ]
    target = model.target
    if target.task == "classification":
        return ExportTable(inputs, target.task, target.name, target.labels, 0.0, 1.0)
    return ExportTable(inputs, target.task, target.name, [], target.shift, target.scale)


def _parts_of_fill(column: Any) -> Floats:
    """Return the parts of the date that a missing one becomes."""
    from ..tables.libraries import polars as pl

    frame = pl.DataFrame({column.name: [None]}, schema={column.name: pl.Datetime("us")})
    parts = frame.select(part.alias(str(i)) for i, part in enumerate(column.numbers()))
    return np.array(parts.row(0), np.float64)
