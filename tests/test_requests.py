"""A call of `fit` as one record, and what is undone where training diverges."""

import inspect

import numpy as np
import pytest

import fastnn
from fastnn.run.request import FitArguments
from fastnn.run.rollback import DivergedError, keep_state, undo_if_diverged


def test_the_record_has_the_arguments_of_fit():
    """`fit` passes them on by their places, and `fit_many` takes its defaults from the record."""
    parameters = dict(inspect.signature(fastnn.Sequential.fit).parameters)
    del parameters["self"]
    assert tuple(parameters) == FitArguments._fields
    defaults = {name: each.default for name, each in parameters.items()}
    assert defaults == FitArguments._field_defaults


class Weights:
    """Some numbers, with a note of what was done to them."""

    def __init__(self):
        self.values, self.n_restored = np.zeros(3), 0

    def is_finite(self):
        return bool(np.isfinite(self.values).all())

    def restore(self):
        self.n_restored += 1
        self.values[...] = 0

    def undo(self, work):
        return undo_if_diverged(work, self.is_finite, self.restore)


def test_what_goes_well_stays():
    weights = Weights()

    def work():
        weights.values += 1
        return "result"

    assert weights.undo(work) == "result"
    assert weights.values.tolist() == [1, 1, 1]
    assert weights.n_restored == 0


@pytest.mark.parametrize("batch", [None, 4])
def test_what_diverges_is_undone(batch):
    weights = Weights()

    def work():
        weights.values *= np.nan if batch is None else 1
        weights.values += 1
        if batch is not None:
            raise DivergedError(batch)

    with pytest.raises(DivergedError) as caught:
        weights.undo(work)
    assert caught.value.batch == batch
    assert weights.values.tolist() == [0, 0, 0]
    assert weights.n_restored == 1


@pytest.mark.parametrize(("value", "expected"), [(1.0, 1.0), (np.inf, 0.0)])
def test_an_interrupt_undoes_what_is_not_finite(value, expected):
    weights = Weights()

    def work():
        weights.values[...] = value
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weights.undo(work)
    assert weights.values.tolist() == [expected] * 3


def test_an_interrupt_breaks_no_restoring():
    weights = Weights()

    def restore():
        weights.n_restored += 1
        if weights.n_restored == 1:
            raise KeyboardInterrupt
        weights.values[...] = 0

    def work():
        weights.values[...] = np.inf

    with pytest.raises(KeyboardInterrupt):
        undo_if_diverged(work, weights.is_finite, restore)
    assert weights.values.tolist() == [0, 0, 0]


def test_overflows_of_a_step_warn_nobody():
    weights = Weights()

    def work():
        weights.values += np.array([1e308, 0, 0]) * 10
        weights.values -= weights.values

    with pytest.raises(DivergedError):
        weights.undo(work)


def test_the_kept_state_has_network_optimizer_and_generator():
    model, adam = fastnn.Sequential([fastnn.Dense(2, 2, rng=0)]), fastnn.Adam()
    rng = np.random.default_rng(0)
    model.fit(np.eye(2), [0, 1], optimizer=adam, verbose=0)
    state = adam.state_of(model.parameters)
    before = model.parameters.copy(), state.iterations, state.arrays.copy()
    restore = keep_state(model._network, [state], rng)
    expected = rng.random()
    model.fit(np.eye(2), [0, 1], optimizer=adam, verbose=0)
    restore()
    assert np.array_equal(model.parameters, before[0])
    assert state.iterations == before[1] == 1
    assert np.array_equal(state.arrays, before[2])
    assert rng.random() == expected
