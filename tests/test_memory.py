"""How much memory training and prediction take beside the data, as the system counts it."""

from pathlib import Path

import numpy as np
import pytest
from child import run_python

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs /proc/self/status, which Linux has"
)

# 188 MB in 60,000 rows. `MB` is what may come on top.
CODE = """
import sys
sys.modules["scipy"] = None  # numba loads its BLAS, 13 MB, where it is installed

import numpy as np
import fastnn

MB = 10**6

def status(name):
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(name + ":"))

def make_model(outputs=10):
    layers = fastnn.Dense(784, 128, rng=0), fastnn.ReLU(), fastnn.Dense(128, outputs, rng=1)
    return fastnn.Sequential(layers)

def fit(X):
    make_model().fit(X, np.arange(len(X)) % 10, batch_size=128, seed=0)
"""


@pytest.fixture(scope="module")
def run():
    """Return a function that runs code behind `CODE`, with all machine code in the cache."""
    warm_up = "X = np.ones((200, 784), np.float32); fit(X); make_model().predict_proba(X)"
    run_python(CODE + warm_up, FASTNN_CACHE="1")
    return lambda code: run_python(CODE + code, FASTNN_CACHE="1")


def test_fit_takes_the_data_and_60_mb(run):
    run(
        """
before = status("VmHWM")
X = np.full((60_000, 784), 0.5, np.float32)
fit(X)
beside = status("VmHWM") - before - X.nbytes
assert beside <= 60 * MB, beside
"""
    )


def test_fit_takes_8_mb_once_its_code_is_loaded(run):
    run(
        """
X = np.full((60_000, 784), 0.5, np.float32)
fit(X[:200])
before = status("VmHWM")
fit(X)
beside = status("VmHWM") - before
assert beside <= 8 * MB, beside
"""
    )


def test_prediction_takes_its_result_and_8_mb(run):
    run(
        """
X = np.full((60_000, 784), 0.5, np.float32)
model = make_model(outputs=200)
model.predict_proba(X[:200])
before = status("VmHWM")
outputs = model.predict_proba(X)
beside = status("VmHWM") - before - outputs.nbytes
assert beside <= 8 * MB, beside
"""
    )


def test_bytes_and_strides_take_8_mb_more(run):
    run(
        """
def fit(X):
    make_model().fit(X, np.arange(len(X)) % 10, batch_size=128, seed=0, scale=1 / 255)

def everything(X):
    fit(X)
    return make_model().predict_proba(X, scale=1 / 255).nbytes

X = np.full((60_000, 784), 7, np.uint8)
wide = np.full((60_000, 2 * 784), 0.5, np.float64)
for part in (X, wide[:, ::2]):
    everything(part[:6000])
    before = status("VmHWM")
    outputs = everything(part)
    beside = status("VmHWM") - before - outputs
    assert beside <= 8 * MB, (beside, part.dtype)
"""
    )


def test_batches_take_the_largest_one_and_8_mb(run):
    run(
        """
X = np.full((256, 784), 0.5, np.float32)
y = np.arange(256) % 10
def generate():
    for _ in range(200):
        yield X.copy(), y
make_model().fit(batches=[(X, y)])
before = status("VmHWM")
make_model().fit(batches=generate)
beside = status("VmHWM") - before
assert beside <= 8 * MB, beside
"""
    )


def test_memory_map_is_not_copied(run, tmp_path):
    path = tmp_path / "X.npy"
    np.lib.format.open_memmap(path, "w+", np.float32, (60_000, 784))  # zeros, none on the disk
    # The limit counts memory that only this process may write to, and not what is mapped "r".
    run(
        f"""
import resource

X = np.load({str(path)!r}, mmap_mode="r")
fit(X[:200])
resource.setrlimit(resource.RLIMIT_DATA, (status("VmData") + 60 * MB, resource.RLIM_INFINITY))
try:
    X.copy()
except MemoryError:
    pass
else:
    raise AssertionError("the limit does not hold")
fit(X)
make_model().predict_proba(X)
"""
    )
