"""The handle of `compiled()`: who keeps it alive, and what it does not let happen to it."""

import copy
import gc
import pickle
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from child import run_python
from numba import types
from numba.core.errors import NumbaPendingDeprecationWarning
from numba.core.runtime import rtsys
from numba.experimental import jitclass
from numba.typed import Dict, List
from numpy_network import build

import fastnn

FEATURES = 5
X = np.random.default_rng(0).standard_normal((12, FEATURES)).astype(np.float32)

every_method = pytest.mark.parametrize("method", ["predict", "predict_proba"])


def make(words="17 r 3"):
    """Return a handle, of which nobody else knows, and what it answers."""
    model = build(words, FEATURES, np.float32)
    return model.compiled(), model.predict_proba(X)


def spoil_free_memory():
    """Write other networks over the memory that was given back."""
    gc.collect()
    for width in (17, 3, 33):
        other = build(f"{width} r 3", FEATURES + 1, np.float32)
        other.parameters[...] = 7
        yield [other.compiled() for _ in range(20)]


@numba.njit
def ask(handle, x):
    return handle.predict_proba(x)


@numba.njit
def ask_first(handles, x):
    return handles[0].predict_proba(x)


@numba.njit
def generate(handle, x, times):
    for _ in range(times):
        yield handle.predict_proba(x)


@numba.njit
def give_back(handle):
    return handle


@numba.njit
def pair(handle):
    return handle, [handle, handle]


# ----------------------------------------------------------------------- what holds a handle


def in_typed_list(handle):
    handles = List()
    handles.append(handle)
    return lambda: ask_first(handles, X)


def in_typed_dict(handle):
    handles = Dict.empty(types.int64, numba.typeof(handle))
    handles[0] = handle
    return lambda: ask_first(handles, X)


def in_typed_list_of_tuples(handle):
    handles = List()
    handles.append((handle, 1.0))

    @numba.njit
    def ask_pair(handles, x):
        return handles[0][0].predict_proba(x)

    return lambda: ask_pair(handles, X)


def in_jitclass(handle):
    class Holder:
        def __init__(self, handle):
            self.handle = handle

        def ask(self, x):
            return self.handle.predict_proba(x)

    holder = jitclass([("handle", numba.typeof(handle))])(Holder)(handle)
    return lambda: holder.ask(X)


def in_list_made_by_jitted_code(handle):
    @numba.njit
    def collect(handle):
        return List([handle])

    handles = collect(handle)
    return lambda: ask_first(handles, X)


HOLDERS = (
    in_typed_list,
    in_typed_dict,
    in_typed_list_of_tuples,
    in_jitclass,
    in_list_made_by_jitted_code,
)


@pytest.mark.parametrize("hold", HOLDERS)
def test_what_holds_a_handle_keeps_it_alive(hold):
    handle, expected = make()
    watched = weakref.ref(handle)
    answer = hold(handle)
    del handle
    for _ in spoil_free_memory():
        assert np.array_equal(answer(), expected)
    del answer
    gc.collect()
    assert watched() is None, "the handle stays for ever"


def test_a_generator_keeps_its_handle_to_the_end():
    handle, expected = make()
    watched = weakref.ref(handle)
    generator = generate(handle, X, 4)
    del handle
    for _ in spoil_free_memory():
        assert np.array_equal(next(generator), expected)
    assert len(list(generator)) == 1
    # One that is left half-way keeps its variables, whatever they are: numba has no way to let go.
    del generator
    gc.collect()
    assert watched() is None, "the handle stays for ever"


def test_handles_in_a_list_or_tuple_of_python():
    handle, expected = make()
    assert np.array_equal(ask_first((handle, 1), X), expected)
    with pytest.warns(NumbaPendingDeprecationWarning, match="reflected list"):
        assert np.array_equal(ask_first([handle, handle], X), expected)


def test_a_handle_leaves_jitted_code_as_it_came():
    handle, _ = make()
    assert give_back(handle) is handle
    alone, several = pair(handle)
    assert alone is several[0] is several[1] is handle


def test_a_handle_leaves_a_typed_list_as_it_came():
    handle, _ = make()
    handles = List()
    handles.append(handle)
    assert handles[0] is handle
    assert handles.pop() is handle


def test_a_global_handle_leaves_jitted_code_as_it_came():
    policy, expected = make()

    @numba.njit
    def get():
        return policy

    assert get() is policy
    assert np.array_equal(get().predict_proba(X), expected)


def test_a_handle_that_only_jitted_code_holds_answers_last():
    """The list gives its reference back before the network runs."""
    handle, expected = make()

    @numba.njit
    def take_and_ask(handles, x):
        return handles.pop().predict_proba(x)

    handles = List()
    handles.append(handle)
    watched = weakref.ref(handle)
    del handle
    gc.collect()
    assert np.array_equal(take_and_ask(handles, X), expected)
    gc.collect()
    assert watched() is None


def test_a_handle_that_another_thread_holds():
    handle, expected = make()
    answer = in_typed_list(handle)
    del handle
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(answer) for _ in range(100)]
        for _ in spoil_free_memory():
            pass
        assert all(np.array_equal(future.result(), expected) for future in found)


def go_round_many_times():
    handle, _ = make()
    handles = List()
    handles.append(handle)

    def go_round():
        ask(handle, X)
        give_back(handle)
        pair(handle)
        handles.append(handle)
        handles.pop()
        list(generate(handle, X, 2))

    go_round()
    gc.collect()
    count, before = sys.getrefcount(handle), rtsys.get_allocation_stats()
    for _ in range(2000):
        go_round()
    gc.collect()
    after = rtsys.get_allocation_stats()
    assert sys.getrefcount(handle) == count
    assert after.alloc - after.free == before.alloc - before.free
    assert after.mi_alloc - after.mi_free == before.mi_alloc - before.mi_free


def test_round_trips_keep_no_memory():
    run_python("import test_handles; test_handles.go_round_many_times()", NUMBA_NRT_STATS="1")


CACHED = """
import sys
import numba, numpy as np
import fastnn

@numba.njit(cache=True)
def ask(handle, x):
    return handle.predict_proba(x)

model = fastnn.Sequential([fastnn.Dense(3, 4, rng=0), fastnn.ReLU(), fastnn.Dense(4, 2, rng=1)])
x = np.ones((2, 3), np.float32)
print(np.array_equal(ask(model.compiled(), x), model.predict_proba(x)), end=" ")
print(sum(ask.stats.cache_hits.values()), sum(ask.stats.cache_misses.values()))
"""


def test_a_users_function_is_cached_on_disk(tmp_path):
    script = tmp_path / "ask.py"
    script.write_text(CACHED)
    code = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    assert run_python(code, NUMBA_CACHE_DIR=str(tmp_path)) == "True 0 1"
    assert run_python(code, NUMBA_CACHE_DIR=str(tmp_path)) == "True 1 0"


# ------------------------------------------------------------------------- nothing to assign


@pytest.mark.parametrize(
    "name", ["n_inputs", "n_outputs", "dtype", "loss", "predict", "_header", "_predictor", "new"]
)
def test_attributes_of_a_handle_are_read_only(name):
    handle, expected = make()
    with pytest.raises(AttributeError, match=f"{name} cannot be set: a handle stays as"):
        setattr(handle, name, 1)
    with pytest.raises(AttributeError, match=f"{name} cannot be deleted: a handle stays as"):
        delattr(handle, name)
    with pytest.raises(AttributeError, match="__dict__"):
        handle.__dict__[name] = 1
    for answer in (handle.predict_proba, lambda x: ask(handle, x)):
        assert np.array_equal(answer(X[:1]), expected[:1])
        assert np.array_equal(answer(X), expected)


def test_a_handle_is_not_made_twice():
    handle, expected = make()
    handle.__init__(build("3", 90, np.float64)._program.predictor, fastnn.MeanSquaredError())
    for answer in (handle.predict_proba, lambda x: ask(handle, x)):
        assert np.array_equal(answer(X), expected)


def test_a_handle_of_nothing_is_refused():
    with pytest.raises(TypeError, match=r"predictor is a str: a handle comes from model.compiled"):
        fastnn.CompiledModel("model", fastnn.MeanSquaredError())
    with pytest.raises(AttributeError, match="_kind"):
        ask(object.__new__(fastnn.CompiledModel), X)


def test_a_subclass_cannot_say_that_a_handle_is_another():
    class Larger(fastnn.CompiledModel):
        n_inputs = 1
        dtype = np.dtype(np.float64)

    handle, expected = make()
    larger = Larger(handle._predictor, handle.loss)
    for answer in (larger.predict_proba, lambda x: ask(larger, x)):
        assert np.array_equal(answer(X), expected)


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda h: pickle.loads(pickle.dumps(h))])
def test_a_copy_of_a_handle_answers_alike(way):
    handle, expected = make()
    twin = way(handle)
    del handle
    for _ in spoil_free_memory():
        assert np.array_equal(twin.predict_proba(X), expected)
        assert np.array_equal(ask(twin, X), expected)


# ------------------------------------------------------------------------ subclasses of arrays


class Reversed(np.ndarray):
    """What an array answers to an index is its own business, the memory behind it is not."""

    def __getitem__(self, key):
        return np.asarray(self)[::-1][key]

    def __len__(self):
        return 1000


@pytest.mark.parametrize("n", [None, 1, 2, 12])
@every_method
def test_arrays_of_a_subclass_are_taken_as_plain_ones(method, n, tmp_path):
    rows = X[0] if n is None else X[:n]
    handle, _ = make()
    expected = getattr(handle, method)(rows)
    np.save(tmp_path / "x.npy", rows)
    mapped = [np.load(tmp_path / "x.npy", mmap_mode=mode) for mode in ("r", "c")]
    unmasked = np.ma.array(rows)
    for x in (*mapped, unmasked, rows.view(Reversed), rows.view(np.recarray)):
        found = getattr(handle, method)(x)
        assert type(found) is type(expected)
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("n", [None, 1, 2, 12])
@every_method
def test_masked_values_are_refused(method, n):
    rows = X[0] if n is None else X[:n]
    handle, _ = make()
    for mask in (True, np.arange(FEATURES) == 2):
        x = np.ma.array(rows, mask=np.broadcast_to(mask, rows.shape))
        with pytest.raises(ValueError, match="x has masked values, expected a plain array"):
            getattr(handle, method)(x)


def test_a_handle_that_was_never_assigned_is_an_error():
    """In a jitclass that has no value for it yet, and in a variable that no loop has set."""
    code = """
import numba, numpy as np, fastnn
from numba.experimental import jitclass
layers = [fastnn.Dense(4, 3, rng=0), fastnn.ReLU(), fastnn.Dense(3, 2, rng=1)]
handle, x = fastnn.Sequential(layers).compiled(), np.ones((1, 4), np.float32)

@jitclass([("handle", numba.typeof(handle))])
class Holder:
    def __init__(self):
        pass
    def ask(self, x):
        return self.handle.predict(x)

@numba.njit
def ask(n, handle, x):
    for _ in range(n):
        last = handle
    return last.predict(x)

@numba.njit
def give(n, handle):
    for _ in range(n):
        last = handle
    return last

calls = [
    lambda: Holder().ask(x), lambda: Holder().handle, lambda: ask(0, handle, x),
    lambda: give(0, handle),
]
for call in calls:
    try:
        call()
    except ValueError as error:
        print(error)
print(ask(2, handle, x) == handle.predict(x), give(2, handle) is handle)
"""
    *errors, last = run_python(code).splitlines()
    assert (
        errors
        == ["the handle was never assigned, expected one that model.compiled() has returned"] * 4
    )
    assert last == "[ True] True"
