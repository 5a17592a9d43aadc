"""A network together with the preprocessing of the table that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from ..model import Sequential, network_of, read_model
from ..run.history import History
from ..types import Array, Floats, PathLike, Precision
from ..validation import as_path
from .frames import PLAIN, as_table
from .libraries import polars as pl
from .preprocessing import Preprocessor
from .reading import Reading
from .scores import assess
from .table import Table
from .targets import Target, leave_out_missing, target_from_dict, target_to_dict
from .text import TextFormat


class TableModel:
    """A network that takes the rows of a table as they are.

    :func:`fastnn.tables.train` makes one, and :func:`fastnn.tables.load` reads one from a file that
    it or the command `fastnn train --save` has written. The predictions are those of
    `fastnn predict`.

    Data are a path of any kind of file that the command line reads, a polars, pandas or Arrow
    table, or a dict of columns. They have the columns of the training table, in any order. Other
    columns are ignored.

    Attributes
    ----------
    model : Sequential
        The network. It takes prepared features.
    target_name : str
        The column that it predicts.
    classes_ : list
        The classes, in the order of the columns of `predict_proba`; None for a regression.
    column_names : list of str
        The columns that it needs.
    feature_names : list of str, of length I
        The inputs of the network.
    scores : dict
        {"training": {name: score}, "held out": {name: score}} of the training, where known.
    remarks : list of str
        What `train` has to say of the table, such as columns that are left out.
    history : History or None
        The curves of the training; None for a model from a file.
    form : TextFormat
        How files of data are written, as `train` and `load` were told. It is not saved.
    """

    def __init__(
        self,
        model: Sequential,
        reading: Reading,
        preprocessor: Preprocessor,
        target: Target,
        *,
        scores: dict[str, dict[str, float]] | None = None,
        remarks: Sequence[str] = (),
        history: History | None = None,
        form: TextFormat = PLAIN,
    ) -> None:
        self.model, self.history, self.form = model, history, form
        self.reading, self.preprocessor, self.target = reading, preprocessor, target
        self.scores, self.remarks = dict(scores or {}), [*remarks]

    @classmethod
    def from_network(cls, model: Sequential, source: str, form: TextFormat = PLAIN) -> Self:
        """Return the TableModel of a network with the notes of a training on a table.

        Raises ValueError, with the name `source`, where the notes are of another kind.
        """
        notes = model.notes or {}
        if not {"preprocessing", "target"} <= notes.keys():
            raise ValueError(
                f"{source} has no preprocessing in it, expected one that `fastnn train --save` "
                "has written"
            )
        try:
            reading = Reading.from_dict(notes["reading"]) if "reading" in notes else Reading()
            preprocessor = Preprocessor.from_list(notes["preprocessing"])
            target = target_from_dict(notes["target"])
        except (ValueError, TypeError) as error:
            raise ValueError(f"{source} has broken notes: {error}") from None
        expected = len(preprocessor.feature_names)
        n_features = network_of(model).n_features
        if n_features != expected:
            raise ValueError(
                f"{source} takes {n_features} inputs, and its preprocessing makes "
                f"{expected}: expected as many"
            )
        result = notes.get("result")
        scores = result if isinstance(result, dict) else {}
        return cls(model, reading, preprocessor, target, scores=scores, form=form)

    def __repr__(self) -> str:
        task, name = self.target.task, self.target.name
        return f"<TableModel: {task} of {name!r:.80} from {len(self.column_names)} columns>"

    @property
    def target_name(self) -> str:
        """The column that it predicts."""
        return self.target.name

    @property
    def classes_(self) -> list[Any] | None:
        """The classes, or None for a regression."""
        return [*self.target.labels] if self.target.task == "classification" else None

    @property
    def column_names(self) -> list[str]:
        """The columns that it needs."""
        return [column.name for column in self.preprocessor.columns]

    @property
    def feature_names(self) -> list[str]:
        """The inputs of the network."""
        return [*self.preprocessor.feature_names]

    def predict(
        self, data: Any, *, threads: int | None = None, precision: Precision | None = None
    ) -> Array:
        """Return the predicted class or value of each row (N,).

        Parameters
        ----------
        data : path or table
            See above.
        threads : int, optional
            By default as many as pay off.
        precision : {"highest", "high", "medium"}, optional
            Of matrix products.

        Raises
        ------
        TypeError, ValueError
            For data that are no table, a column that is missing, a value of the wrong kind, and a
            missing value unless the model was trained with `missing`. Nothing is predicted then.
        """
        X, _ = self.inputs(self.read(as_table(data, form=self.form)))
        predictions: Any = self.model.predict(X, threads=threads, precision=precision)
        return pl.Series(self.target.decode(predictions)).to_numpy()

    def predict_proba(
        self, data: Any, *, threads: int | None = None, precision: Precision | None = None
    ) -> Floats:
        """Return the probabilities (N, C) of the classes; see :meth:`predict`.

        Raises TypeError for a regression.
        """
        if self.target.task != "classification":
            raise TypeError(f"the model predicts numbers ({self.target.name!r:.80}), not classes")
        X, _ = self.inputs(self.read(as_table(data, form=self.form)))
        return self.model.predict_proba(X, threads=threads, precision=precision)

    def evaluate(
        self, data: Any, *, threads: int | None = None, precision: Precision | None = None
    ) -> dict[str, float]:
        """Return the scores of a table with the target in it; see :meth:`predict`.

        Rows without a target are left out.

        Returns
        -------
        dict
            {"loss", "accuracy", "roc_auc", "log_loss"} of a classification,
            {"r2", "rmse", "mae"} of a regression, the last two in the units of the target.
        """
        table = as_table(data, form=self.form)
        table.require(self.target.name, "the target of the model")
        table, _ = leave_out_missing(self.read(table, target=True), self.target.name)
        X, _ = self.inputs(table)
        y = self.target.encode(table)
        return assess(self.model, self.target, X, y, threads, precision).scores

    def save(self, path: PathLike) -> None:
        """Write the network and the preprocessing to a file, as `fastnn train --save` does.

        Raises OSError if the file cannot be written. An existing file stays as it was then.
        """
        self.model.save(Path(as_path(path)), notes=self.notes())

    def notes(self) -> dict[str, Any]:
        """Return the preprocessing, the target and the scores as plain JSON."""
        return {
            "target": target_to_dict(self.target),
            "reading": self.reading.to_dict(),
            "preprocessing": self.preprocessor.to_list(),
            "result": {
                part: {name: None if value != value else value for name, value in each.items()}
                for part, each in self.scores.items()
            },
        }

    def without_notes(self) -> Sequential:
        """Return the network, with arrays of its own and without notes on its inputs."""
        network = self.model.clone()
        network.notes = {}
        return network

    def read(self, table: Table, target: bool = False) -> Table:
        """Return a table with its texts read as in training, those of the target too if asked."""
        names = [*self.column_names, *[self.target.name] * target]
        return self.reading.of_columns(names).apply(table)

    def inputs(self, table: Table) -> tuple[Floats, pl.DataFrame]:
        """Return the inputs (N, I) of a table that `read` has returned, and its typed columns."""
        frame = self.preprocessor.read(table)
        return self.preprocessor.inputs(table, frame, self.model.dtype), frame


def load(path: PathLike, form: TextFormat = PLAIN) -> TableModel:
    """Return the model in a file; see :func:`fastnn.tables.load`."""
    source = str(as_path(path))
    return TableModel.from_network(read_model(path), source, form)
