"""The model that users create from layers, train, evaluate and save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from .. import files
from ..metrics import MetricLike
from ..nn.dropout import Dropout, draw_key
from ..nn.optimizer import Optimizer
from ..program.ranks import Ranks
from ..program.stream import Stream
from ..program.trainer import describe_network
from ..run.agreement import Agreement
from ..run.callbacks import Callback
from ..run.compilation import note_compilation
from ..run.data import as_data, check_batches, with_class_weights
from ..run.history import History
from ..run.loop import train
from ..run.partial import next_optimizer, train_once
from ..run.progress import Verbose
from ..run.request import FitArguments, check_request, check_training, warn_of_slow_training
from ..types import Batch, BatchSource, PathLike, Precision, Seed, Shuffle
from ..validation import as_count, as_generator, as_path, as_scaling
from .base import as_notes
from .prediction import PredictingModel


class Sequential(PredictingModel):
    """A network: a sequence of layers, and the loss for their training.

    Parameters
    ----------
    layers : iterable
        Layers such as :class:`Dense`, :class:`ReLU`, :class:`Dropout` and :class:`LayerNorm`, or
        objects of your own with `forward(inputs)` and `backward(dvalues)`, as in a network from
        scratch. These methods may return their result, or keep it in `output` and `dinputs`. Layers
        with `weights` and `biases` keep the gradients in `dweights` and `dbiases`. A network with a
        layer of your own trains layer by layer, with the same results, but slower. The last layer
        returns the outputs (B, O), such as logits. A :class:`Softmax` or :class:`Sigmoid` at the
        end is fused with a loss of logits.
    loss : Loss, str, object or pair of callables
        By default :class:`SoftmaxCrossEntropy`: the model is a classifier. Else a name as "mse", or
        :class:`BinaryCrossEntropy`, :class:`MeanSquaredError`, :class:`MeanAbsoluteError`,
        :class:`Huber`, :class:`Quantile` or :class:`Poisson`, or a loss of your own for regression.
        This is an object with two methods, or a pair of such functions: `forward(y_pred, y_true)`
        returns the losses (B,) of predictions and targets (B, O), and `backward(y_pred, y_true)`
        returns the gradient (B, O) of their mean, or keeps it in `dinputs`. `model.loss` is then
        an `OwnLoss` that contains it. A class derived from one of fastnn's losses may override
        `forward` and `backward`. With a loss of your own a network trains layer by layer.

    Attributes
    ----------
    layers : tuple
    parameters : ndarray of shape (P,)
        All weights and biases, in the order of the layers, which hold views of it.
    gradients : ndarray of shape (P,)
        Their gradients, in the same order. The layers' `backward` fills it, `fit` does not.
    bias_mask : ndarray of bool of shape (P,)
        Which parameters an optimizer with `spare_biases` does not decay.
    notes : dict
        Anything that JSON can hold. `save` writes it to the file, and `load` restores it.
    optimizer : Optimizer or None
        The optimizer with which `partial_fit` continues.

    Raises
    ------
    TypeError, ValueError
        For no layers, sizes that do not match, different dtypes, or a layer used twice.

    Examples
    --------
    >>> from fastnn.datasets import make_spiral
    >>> X, y = make_spiral(100, 3, rng=0)
    >>> layers = [fastnn.Dense(2, 16, rng=0), fastnn.ReLU(), fastnn.Dense(16, 3, rng=1)]
    >>> model = fastnn.Sequential(layers)
    >>> history = model.fit(X, y, epochs=100, optimizer=fastnn.Adam(0.02), seed=0)
    >>> model.predict(X[50:52])
    array([0, 0])
    """

    # ------------------------------------------------------------------ training

    def fit(
        self,
        X: ArrayLike | None = None,
        y: ArrayLike | None = None,
        *,
        batches: BatchSource | None = None,
        epochs: int = 1,
        batch_size: int | None = None,
        optimizer: Optimizer | str | None = None,
        seed: Seed = None,
        validation_data: Batch | BatchSource | None = None,
        validation_split: float = 0.0,
        sample_weight: ArrayLike | None = None,
        class_weight: Mapping[Any, float] | None = None,
        shuffle: Shuffle = True,
        drop_last: bool = False,
        steps_per_epoch: int | None = None,
        initial_epoch: int = 0,
        metrics: Sequence[MetricLike] = (),
        callbacks: Sequence[Callback] = (),
        scale: float = 1.0,
        offset: float = 0.0,
        resume: PathLike | None = None,
        verbose: Verbose = "auto",
        threads: int | None = None,
        precision: Precision | None = None,
        ranks: Ranks | None = None,
        parts: bool = False,
    ) -> History:
        """Train on samples `X` and targets `y`.

        Parameters
        ----------
        X : array-like of shape (N, I)
            Finite numbers. An array of uint8, int8, float16, float32 or float64 is not copied. It
            may have any strides, be memory-mapped or read-only; the rows of each batch are
            converted to the model's dtype. Arrays of other dtypes, those of up to 4 MB and pandas
            data frames (NA counts as NaN) are converted once, with the same bits. Rows of a mapped
            file are checked when their step comes: an error keeps the steps before it. Sparse
            matrices of SciPy become dense a few batches at a time. Arrays of Dask or zarr of more
            than 1 GiB are refused: see `batches`.
        y : array-like of shape (N,) or (N, C)
            For classes, labels from 0 to C - 1 of any integer dtype or bool, or rows (N, C) that
            are distributions. For other losses, numbers (N, O), or (N,) for one output.
        batches : iterable, or callable that returns one
            Replaces `X` and `y` for data that are generated or read during training: (X, y) or
            (X, y, sample_weight) for each batch, of any sizes, which are used in this order. Each
            batch is checked before its step. The iterable is iterated, or the callable called, once
            for each epoch. An iterator continues in the next epoch instead, so it needs
            `steps_per_epoch`. If it raises, the training ends with the error, and the model keeps
            the parameters after the last batch. With `batch_size`, each batch is a window of many
            rows, which is shuffled and cut into steps.
        epochs : int
        batch_size : int, optional
            The rows of a step, by default 32, or each of the `batches`. The last may have fewer.
        optimizer : Optimizer or str
            By default `SGD(learning_rate=0.01)`. An optimizer that has trained this model before
            continues with its state. A name, such as "adam", stands for a new one.
        seed : None, int or numpy.random.Generator
            Determines the order of samples: the same seed and data give the same bits.
        validation_data : (X, y), (X, y, sample_weight), Windows or callable
            Evaluated after every epoch, with its `sample_weight`; in parts excludes `metrics`.
        validation_split : float
            At least 0 and below 1, in place of `validation_data`. This fraction of the samples, the
            last rows of `X`, is held out, and weighted with its `sample_weight`. If the rows are
            sorted by class, shuffle them first: else the held-out classes are not learned.
        sample_weight : array-like of shape (N,), optional
            Numbers of at least 0. The loss of a batch is the sum of weight * loss over the sum of
            the weights, so that in a batch of one sample its weight makes no difference. The
            curves of the history are weighted in the same way: loss, accuracy and metrics.
        class_weight : dict of int to float, optional
            A factor of the sample weights for each class, or for the answers 0 and 1 of one
            yes-or-no question. It does not affect validation data.
        shuffle : bool or callable
            True: a new random order each epoch, as `generate_batch_indices` gives it. A callable
            of N returns the order of the next epoch, N indices of samples. Indices may be repeated
            or missing. With `batches` and `batch_size`, the N rows of each window are shuffled.
        drop_last : bool
            Leave out the last batch of an epoch if it is not full. Of `batches` it needs
            `batch_size`, and leaves out the last step of each window.
        steps_per_epoch : int, optional
            The largest number of steps of an epoch.
        initial_epoch : int
            The number of epochs already trained. The first epoch of this run has the next number.
            With an int seed, its order of samples is that of the same epoch in a complete run.
            `epochs` is the number of the last epoch.
        metrics : list of str, callable or Metric
            Measured after every epoch on the samples and on the validation data, which takes a
            prediction of all of them. Names such as "f1", "roc_auc", "log_loss", "mae" or "r2", a
            scorer of scikit-learn, or any function (y_true, y_pred) of the results of `predict`, or
            (y_true, y_score) of probabilities. :mod:`fastnn.metrics` lists the names.
        callbacks : list of Callback
            Called before and after the run and each epoch, in this order.
        scale : float
            A factor of the samples: the network takes `X.astype(model.dtype) * scale + offset`,
            calculated in that dtype, such as `scale=1 / 255` for images in bytes. This applies to
            `validation_data` too. The prediction methods have the same argument.
        offset : float
            Added to the scaled samples. The prediction methods have the same argument.
        resume : path-like, optional
            Resume the run from this file of a :class:`Checkpoint`. With the same other arguments
            it ends with the same bits as without the interruption. `epochs` counts from the
            beginning of the first run. If there is no file yet, the run starts from the beginning.
            For a name with {epoch} in it, the last file is used. The random state in the file
            replaces `seed`. Functions of your own, such as a learning rate or a metric, are not in
            the file: pass them again. `batches` have to give the same batches in the same order.
        verbose : "auto", 0, 1 or 2
            1: a progress bar on standard error; 2: a line per epoch on standard output; 0: nothing.
            "auto" is 1 on a terminal and in a notebook, else 0.
        threads : int, optional
            The number of threads, by default that of `set_num_threads`. It does not change the bits
            of the result.
        precision : "highest", "high" or "medium", optional
            The precision of matrix products, by default that of `set_precision`, which describes
            the three. It is that of evaluations in this run too. A resumed run has to have the
            precision of the first.
        ranks : Ranks, optional
            Processes that train together and make the same call, see :mod:`fastnn.distributed`.
        parts : bool
            Whether `X`, `y` and `sample_weight` are the rows that this one of the `ranks` holds.
            The samples are the parts of all ranks, one after the other in the order of the ranks,
            and the bits are those of the whole. Validation data are the same on all ranks; with
            them, `metrics` are measured on them alone.

        Returns
        -------
        History

        Raises
        ------
        TypeError, ValueError
            For bad arguments, before training starts and anything has changed. This includes a
            `resume` of another network, optimizer, data set or batch size.
        FileFormatError
            A ValueError: `resume` is not a complete checkpoint.
        NonFiniteLossError
            If training diverges. The parameters and the optimizer are those of the last good epoch.
        RanksError
            If the `ranks` have different arguments, or one leaves or does not answer in time.

        Warns
        -----
        SlowTrainingWarning
            Once, if a layer, an optimizer or a loss of your own has to be called from Python.
        MissingClassWarning
            If `validation_split` leaves a class in one part only.

        Examples
        --------
        >>> from fastnn.datasets import make_spiral
        >>> X, y = make_spiral(100, 3, rng=0)
        >>> layers = [fastnn.Dense(2, 16, rng=0), fastnn.ReLU(), fastnn.Dense(16, 3, rng=1)]
        >>> model = fastnn.Sequential(layers)
        >>> sgd = fastnn.SGD(0.1, momentum=0.9)
        >>> history = model.fit(X, y, epochs=2, optimizer=sgd, seed=0, metrics=["f1"])
        >>> print(history)
        epoch    loss  accuracy      f1
            1  0.9528    0.4533  0.5699
            2  0.7882    0.6167  0.6130
        """
        arguments = FitArguments(
            X, y, batches, epochs, batch_size, optimizer, seed, validation_data, validation_split,
            sample_weight, class_weight, shuffle, drop_last, steps_per_epoch, initial_epoch,
            metrics, callbacks, scale, offset, resume, verbose, threads, precision, ranks, parts,
        )  # fmt: skip
        with note_compilation(verbose):
            with Agreement(ranks, parts) as agreement:
                request = check_request(self._program, self, arguments, agreement)
            return train(request)

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        batch_size: int | None = None,
        optimizer: Optimizer | str | None = None,
        seed: Seed = None,
        class_weight: Mapping[Any, float] | None = None,
        scale: float = 1.0,
        offset: float = 0.0,
        threads: int | None = None,
        precision: Precision | None = None,
    ) -> History:
        """Train once on samples `X` and targets `y`, in their order: for streams of data.

        A call takes little time in addition to its step. The model keeps the memory for the next
        call: as much as a `fit` with the largest batch so far needs.

        Parameters
        ----------
        X : array-like of shape (N, I)
            As in `fit`.
        y : array-like
            As in `fit`.
        sample_weight : array-like of shape (N,), optional
            As in `fit`.
        batch_size : int, optional
            By default all samples are one batch.
        optimizer : Optimizer, optional
            Stored in `model.optimizer`, and used by later calls. By default the optimizer of the
            previous call, and `SGD(learning_rate=0.01)` in the first.
        seed : None, int or numpy.random.Generator
            Determines the masks of dropout; also stored for later calls.
        class_weight : dict, optional
            As in `fit`.
        scale : float
            As in `fit`.
        offset : float
            As in `fit`.
        threads : int, optional
            As in `fit`.
        precision : "highest", "high" or "medium", optional
            As in `fit`.

        Returns
        -------
        History
            Of one epoch: each curve has one value, for these samples.

        Raises
        ------
        TypeError, ValueError
            For bad arguments, before training starts.
        NonFiniteLossError
            If training diverges. The parameters and the optimizer are those before the call.

        Examples
        --------
        >>> from fastnn.datasets import make_spiral
        >>> X, y = make_spiral(100, 3, rng=0)
        >>> layers = [fastnn.Dense(2, 16, rng=0), fastnn.ReLU(), fastnn.Dense(16, 3, rng=1)]
        >>> model = fastnn.Sequential(layers)
        >>> for first in range(10):
        ...     history = model.partial_fit(X[first::10], y[first::10], optimizer=model.optimizer)
        >>> model.optimizer
        SGD(learning_rate=0.01)
        """
        optimizer = next_optimizer(optimizer, self.optimizer)
        program, network = self._program, self._network
        program.refresh()
        description = describe_network(network)
        check_training(program, optimizer, threads)
        program = program.at(precision, optimizer)
        scaling = as_scaling(scale, offset, network.dtype)
        data = as_data(program, X, y, sample_weight, scaling=scaling)
        data = with_class_weights(data, class_weight, network.loss.task)
        n = len(data.inputs)
        batch_size = n if batch_size is None else min(as_count(batch_size, "batch_size"), n)
        check_batches(network, n, batch_size)
        if seed is not None or self._rng is None:
            self._rng = as_generator(seed, "seed")
        stream, self._stream = self._stream, None  # dropped if an error ends the call
        if stream is None or not stream.is_current(program, optimizer, description):
            warn_of_slow_training(program, optimizer, 3)
            stream = Stream(program, optimizer, description)
        self.optimizer = optimizer
        drops = any(isinstance(layer, Dropout) for layer in self.layers)
        key = draw_key(self._rng) if drops else 0
        history = train_once(stream, data, batch_size, key, threads)
        self._stream = stream
        return history

    # ------------------------------------------------------------------ files

    def save(self, path: PathLike, notes: dict[str, Any] | None = None) -> None:
        """Write architecture and parameters to one safetensors file; `fastnn.load` reads it.

        An existing file is replaced only after the new one is complete on the disk.
        `fastnn/files/format.py` describes the format.

        Parameters
        ----------
        path : path-like
        notes : dict, optional
            Replaces the model's `notes`: anything that JSON can hold.

        Raises
        ------
        TypeError, ValueError
            For a layer of your own, parameters that are not finite, or notes that JSON cannot hold.
        OSError
            If the file cannot be written. The existing file stays.
        """
        path, config = as_path(path), self.to_config()
        notes = as_notes(self.notes if notes is None else notes)
        arrays = self._network.stored_arrays()
        description = {"kind": "model", "model": config, "notes": notes}
        files.write(path, description, arrays, finite=arrays)
        self.notes = notes
