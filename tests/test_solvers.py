"""The steps of scikit-learn's estimators in the compiled epoch, against NumPy in float64."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from test_trainer import PENALTIES, compare, fit, make_data, make_model

import fastnn
from fastnn import kernels
from fastnn.kernels import reference
from fastnn.kernels.catalogue import Rule, n_states_of
from fastnn.kernels.records import STEP
from fastnn.program.threads import with_team
from fastnn.run.data import as_data
from fastnn.scikit.solvers import AdamSteps, FullBatch, MomentumSteps, run_lbfgs

STEPS = {
    "plain": lambda scale: MomentumSteps(0.05, 0, True, scale),
    "momentum": lambda scale: MomentumSteps(0.05, 0.9, False, scale),
    "Nesterov": lambda scale: MomentumSteps(0.05, 0.9, True, scale),
    "Adam": lambda scale: AdamSteps(0.01, 0.9, 0.99, 1e-2, scale),
}


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("weighted", [False, True])
def test_steps_and_shares_of_penalties(steps, weighted, monkeypatch):
    X, y = make_data("labels")
    weights = np.random.default_rng(0).uniform(0, 2, len(X)) if weighted else None
    weights_of = {"sample_weight": weights}
    compare(
        monkeypatch, lambda: make_model("Tanh", **PENALTIES), X, y, STEPS[steps](1.0), rtol=1e-7,
        **weights_of,
    )  # fmt: skip


def test_a_batch_has_its_share_of_the_penalty():
    X, y = make_data("labels")
    model = make_model(weights_l2=0.5)
    expected = 0.5 * sum(np.square(layer.weights).sum() for layer in model.layers[::2])
    history = fit(model, X, y, MomentumSteps(1e-30, 0, False), epochs=1, batch_size=10)
    # Batches of 10, 10, 10 and 7: each sample meets a share of 1 / 10 or 1 / 7.
    assert history.penalty[0] == pytest.approx(expected * (30 / 10 + 7 / 7) / 37)


def test_penalties_with_a_clipped_norm(monkeypatch):
    X, y = make_data("labels")

    def steps():
        optimizer = MomentumSteps(0.05, 0.9, True)
        optimizer.clip_norm = 0.05
        return optimizer

    compare(monkeypatch, lambda: make_model(**PENALTIES), X, y, steps(), rtol=1e-7)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_at_one_rate_is_that_of_sgd(nesterov):
    X, y = make_data("labels")
    one, other = make_model(), make_model()
    fit(one, X, y, MomentumSteps(0.05, 0.9, nesterov))
    fit(other, X, y, fastnn.SGD(0.05, momentum=0.9, nesterov=nesterov))
    assert_allclose(one.parameters, other.parameters, rtol=1e-9, atol=1e-12)


def test_velocity_keeps_the_rate_that_it_was_made_with():
    parameters, gradient = np.ones(1), np.ones(1)
    optimizer = MomentumSteps(0.1, 0.5, False)
    optimizer.update(parameters, gradient)
    optimizer.learning_rate = 0.01
    optimizer.update(parameters, gradient)
    assert parameters[0] == pytest.approx(1 - 0.1 - (0.5 * 0.1 + 0.01))


@pytest.mark.parametrize("steps", STEPS)
def test_a_scale_is_one_of_the_gradient(steps):
    """A mean over two equal outputs is half of their sum."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 5)), rng.standard_normal(40)
    found = []
    for width, scale in ((1, 0.5), (2, 1.0)):
        layer = fastnn.Dense(5, width, dtype=np.float64, rng=0, init="zeros")
        model = fastnn.Sequential([layer], loss=fastnn.MeanSquaredError())
        targets = np.repeat(y[:, None], width, axis=1)
        fit(model, X, targets, STEPS[steps](scale), epochs=5)
        found.append(layer.weights[:, 0])
    assert_allclose(found[0], found[1], rtol=1e-10)


# ------------------------------------------------------------------ all samples at once


def full_batch(model, X, y, weights=None, threads=1):
    data = as_data(model._program, X, y, weights)
    return with_team(threads, lambda team: FullBatch(model._program, data, team).evaluate())


@pytest.mark.parametrize("loss", ["labels", "answers", "squared", "Huber", "counts"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradient_is_central_differences(loss, weighted, monkeypatch):
    monkeypatch.setattr("fastnn.scikit.solvers._ROWS", 16)  # 37 rows: two whole batches and 5
    X, y = make_data(loss)
    weights = np.random.default_rng(1).integers(0, 3, len(X)) * 1.0 if weighted else None
    model = make_model("Tanh", loss, hidden=(4,), **PENALTIES)
    total, penalty, gradient = full_batch(model, X, y, weights)
    assert penalty == pytest.approx(model._network.penalty())
    outputs = model.forward(X)
    assert total == pytest.approx(model.loss.calculate(outputs, y, sample_weight=weights))
    step = 1e-6
    for i in range(len(model.parameters)):
        found = []
        for sign in (-1, 1):
            model.parameters[i] += sign * step
            found.append(sum(full_batch(model, X, y, weights)[:2]))
            model.parameters[i] -= sign * step
        assert gradient[i] == pytest.approx((found[1] - found[0]) / (2 * step), abs=1e-7)


def test_threads_change_no_bit_and_nothing_moves():
    X, y = make_data("labels", n=2500)
    model = make_model()
    before = model.parameters.copy()
    one, two = full_batch(model, X, y), full_batch(model, X, y, threads=2)
    assert one[:2] == two[:2]
    assert np.array_equal(one[2], two[2])
    assert np.array_equal(model.parameters, before)


def test_lbfgs_finds_least_squares():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 4))
    y = X @ [1.0, -2.0, 3.0, 0.5] + 0.3 + rng.normal(0, 0.1, 60)
    layer = fastnn.Dense(4, 1, dtype=np.float64, rng=0)
    model = fastnn.Sequential([layer], loss=fastnn.MeanSquaredError())
    data = as_data(model._program, X, y)
    options = {"gtol": 1e-9, "ftol": 1e-15}
    result, loss, penalty = run_lbfgs(model._program, data, 0.5, 1, options=options)
    expected, residual, *_ = np.linalg.lstsq(np.column_stack([X, np.ones(60)]), y)
    assert_allclose(model.parameters, expected, rtol=1e-5)
    assert loss == pytest.approx(residual[0] / 60)
    assert result.fun == pytest.approx(loss / 2)
    assert penalty == 0


def test_lbfgs_that_leaves_the_numbers_leaves_the_model():
    X, y = make_data("squared")
    model = make_model(loss="squared")
    model.parameters *= 1e200
    before = model.parameters.copy()
    data = as_data(model._program, X, y)
    with pytest.raises(FloatingPointError, match="no longer finite"):
        run_lbfgs(model._program, data, 1.0, 1)
    assert np.array_equal(model.parameters, before)


# ------------------------------------------------------------------ numbers that fade away

# Those with states, which fade away unless a rule adds them up.
RULES = [
    name for name, code in Rule._asdict().items() if n_states_of(code) > 0 and code != Rule.ADAGRAD
]


def make_step(**values):
    """Return an array of one STEP that clips nothing."""
    step = np.zeros(1, STEP)
    for name, value in {"clip": np.inf, "clip_norm": np.inf, **values}.items():
        step[name] = value
    return step


@pytest.mark.parametrize("module", [kernels, reference])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", RULES)
def test_what_falls_below_the_normal_numbers_is_zero(module, dtype, rule):
    now = make_step(first=0.5, second=0.5, shrink=0.5, epsilon=1, correction=1)
    code, smallest = getattr(Rule, rule), np.finfo(dtype).tiny

    def step(parameters, states):
        arrays = parameters.copy(), np.array([states] * 3)
        module.optimizer_update(*arrays, np.zeros_like(states), code, now, 1.0, 0.0, 0.0)
        return arrays

    for size in (3, 40):
        place = np.arange(size) % 3
        start = np.array([1.9, -1.9, 2.0], dtype)[place] * smallest
        expected = np.array([0, 0, 1], dtype)[place] * smallest
        zeros = np.zeros(size, dtype)
        assert np.array_equal(step(start, zeros)[0], expected)
        _, states = step(zeros, abs(start))
        # The largest v of AMSGrad does not fall, and those of no use to a rule stay.
        count = 2 if rule == "AMSGRAD" else n_states_of(code)
        assert np.array_equal(states[:count], [expected] * count)
        assert np.array_equal(states[count:], [abs(start)] * (3 - count))


@pytest.mark.parametrize("module", [kernels, reference])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", ["ADAGRAD", "RMSPROP", "ADAM", "AMSGRAD"])
def test_a_gradient_whose_square_is_not_normal_is_zero(module, dtype, rule):
    now = make_step(shrink=1, epsilon=1, correction=1)
    smallest = dtype(2.0 ** (-63 if dtype is np.float32 else -511))
    gradients = np.array([1.0, -1.0, 0.99, -0.99], dtype) * smallest
    states = np.zeros((3, 4), dtype)
    code = getattr(Rule, rule)
    module.optimizer_update(np.zeros(4, dtype), states, gradients, code, now, 1.0, 0.0, 0.0)
    squares = states[1 if rule in ("ADAM", "AMSGRAD") else 0]
    assert np.array_equal(squares, np.array([1, 1, 0, 0], dtype) * smallest**2)


def test_weights_that_no_sample_moves_end_at_zero():
    """Where they stop at subnormal numbers, an epoch takes ten times as long."""
    X, y = make_data("labels", np.float32)
    X[:, :2] = 0
    model = make_model(dtype=np.float32, hidden=(8,), weights_l2=0.05)
    optimizer = AdamSteps(0.01, 0.9, 0.999, 1e-8)
    fit(model, X, y, optimizer, epochs=1500)
    states = optimizer.state_of(model.parameters).arrays
    assert np.abs(model.layers[0].weights[:2]).max() < 1e-15
    for values in (model.parameters, states):
        assert not ((values != 0) & (np.abs(values) < np.finfo(np.float32).tiny)).any()
