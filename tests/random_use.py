"""Random use of public objects: what `random_attributes.py` does, with interrupts and threads.

    python tests/random_use.py --sequences 20000 --seed 0

Each sequence makes a network and does some random things with it. Most are mistakes, and most
raise. Whatever happens, the process must not die or hang, no thread may stay behind, nothing may
change after a call has ended, a call that refuses its arguments changes nothing, and no error comes
from the compiler. Child processes take `PER_CHILD` sequences each; where one dies, the sequence is
named.
"""

import _thread
import argparse
import contextlib
import faulthandler
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from child import count_threads
from numba.core.errors import NumbaError
from random_attributes import FEATURES, Sequence

import fastnn

PER_CHILD = 500
SECONDS = 100  # that a sequence may take, on a busy machine

# Errors that do not tell a user what is wrong: they come from the depth of the code.
UNCLEAR = (NumbaError, SystemError, IndexError, KeyError, UnboundLocalError, RecursionError)


class Struck(BaseException):
    """Raised by a signal handler, as KeyboardInterrupt is."""


class Failure(AssertionError):
    """Something that must not happen."""


class User(Sequence):
    """Somebody with a network, signals on the way, and no manual."""

    def __init__(self, seed):
        super().__init__(seed)
        self.handles, self.log, self.meddled = [], [], False

    def objects(self):
        return [*super().objects(), *self.handles]

    def act_within(self):
        self.meddled = True
        if self.rng.random() < 0.1:
            raise self.one([KeyboardInterrupt, Struck, ValueError("of a callback")])
        super().act_within()

    # ------------------------------------------------------------------ what is done

    def assign(self):
        """Assign to attributes only: an error of a method that was replaced tells nothing."""
        target = self.one(self.objects())
        names = [name for name in dir(target) if name[0] != "_"]
        name = self.one([name for name in names if not callable(getattr(type(target), name, None))])
        setattr(target, name, self.value(getattr(target, name)))

    def strike(self, call):
        """Call, and now and then let a signal arrive on the way."""
        threads = int(self.rng.integers(1, 4))
        with fastnn.num_threads(threads):
            if self.rng.random() < 0.5 or not hasattr(signal, "setitimer"):
                return call()
            seconds = float(self.rng.random() ** 3 * 0.01) + 1e-5
            signal.setitimer(signal.ITIMER_REAL, seconds)
            try:
                return call()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)

    def fit(self):
        self.strike(super().fit)

    def partial_fit(self):
        self.strike(super().partial_fit)

    def predict(self):
        self.strike(super().predict)

    def fit_many(self):
        models = [self.model, self.model.clone()]
        self.strike(lambda: fastnn.fit_many(models, self.X, self.y, epochs=3, verbose=0))

    def make_handle(self):
        self.handles.append(self.model.compiled())

    def use_handle(self):
        for each in self.handles:
            each.predict(self.one([self.X[:2], np.zeros((3, FEATURES), "f4"), self.X.T[:1]]))

    def wrong_labels(self):
        y = np.array(self.y)
        y[int(self.rng.integers(len(y)))] = self.one([-5, 10**6])
        self.strike(lambda: self.model.fit(self.X, y, optimizer=self.optimizer))

    def save(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.safetensors")
            self.model.save(path)
            if fastnn.load(path).parameters.tobytes() != self.model.parameters.tobytes():
                raise Failure(f"a saved model has other parameters after {self.log}")

    # ------------------------------------------------------------------ what is looked at

    def run(self):
        steps = [self.assign] * 4 + [self.alter] * 3 + [self.fit] * 5 + [
            self.replace, self.remake, self.partial_fit, self.predict, self.evaluate, self.passes,
            self.by_hand, self.copy, self.columns, self.from_scratch, self.fit_many,
            self.make_handle, self.use_handle, self.wrong_labels, self.save,
        ]  # fmt: skip
        for _ in range(8):
            self.look_at(self.one(steps))

    def look_at(self, step):
        """Do one random thing, and look at what is left."""
        self.log.append(step.__name__)
        threads, before, self.meddled = _thread._count(), self.parameters(), False
        try:
            step()
        except (KeyboardInterrupt, Struck):
            self.log.append("interrupted")
        except Failure:
            raise
        except UNCLEAR as error:
            raise Failure(f"unclear {error!r:.300} after {self.log}") from error
        except Exception as error:
            self.log.append(f"{error!r:.150}")
            trains = step in (self.fit, self.partial_fit, self.wrong_labels, self.evaluate)
            refused = trains and not self.meddled and isinstance(error, TypeError | ValueError)
            if refused and self.parameters() != before:
                raise Failure(f"refused, and changed all the same: {self.log}") from error
        after = self.parameters()
        if count_threads(threads) > threads:
            raise Failure(f"a thread is left after {self.log}")
        if self.parameters() != after:
            raise Failure(f"parameters change after {self.log}")
        with contextlib.suppress(ValueError):  # of a layer that was made anew
            self.model._network.check_arrays()
            parts = [
                each
                for layer in self.model._network.parametric
                for each in (layer.weights, layer.biases)
            ]
            if b"".join(part.tobytes() for part in parts) != self.model.parameters.tobytes():
                raise Failure(f"layers and buffer differ after {self.log}")

    def parameters(self):
        return self.model._network.buffer.tobytes()


def work(first, last):
    """Take the sequences [first, last) in this process; print each failure."""

    def strike(signum, frame):
        raise Struck

    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, strike)
    sys.unraisablehook = lambda unraisable: None  # an exception in a generator that is closed
    for number in range(first, last):
        print("begin", number, flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        with contextlib.suppress(Struck):  # a signal that came late
            try:
                User(number).run()
            except Failure as failure:
                print("failure", number, f"{failure!s:.2000}", flush=True)
    faulthandler.cancel_dump_traceback_later()
    print("end", flush=True)


def run(sequences, seed=0):
    """Take so many sequences in child processes; return a list of what went wrong."""
    failures, first, last = [], seed, seed + sequences
    while first < last:
        end = min(first + PER_CHILD, last)
        command = [sys.executable, "-X", "faulthandler", __file__, "--work", f"{first}:{end}"]
        child = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = child.stdout.splitlines()
        failures += [line for line in lines if line.startswith("failure")]
        if lines[-1:] == ["end"]:
            first = end
            continue
        begun = [int(line.split()[1]) for line in lines if line.startswith("begin")]
        at = begun[-1] if begun else first
        failures.append(f"died in {at} with {child.returncode}: {child.stderr[:1500]}")
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
