"""Private parts of numba hidden one at a time: kernels train all the same, with the same bits."""

import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from child import run_python

import fastnn
from fastnn.kernels import numba_private
from fastnn.kernels.numba_private import INNER, PARTS, STORING

LATE = "compile_for_args", "is_locked", "magic_tuple", "cpu_target"

# What is hidden together: what has one way round.
GROUPS = {"nothing": (), "storing": STORING, "inner": INNER, **{name: (name,) for name in LATE}}

# In a process of its own, before numba_private looks for its parts.
HIDE = """
import importlib
plain, places = importlib.import_module, {places}
class Without:
    def __init__(self, real, paths):
        self._real, self._paths = real, paths
    def __getattr__(self, name):
        if [name] in self._paths:
            raise AttributeError(name)
        found = getattr(self._real, name)
        paths = [rest for first, *rest in self._paths if first == name]
        return Without(found, paths) if paths else found
def import_module(name, package=None):
    paths = [path.split(".") for module, path in places if module == name]
    found = plain(name, package)
    return Without(found, paths) if paths else found
importlib.import_module = import_module
"""
TRAIN = """
import json
from numba.core import event
import test_numba_private
from fastnn.kernels import numba_private
with event.install_recorder("numba:compile") as recorder:
    parameters = test_numba_private.train()
missing = [name for name, found in numba_private._parts.items() if found is None]
print(json.dumps([missing, parameters.tobytes().hex(), len(recorder.buffer)]))
"""


def train():
    """Return the parameters of a small network after some steps."""
    X = np.random.default_rng(0).standard_normal((40, 5), dtype=np.float32)
    model = fastnn.Sequential([fastnn.Dense(5, 9, rng=0), fastnn.ReLU(), fastnn.Dense(9, 3, rng=1)])
    model.fit(X, np.arange(40) % 3, epochs=2, batch_size=16, seed=0, verbose=False)
    return model.parameters


@pytest.fixture(scope="module")
def children(tmp_path_factory):
    """Return {group: the future of what its process prints, and its folder of code}."""
    stored = tmp_path_factory.mktemp("stored")

    def start(group, folder):
        code = HIDE.format(places=[PARTS[name] for name in GROUPS[group]]) + TRAIN
        return json.loads(run_python(code, FASTNN_CACHE_DIR=str(folder))), folder

    with ThreadPoolExecutor(2) as pool:
        futures = {"nothing": pool.submit(start, "nothing", stored)}
        for group in ("storing", "inner"):
            futures[group] = pool.submit(start, group, tmp_path_factory.mktemp(group))
        futures["nothing"].result()
        yield {**futures, **{name: pool.submit(start, name, stored) for name in LATE}}


def test_every_part_is_hidden_once():
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(PARTS)


@pytest.mark.parametrize("group", GROUPS)
def test_without_private_parts_of_numba_training_gives_the_same_bits(group, children):
    (missing, parameters, compilations), folder = children[group].result()
    assert sorted(missing) == sorted(GROUPS[group])
    assert bytes.fromhex(parameters) == train().tobytes()
    # Code that another process has stored is the code for this machine, however that is asked.
    assert (compilations == 0) == (group in LATE)
    assert (list(folder.iterdir()) == []) == (group == "storing")


@pytest.mark.parametrize("name", INNER)
def test_each_part_of_the_own_compiler_is_needed(name, monkeypatch):
    assert "pipeline_class" in numba_private.inner_options()
    monkeypatch.setitem(numba_private._parts, name, None)
    assert "pipeline_class" not in numba_private.inner_options()


@pytest.mark.parametrize("name", STORING)
def test_each_part_of_storing_is_needed(name, monkeypatch):
    monkeypatch.setitem(numba_private._parts, name, None)
    assert numba_private.pack_result(None) is None
    assert numba_private.unpack_result(None, b"") is None


def test_a_dispatcher_without_a_place_for_a_cache_has_none():
    dispatcher = SimpleNamespace()
    numba_private.set_cache(dispatcher, object())
    assert vars(dispatcher) == {}
