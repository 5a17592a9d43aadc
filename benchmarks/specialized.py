"""What an epoch compiled for one network would gain, and what it costs to compile.

    python benchmarks/specialized.py

fastnn has one program for all networks, which reads their sizes from records. Here the records are
constants of the compiler, loops over layers are unrolled, and all functions are compiled into one.
Two processes take turns, one with each program, and both give the same parameters.
"""

import argparse
import contextlib
import hashlib
import operator
import os
import statistics
import subprocess
import sys
import tempfile
import time

import llvmlite.binding as llvm
from llvmlite import ir
from networks import NETWORKS, make_data
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import NativeValue, lower_builtin, models, register_model, unbox
from numba.np import numpy_support
from report import Table, digits, microseconds
from stages import make_model, make_optimizer

from fastnn import kernels
from fastnn.program import compiled

_NETWORKS = NETWORKS[:3]
_OPTIMIZERS = ("SGD", "Adam")
_EPOCHS = 5
_OPTIONS = "-inline-threshold=20000", "-unroll-threshold=20000"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="one round, one network: a smoke test")
    parser.add_argument("--serve", choices=("general", "specialized"), help=argparse.SUPPRESS)
    parser.add_argument("--networks", type=int, default=len(_NETWORKS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.networks)
        return
    n_networks, rounds = (1, 1) if options.quick else (options.networks, options.rounds)
    print(table(measure(n_networks, rounds)).section())


def names(n_networks):
    """Return the names of what a process measures, in its order."""
    return [f"{network.name}, {kind}" for network in _NETWORKS[:n_networks] for kind in _OPTIMIZERS]


def measure(n_networks, rounds):
    """Return {name: (seconds of a step, ratio to the general program, seconds to compile)}."""
    with contextlib.ExitStack() as stack:
        programs = [
            stack.enter_context(_program(kind, n_networks)) for kind in ("general", "specialized")
        ]
        (_, general), (to_compile, specialized) = map(_read, programs)
        for name, a, b in zip(names(n_networks), general, specialized, strict=True):
            if a != b:
                raise SystemExit(f"{name}: the two programs give different parameters")
        seconds = [[_ask(process) for process in programs] for _ in range(rounds)]
    results = {}
    for index, name in enumerate(names(n_networks)):
        old, new = ([each[kind][index] for each in seconds] for kind in (0, 1))
        ratio = statistics.median(b / a for a, b in zip(old, new, strict=True))
        results[name] = statistics.median(new), ratio, to_compile[index]
    return results


@contextlib.contextmanager
def _program(kind, n_networks):
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, __file__, "--serve", kind, "--networks", str(n_networks)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"FASTNN_CACHE_DIR": folder},
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _read(process):
    """Return the seconds that each first fit took, and a digest of each network's parameters."""
    seconds, digests = process.stdout.readline().split("|")
    return [float(each) for each in seconds.split()], digests.split()


def _ask(process):
    print("go", file=process.stdin, flush=True)
    return [float(each) for each in process.stdout.readline().split()]


def serve(kind, n_networks):
    """Compile; then measure at each line that comes, and print the seconds of a step."""
    if kind == "specialized":
        for option in _OPTIONS:
            llvm.set_option("", option)
        compiled.kernels = Specialized()
    to_compile, digests, tasks = [], [], []
    for network in _NETWORKS[:n_networks]:
        for optimizer in _OPTIMIZERS:
            begin = time.perf_counter()
            model, task = _task(network, optimizer)
            to_compile.append(time.perf_counter() - begin)
            digests.append(hashlib.sha256(model.parameters.tobytes()).hexdigest())
            tasks.append(task)
    print(*to_compile, "|", *digests, flush=True)
    for _ in sys.stdin:
        print(*(task() for task in tasks), flush=True)


def _task(network, kind):
    """Return a model that has been trained once, and a function that returns a step's seconds."""
    X, y = make_data(network)
    model = make_model(network)
    options = {
        "epochs": _EPOCHS, "batch_size": network.batch, "seed": 0, "threads": 1, "verbose": 0,
        "optimizer": make_optimizer(kind),
    }  # fmt: skip
    model.fit(X, y, **options)

    def run():
        model.fit(X, y, **options)
        begin = time.perf_counter()
        model.fit(X, y, **options)
        return (time.perf_counter() - begin) / (_EPOCHS * network.steps)

    return model, run


def table(results):
    """Return the Table of `measure`."""
    rows = [
        (name, microseconds(seconds), f"{ratio:.2f}", digits(to_compile))
        for name, (seconds, ratio, to_compile) in results.items()
    ]
    return Table(
        "An epoch compiled for one network",
        "Microseconds a step, one thread; the time as a part of that of the general program, the "
        "median of the ratios within rounds; and the seconds of the first fit, compiling included.",
        ("network", "a step", "of the general program", "first fit"),
        rows,
    )


# -------------------------------------------------------------- records that the compiler knows


class Records:
    """Records of layers whose contents are a part of their type."""

    def __init__(self, records):
        self._numba_type_ = RecordsType(records)


class RecordsType(types.Type):
    def __init__(self, records):
        self.count, self.data = len(records), records.tobytes()
        self.record = numpy_support.from_dtype(records.dtype)
        super().__init__(f"Records({self.data.hex()})")


@register_model(RecordsType)
class _RecordsModel(models.OpaqueModel):
    """Nothing at all: the type says everything."""


@unbox(RecordsType)
def _unbox(typ, value, c):
    return NativeValue(cgutils.get_null_value(c.context.get_value_type(typ)))


@infer_global(len)
class _Length(AbstractTemplate):
    def generic(self, args, kws):
        if len(args) == 1 and isinstance(args[0], RecordsType):
            return signature(types.intp, args[0])
        return None


@lower_builtin(len, RecordsType)
def _length(context, builder, sig, args):
    return context.get_constant(types.intp, sig.args[0].count)


@infer_global(operator.getitem)
class _Item(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], RecordsType):
            return signature(args[0].record, args[0], types.intp)
        return None


@lower_builtin(operator.getitem, RecordsType, types.intp)
def _item(context, builder, sig, args):
    """Return the address of a record in a constant of the module, which LLVM can read."""
    records, byte = sig.args[0], ir.IntType(8)
    contents = ir.Constant(ir.ArrayType(byte, len(records.data)), bytearray(records.data))
    constant = cgutils.global_constant(builder, "layers", contents, linkage="internal")
    constant.align = 16
    start = builder.bitcast(constant, byte.as_pointer())
    distance = builder.mul(args[1], context.get_constant(types.intp, records.record.size))
    place = builder.gep(start, [distance], source_etype=byte)
    return builder.bitcast(place, context.get_value_type(records.record))


class Specialized:
    """The kernels, with `train_steps` compiled for the layers that it gets."""

    def __init__(self):
        self._records = {}

    def __getattr__(self, name):
        return getattr(kernels, name)

    def train_steps(self, memory, layers, *others):
        records = self._records.get(id(layers))
        if records is None:
            records = self._records[id(layers)] = layers, Records(layers)
        return kernels.train_steps(memory, records[1], *others)


if __name__ == "__main__":
    main()
