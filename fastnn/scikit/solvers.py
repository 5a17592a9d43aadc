"""The steps of scikit-learn's estimators, and L-BFGS.

The formulas are those of scikit-learn's `MLPClassifier` and `MLPRegressor`, so that the same
weights, order and parameters give the same curves to rounding.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..kernels.catalogue import Rule
from ..nn.optimizer import Optimizer
from ..program.compiled import CompiledTrainer
from ..program.program import Program
from ..program.threads import ThreadTeam, resolve_threads, with_team
from ..program.trainer import Data, Epoch, take_and_store
from ..run.loop import curves_of
from ..run.rollback import DivergedError, undo_if_diverged
from ..types import DType, Floats, Integers, Records

# Rows of a batch of a full gradient: so many that the weights are read rarely, and so few that the
# values of wide layers stay in the cache.
_ROWS = 1024


class _Steps(Optimizer):
    """Steps along `scale` times the gradient of the data loss.

    The gradient of the penalties is divided by the weight of the batch, as in scikit-learn.
    """

    per_sample = True

    def __init__(self, learning_rate: float, scale: float) -> None:
        super().__init__(learning_rate, 0.0, None, None)
        self.scale = scale

    def _fill(self, steps: Records, numbers: Integers) -> None:
        steps["per_sample"] = self.per_sample


class MomentumSteps(_Steps):
    """v = momentum * v - learning_rate * gradients; parameters += v.

    With Nesterov parameters += momentum * v - learning_rate * gradients, with the new v.
    """

    def __init__(
        self, learning_rate: float, momentum: float, nesterov: bool, scale: float = 1.0
    ) -> None:
        super().__init__(learning_rate, scale)
        self.momentum, self.nesterov = momentum, nesterov

    @property
    def rule(self) -> int:  # type: ignore[override]  # read-only here
        """The rule of the kernels."""
        if not self.momentum:
            return Rule.DESCENT
        return Rule.LOOKAHEAD if self.nesterov else Rule.VELOCITY

    def _fill(self, steps: Records, numbers: Integers) -> None:
        super()._fill(steps, numbers)
        steps["learning_rate"] *= self.scale
        steps["first"] = self.momentum


class AdamSteps(_Steps):
    """Adam, with an epsilon beside the uncorrected root: "epsilon hat" at the end of section 2.

    Kingma, Ba, "Adam: A Method for Stochastic Optimization" (2015).
    """

    rule = Rule.ADAM

    def __init__(
        self, learning_rate: float, beta_1: float, beta_2: float, epsilon: float, scale: float = 1.0
    ) -> None:
        super().__init__(learning_rate, scale)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def _fill(self, steps: Records, numbers: Integers) -> None:
        super()._fill(steps, numbers)
        steps["first"], steps["second"] = self.beta_1, self.beta_2
        steps["epsilon"] = self.epsilon / self.scale  # a scale of m and sqrt(v) cancels
        steps["learning_rate"] *= np.sqrt(1 - self.beta_2**numbers) / (1 - self.beta_1**numbers)


class _Sum(Optimizer):
    """Sums the gradients of the batches of an epoch in its state; the parameters do not change."""

    rule = Rule.MOMENTUM

    def __init__(self, masses: Floats) -> None:
        super().__init__(1.0, 0.0, None, None)
        # sum over k of m_k g_k = m_K a_K, where a_k = m_(k-1) / m_k a_(k-1) + g_k.
        self._factors = np.concatenate([[0.0], masses[:-1] / masses[1:]])

    def rates(self, first: int, count: int, dtype: DType) -> Floats:
        """Return rates of 0: the parameters do not change."""
        return np.full(count, 0.0)

    def _fill(self, steps: Records, numbers: Integers) -> None:
        steps["first"] = self._factors[numbers - 1]


class FullBatch:
    """The loss of all samples, and its gradient, from the compiled program.

    Parameters
    ----------
    program : Program
        A program of built-in layers. The penalties of its network are a part of the loss.
    data : Data
    team : ThreadTeam
    """

    def __init__(self, program: Program, data: Data, team: ThreadTeam) -> None:
        order, weights = np.arange(len(data.inputs)), data.weights
        if len(weights):  # a batch whose weights are all 0 could not be scaled
            order = np.flatnonzero(weights)
        n, rows = len(order), min(len(order), _ROWS)
        starts = np.arange(0, n, rows)
        masses = np.add.reduceat(weights[order] if len(weights) else np.full(n, 1.0), starts)
        self._epoch, self._part = Epoch(order, 0), masses[-1] / masses.sum()
        self._trainer = CompiledTrainer(program, data, n, rows, _Sum(masses), team)

    def evaluate(self) -> tuple[float, float, Floats | None]:
        """Return (mean loss of the data, penalty, gradient of their sum (P,) float64).

        The loss is not finite where the parameters are too large; then the gradient is None.
        """
        trainer = self._trainer
        trainer.state.iterations = 0
        with np.errstate(over="ignore", invalid="ignore"):
            totals = take_and_store(trainer, [self._epoch])
        if totals.failed is not None:
            return math.inf, 0.0, None
        curves = curves_of(trainer, totals.sums[0], trainer.n_samples)
        penalty = curves.get("penalty", 0.0)
        gradient = trainer.state.arrays[0] * np.float64(self._part)
        return curves["loss"] - penalty, penalty, gradient


def run_lbfgs(
    program: Program, data: Data, scale: float, threads: int | None, **options: Any
) -> tuple[Any, float, float]:
    """Minimize `scale` times the loss of `data`, penalties included, by L-BFGS-B.

    Nocedal, Wright, "Numerical Optimization" (2006), algorithm 7.5, in SciPy's implementation.
    The network has the parameters of the minimum afterwards.

    Returns
    -------
    result : scipy.optimize.OptimizeResult
        What SciPy returned.
    loss : float
        The loss at the minimum.
    penalty : float
        The penalty of the weights at the minimum.

    Raises
    ------
    FloatingPointError
        Where the loss is no longer finite; the parameters are those of the start.
    """
    from scipy.optimize import minimize

    network, rows = program.network, min(len(data.inputs), _ROWS)
    start = network.parameters.copy()

    def restore() -> None:
        network.parameters[...] = start

    def work(team: ThreadTeam) -> tuple[Any, float, float]:
        objective = FullBatch(program, data, team)

        def evaluate(x: Floats) -> tuple[float, Floats]:
            network.parameters[...] = x
            loss, penalty, gradient = objective.evaluate()
            if gradient is None or not np.isfinite(gradient).all():
                raise DivergedError
            return scale * (loss + penalty), scale * gradient

        def search() -> tuple[Any, float, float]:
            result = minimize(
                evaluate, start.astype(np.float64), jac=True, method="L-BFGS-B", **options
            )
            network.parameters[...] = result.x
            return result, *objective.evaluate()[:2]

        return undo_if_diverged(search, network.is_finite, restore)

    try:
        return with_team(resolve_threads(threads, 3 * rows * start.size), work)
    except DivergedError:
        raise FloatingPointError("the loss is no longer finite") from None
