"""A code that stands for nothing is seen: no kernel calculates something else in its place."""

import numba
import numpy as np
import pytest

import fastnn
from fastnn import kernels
from fastnn.kernels import catalogue, codes, faults, groups, reference
from fastnn.kernels.catalogue import Loss, Operation, Rule
from fastnn.kernels.records import SAMPLE_LAYOUT
from fastnn.nn.optimizer import as_steps
from fastnn.program import compiled
from fastnn.program.plan import make_plan

ENUMERATIONS = {
    name: value
    for module in (catalogue, codes)
    for name, value in vars(module).items()
    if isinstance(value, tuple) and hasattr(value, "_fields")
}
DTYPES = (np.float32, np.float64)
UNKNOWN = 99


@pytest.mark.parametrize("name", ENUMERATIONS)
def test_no_code_is_used_twice(name):
    values = ENUMERATIONS[name]
    assert len(set(values)) == len(values)


def test_each_operation_is_in_one_group_and_no_other_code_is_in_any():
    activations = [row.code for row in catalogue.ACTIVATIONS]
    predicates = (
        catalogue.is_basic, activations.__contains__, catalogue.depends_on_mode,
        catalogue.is_residual, catalogue.is_embedding,
    )  # fmt: skip
    for operation in range(-2, UNKNOWN):
        assert sum(each(operation) for each in predicates) == (operation in Operation)


@pytest.mark.parametrize(
    "name",
    ["is_basic", "is_norm", "is_residual", "is_embedding", "depends_on_mode", "has_parameters"],
)
def test_compiled_groups_are_those_of_the_catalogue(name):
    group = getattr(catalogue, name)
    for compiled_group in compiled_of(name):
        for operation in range(-2, UNKNOWN):
            assert compiled_group(operation) == group(operation)


def test_compiled_activations_are_those_of_the_catalogue():
    activations = sorted(row.code for row in catalogue.ACTIVATIONS)
    assert [code for code in range(-2, UNKNOWN) if faults.is_activation(code)] == activations


def test_the_compiled_number_of_states_is_that_of_the_catalogue():
    for compiled_number in compiled_of("n_states_of"):
        for rule in (*Rule, -2, max(Rule) + 1, UNKNOWN):
            assert compiled_number(rule) == catalogue.n_states_of(rule)


def compiled_of(name):
    """Return what checks, and kernels if they need it, have by a name, to be called from Python."""
    of_kernels = getattr(groups, name, None)
    return [getattr(faults, name), *([numba.njit(lambda x: of_kernels(x))] if of_kernels else [])]


def test_no_other_code_is_that_of_a_rule_with_states():
    for rule in (*Rule, -2, max(Rule) + 1, UNKNOWN):
        row = catalogue.RULE_OF.get(rule)
        assert catalogue.n_states_of(rule) == (row.n_states if row else 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "code",
    [UNKNOWN, Operation.DENSE, Operation.BATCH_NORM, Operation.RELU],
)
def test_an_unknown_activation_gives_nan(code, dtype):
    x, results = np.linspace(-1, 1, 37, dtype=dtype), np.zeros((2, 37), dtype)
    kernels.activation_forward(results[0], x, code, 0.1)
    kernels.activation_backward(results[1], x, x, x, code, 0.1)
    assert np.isnan(results).all()
    for call in (
        lambda: reference.activation_forward(results[0], x, code, 0.1),
        lambda: reference.activation_backward(results[1], x, x, x, code, 0.1),
    ):
        with pytest.raises(KeyError):
            call()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("code", [UNKNOWN, Loss.SOFTMAX_CROSS_ENTROPY])
def test_an_unknown_loss_gives_nan(code, dtype):
    z, losses, slopes = np.full((5, 3), 0.3, dtype), np.zeros(5), np.zeros((5, 3), dtype)
    kernels.loss_forward(losses, z, z[::-1].copy(), code, 0.5)
    kernels.loss_backward(slopes, z, z[::-1].copy(), code, 0.5)
    assert np.isnan(losses).all()
    assert np.isnan(slopes).all()
    with pytest.raises(ValueError, match="kind is"):
        reference.loss_forward(losses, z, z, code, 0.5)
    with pytest.raises(ValueError, match="kind is"):
        reference.loss_backward(slopes, z, z, code, 0.5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("code", [UNKNOWN, -2])
def test_an_unknown_rule_gives_nan_and_leaves_the_states(code, dtype):
    parameters, states = np.ones(19, dtype), np.ones((3, 19), dtype)
    step = as_steps(fastnn.Adam().numbers(0, 1, np.dtype(dtype)), 1)
    kernels.optimizer_update(parameters, states, parameters.copy(), code, step, 1.0, 0.0, 0.0)
    assert np.isnan(parameters).all()
    assert (states == 1).all()
    with pytest.raises(ValueError, match="rule is"):
        reference.optimizer_update(np.ones(19, dtype), states, states[0], code, step, 1.0, 0.0, 0.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("code", [UNKNOWN, -1])
def test_samples_of_an_unknown_dtype_become_nan(code, dtype):
    source, rows = np.zeros(8 * 37, np.uint8), np.zeros((1, 37), dtype)
    layout = np.array([(code, 0, 8 * 37, 8, 1.0, 0.0)], SAMPLE_LAYOUT)
    kernels.convert_rows(rows, source, layout, np.array([0]))
    assert np.isnan(rows).all()
    with pytest.raises(KeyError):
        reference.convert_rows(rows, source, layout, np.array([0]))


def make_arguments(dtype, training=False):
    """Return (plan, parameters, inputs) of 3-4-2, its table changed to an unknown operation."""
    rng = np.random.default_rng(0)
    layers = [fastnn.Dense(3, 4, rng=1), fastnn.Tanh(), fastnn.Dense(4, 2, rng=2)]
    operations = Operation.DENSE, Operation.TANH, Operation.DENSE
    steps = list(zip(operations, layers, strict=True))
    plan = make_plan(steps, 3, 8, np.dtype(dtype).itemsize, training=training)
    plan.layers["operation"][1] = UNKNOWN
    return plan, rng.standard_normal(26).astype(dtype), rng.random((5, 3)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("extended", [None, True])
def test_an_unknown_operation_predicts_nan(dtype, extended):
    plan, parameters, inputs = make_arguments(dtype)
    outputs, workspace = np.zeros((2, 5, 2), dtype), np.zeros(plan.workspace_size, dtype)
    panels = np.zeros(plan.panels_size, dtype)
    kernels.pack_network(panels, plan.layers, None, parameters)
    finish = Operation.IDENTITY
    kernels.predict_rows(
        outputs[0], workspace, panels, plan.layers, extended, None, parameters, inputs, 8, finish
    )
    kernels.predict_few(outputs[1], workspace, plan.layers, extended, parameters, inputs, finish)
    assert np.isnan(outputs).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("finish", [UNKNOWN, Operation.TANH, Operation.DENSE])
def test_an_unknown_finish_predicts_nan(dtype, finish):
    plan, parameters, inputs = make_arguments(dtype)
    plan.layers["operation"][1] = Operation.TANH
    outputs, workspace = np.zeros((2, 5, 2), dtype), np.zeros(plan.workspace_size, dtype)
    panels = np.zeros(plan.panels_size, dtype)
    kernels.pack_network(panels, plan.layers, None, parameters)
    rest = parameters, inputs
    kernels.predict_rows(outputs[0], workspace, panels, plan.layers, True, None, *rest, 8, finish)
    kernels.predict_few(outputs[1], workspace, plan.layers, True, *rest, finish)
    assert np.isnan(outputs).all()


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("optimizer", [fastnn.SGD, fastnn.Adam])
def test_an_unknown_operation_ends_a_run_and_leaves_the_parameters(monkeypatch, place, optimizer):
    def plan_unknown(*arguments, **options):
        plan = make_plan(*arguments, **options)
        plan.layers["operation"][place] = UNKNOWN
        return plan

    monkeypatch.setattr(compiled, "make_plan", plan_unknown)
    layers = [fastnn.Dense(3, 4, rng=1), fastnn.Softmax(), fastnn.Dense(4, 2, rng=2)]
    model = fastnn.Sequential(layers)
    before = model.parameters.copy()
    X, y = np.random.default_rng(0).random((9, 3), np.float32), np.arange(9) % 2
    with pytest.raises(fastnn.NonFiniteLossError):
        model.fit(X, y, epochs=2, optimizer=optimizer(0.1), verbose=False)
    assert np.array_equal(model.parameters, before)
