"""Which unit multiplies operands in bfloat16, and how the system is asked for AMX."""

import ctypes
import errno
import json
import os
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from child import run_python

import fastnn
from fastnn.kernels import units
from fastnn.kernels.codes import Unit
from fastnn.kernels.numba_private import current_codegen
from fastnn.program import precision

HERE = precision.unit_of_cpu()


@pytest.fixture
def cpu(monkeypatch):
    """Return a function that gives this process another CPU and system, but for its kernels."""
    precision.unit_of_cpu.cache_clear()

    def change(*instructions, name="sapphirerapids", platform="linux", answer=0):
        calls = []

        def syscall(*arguments):
            calls.append(arguments)
            ctypes.set_errno(errno.EOPNOTSUPP)
            return answer

        system = SimpleNamespace(syscall=syscall)
        known = {Unit.EMULATED, *instructions}
        monkeypatch.setattr(units, "has_unit", lambda codegen, unit: unit in known)
        monkeypatch.setattr("fastnn.kernels.numba_private.machine_of", lambda _: ("", name, ""))
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setattr(ctypes, "CDLL", lambda *args, **kwargs: system)
        return calls

    yield change
    precision.unit_of_cpu.cache_clear()


def test_the_system_is_asked_once_for_amx(cpu):
    calls = cpu(Unit.DOT, Unit.AMX)
    assert precision.unit_of_cpu() == (Unit.AMX, "AMX", "")
    assert precision.unit_of_cpu() == (Unit.AMX, "AMX", "")
    assert calls == [(158, 0x1023, 18)]


def test_a_system_that_refuses_gets_another_unit(cpu):
    cpu(Unit.DOT, Unit.AMX, answer=-1)
    code, _, reason = precision.unit_of_cpu()
    assert code == Unit.EMULATED
    assert "refuses AMX" in reason
    assert os.strerror(errno.EOPNOTSUPP) in reason


def test_other_systems_are_not_asked(cpu):
    calls = cpu(Unit.AMX, platform="win32")
    assert precision.unit_of_cpu() == (
        Unit.EMULATED, "float32 vectors", "AMX is not used on win32"
    )  # fmt: skip
    assert calls == []


def test_a_system_without_the_call_gets_another_unit(cpu, monkeypatch):
    cpu(Unit.AMX)
    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **kwargs: SimpleNamespace())
    assert precision.unit_of_cpu().code == Unit.EMULATED
    assert "cannot be asked" in precision.unit_of_cpu().reason


@pytest.mark.parametrize(
    ("name", "unit"), [("znver4", Unit.DOT), ("znver5", Unit.DOT), ("cooperlake", Unit.EMULATED)]
)
def test_dot_products_are_for_cpus_of_amd(cpu, name, unit):
    calls = cpu(Unit.DOT, name=name)
    assert precision.unit_of_cpu() == (
        unit, "AVX512-BF16" if unit else "float32 vectors", "the CPU has no AMX"
    )  # fmt: skip
    assert calls == []


def test_the_unit_is_one_that_this_cpu_has():
    assert units.has_unit(current_codegen(), HERE.code)
    assert (HERE.code == Unit.AMX) == (not HERE.reason)


# What follows runs with whatever unit is here.

SCRIPT = """
import json, os, sys, threading
import numpy as np
import fastnn
from fastnn.program import precision

rng = np.random.default_rng(0)
X, y = rng.standard_normal((200, 40), dtype=np.float32), rng.integers(0, 9, 200)
layers = [fastnn.Dense(40, 32, rng=0), fastnn.ReLU(), fastnn.Dense(32, 9, rng=1)]
model = fastnn.Sequential(layers)
"""


def test_nothing_is_asked_at_import_or_in_the_highest_precision():
    code = (
        SCRIPT
        + """
model.fit(X, y, verbose=0)
model.predict(X)
print(precision.unit_of_cpu.cache_info().currsize)
"""
    )
    assert run_python(code) == "0"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_predicts_the_same():
    code = (
        SCRIPT
        + """
expected = model.predict_proba(X, precision="medium")
sys.stdout.flush()
child = os.fork()
if not child:
    os._exit(0 if (model.predict_proba(X, precision="medium") == expected).all() else 7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    )
    assert run_python(code, PYTHONWARNINGS="ignore::DeprecationWarning") == "0"


def test_threads_that_run_before_the_first_use_predict_the_same():
    code = (
        SCRIPT
        + """
model.predict(X[:9], precision="medium")  # compiles, in another process of tests perhaps
precision.unit_of_cpu.cache_clear()
begin, results = threading.Barrier(9), []
def predict():
    begin.wait()
    results.append(model.predict_proba(X, precision="medium", threads=1))
threads = [threading.Thread(target=predict) for _ in range(8)]
for thread in threads:
    thread.start()
begin.wait()
for thread in threads:
    thread.join()
print(len(results), all((each == results[0]).all() for each in results))
"""
    )
    assert run_python(code) == "8 True"


def test_tiles_are_released_before_a_call_returns():
    code = (
        """
import amx_double
amx_double.use()
"""
        + SCRIPT
        + """
counts = []
def count():
    counts.append(amx_double.events.tolist())
options = {"precision": "medium", "verbose": 0, "batch_size": 64}
model.fit(X, y, threads=2, **options)
count()
model.predict(X, precision="medium", threads=1)
count()
try:  # leaves at a step whose loss is not finite
    model.fit(X * np.float32(1e30), y, optimizer=fastnn.SGD(1e30), epochs=3, **options)
except fastnn.NonFiniteLossError:
    count()
X[150] = np.nan
try:  # leaves at a block
    model.predict(X, precision="medium", threads=1)
except ValueError:
    count()
print(json.dumps(counts))
"""
    )
    counts = json.loads(run_python(code, FASTNN_CACHE="0"))
    assert len(counts) == 4
    before = 0
    for configured, released in counts:
        assert configured == released > before
        before = configured


def test_a_pickled_handle_takes_the_unit_of_its_new_cpu():
    layers = [fastnn.Dense(40, 32, rng=0), fastnn.ReLU(), fastnn.Dense(32, 9, rng=1)]
    handle = fastnn.Sequential(layers).compiled(precision="medium")
    predictor = handle._predictor
    expected = handle.predict_proba(np.ones((20, 40), np.float32))
    predictor.layers["unit"] = Unit.AMX + 5
    assert np.isnan(handle.predict_proba(np.ones((20, 40), np.float32))).all()
    again = pickle.loads(pickle.dumps(handle))
    assert (again._predictor.layers["unit"] == HERE.code).all()
    np.testing.assert_array_equal(again.predict_proba(np.ones((20, 40), np.float32)), expected)
