"""The training loop: epochs of shuffled mini-batches, compiled or layer by layer."""

import sys
import time
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from . import kernels
from .callbacks import Run
from .errors import NonFiniteLossError
from .history import History
from .kernels import table as t
from .memory import aligned_empty
from .validation import NotFiniteError

# A compiled call returns after about this many seconds, so that Ctrl-C is answered.
_CHUNK_SECONDS = 0.05


def run_epochs(model, trainer, order, epochs, validate, verbose, callbacks=()):
    """Train `epochs` epochs and return the History.

    `order()` gives the sample order of the next epoch; `validate()` the dict of one evaluation,
    or is None. A diverging epoch is undone and raises NonFiniteLossError.
    """
    history = History()
    names = trainer.curve_names
    held_out = [f"val_{name}" for name in names if name != "penalty"] if validate else []
    run = Run(model, history, epochs, names + held_out)

    def call(hook):
        for callback in callbacks:
            getattr(callback, hook)(run)

    call("on_fit_begin")
    hidden = not verbose
    if isinstance(verbose, str):  # "auto"; a process without a console has no stderr
        hidden = sys.stderr is None or not sys.stderr.isatty()
    # Without the clock, the four numbers fit into 80 columns.
    layout = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"
    with tqdm(total=epochs, disable=hidden, dynamic_ncols=True, bar_format=layout) as bar:
        for epoch in range(1, epochs + 1):
            if run.stopped:
                break
            run.epoch = epoch
            call("on_epoch_begin")
            before = model._snapshot()
            try:
                # A weight that overflows shows in the loss of the next batch, or here at the end.
                with np.errstate(over="ignore", invalid="ignore"):
                    training, failed = trainer.run_epoch(order())
                if failed is not None or not model._is_finite():
                    batch = trainer.n_batches if failed is None else failed
                    model._restore(before)
                    trainer.optimizer.forget(model.parameters)
                    raise NonFiniteLossError(epoch, batch, history)
                history.append(training, validate() if validate else None)
                observe = getattr(trainer.optimizer.learning_rate, "observe", None)
                if observe is not None:
                    observe(history.latest())
            except NonFiniteLossError:
                bar.leave = False
                raise
            if not hidden:
                bar.set_postfix_str(_summary(history.latest()), refresh=False)
            bar.update()
            call("on_epoch_end")
    call("on_fit_end")
    return history


def _summary(curves):
    """Return the last values of all curves in one line: names once, then numbers."""
    names = [name for name in curves if not name.startswith("val_")]
    held_out = [f"{curves['val_' + name]:.4f}" for name in names if "val_" + name in curves]
    numbers = [f"{curves[name]:.4f}" for name in names]
    return " ".join([", ".join(names), *numbers, *(["held out", *held_out] if held_out else [])])


class Data(NamedTuple):
    """Checked samples: what a trainer takes from."""

    inputs: np.ndarray  # (N, I)
    labels: np.ndarray  # (N,) int64
    targets: np.ndarray  # (N, O), or (0, O) where the labels say all
    weights: np.ndarray  # (N,) float64, or (0,) where all are 1


class CompiledTrainer:
    """Runs whole epochs in the compiled program, in chunks of steps."""

    def __init__(self, plan, crew, parameters, data, n_used, batch_size, loss, optimizer):
        self.plan, self.crew, self.parameters = plan, crew, parameters
        if len(data.targets) and loss.task == "classes":
            # Labels are smoothed on the way; rows beforehand.
            data = data._replace(targets=loss.smoothed(data.targets, data.targets))
        self.data, self.smoothing = data, float(getattr(loss, "label_smoothing", 0))
        self.batch_size, self.loss, self.optimizer = batch_size, loss, optimizer
        self.n_used, self.n_batches = n_used, -(-n_used // batch_size)
        self.state = optimizer.state_of(parameters)
        trains = plan.table[:, t.TRAINS] == 1
        self.penalised = bool(plan.coefficients[trains, : t.NUMBER].any())
        self.rule = self._choose_rule()
        self.given = self.state.arrays, plan.coefficients, data.weights
        if self._is_bare():  # nothing is compiled that only other networks need
            self.given = None, None, None
        self.workspace = aligned_empty(plan.workspace_size, parameters.dtype)
        self.workspace[...] = 0
        self.scores = np.empty((t.SCORES, batch_size))
        summed = self.penalised or optimizer.clip_norm is not None
        self.sums = np.full((t.N_SUMS, plan.n_sums if summed else 0), 0.0)
        # The first chunk is small for any network: 10 million multiply-adds at 1 GFLOP/s.
        self.steps = max(1, 10_000_000 // (batch_size * parameters.size))

    def _choose_rule(self):
        dense = self.plan.table[self.plan.table[:, t.OPERATION] == t.DENSE]
        plain = self.optimizer.is_plain and not self.penalised
        plain = plain and dense[:, [t.TRAINS, t.HAS_BIASES]].all()
        return t.FUSED_DESCENT if plain else self.optimizer.rule

    def _is_bare(self):
        """Return whether `kernels.train_steps` may go without some of its arguments."""
        alone = (self.plan.table[:, t.OPERATION] >= t.IDENTITY).any()
        by_label = self.loss.task == "classes" and not len(self.data.targets)
        return (
            self.rule == t.FUSED_DESCENT
            and by_label
            and not (alone or self.smoothing or len(self.data.weights))
        )

    @property
    def curve_names(self):
        """The names of the curves of an epoch, in their order."""
        names = ["loss"] if self.loss.task == "numbers" else ["loss", "accuracy"]
        return [*names, "penalty"] if self.penalised else names

    def run_epoch(self, order):
        """Return (the dict of the epoch's curves, None or the batch that failed, from 1)."""
        totals = np.full(t.N_TOTALS, 0.0)
        taken = self.state.iterations
        try:
            failed = self._run_chunks(order, totals)
        finally:  # also where Ctrl-C breaks it off
            self.state.iterations = taken + int(totals[t.TOTAL_STEPS])
            if len(self.state.arrays):
                kernels.unpack_states(self.state.arrays, self.workspace, self.plan.table)
        return (None, failed) if failed else (self._curves(totals), None)

    def _run_chunks(self, order, totals):
        """Take all steps of an epoch; return None or the batch that failed, from 1."""
        step, taken = 0, self.state.iterations
        while step < self.n_batches:
            last = min(step + self.steps, self.n_batches)
            numbers = self.optimizer.numbers(taken + step, last - step, self.parameters.dtype)
            begin = time.perf_counter()
            reached = self._run(step, last, order, numbers, totals)
            if reached < last:
                return reached + 1
            # Some clocks stand still for 16 ms.
            seconds = max(time.perf_counter() - begin, 1e-9) / (last - step)
            self.steps = max(1, min(int(_CHUNK_SECONDS / seconds), 2 * self.steps))
            step = last
        return None

    def _curves(self, totals):
        n = self.n_used
        loss, curves = totals[t.TOTAL_LOSS] / totals[t.TOTAL_WEIGHT], {}
        if self.penalised:
            curves["penalty"] = float(totals[t.TOTAL_PENALTY] / n)
            loss += curves["penalty"]
        if self.loss.task != "numbers":
            curves = {"accuracy": float(totals[t.TOTAL_RIGHT] / n), **curves}
        return {"loss": float(loss), **curves}

    def _run(self, first, last, order, numbers, totals):
        """Take some steps, with all threads of the crew; return the step that was reached."""
        barrier, data = np.full(t.BARRIER_SIZE, 0, np.int64), self.data
        states, coefficients, weights = self.given

        def run(thread):
            return kernels.train_steps(
                self.parameters, states, self.workspace, self.scores, self.sums, barrier,
                self.plan.table, coefficients,
                data.inputs, data.labels, data.targets, weights, order,
                first, last, self.batch_size,
                self.loss.kind, self.loss.number, self.smoothing,
                self.rule, numbers, totals, first == 0, thread, self.crew.size,
            )  # fmt: skip

        try:
            return self.crew.run(run)
        except BaseException:  # Ctrl-C before this thread got there: the others wait for it
            barrier[t.LEAVE] = 1
            raise


class LayerTrainer:
    """Runs epochs through the layers' own passes: for a network with a layer of a user's own."""

    def __init__(self, model, data, n_used, batch_size, optimizer):
        self.model, self.data, self.optimizer, self.loss = model, data, optimizer, model.loss
        self.penalised = any(any(layer.penalties) for layer in model._dense if layer.trainable)
        self.wanted = data.targets if len(data.targets) else data.labels
        self.n_outputs = data.targets.shape[1]
        self.batch_size = batch_size
        self.n_used, self.n_batches = n_used, -(-n_used // batch_size)

    curve_names = CompiledTrainer.curve_names

    def run_epoch(self, order):
        """Return (the dict of the epoch's curves, None or the batch that failed, from 1)."""
        data, loss = self.data, self.loss
        total, right, mass, penalty = 0.0, 0.0, 0.0, 0.0
        for batch in range(self.n_batches):
            indices = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            wanted = self.wanted[indices]
            weights = data.weights[indices] if len(data.weights) else np.ones(len(indices))
            try:
                outputs = self.model._forward_logits(data.inputs[indices], True, self.n_outputs)
                losses, gradient = loss.measure(outputs, wanted, weights)
                if not np.isfinite(losses).all():
                    return None, batch + 1
                self.model._backward_logits(gradient)
            except NotFiniteError:  # a layer met what an earlier one made of finite samples
                return None, batch + 1
            total += float(losses @ weights)
            mass += float(weights.sum())
            right += loss.count_right(outputs, wanted, data.labels[indices])
            penalty += self.model._add_penalties() * len(indices)
            arrays = list(self.model._trained_arrays())
            options = {}
            if self.optimizer.clip_norm is not None:
                squares = (np.square(g, dtype=np.float64).sum() for _, g in arrays)
                options["length"] = float(np.sqrt(sum(squares)))
            for parameters, gradients in arrays:
                self.optimizer.update(parameters, gradients, **options)
        curves = {"loss": total / mass}
        if self.penalised:
            curves["penalty"] = float(penalty / self.n_used)
            curves["loss"] += curves["penalty"]
        if loss.task != "numbers":
            curves = {"loss": curves["loss"], "accuracy": float(right / self.n_used), **curves}
        return curves, None
