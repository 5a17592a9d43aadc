"""Errors of a run that diverges: they carry the curves of the epochs before."""

from __future__ import annotations

from typing import Self

from .history import History


class NonFiniteLossError(ArithmeticError):
    """Training diverged: a loss or a parameter is no longer a finite number.

    The parameters and the state of the optimizer are those of the last good epoch.

    Attributes
    ----------
    epoch : int
        The epoch in which it happened, counted from 1.
    batch : int
        The batch of the epoch, counted from 1. Parameters are checked at the end of an epoch: if
        all losses are finite but a parameter is not, `batch` is the last batch of the epoch.
    history : History
        The curves of the epochs before.

    Examples
    --------
    >>> model = fastnn.Sequential([fastnn.Dense(1, 1, rng=0)], loss=fastnn.MeanSquaredError())
    >>> X = np.linspace(0, 100, 64).reshape(-1, 1)
    >>> try:
    ...     model.fit(X, X, epochs=9, optimizer=fastnn.SGD(10.0), seed=0)
    ... except fastnn.NonFiniteLossError as error:
    ...     print(error.epoch, np.isfinite(model.parameters).all())
    3 True
    """

    def __init__(
        self, epoch: int, batch: int, history: History | None = None, at_end: bool = False
    ) -> None:
        self.epoch, self.batch, self.history, self._at_end = epoch, batch, history, at_end
        problem = f"the loss is no longer finite in epoch {epoch}, batch {batch}"
        if at_end:
            problem = f"a parameter or moment is no longer finite at the end of epoch {epoch}"
        super().__init__(
            f"{problem}; the parameters are those at the end of epoch {epoch - 1} (0: before "
            "training). A smaller learning_rate or standardized features usually help"
        )

    def __reduce__(self) -> tuple[type[Self], tuple[int, int, History | None, bool]]:
        return type(self), (self.epoch, self.batch, self.history, self._at_end)


class DivergedModelsError(ArithmeticError):
    """Some models of `fit_many` diverged; the others are trained to the end.

    Attributes
    ----------
    errors : dict of int to NonFiniteLossError
        The error of each model that diverged, by its index in `models`. The parameters of such a
        model are those of its last good epoch.
    histories : list of History
        What `fit_many` would have returned. The history of a model that diverged ends with its
        last good epoch.
    """

    def __init__(self, errors: dict[int, NonFiniteLossError], histories: list[History]) -> None:
        self.errors, self.histories = errors, histories
        descriptions = [
            f"models[{index}] in epoch {error.epoch}, batch {error.batch}"
            for index, error in sorted(errors.items())
        ]
        more = "" if len(errors) <= 5 else f" and {len(errors) - 5} more"
        super().__init__(
            f"{len(errors)} of {len(histories)} models diverged: "
            f"{'; '.join(descriptions[:5])}{more}. The others are trained, and "
            "`histories` of this error has all curves. A smaller learning_rate or standardized "
            "features usually help"
        )

    def __reduce__(self) -> tuple[type[Self], tuple[dict[int, NonFiniteLossError], list[History]]]:
        return type(self), (self.errors, self.histories)
