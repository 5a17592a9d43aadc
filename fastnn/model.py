"""A network: layers in a row, their parameters in one flat buffer."""

import copy
import functools
import inspect
import json
import warnings
import weakref
from pathlib import Path

import numpy as np

from . import configs, files, kernels
from .activations import Sigmoid
from .callbacks import Run, as_callbacks
from .checkpoints import find_checkpoint
from .compiled import CompiledModel
from .dropout import Dropout, draw_key
from .errors import FileFormatError, SlowTrainingWarning
from .evaluation import evaluate, finished, measure
from .kernels import table as t
from .layers import Layer, ParameterLayer, Softmax
from .losses import Loss, SoftmaxCrossEntropy
from .memory import aligned_empty
from .metrics import as_metrics
from .normalization import BatchNorm
from .optimizers import SGD, Optimizer
from .parallel import Crew, resolve_threads
from .plan import make_plan, operation_of, program_layers, runs_as
from .prediction import Predictor
from .progress import as_progress
from .samples import UNSCALED, as_samples
from .streams import Batches, BatchTrainer, Stream, pass_over
from .summary import Summary
from .training import CompiledTrainer, Data, Draws, Targets, compiles, make_trainer, run_epochs
from .validation import (
    DTYPES,
    as_array,
    as_class_weights,
    as_count,
    as_flag,
    as_generator,
    as_index,
    as_matrix,
    as_number,
    as_path,
    as_sample_weights,
    as_scaling,
    as_targets,
    check_arrays,
    unlocked,
)


class Sequential:
    """A network: layers that feed each other, and the loss that they are trained on.

    Parameters
    ----------
    layers : iterable
        :class:`Dense`, :class:`ReLU`, :class:`Dropout`, :class:`LayerNorm` and the like, or objects
        of a class of your own with `forward(inputs)` and `backward(dvalues)`, as in a network from
        scratch: they may return their result or keep it in `output` and `dinputs`; with `weights`
        and `biases` they keep gradients in `dweights` and `dbiases`. A network with such a layer
        trains layer by layer, with the same results, but slower. The last layer gives the outputs
        (B, O): logits for a loss of logits, and then a :class:`Softmax` or :class:`Sigmoid` behind
        it is fused with the loss.
    loss : Loss
        By default :class:`SoftmaxCrossEntropy`: the model is a classifier. Else
        :class:`BinaryCrossEntropy`, :class:`MeanSquaredError`, :class:`MeanAbsoluteError`,
        :class:`Huber` or :class:`Quantile`.

    Attributes
    ----------
    layers : tuple
    parameters : ndarray of shape (P,)
        All weights and biases of the layers, in order; the layers hold views of it.
    gradients : ndarray of shape (P,)
        Likewise. Filled by the layers' `backward`; the compiled epoch forms no gradient array.
    notes : dict
        Anything that JSON can hold: kept in the file by `save`, and brought back by `load`.
    optimizer : Optimizer or None
        The one that `partial_fit` goes on with.

    Raises
    ------
    TypeError, ValueError
        For no layers, sizes that do not meet, two dtypes, a layer used twice.
    """

    def __init__(self, layers, loss=None):
        self.loss = SoftmaxCrossEntropy() if loss is None else loss
        self.optimizer, self._rng = None, None
        if not isinstance(self.loss, Loss) or not hasattr(self.loss, "kind"):
            raise TypeError(f"loss is {loss!r}, expected a loss such as MeanSquaredError()")
        try:
            self.layers = tuple(layers)
        except TypeError:
            raise TypeError(f"layers is {layers!r}, expected a list of layers") from None
        self.notes = {}
        self._check_layers()
        self._adopt()

    def _check_layers(self):
        if not self.layers:
            raise ValueError("layers is empty, expected at least one layer")
        width, source, dtype, seen = None, None, None, set()
        for i, layer in enumerate(self.layers):
            passes = (getattr(layer, name, None) for name in ("forward", "backward"))
            if isinstance(layer, type) or not all(map(callable, passes)):
                raise TypeError(f"layers[{i}] is {layer!r}, expected forward and backward methods")
            if id(layer) in seen:
                raise ValueError(f"layers[{i}] is in the list twice, expected distinct layers")
            seen.add(id(layer))
            if isinstance(layer, ParameterLayer):
                n_inputs, n_outputs = layer.widths
                if width is not None and n_inputs != width:
                    raise ValueError(
                        f"layers[{i}] takes {n_inputs} inputs, "
                        f"expected {width}, the outputs of layers[{source}]"
                    )
                if dtype is not None and layer.dtype != dtype:
                    raise ValueError(f"layers[{i}] has dtype {layer.dtype}, expected {dtype}")
                width, source, dtype = n_outputs, i, layer.dtype
            elif not isinstance(layer, Layer):
                width = None  # a layer of the user's own may change it
            owner = getattr(layer, "_model", None)
            if owner is not None and owner() is not None:
                raise ValueError(f"layers[{i}] belongs to another model, expected a copy of it")

    def _count_features(self):
        """Return I, or None where only a layer of the user's own knows it."""
        for layer in self.layers:
            if isinstance(layer, ParameterLayer):
                return layer.widths[0]
            if not isinstance(layer, Layer):
                return None
        return None

    def _adopt(self):
        """Move all that is trained into one buffer, and let the layers hold views of it.

        First come the parameters, and behind them what follows the data in another way.
        """
        self._parametric = [layer for layer in self.layers if isinstance(layer, ParameterLayer)]
        self._steps = program_layers(self._logit_layers())
        self._n_features = self._count_features()
        self._gradients = None
        arrays = [
            (layer, name, getattr(layer, name))
            for part in (slice(2), slice(2, None))
            for layer in self._parametric
            for name in layer.stored[part]
        ]
        dtype = self._parametric[0].dtype if self._parametric else np.dtype(np.float32)
        self._buffer = aligned_empty(sum(array.size for *_, array in arrays), dtype)
        n_parameters = sum(layer.n_parameters for layer in self._parametric)
        self._parameters = self._buffer[:n_parameters]
        for (layer, name, array), view in zip(arrays, _cut(self._buffer, arrays), strict=True):
            view[...] = array
            setattr(layer, f"_{name}", view)
        for layer in self.layers:
            if isinstance(layer, Layer):
                layer._model = weakref.ref(self)
        self._warned, self._stream = False, None
        self._predictor = None
        if self._steps is not None:
            self._predictor = Predictor(self._steps, self._n_features, self._buffer)

    @property
    def dtype(self):
        """The dtype of the parameters and of all results."""
        return self._parameters.dtype

    @property
    def parameters(self):
        """The flat parameter buffer."""
        return self._parameters

    @parameters.setter
    def parameters(self, value):
        array = as_array(value, "parameters")
        if array.shape != self._parameters.shape:
            raise ValueError(
                f"parameters has shape {array.shape}, expected {self._parameters.shape}"
            )
        self._parameters[...] = as_matrix(array, "parameters", self.dtype)

    @property
    def gradients(self):
        """The flat gradient buffer."""
        if self._gradients is None:
            self._gradients = aligned_empty(self.parameters.size, self.dtype)
            self._gradients[...] = 0
            arrays = [
                (layer, name, getattr(layer, name))
                for layer in self._parametric
                for name in ("weights", "biases")
            ]
            for (layer, name, _), view in zip(arrays, _cut(self._gradients, arrays), strict=True):
                if (gradient := getattr(layer, f"d{name}")) is not None:
                    view[...] = gradient
                setattr(layer, f"_d{name}", view)
        return self._gradients

    def _logit_layers(self):
        """Return the layers up to the outputs that the loss takes."""
        head = {t.SOFTMAX_CROSS_ENTROPY: Softmax, t.BINARY_FROM_LOGITS: Sigmoid}.get(self.loss.kind)
        return self.layers[:-1] if head and runs_as(self.layers[-1], head) else self.layers

    # ------------------------------------------------------------------ training

    def fit(
        self,
        X=None,
        y=None,
        *,
        batches=None,
        epochs=1,
        batch_size=32,
        optimizer=None,
        seed=None,
        validation_data=None,
        validation_split=0.0,
        sample_weight=None,
        class_weight=None,
        shuffle=True,
        drop_last=False,
        steps_per_epoch=None,
        initial_epoch=0,
        metrics=(),
        callbacks=(),
        scale=1.0,
        offset=0.0,
        resume=None,
        verbose="auto",
        threads=None,
    ):
        """Train on samples `X` and targets `y`.

        Parameters
        ----------
        X : array-like of shape (N, I)
            Finite numbers. An array of uint8, int8, float16, float32 or float64 is used where it
            lies, with any strides, memory-mapped and read-only ones too, and its rows become
            numbers of the model's dtype as each batch is gathered. Arrays of other dtypes, and
            those that take up to 4 MB, are converted once, with the same bits.
        y : array-like of shape (N,) or (N, C)
            For classes labels from 0 to C - 1 of any integer dtype or bool, or rows (N, C) that
            are distributions. For other losses numbers (N, O), or (N,) for one output.
        batches : iterable, or callable that returns one
            In place of `X` and `y`, for data that is made on the way: (X, y) or (X, y,
            sample_weight) of one batch after the other, of any sizes, in the order given. Each is
            checked before it trains, and iterated or called anew for each epoch; an iterator
            that cannot start anew goes on, which needs `steps_per_epoch` to end an epoch. An
            error that it raises ends the training, with the model as the last batch left it.
        epochs, batch_size : int
            The last batch of an epoch may be short; it is kept.
        optimizer : Optimizer
            By default `SGD(learning_rate=0.01)`. One that has fitted this model before goes on
            where it was.
        seed : None, int or numpy.random.Generator
            Of the order of samples: the same seed and data give the same bits.
        validation_data : (X, y) or (X, y, sample_weight)
            Evaluated after every epoch.
        validation_split : float
            At least 0 and below 1, in place of `validation_data`: this part of the samples, the
            last ones as they come, is held out, and weighted with its `sample_weight`.
        sample_weight : array-like of shape (N,), optional
            Numbers of at least 0. The loss of a batch is the sum of weight * loss over the sum of
            the weights.
        class_weight : dict of int to float, optional
            A factor of the weight for each label; for classes only, and every one must be there.
        shuffle : bool or callable
            True: a new random order each epoch, as `generate_batch_indices` gives it. A callable
            of N returns the order of the next epoch, N indices of samples, of which some may be
            there twice and others not at all.
        drop_last : bool
            Leave out what is left over behind the last whole batch of an epoch.
        steps_per_epoch : int, optional
            At most so many batches an epoch.
        initial_epoch : int
            Epochs that are behind already: the first one of this run has the next number, and the
            order of samples that it had in a run from the start with this seed, an int. `epochs`
            is the number of the last one.
        metrics : list of str, callable or Metric
            Measured after every epoch on the samples and on the validation data, which takes a
            prediction of all of them: "accuracy", "precision", "recall", "f1" and "top_5" (any
            number) of classes, "mse", "mae" and "r2" of numbers; or any function (y_true, y_pred)
            of what `predict` gives. See :mod:`fastnn.metrics`.
        callbacks : list of Callback
            Called before and after the run and each epoch, in this order.
        scale, offset : float
            The network takes `X.astype(model.dtype) * scale + offset`, calculated in that dtype,
            such as `scale=1 / 255` for images in bytes; of `validation_data` too. The predictions
            have the same two arguments.
        resume : path-like, optional
            Go on from this file of a :class:`Checkpoint`, with everything else as it was in the
            run that wrote it, and end with the bits that it would have ended with; `epochs` counts
            from its beginning. Where there is no file yet the run starts. Of a name with {epoch}
            in it, the last file. The random state of the file takes the place of `seed`; functions
            of your own, as a learning rate or a metric, are those that are given here.
        verbose : "auto", 0, 1 or 2
            1: a progress bar on standard error; 2: a line an epoch on standard output; 0: nothing.
            "auto" is 1 on a terminal, else 0.
        threads : int, optional
            By default as `set_num_threads` says. The result has the same bits with any number.

        Returns
        -------
        History

        Raises
        ------
        TypeError, ValueError
            For bad arguments, before training starts. So for a `resume` of another network,
            optimizer, data set or batch size; nothing has changed then.
        FileFormatError
            A ValueError: `resume` is no whole checkpoint.
        NonFiniteLossError
            When training diverges; the parameters are those of the last good epoch.

        Warns
        -----
        SlowTrainingWarning
            Once, where a layer or an optimizer of your own has to be called from Python.
        """
        arguments = {name: value for name, value in locals().items() if name != "self"}
        return self._prepare_fit(**arguments)()

    def _prepare_fit(
        self, *, X, y, batches, epochs, batch_size, optimizer, seed, validation_data,
        validation_split, sample_weight, class_weight, shuffle, drop_last, steps_per_epoch,
        initial_epoch, resume, metrics, callbacks, scale, offset, verbose, threads,
    ):  # fmt: skip
        """Check all arguments of `fit`; return the function that trains."""
        epochs, batch_size = as_count(epochs, "epochs"), as_count(batch_size, "batch_size")
        optimizer = SGD() if optimizer is None else optimizer
        self._check_fit(optimizer, threads)
        if not isinstance(shuffle, bool | np.bool_) and not callable(shuffle):
            raise TypeError(f"shuffle is {shuffle!r}, expected True, False or a callable of N")
        drop_last = as_flag(drop_last, "drop_last")
        if steps_per_epoch is not None:
            steps_per_epoch = as_count(steps_per_epoch, "steps_per_epoch")
        as_number(validation_split, "validation_split", 0, 1)
        if validation_split and validation_data is not None:
            raise ValueError("validation_split is given, expected no validation_data beside it")
        initial_epoch = as_index(initial_epoch, "initial_epoch", epochs)
        callbacks = as_callbacks(callbacks)
        callbacks += as_progress(verbose, callbacks)
        resume = None if resume is None else find_checkpoint(as_path(resume, "resume"))
        rng = as_generator(seed, "seed")
        scaling = as_scaling(scale, offset, self.dtype)
        validation = self._as_validation(validation_data, scaling)
        if batches is None:
            if X is None or y is None:
                raise TypeError("X or y is missing, expected both, or batches")
            data = self._as_data(X, y, sample_weight, "X", "y", "sample_weight", scaling=scaling)
            if validation_split:
                data, validation = _split(data, validation_split)
            if class_weight is not None:
                data = data._replace(weights=self._with_class_weights(data, class_weight))
            n, batch_size = len(data.inputs), min(batch_size, len(data.inputs))
            n_used = n - n % batch_size if drop_last else n
            if steps_per_epoch is not None:
                n_used = min(n_used, steps_per_epoch * batch_size)
            self._check_batches(n_used, batch_size)
        else:
            _refuse_beside_batches(
                X=X, y=y, sample_weight=sample_weight, validation_split=validation_split or None,
                drop_last=drop_last or None, resume=resume,
                metrics=None if validation else metrics or None,
            )  # fmt: skip
            batches, data, n, n_used = Batches(batches, steps_per_epoch), None, 0, 0
            shuffle = False
            if any(each.chunk_steps for each in callbacks):
                raise ValueError(
                    "callbacks has a Checkpoint within epochs, which batches cannot go on from"
                )

        drops = any(isinstance(layer, Dropout) for layer in self.layers)
        order = Draws(n, n_used, rng, shuffle, drops)

        def observe():
            found = measure(self, data, metrics, threads) if metrics and data else {}
            if validation is None:
                return found
            held_out = evaluate(self, validation, metrics, threads)
            return found | {f"val_{name}": value for name, value in held_out.items()}

        metrics = self._as_metrics(metrics, data or validation) if data or validation else ()
        observed = [f"val_{name}" for name in self._scores if validation is not None]
        if metrics:  # one that raises does so here, before training
            observed = list(observe())
        watched = observe if observed else None
        run = Run(self, epochs, initial_epoch, metrics, observed)
        if not isinstance(seed, np.random.Generator):  # else it is where the last run left it
            for _ in range(initial_epoch):
                order()
        compiled = compiles(self, optimizer)
        self._warn_of_slow_training(optimizer)

        settings = {
            "n_samples": n, "samples_per_epoch": n_used, "batch_size": batch_size,
            "shuffle": "a function" if callable(shuffle) else bool(shuffle),
            "scale": float(scale), "offset": float(offset),
            "weighted": data is not None and len(data.weights) > 0,
        }  # fmt: skip
        rest = settings, callbacks, resume

        def train():
            if data is None:
                stream = Stream(self, optimizer, threads)
                trainer = BatchTrainer(
                    stream, batches, functools.partial(self._as_batch, class_weight, scaling)
                )
                return run_epochs(run, trainer, order, watched, *rest)
            work = 3 * batch_size * self.parameters.size
            with Crew(resolve_threads(threads, work) if compiled else 1) as crew:
                trainer = make_trainer(self, data, n_used, batch_size, optimizer, crew)
                return run_epochs(run, trainer, order, watched, *rest)

        return train

    def partial_fit(
        self, X, y, sample_weight=None, *, batch_size=None, optimizer=None, seed=None,
        class_weight=None, scale=1.0, offset=0.0, threads=None,
    ):  # fmt: skip
        """Train once on samples `X` and targets `y`, in the order given: for streams of data.

        A call costs little beside its steps: what they need is kept for the next one, as much
        memory as a `fit` with the largest batch so far.

        Parameters
        ----------
        X, y, sample_weight, class_weight, scale, offset, threads
            As in `fit`.
        batch_size : int, optional
            By default all samples are one batch.
        optimizer : Optimizer, optional
            Kept as `model.optimizer`, which the calls after it go on with. By default the one of
            the call before, and at first `SGD(learning_rate=0.01)`.
        seed : None, int or numpy.random.Generator
            Of dropout; kept likewise.

        Returns
        -------
        History
            Of one epoch: each curve has one value, of these samples.

        Raises
        ------
        TypeError, ValueError
            For bad arguments, before training starts.
        NonFiniteLossError
            When training diverges; the parameters are those before the call.
        """
        if optimizer is None:
            optimizer = self.optimizer or SGD()
        self._check_fit(optimizer, threads)
        scaling = as_scaling(scale, offset, self.dtype)
        data = self._as_data(X, y, sample_weight, "X", "y", "sample_weight", scaling=scaling)
        if class_weight is not None:
            data = data._replace(weights=self._with_class_weights(data, class_weight))
        n = len(data.inputs)
        batch_size = n if batch_size is None else min(as_count(batch_size, "batch_size"), n)
        self._check_batches(n, batch_size)
        if seed is not None or self._rng is None:
            self._rng = as_generator(seed, "seed")
        stream, self._stream = self._stream, None  # not kept where an error ends the call
        if stream is None or stream.optimizer is not optimizer or not stream.is_current():
            self._warn_of_slow_training(optimizer)
            stream = Stream(self, optimizer)
        stream.threads, self.optimizer = threads, optimizer
        drops = any(isinstance(layer, Dropout) for layer in self.layers)
        history = pass_over(stream, data, batch_size, draw_key(self._rng) if drops else 0)
        self._stream = stream
        return history

    def _check_batches(self, n_used, batch_size):
        """Refuse batches of one sample where a layer needs more."""
        if not any(isinstance(layer, BatchNorm) for layer in self.layers):
            return
        if batch_size == 1:
            raise ValueError("batch_size is 1, expected at least 2 samples for BatchNorm")
        if n_used % batch_size == 1:
            raise ValueError(
                f"batch_size is {batch_size}, which leaves one of {n_used} samples for the last "
                "batch, expected at least 2 for BatchNorm: drop_last=True leaves it out"
            )

    def _check_fit(self, optimizer, threads):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer is {optimizer!r}, expected one such as fastnn.SGD(...)")
        if self._parametric:
            optimizer.rates(0, 1, self.dtype)
        if threads is not None:
            as_count(threads, "threads")
        self._check_own_layers()
        if not self._parametric and not self._own_layers():
            raise ValueError("the model has no layer with parameters, so fit has nothing to train")

    def _warn_of_slow_training(self, optimizer):
        """Warn the caller of the public method that calls this, or one that it calls."""
        optimizers = [optimizer] if type(optimizer).update is not Optimizer.update else []
        own = [layer for layer in self._logit_layers() if operation_of(layer) is None]
        kinds = [
            f"{type(each).__name__}, {kind} of your own"
            for kind, found in (("a layer", own), ("an optimizer", optimizers))
            for each in found
        ]
        if kinds and not self._warned:
            self._warned = True
            warnings.warn(
                f"{kinds[0]}, cannot be compiled: the network trains layer by layer, "
                "several times as slowly where it is small",
                SlowTrainingWarning,
                stacklevel=3,
            )

    def _compiled_trainer(self, crew, data, n_used, batch_size, optimizer):
        plan = make_plan(
            self._steps, data.inputs.shape[1], batch_size, self.dtype.itemsize, training=True,
            n_states=optimizer.n_states, keep_gradients=optimizer.clip_norm is not None,
        )  # fmt: skip
        return CompiledTrainer(
            plan, crew, self.parameters, data, n_used, batch_size, self.loss, optimizer,
            buffer=self._buffer,
        )  # fmt: skip

    def _as_inputs(self, X, name, **expected):
        # Without a dense layer there is no dtype to convert to.
        dtype = self.dtype if self._parametric else None
        return as_samples(X, name, n_features=self._n_features, dtype=dtype, **expected)

    def _as_targets(self, y, name, inputs):
        """Return labels (N,) and rows (N, O), the latter empty where the labels say all."""
        if isinstance(y, Targets):
            return y
        n_classes = self._n_classes(inputs)
        dtype = self.dtype if self._parametric else np.float64
        if self.loss.task != "classes":
            targets = self.loss.as_targets(y, name, len(inputs), n_classes, dtype)
            return np.full(len(inputs), 0, np.int64), unlocked(targets)
        targets = as_targets(y, name, len(inputs), n_classes, dtype)
        if targets.ndim == 1:
            return targets, np.empty((0, n_classes), self.dtype)
        return targets.argmax(axis=1), unlocked(targets)

    def _with_class_weights(self, data, class_weight):
        if self.loss.task != "classes":
            raise ValueError("class_weight is given, expected a loss of classes with it")
        weights = data.weights if len(data.weights) else 1.0
        weights = weights * as_class_weights(class_weight, data.targets.shape[1])[data.labels]
        if not weights.sum() > 0:
            raise ValueError(
                "sample_weight times class_weight sums to 0, expected some weight above 0"
            )
        return weights

    def _n_classes(self, inputs):
        for layer in reversed(self._logit_layers()):
            if isinstance(layer, ParameterLayer):
                return layer.widths[1]
            if not isinstance(layer, Layer):
                break
        # Only a layer of the user's own knows; it gets a copy, as it may work in place.
        return self._forward_logits(inputs.take([0]), training=False).shape[1]

    def _as_data(self, X, y, sample_weight, *names, scaling=UNSCALED):
        """Return checked samples; `names` are those of the three arguments."""
        inputs = self._as_inputs(X, names[0], scaling=scaling, allow_empty=False)
        labels, targets = self._as_targets(y, names[1], inputs)
        weights = np.empty(0)
        if sample_weight is not None:
            weights = unlocked(as_sample_weights(sample_weight, len(inputs), names[2]))
        return Data(inputs, labels, targets, weights)

    def _as_batch(self, class_weight, scaling, number, batch):
        """Return the Data of one batch of `batches`; errors say which it is."""
        expected = "expected (X, y) or (X, y, sample_weight)"
        if not isinstance(batch, tuple | list):
            raise TypeError(f"batch {number} is of type {type(batch).__name__}, {expected}")
        if len(batch) not in (2, 3):
            raise TypeError(f"batch {number} has {len(batch)} items, {expected}")
        X, y, sample_weight = (*batch, None)[:3]
        try:
            names = "X", "y", "sample_weight"
            data = self._as_data(X, y, sample_weight, *names, scaling=scaling)
            if class_weight is not None:
                data = data._replace(weights=self._with_class_weights(data, class_weight))
            self._check_batches(len(data.inputs), len(data.inputs))
        except (TypeError, ValueError) as error:
            raise type(error)(f"batch {number}: {error}") from error
        return data

    def _as_validation(self, validation_data, scaling):
        if validation_data is None:
            return None
        try:
            X, y, *weights = validation_data
            (sample_weight,) = weights or [None]
        except (TypeError, ValueError):
            raise TypeError(
                "validation_data is not a pair, expected (X, y) or (X, y, sample_weight)"
            ) from None
        names = (f"validation_data[{i}]" for i in range(3))
        return self._as_data(X, y, sample_weight, *names, scaling=scaling)

    # ------------------------------------------------------------------ layer by layer

    def forward(self, inputs, training=False):
        """Run `inputs` (B, I) through all layers, one by one, and return the last output."""
        for layer in self.layers:
            inputs = _call_forward(layer, inputs, training)
        return inputs

    def backward(self, dvalues):
        """Take the gradient `dvalues` of the last output back through all layers."""
        for layer in reversed(self.layers):
            dvalues = _call_backward(layer, dvalues)
        return dvalues

    def _forward_logits(self, inputs, training, n_classes=None):
        n_rows = len(inputs)
        for layer in self._logit_layers():
            inputs = _call_forward(layer, inputs, training)
        logits = as_array(inputs, "the output of the last layer")
        width = logits.shape[1] if logits.ndim == 2 else 0
        if width == 0 or len(logits) != n_rows or width != (n_classes or width):
            raise ValueError(
                f"the output of the last layer has shape {logits.shape}, "
                f"expected logits of shape ({n_rows}, {n_classes or 'C'})"
            )
        dtype = np.float32 if logits.dtype == np.float32 else np.float64
        # A copy where it is no plain array: a kernel takes the gradient in its place.
        return np.require(logits, dtype, ["C", "A", "W"])

    def _backward_logits(self, dvalues):
        for layer in reversed(self._logit_layers()):
            dvalues = _call_backward(layer, dvalues)

    def _trained_arrays(self):
        """Yield (parameters, gradients): of the layers that train, then of a user's own ones."""
        for owner, name, slopes in self._trained_places():
            parameters, gradients = getattr(owner, name), np.asarray(getattr(owner, slopes))
            # As NumPy takes `parameters -= learning_rate * gradients`.
            gradients = np.broadcast_to(gradients, parameters.shape)
            yield parameters, gradients.astype(parameters.dtype, copy=False)

    def _trained_places(self):
        """Yield (object, attribute of the parameters, attribute of the gradients)."""
        weights, biases = ("weights", "dweights"), ("biases", "dbiases")
        if self._parametric and all(
            layer.trainable and layer.use_bias for layer in self._parametric
        ):
            yield self, "parameters", "gradients"
        else:
            for layer in self._parametric:
                if layer.trainable:
                    yield layer, *weights
                    if layer.use_bias:
                        yield layer, *biases
        for layer in self._own_layers():
            yield layer, *weights
            yield layer, *biases

    def _own_layers(self):
        return [
            layer
            for layer in self.layers
            if not isinstance(layer, ParameterLayer) and hasattr(layer, "weights")
        ]

    def _check_own_layers(self):
        for i, layer in enumerate(self.layers):
            if layer not in self._own_layers():
                continue
            for name in ("weights", "biases"):
                array = getattr(layer, name, None)
                if not isinstance(array, np.ndarray) or array.dtype not in DTYPES:
                    raise TypeError(
                        f"layers[{i}] has {name} {array!r:.60}, "
                        "expected an array of float32 or float64"
                    )

    def _snapshot(self):
        own = [(layer.weights.copy(), layer.biases.copy()) for layer in self._own_layers()]
        return self._buffer.copy(), own

    def _restore(self, snapshot):
        self._buffer[...], own = snapshot
        for layer, (weights, biases) in zip(self._own_layers(), own, strict=True):
            layer.weights[...], layer.biases[...] = weights, biases

    def _is_finite(self):
        own = (a for layer in self._own_layers() for a in (layer.weights, layer.biases))
        return kernels.all_finite(self._buffer) and all(np.isfinite(a).all() for a in own)

    # ------------------------------------------------------------------ prediction

    def predict_proba(self, X, *, batch_size=None, scale=1.0, offset=0.0, threads=None):
        """Return the probabilities (N, C) of samples `X` (N, I).

        `batch_size` and `threads` as in `predict`, `scale`, `offset` and errors as in `fit`; a
        model of numbers, not of classes or answers, raises AttributeError.
        """
        if self.loss.task == "numbers":
            raise AttributeError(
                "the model predicts numbers, which have no probabilities: use predict"
            )
        scaling = as_scaling(scale, offset, self.dtype)
        return self._batched(X, self.loss.finish, batch_size, threads, scaling)

    def predict(self, X, *, batch_size=None, scale=1.0, offset=0.0, threads=None):
        """Return the predictions for samples `X` (N, I).

        The labels (N,) of the most probable classes, int64; after :class:`BinaryCrossEntropy`
        answers 0 or 1, int64, and after other losses numbers, both (N, O), or (N,) where O is 1.

        Parameters
        ----------
        batch_size : int, optional
            Samples that are converted, and that a layer of your own sees, at a time: by default
            all. What is built in goes through the network in small blocks anyway.
        scale, offset : float
        threads : int, optional
            As in `fit`, like the errors. Several threads may predict with one model at once.
        """
        scaling = as_scaling(scale, offset, self.dtype)
        return self.loss.decide(self._batched(X, t.IDENTITY, batch_size, threads, scaling))

    def _batched(self, X, finish, batch_size, threads, scaling):
        if batch_size is None:
            return self._outputs(X, "X", finish, threads, scaling=scaling)
        size, X = as_count(batch_size, "batch_size"), as_array(X, "X")
        if X.ndim != 2 or len(X) <= size:
            return self._outputs(X, "X", finish, threads, scaling=scaling)
        parts = [
            self._outputs(X[i : i + size], f"X[{i}:{i + size}]", finish, threads, scaling=scaling)
            for i in range(0, len(X), size)
        ]
        return np.concatenate(parts)

    def activations(self, X, layer, *, scale=1.0, offset=0.0):
        """Return what comes out of a layer for samples `X` (N, I), as in a prediction.

        Parameters
        ----------
        layer : int or Layer
            The number of the layer, from 0, or from the end below 0; or the layer itself.
        scale, offset : float
            As in `fit`.

        Returns
        -------
        ndarray of shape (N, O)
        """
        last = next((i for i, each in enumerate(self.layers) if each is layer), None)
        if last is None:
            n = len(self.layers)
            if isinstance(layer, bool) or not isinstance(layer, int) or not -n <= layer < n:
                raise ValueError(
                    f"layer is {layer!r}, expected a number from {-n} to {n - 1} or a layer"
                )
            last = layer % n
        inputs = self._as_inputs(X, "X", scaling=as_scaling(scale, offset, self.dtype))
        # A copy, as a layer of the user's own may work in place.
        values = inputs.take(np.arange(len(inputs)))
        for each in self.layers[: last + 1]:
            values = _call_forward(copy.copy(each), values, False)  # leaves `output` as it is
        return values

    def evaluate(
        self, X, y, sample_weight=None, metrics=(), *, scale=1.0, offset=0.0, threads=None
    ):
        """Return {"loss": mean loss, "accuracy": fraction of right classes} on `X` and `y`.

        After :class:`BinaryCrossEntropy` of right answers; after other losses there is none. Then
        come the `metrics`. All are weighted with `sample_weight` (N,), where a metric knows
        weights. Arguments and errors as in `fit`.
        """
        scaling = as_scaling(scale, offset, self.dtype)
        data = self._as_data(X, y, sample_weight, "X", "y", "sample_weight", scaling=scaling)
        return evaluate(self, data, self._as_metrics(metrics, data), threads)

    @property
    def _scores(self):
        """The names of what every evaluation gives."""
        return ["loss"] if self.loss.task == "numbers" else ["loss", "accuracy"]

    def _as_metrics(self, metrics, data):
        found = as_metrics(metrics, self.loss.task, data.targets.shape[1])
        return [metric for metric in found if metric.name not in self._scores]

    def _penalty(self):
        """Return what the penalties of all layers add to the loss."""
        return float(
            sum(
                l1 * np.abs(values).sum() + l2 * np.square(values).sum()
                for layer in self._parametric
                if layer.trainable and any(layer.penalties)
                for values, l1, l2 in (
                    (layer.weights, layer.weights_l1, layer.weights_l2),
                    (layer.biases, layer.biases_l1, layer.biases_l2),
                )
            )
        )

    def _outputs(self, X, name, finish, threads=None, n_outputs=None, scaling=UNSCALED):
        """Return `finish` of the outputs for all samples."""
        if self._steps is None:
            inputs = self._as_inputs(X, name, scaling=scaling)
            resolve_threads(threads, 0)  # for its errors: layers run in the thread that calls them
            # A copy, as a layer of the user's own may work in place.
            rows = inputs.take(np.arange(len(inputs)))
            return finished(self._forward_logits(rows, False, n_outputs), finish)
        at_once = threads is None and scaling == UNSCALED
        outputs = self._predictor.run_few(X, finish) if at_once else None
        if outputs is None:
            inputs = self._as_inputs(X, name, scaling=scaling, finite=False)
            outputs = self._predictor.run(inputs, finish, threads)
            if outputs is None:
                inputs.check(name)
        return outputs

    def compiled(self):
        """Return a :class:`CompiledModel`: this network as it is now, also for jitted code.

        The handle has a copy of the parameters, packed once. Later training does not change it.

        Raises
        ------
        ValueError
            Where the network has a layer of your own: nothing can compile it.
        """
        if self._steps is None:
            raise ValueError("the model has a layer of your own, so it cannot be compiled")
        predictor = Predictor(self._steps, self._n_features, self._buffer.copy(), frozen=True)
        return CompiledModel(predictor, self.loss)

    # ------------------------------------------------------------------ files

    def to_config(self):
        """Return the architecture as a dict that JSON can hold: no parameters are in it.

        "layers" and "loss" have {"class": name, argument: value, ...} of each; "dtype" and
        "n_features" follow from them. A callable `init` is kept where it is `scaled_normal`.

        Raises
        ------
        TypeError
            For a layer or loss of your own, which is named.
        """
        return configs.describe_network(self)

    @classmethod
    def from_config(cls, config):
        """Return a new network, with new weights, of a dict such as `to_config` gives.

        Raises
        ------
        TypeError, ValueError
            For unknown classes and arguments, missing ones, bad values, more parameters than
            fit into memory: before any array is made.
        """
        layers, loss = configs.build_network(config)
        model = cls(layers, loss)
        configs.check_network(config, model)
        return model

    def save(self, path, notes=None):
        """Write architecture and parameters to one safetensors file; `fastnn.load` reads it.

        A file that is there is replaced when the new one is on the disk as a whole.
        `fastnn/files.py` describes the format.

        Parameters
        ----------
        path : path-like
        notes : dict, optional
            Becomes the model's `notes` first: anything that JSON can hold.

        Raises
        ------
        TypeError, ValueError
            For a layer of your own, for parameters that are not finite, for other notes.
        OSError
            Where the file cannot be written; the one that was there stays.
        """
        path, config = as_path(path), self.to_config()
        notes = _as_notes(self.notes if notes is None else notes)
        arrays = self._stored_arrays()
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise ValueError(f"{name} is not finite, expected a model that can be loaded")
        files.write(path, {"kind": "model", "model": config, "notes": notes}, arrays)
        self.notes = notes

    def _stored_arrays(self):
        """Return {"0.weights": array, ...}: what all layers have learned, not copied."""
        own = self._own_layers()
        return {
            f"{i}.{name}": getattr(layer, name)
            for i, layer in enumerate(self.layers)
            for name in getattr(layer, "stored", ("weights", "biases") if layer in own else ())
        }

    # ------------------------------------------------------------------ the object itself

    def clone(self, rng=None):
        """Return a model of the same layers, with the same parameters, that shares nothing.

        Parameters
        ----------
        rng : None, int or numpy.random.Generator
            Where given, layers draw new parameters from it, as their `init` says.
        """
        twin = copy.deepcopy(self)
        for layer in twin.layers:
            if isinstance(layer, Layer):
                layer.forget_passes()
        if rng is not None:
            rng = as_generator(rng)
            for layer in twin._parametric:
                layer.reset_parameters(rng)
        return twin

    def summary(self):
        """Return a :class:`Summary`: layers, outputs, parameters, bytes, operations a sample."""
        return Summary(self)

    def __copy__(self):
        return copy.deepcopy(self)  # two models on one buffer would train each other

    def __getstate__(self):
        return {**vars(self), "_stream": None}  # which works on the parameters of this model

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._adopt()

    def __repr__(self):
        layers = "".join(f"    {layer!r},\n" for layer in self.layers)
        loss = "" if repr(self.loss) == "SoftmaxCrossEntropy()" else f", loss={self.loss!r}"
        return f"{type(self).__name__}([\n{layers}]{loss})"


def _cut(buffer, arrays):
    """Yield views of a buffer, one behind the other, of the shapes of (layer, name, array)."""
    start = 0
    for *_, array in arrays:
        yield buffer[start : start + array.size].reshape(array.shape)
        start += array.size


def _refuse_beside_batches(**given):
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name} is given, expected batches without it")


def _split(data, part):
    """Return the Data to train on, and (inputs, labels, targets) of the last `part` of it."""
    n_held_out = round(len(data.inputs) * part)
    n = len(data.inputs) - n_held_out
    if n == 0 or n_held_out == 0:
        raise ValueError(
            f"validation_split is {part}, expected one that leaves some of {n + n_held_out} "
            "samples on both sides"
        )
    parts = (
        Data(*(array[:n] for array in data)),
        Data(*(array[n:] if len(array) else array for array in data)),
    )
    if len(data.weights) and not all(each.weights.sum() > 0 for each in parts):
        raise ValueError(
            f"sample_weight is 0 on one side of validation_split {part}, expected some on both"
        )
    return parts


def _call_forward(layer, inputs, training):
    """Call `forward` of a layer that may not know `training`, and may not return its output."""
    if "training" in inspect.signature(layer.forward).parameters:
        result = layer.forward(inputs, training=training)
    else:
        result = layer.forward(inputs)
    return layer.output if result is None else result


def _call_backward(layer, dvalues):
    result = layer.backward(dvalues)
    return layer.dinputs if result is None else result


def load(path):
    """Return the model in a file that `Sequential.save` or :class:`Checkpoint` has written.

    Its outputs have the bits that those of the model had.

    Raises
    ------
    FileFormatError
        A ValueError that says what is wrong: with any other file, and with one that is not whole.
    OSError
        Where the file cannot be read.
    """
    path = Path(as_path(path))
    description, arrays = files.read(path)
    try:
        config, notes = description.get("model"), description.get("notes", {})
        if not isinstance(notes, dict):
            raise ValueError(f"notes is {notes!r:.80}, expected a dict")
        # Arrays of a checkpoint's state have names that begin otherwise.
        arrays = {name: each for name, each in arrays.items() if name[:1].isdigit()}
        check_arrays(arrays, configs.stored_shapes(config))
        model = Sequential.from_config(config)
    except (TypeError, ValueError) as error:
        raise FileFormatError(path, f"has no model that can be built: {error}") from None
    for name, array in model._stored_arrays().items():
        array[...] = arrays[name]
    model.notes = notes
    return model


def _as_notes(notes):
    """Return a copy of notes as JSON would give it back."""
    if not isinstance(notes, dict):
        raise TypeError(f"notes is {notes!r:.80}, expected a dict")
    try:
        return json.loads(json.dumps(notes, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise type(error)(f"notes is {notes!r:.80}, expected what JSON can hold: {error}") from None
