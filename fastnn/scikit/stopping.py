"""When the training of an estimator ends: scikit-learn's rule, and its curves."""

from __future__ import annotations

from collections.abc import Callable

from ..run.callbacks import Callback, Run
from ..run.history import History
from .base import MLP
from .solvers import AdamSteps, MomentumSteps


class StoppingRule(Callback):
    """Updates an estimator's curves, ends the run as scikit-learn does, and changes the rate.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Its fitted attributes are updated.
    optimizer : AdamSteps or MomentumSteps
    as_loss : callable
        Converts (mean loss of the data, penalty) of fastnn to scikit-learn's loss.
    n_samples : int
        The number of samples of an epoch.
    measure : callable, optional
        Returns (loss, score) of the model on held-out samples.
    tells : bool
        Whether to print each epoch.
    """

    def __init__(
        self,
        estimator: MLP,
        optimizer: AdamSteps | MomentumSteps,
        as_loss: Callable[[float, float], float],
        n_samples: int,
        measure: Callable[[], tuple[float, float]] | None = None,
        *,
        tells: bool,
    ) -> None:
        self._estimator, self._optimizer, self._as_loss = estimator, optimizer, as_loss
        self._n_samples, self._measure, self._tells = n_samples, measure, tells
        self.converged = False
        self.history = History()

    def on_fit_begin(self, run: Run) -> None:
        """Announce the curves that are added."""
        self.history = run.history
        if self._measure:
            run.curve_names.extend(["val_loss", "val_score"])

    def on_epoch_end(self, run: Run) -> None:
        """Note the losses and the score of the epoch; stop the run if it is time."""
        estimator, curves = self._estimator, run.history.curves
        penalty = curves["penalty"][-1] if "penalty" in curves else 0.0
        loss = self._as_loss(curves["loss"][-1] - penalty, penalty)
        curves["loss"][-1] = loss
        estimator._note_epoch(loss, self._n_samples)
        if self._tells:
            print(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")
        if self._measure:
            val_loss, score = self._measure()
            curves.setdefault("val_loss", []).append(val_loss)
            curves.setdefault("val_score", []).append(score)
            estimator._note_score(score)
            if self._tells:
                print(f"Validation score: {score:f}")
        count = estimator._judge_epoch()
        if estimator.learning_rate == "invscaling" and estimator.solver == "sgd":
            rate = estimator.learning_rate_init / (estimator.t_ + 1) ** estimator.power_t
            self._optimizer.learning_rate = rate
        if count > estimator.n_iter_no_change:
            self._give_up(run)

    def _give_up(self, run: Run) -> None:
        """Stop the run, or go on with a fifth of an adaptive rate."""
        estimator, optimizer = self._estimator, self._optimizer
        curve = "Validation score" if estimator.early_stopping else "Training loss"
        message = (
            f"{curve} did not improve more than tol={estimator.tol:f} "
            f"for {estimator.n_iter_no_change} consecutive epochs."
        )
        adaptive = estimator.solver == "sgd" and estimator.learning_rate == "adaptive"
        if adaptive and optimizer.learning_rate > 1e-6:
            optimizer.learning_rate /= 5
            estimator._forgive()
            message += f" Setting learning rate to {optimizer.learning_rate:f}"
        else:
            run.stopped = self.converged = True
            message += " Learning rate too small. Stopping." if adaptive else " Stopping."
        if self._tells:
            print(message)
