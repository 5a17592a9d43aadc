"""The training loop: epochs of shuffled mini-batches, compiled or layer by layer."""

import sys
import time

import numpy as np
from tqdm import tqdm

from . import kernels
from .errors import NonFiniteLossError
from .history import History
from .kernels.table import BARRIER_SIZE, LEAVE, SCORES
from .memory import aligned_empty
from .validation import NotFiniteError

# A compiled call returns after about this many seconds, so that Ctrl-C is answered.
_CHUNK_SECONDS = 0.05


def run_epochs(model, trainer, order, epochs, validate, verbose):
    """Train `epochs` epochs and return the History.

    `order()` gives the sample order of the next epoch; `validate()` the dict of one evaluation,
    or None. A diverging epoch is undone and raises NonFiniteLossError.
    """
    history = History()
    hidden = not verbose
    if isinstance(verbose, str):  # "auto"; a process without a console has no stderr
        hidden = sys.stderr is None or not sys.stderr.isatty()
    # Without the clock, the four numbers fit into 80 columns.
    layout = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"
    with tqdm(total=epochs, disable=hidden, dynamic_ncols=True, bar_format=layout) as bar:
        for epoch in range(1, epochs + 1):
            before = model._snapshot()
            try:
                # A weight that overflows shows in the loss of the next batch, or here at the end.
                with np.errstate(over="ignore", invalid="ignore"):
                    training, failed = trainer.run_epoch(order())
                if failed is not None or not model._is_finite():
                    batch = trainer.n_batches if failed is None else failed
                    model._restore(before)
                    raise NonFiniteLossError(epoch, batch, history)
                history.append(training, validate())
            except NonFiniteLossError:
                bar.leave = False
                raise
            if not hidden:
                numbers = [f"{value:.4f}" for value in history.latest().values()]
                held_out = ["held out", *numbers[2:]] if numbers[2:] else []
                bar.set_postfix_str(
                    " ".join(["loss, accuracy", *numbers[:2], *held_out]), refresh=False
                )
            bar.update()
    return history


class CompiledTrainer:
    """Runs whole epochs in the compiled program, in chunks of steps."""

    def __init__(self, plan, crew, parameters, inputs, labels, targets, batch_size, optimizer):
        self.plan, self.crew, self.parameters = plan, crew, parameters
        self.inputs, self.labels, self.targets = inputs, labels, targets
        self.batch_size = batch_size
        self.n_batches = -(-len(inputs) // batch_size)
        self.learning_rate = optimizer.rate_for(parameters.dtype)
        self.workspace = aligned_empty(plan.workspace_size, parameters.dtype)
        self.workspace[...] = 0
        self.scores = np.empty((SCORES, batch_size))
        # The first chunk is small for any network: 10 million multiply-adds at 1 GFLOP/s.
        self.steps = max(1, 10_000_000 // (batch_size * parameters.size))

    def run_epoch(self, order):
        """Return (the epoch's loss and accuracy, None or the batch that failed, from 1)."""
        totals = np.full(2, 0.0)
        step = 0
        while step < self.n_batches:
            last = min(step + self.steps, self.n_batches)
            begin = time.perf_counter()
            reached = self._run(step, last, order, totals)
            if reached < last:
                return None, reached + 1
            # Some clocks stand still for 16 ms.
            seconds = max(time.perf_counter() - begin, 1e-9) / (last - step)
            self.steps = max(1, min(int(_CHUNK_SECONDS / seconds), 2 * self.steps))
            step = last
        loss, right = totals / len(self.inputs)
        return {"loss": float(loss), "accuracy": float(right)}, None

    def _run(self, first, last, order, totals):
        """Take some steps, with all threads of the crew; return the step that was reached."""
        barrier = np.full(BARRIER_SIZE, 0, np.int64)

        def run(thread):
            return kernels.train_steps(
                self.parameters, self.workspace, self.scores, barrier, self.plan.table,
                self.inputs, self.labels, self.targets, order,
                first, last, self.batch_size, self.learning_rate, totals,
                first == 0, thread, self.crew.size,
            )  # fmt: skip

        try:
            return self.crew.run(run)
        except BaseException:  # Ctrl-C before this thread got there: the others wait for it
            barrier[LEAVE] = 1
            raise


class LayerTrainer:
    """Runs epochs through the layers' own passes: for a network with a layer of a user's own."""

    def __init__(self, model, inputs, labels, targets, batch_size, optimizer):
        self.model, self.optimizer = model, optimizer
        self.inputs, self.labels = inputs, labels
        self.wanted = targets if len(targets) else labels
        self.n_classes = targets.shape[1]
        self.batch_size = batch_size
        self.n_batches = -(-len(inputs) // batch_size)

    def run_epoch(self, order):
        """Return (the epoch's loss and accuracy, None or the batch that failed, from 1)."""
        loss, right = 0.0, 0
        for batch in range(self.n_batches):
            indices = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            wanted = self.wanted[indices]
            try:
                logits = self.model._forward_logits(self.inputs[indices], True, self.n_classes)
                losses, dlogits = np.empty(len(logits)), np.empty_like(logits)
                if wanted.ndim == 2:
                    wanted = wanted.astype(logits.dtype, copy=False)
                kernels.softmax_cross_entropy(losses, dlogits, logits, wanted)
                if not np.isfinite(losses).all():
                    return None, batch + 1
                self.model._backward_logits(dlogits)
            except NotFiniteError:  # a layer met what an earlier one made of finite samples
                return None, batch + 1
            loss += float(losses.sum())
            right += int((logits.argmax(axis=1) == self.labels[indices]).sum())
            for parameters, gradients in self.model._trained_arrays():
                self.optimizer.update(parameters, gradients)
        return {"loss": loss / len(self.inputs), "accuracy": right / len(self.inputs)}, None
