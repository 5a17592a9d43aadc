"""Random use of public objects: assignments, in-place changes, callbacks, interrupts.

    python tests/random_use.py --sequences 20000 --seed 0

Each sequence makes a network and does some random things with it. Most are mistakes, and most
raise. Whatever happens, the process must not die or hang, no thread may stay behind, nothing may
change after a call has ended, and a call that refuses its arguments must change nothing. Each
child process takes `PER_CHILD` sequences; a child that dies names the sequence it was in.
"""

import argparse
import faulthandler
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

PER_CHILD = 500
SECONDS = 60  # that a sequence may take, on a busy machine

ALLOWED = (TypeError, ValueError, RuntimeError, ArithmeticError, OSError, NotImplementedError)
"""Errors that tell a user what is wrong. Others come from the depth of the code."""


class Struck(BaseException):
    """Raised by a signal handler, as KeyboardInterrupt is."""


class Failure(AssertionError):
    """Something that must not happen."""


def run_sequence(number):
    """Do the random things of one sequence; raise Failure for what must not happen."""
    import numpy as np

    user = User(np.random.default_rng(number))
    for _ in range(int(user.rng.integers(3, 9))):
        user.act()


class User:
    """Somebody with a network, a random generator and no manual."""

    def __init__(self, rng):
        import numpy as np

        import fastnn

        self.rng, self.np, self.fastnn, self.log = rng, np, fastnn, []
        self.dtype = np.float32 if rng.random() < 0.7 else np.float64
        self.model = self.make_model()
        self.optimizer = self.make_optimizer()
        self.others = []  # handles and the like
        n = int(rng.integers(2, 40))
        width = self.model._n_features or 3
        self.X = rng.standard_normal((n, width)).astype(rng.choice(["f4", "f8", "u1"]))
        self.y = self.make_targets(n)

    # ------------------------------------------------------------------ what there is

    def pick(self, *values):
        return values[int(self.rng.integers(len(values)))]

    def make_model(self):
        nn, widths = self.fastnn, self.rng.integers(1, 9, 3)
        dense = self.pick(nn.Dense, nn.Dense, nn.Dense, own_dense())
        layers = [dense(int(widths[0]), int(widths[1]), dtype=self.dtype, rng=0)]
        for make in (
            lambda: nn.BatchNorm(int(widths[1]), dtype=self.dtype),
            lambda: nn.LayerNorm(int(widths[1]), dtype=self.dtype),
            nn.ReLU, nn.Tanh, nn.LeakyReLU, lambda: nn.Dropout(0.5, rng=0),
        ):  # fmt: skip
            if self.rng.random() < 0.3:
                layers.append(make())
        layers.append(dense(int(widths[1]), int(widths[2]), dtype=self.dtype, rng=1))
        loss = self.pick(
            nn.SoftmaxCrossEntropy, nn.SoftmaxCrossEntropy, nn.MeanSquaredError,
            nn.BinaryCrossEntropy, lambda: nn.Huber(0.5), nn.MeanAbsoluteError,
        )  # fmt: skip
        return nn.Sequential(layers, loss=loss())

    def make_optimizer(self):
        nn = self.fastnn
        return self.pick(
            lambda: nn.SGD(0.1), lambda: nn.SGD(0.1, momentum=0.9), nn.Adam, nn.AdamW, nn.RMSprop,
            lambda: nn.SGD(0.1, clip_norm=0.1), lambda: nn.Adam(amsgrad=True),
            lambda: nn.SGD(nn.ReduceOnPlateau(0.1, monitor="loss")),
        )()  # fmt: skip

    def make_targets(self, n):
        width = self.model._parametric[-1].widths[1]
        if self.model.loss.task == "classes":
            return self.rng.integers(0, width, n)
        if self.model.loss.task == "answers":
            return self.rng.integers(0, 2, (n, width))
        return self.rng.standard_normal((n, width))

    def objects(self):
        """Return the public objects of this user."""
        model, optimizer = self.model, self.optimizer
        layers = [layer for layer in model.layers if hasattr(layer, "forward")]
        return [model, *layers, model.loss, optimizer, *self.others, *(
            [optimizer.learning_rate] if callable(optimizer.learning_rate) else []
        )]  # fmt: skip

    def value(self):
        """Return something to assign."""
        np, nn, rng = self.np, self.fastnn, self.rng
        size = int(rng.integers(0, 9))
        return self.pick(
            lambda: int(rng.choice([-1, 0, 1, 2, 7, 10**6])),
            lambda: float(rng.choice([0.0, -1.0, 0.5, 1.0, 2.0, np.nan, np.inf])),
            lambda: None, lambda: "adam", lambda: True, lambda: (), lambda: [[1.0, 2.0]],
            lambda: rng.standard_normal((size, int(rng.integers(0, 9)))),
            lambda: rng.standard_normal(size).astype("f4"),
            lambda: np.full((3, 4), np.nan), lambda: rng.integers(-3, 9, size),
            lambda: nn.Dense(3, 200_000, rng=0), lambda: nn.MeanSquaredError(),
            lambda: (*self.model.layers[:1], nn.Dense(3, 200_000, rng=0)),
            lambda: self.model.layers[::-1], lambda: nn.SGD(0.1, momentum=0.5),
            lambda: nn.SoftmaxCrossEntropy(),
            lambda: getattr(self.model.layers[0], "weights", None),
        )()  # fmt: skip

    # ------------------------------------------------------------------ what is done

    def act(self):
        """Do one random thing, and look at what is left."""
        actions = {
            self.assign: 4, self.change_in_place: 4, self.fit: 6, self.fit_batches: 2,
            self.partial_fit: 2, self.predict: 3, self.make_handle: 1, self.use_handle: 2,
            self.passes: 2, self.evaluate: 1, self.save: 1, self.update: 1, self.fit_many: 1,
            self.copy: 1,
        }  # fmt: skip
        weights = self.np.array(list(actions.values()), float)
        action = list(actions)[int(self.rng.choice(len(actions), p=weights / weights.sum()))]
        threads = count_threads()
        before, self.all_is_checked = self.parameters(), False
        self.log.append(action.__name__)
        try:
            action()
        except (KeyboardInterrupt, Struck):
            self.log.append("interrupted")
        except ALLOWED as error:
            self.log.append(f"{type(error).__name__}: {error!s:.150}")
            refused = self.all_is_checked and isinstance(error, TypeError | ValueError)
            if refused and self.parameters() != before:
                raise Failure(f"refused, and changed all the same: {self.log}") from error
        except Exception as error:
            raise Failure(f"{type(error).__name__} after {self.log}") from error
        after = self.parameters()
        if count_threads(threads) > threads:
            raise Failure(f"a thread is left after {self.log}")
        if self.parameters() != after:
            raise Failure(f"parameters change after {self.log}")
        parts = [part for each in self.model._parametric for part in (each.weights, each.biases)]
        if b"".join(part.tobytes() for part in parts) != self.model.parameters.tobytes():
            raise Failure(f"layers and buffer differ after {self.log}")

    def parameters(self):
        return self.model._buffer.tobytes()

    def assign(self):
        target = self.pick(*self.objects())
        names = [name for name in dir(target) if name[0] != "_"]
        name, value = self.pick(*names), self.value()
        self.log.append(f"{type(target).__name__}.{name} = {value!r:.60}")
        try:
            setattr(target, name, value)
        except (AttributeError, KeyError) as error:  # read-only
            raise TypeError(str(error)) from error
        if callable(getattr(type(target), name, None)):  # a method stays one
            vars(target).pop(name, None)

    def change_in_place(self):
        np, target = self.np, self.pick(*self.objects())
        arrays = [
            (name, value)
            for name in dir(target)
            if name[0] != "_" and isinstance(value := getattr(target, name, None), np.ndarray)
        ]
        if not arrays:
            return
        name, array = self.pick(*arrays)
        change = self.pick(
            lambda: setattr(array, "shape", (1, array.size)),
            lambda: setattr(array, "shape", (array.size,)),
            lambda: setattr(array, "dtype", self.pick(np.int32, np.float64, np.uint8)),
            lambda: array.resize((1, 1), refcheck=False),
            lambda: array.setflags(write=False), lambda: array.fill(np.nan),
            lambda: array.fill(1e30), lambda: array.__imul__(0.5), lambda: array.fill(1),
        )  # fmt: skip
        self.log.append(f"{type(target).__name__}.{name} in place")
        try:
            change()
        except (AttributeError, BufferError) as error:
            raise TypeError(str(error)) from error

    def callback(self):
        """Return a callback that does something at a random moment."""

        def do(run):
            if self.rng.random() < 0.4:
                self.pick(self.assign, self.change_in_place, self.predict, self.interrupt)()

        hook = self.pick("on_chunk_end", "on_epoch_begin", "on_epoch_end", "on_fit_begin")
        return self.fastnn.LambdaCallback(**{hook: do})

    def interrupt(self):
        raise self.pick(KeyboardInterrupt, Struck, ValueError("of a callback"))

    def options(self):
        rng = self.rng
        options = {
            "epochs": int(rng.integers(1, 6)), "batch_size": int(rng.integers(1, 20)),
            "threads": int(rng.integers(1, 4)), "verbose": 0, "optimizer": self.optimizer,
        }  # fmt: skip
        if rng.random() < 0.3:
            options["callbacks"] = [self.callback()]
        if rng.random() < 0.15:
            options["sample_weight"] = rng.random(len(self.X)) - 0.1
        if rng.random() < 0.15:
            options["shuffle"] = lambda n: rng.integers(-1 if rng.random() < 0.3 else 0, n, n)
        if rng.random() < 0.15:
            options["validation_split"] = 0.3
        return options

    def interrupted(self, call):
        """Call, and now and then let a signal arrive on the way."""
        if self.rng.random() < 0.5 or not hasattr(signal, "setitimer"):
            return call()
        signal.setitimer(signal.ITIMER_REAL, float(self.rng.random() ** 3 * 0.01) + 1e-5)
        try:
            return call()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def targets(self):
        """Return the targets, now and then with a mistake in them."""
        y = self.np.array(self.y)
        if self.rng.random() < 0.1:
            y[int(self.rng.integers(len(y)))] = self.pick(-5, 10**6)
        return y

    def fit(self):
        options, y = self.options(), self.targets()
        self.all_is_checked = "callbacks" not in options and "shuffle" not in options
        self.log.append(str({k: v for k, v in options.items() if k != "optimizer"}))
        self.interrupted(lambda: self.model.fit(self.X, y, **options))

    def fit_batches(self):
        options = self.options()
        for name in ("batch_size", "validation_split", "sample_weight", "shuffle"):
            options.pop(name, None)
        size = int(self.rng.integers(1, 9))

        def batches():
            for i in range(0, len(self.X), size):
                if self.rng.random() < 0.05:
                    self.pick(self.assign, self.change_in_place, self.interrupt)()
                yield self.X[i : i + size], self.y[i : i + size]

        self.interrupted(lambda: self.model.fit(batches=batches, **options))

    def partial_fit(self):
        options = self.options()
        options = {k: options[k] for k in ("batch_size", "threads", "optimizer")}
        self.all_is_checked = True
        self.interrupted(lambda: self.model.partial_fit(self.X, self.targets(), **options))

    def fit_many(self):
        models = [self.model, self.model.clone()]
        self.interrupted(
            lambda: self.fastnn.fit_many(models, self.X, self.y, epochs=3, threads=2, verbose=0)
        )

    def predict(self):
        n = self.pick(1, 3, len(self.X))
        self.interrupted(lambda: self.model.predict(self.X[:n], threads=self.pick(1, 3)))

    def evaluate(self):
        self.interrupted(lambda: self.model.evaluate(self.X, self.targets()))

    def make_handle(self):
        self.others.append(self.model.compiled())

    def use_handle(self):
        for each in self.others:
            if hasattr(each, "predict"):
                each.predict(self.model.layers[0].weights.T[:1].copy())
                each.predict(self.X[:2].astype(self.dtype))

    def passes(self):
        output = self.model.forward(self.X[:3], training=bool(self.rng.random() < 0.5))
        if self.rng.random() < 0.3:
            self.pick(self.assign, self.change_in_place)()
        self.model.backward(self.np.ones_like(output))

    def update(self):
        self.optimizer.update(self.model.parameters, self.model.gradients)

    def copy(self):
        self.model = pickle.loads(pickle.dumps(self.model))

    def save(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.safetensors")
            self.model.save(path)
            twin = self.fastnn.load(path)
            if twin.parameters.tobytes() != self.model.parameters.tobytes():
                raise Failure(f"a saved model has other parameters after {self.log}")


_own = []


def own_dense():
    """Return a layer class of a user's own."""
    if not _own:
        import fastnn

        class OwnDense(fastnn.Dense):
            def forward(self, inputs, training=False):
                return super().forward(inputs, training)

        OwnDense.__module__, OwnDense.__qualname__ = __name__, "OwnDense"
        globals()["OwnDense"] = OwnDense
        _own.append(OwnDense)
    return _own[0]


def count_threads(expected=None):
    """Return how many threads there are; wait a moment for those that are about to go."""
    import _thread

    deadline = time.monotonic() + 5
    while expected is not None and _thread._count() > expected and time.monotonic() < deadline:
        time.sleep(0.001)
    return _thread._count()


def work(first, last):
    """Take the sequences [first, last) in this process; print each failure."""
    warnings.simplefilter("ignore")

    def strike(signum, frame):
        raise Struck

    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, strike)
    sys.unraisablehook = lambda unraisable: None  # an exception in a generator that is closed
    for number in range(first, last):
        print("begin", number, flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            run_sequence(number)
        except Struck:  # a signal that came late
            pass
        except Failure as failure:
            print("failure", number, repr(failure), repr(failure.__cause__), flush=True)
    faulthandler.cancel_dump_traceback_later()
    print("end", flush=True)


def run(sequences, seed=0):
    """Take so many sequences in child processes; return a list of what went wrong."""
    failures, first, last = [], seed, seed + sequences
    while first < last:
        end = min(first + PER_CHILD, last)
        command = [sys.executable, "-X", "faulthandler", __file__, "--work", f"{first}:{end}"]
        child = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        lines = child.stdout.splitlines()
        failures += [line for line in lines if line.startswith("failure")]
        if lines[-1:] == ["end"]:
            first = end
            continue
        begun = [int(line.split()[1]) for line in lines if line.startswith("begin")]
        at = begun[-1] if begun else first
        failures.append(f"died {at} with {child.returncode}: {child.stderr[:1500]}")
        first = at + 1
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sequences", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(*map(int, given.work.split(":")))
        return
    failures = run(given.sequences, given.seed)
    print(*failures, sep="\n")
    print(f"{given.sequences} sequences, {len(failures)} failures")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
