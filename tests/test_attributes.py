"""Public attributes: no assignment and no change in place lets a kernel read foreign memory.

What would crash runs in a process of its own.
"""

import copy
import pickle

import numpy as np
import pytest
from child import run_python
from numpy.testing import assert_allclose
from test_callbacks import make
from test_trainer import fit, make_data, make_model

import fastnn
from fastnn import LambdaCallback, columnwise, kernels, nnfs, validation
from fastnn.nn.dropout import Dropout

every_path = pytest.mark.parametrize("own", [False, True], ids=["compiled", "layer by layer"])


def pickled(value):
    return pickle.loads(pickle.dumps(value))


BEGIN = """
import warnings

import numpy as np
import fastnn
from fastnn import LambdaCallback, columnwise

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X = rng.standard_normal((64, 4)).astype(np.float32)
y = rng.integers(3, size=64)

def make(*rest, outputs=3, **options):
    layers = [fastnn.Dense(4, 8, rng=0), *rest, fastnn.Dense(8, outputs, rng=1)]
    return fastnn.Sequential(layers, **options)

def refused(call, words):
    try:
        call()
    except ValueError as error:
        assert words in str(error), error
    else:
        raise AssertionError("not refused")
"""

# ------------------------------------------------------------------------------- arrays


def test_layers_cannot_be_swapped():
    """A plan made of one network ran on the parameters of another."""
    model = make_model()
    with pytest.raises(AttributeError, match="layers"):
        model.layers = (*model.layers[:2], fastnn.Dense(8, 5_000_000))
    assert isinstance(model.layers, tuple)


def test_the_form_of_an_array_is_changed_in_place():
    run_python(
        BEGIN
        + """
def alter_all(owner, names):
    for name in names:
        for attribute, value in (
            ("shape", (-1,)), ("shape", (1, -1)), ("dtype", np.uint8), ("dtype", np.float64),
            ("dtype", np.int32), ("strides", (0, 0)), ("strides", (4096, 4096)),
        ):
            array = getattr(owner, name)
            if array is not None:
                before = array.shape, array.dtype, array.strides
                try:
                    setattr(array, attribute, value)
                except (ValueError, TypeError):
                    pass
                array = getattr(owner, name)
                assert (array.shape, array.dtype, array.strides) == before, (name, attribute)
                assert np.shares_memory(array, getattr(owner, name))

NAMES = "weights", "biases", "dweights", "dbiases", "running_mean", "running_variance"

def run(alter):
    model = make(fastnn.BatchNorm(8), fastnn.LayerNorm(8), fastnn.ReLU())
    adam = fastnn.Adam(0.01)
    for _ in range(2):
        model.fit(X, y, epochs=2, seed=0, optimizer=adam)
        logits = model.forward(X, training=True)
        model.backward(logits)
        if alter:
            for layer in model.layers:
                alter_all(layer, [name for name in NAMES if hasattr(layer, name)])
            alter_all(model, ["parameters", "gradients"])
            alter_all(adam.state_of(model.parameters), ["arrays"])
        adam.update(model.parameters, model.gradients)
        model.partial_fit(X, y, optimizer=fastnn.SGD(0.1))
        for layer in model.layers:
            if hasattr(layer, "weights"):
                layer.weights += 0.01
                layer.weights -= 0.01
    model.fit(X, y, epochs=2, seed=0, optimizer=adam, callbacks=[LambdaCallback(
        on_chunk_end=lambda run: alter and alter_all(model.layers[0], NAMES[:4])
    )])
    return model.predict_proba(X), model.parameters

for found, expected in zip(run(True), run(False)):
    assert np.array_equal(found, expected)

dense, other = (columnwise.Dense(3, 2, rng=0) for _ in range(2))
alter_all(dense, ["weights"])
for each in (dense, other):
    each.forward(np.ones((3, 5)))
    each.backward(np.ones((2, 5)), 0.1)
assert np.array_equal(dense.weights, other.weights)
"""
    )


def test_views_are_the_same_from_one_time_to_the_next():
    model = make_model()
    layer = model.layers[0]
    assert layer.weights is layer.weights
    assert model.parameters is model.parameters
    before = layer.weights
    before.shape = (-1,)
    assert layer.weights is not before
    assert np.shares_memory(layer.weights, before)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_views_of_copies_are_their_own(copied):
    dense, column = fastnn.Dense(3, 2, rng=0), columnwise.Dense(3, 2, rng=0)
    dense.weights[...], column.weights[...] = 1, 1
    model = fastnn.Sequential([dense])
    assert (model.parameters[:6] == 1).all()
    twin, other = copied(model), copied(column)
    twin.layers[0].weights[...], other.weights[...] = 5, 5
    assert (twin.parameters[:6] == 5).all()
    assert_allclose(twin.layers[0].forward(np.ones((1, 3))), [[15, 15]])
    assert (other.forward(np.ones((3, 1))) == 20).all()
    assert (model.parameters[:6] == 1).all()


def test_what_a_pass_has_kept_is_replaced():
    """LayerNorm read as many scales as `normalized` had rows."""
    run_python(
        BEGIN
        + """
for norm in (fastnn.LayerNorm(4), fastnn.BatchNorm(4)):
    for size in (1, 3, 100_000):
        norm.forward(X, training=True)
        norm.normalized = np.ones((size, 4), np.float32)
        try:
            norm.backward(np.ones((size, 4), np.float32))
        except ValueError as error:
            assert isinstance(norm, fastnn.LayerNorm)
            assert str(error).startswith(f"normalized has shape ({size}, 4), expected what"), error
        else:
            assert isinstance(norm, fastnn.BatchNorm)
    norm.forward(X, training=True)
    norm.normalized.shape = (-1, 2)
    refused(lambda: norm.backward(X), "normalized has shape")
    norm.forward(X, training=True)
    norm.__init__(50_000)
    norm.normalized = np.ones((64, 50_000), np.float32)
    if isinstance(norm, fastnn.BatchNorm):
        refused(lambda: norm.backward(norm.normalized), "normalized has shape")
    else:
        norm.backward(norm.normalized)
        assert norm.dweights.shape == (1, 50_000)
    norm.normalized = None
    try:
        norm.backward(X)
    except RuntimeError:
        pass
for layer in (fastnn.Dense(4, 4), fastnn.ReLU(), fastnn.Tanh(), fastnn.Softmax(),
              fastnn.Dropout(0.5, rng=0)):
    for name in ("inputs", "output", "mask"):
        if hasattr(layer, name):
            layer.forward(X, training=True)
            setattr(layer, name, np.ones((1, 4)))
            try:
                layer.backward(np.ones((100_000, 4)))
            except ValueError as error:
                assert "has shape" in str(error), error
            getattr(layer, name).shape = (-1, 2)
            try:
                layer.backward(X)
            except ValueError as error:
                assert "has shape" in str(error), error
"""
    )


def test_a_layer_that_is_made_anew():
    """The gradients of a larger layer were written into the array of a smaller one."""
    run_python(
        BEGIN
        + """
layer = fastnn.Dense(4, 3, rng=0)
for size in (3, 50_000, 2):
    layer.__init__(4, size)
    layer.backward(np.ones_like(layer.forward(X)))
    assert layer.dweights.shape == (4, size)
model = make()
model.layers[1].__init__(8, 50)
model.backward(model.forward(X))
import copy
twin = copy.deepcopy(model)
twin.fit(X, rng.integers(50, size=64))
model.layers[0].__init__(4, 9)
refused(lambda: copy.deepcopy(model), "layers[1] takes 8 inputs, expected 9")
"""
    )


def test_what_describes_a_layer_says_something_else():
    """The plan counted parameters by attributes that a script, or a subclass, may set."""
    run_python(
        BEGIN
        + """
import copy

def attempt(layers):
    for call in (lambda model: model.fit(X, y), lambda model: model.predict(X),
                 lambda model: copy.deepcopy(model).fit(X, y)):
        try:
            call(fastnn.Sequential(copy.deepcopy(layers)))
        except (ValueError, AttributeError, TypeError) as error:
            pass

def layers():
    ends = fastnn.Dense(4, 8, rng=0), fastnn.Dense(8, 3, rng=1)
    return [ends[0], fastnn.Tanh(), fastnn.BatchNorm(8), ends[1]]

for i in range(4):
    for name, value in (("stored", ()), ("stored", ("weights",)), ("n_parameters", 10**7)):
        model = fastnn.Sequential(layers())
        try:
            setattr(model.layers[i], name, value)
        except AttributeError:
            continue
        for each in (model, copy.deepcopy(model)):
            each.fit(X, y, seed=0)
            expected = fastnn.Sequential(layers())
            expected.fit(X, y, seed=0)
            assert np.array_equal(each.parameters, expected.parameters)
for name, value in (("stored", ()), ("n_neurons", 5_000), ("n_inputs", 5_000), ("n_parameters", 1),
                    ("widths", (4, 5_000)), ("widths", (5_000, 8)), ("stored", ("biases",))):
    attempt([type("Odd", (fastnn.Dense,), {name: value})(4, 8, rng=0), *layers()[1:]])
    for odd in (type("Odd", (fastnn.Dense,), {name: value})(4, 8, rng=0),
                type("Odd", (fastnn.BatchNorm,), {name: value, "n_features": 5_000})(4),
                type("Odd", (fastnn.LayerNorm,), {name: value, "n_features": 5_000})(4)):
        odd.backward(odd.forward(X, training=True))
    attempt([*layers()[:2], type("Odd", (fastnn.BatchNorm,), {name: value})(8), layers()[3]])
"""
    )


def test_a_layer_of_a_model_that_is_made_anew_is_refused():
    """Its parameters no longer lay where the plan said."""
    X, y = make_data("labels")
    model = make_model()
    model.layers[0].__init__(5, 1000)
    with pytest.raises(ValueError, match=r"^layers\[0\], Dense\(5, 1000.*, was made anew"):
        fit(model, X, y)
    with pytest.raises(ValueError, match=r"^layers\[0\]"):
        model.partial_fit(X, y)
    with pytest.raises(ValueError, match=r"^layers\[0\]"):
        model.loss = fastnn.SoftmaxCrossEntropy()


# ------------------------------------------------------------------------------- within a run


def test_another_loss_within_a_run():
    run_python(
        BEGIN
        + """
CHANGED = "a layer or the loss was changed during the run"
other = fastnn.MeanSquaredError

def attack(place):
    model = make()
    def change(*_):
        model.loss = other()
    def metric(true, predicted):
        if ready:
            change()
        return 0.0
    def shuffle(n):
        change()
        return np.arange(n)
    def rate(step):
        if ready and step:
            change()
        return 0.1
    def batches():
        yield X[:32], y[:32]
        change()
        yield X[32:], y[32:]
    options = {"validation_data": (X, y), "seed": 0, "epochs": 3}
    hooks = "on_fit_begin", "on_epoch_begin", "on_chunk_end", "on_epoch_end"
    ready = place not in hooks
    if place in hooks:
        options["callbacks"] = [LambdaCallback(**{place: change})]
    elif place == "metric":
        ready, options["metrics"] = False, [metric]
        options["callbacks"] = [LambdaCallback(on_fit_begin=lambda run: turn_on())]
    elif place == "shuffle":
        options["shuffle"] = shuffle
    elif place == "rate":
        options["optimizer"] = fastnn.SGD(rate)
    def turn_on():
        nonlocal ready
        ready = True
    if place == "batches":
        model.fit(batches=batches, epochs=3, validation_data=(X, y))
    elif place == "fit_many":
        second = make()
        def change_second(run):
            second.loss = other()
        fastnn.fit_many([model, second], X, y, epochs=3, seed=0, threads=1, callbacks=[
            [LambdaCallback(on_fit_begin=change_second)], []
        ])
    else:
        model.fit(X, y, **options)

for place in ("on_fit_begin", "on_epoch_begin", "on_chunk_end", "on_epoch_end", "metric",
              "shuffle", "rate", "batches", "fit_many"):
    refused(lambda: attack(place), CHANGED)
"""
    )


CHANGES = {
    "rate": lambda model: setattr(model.layers[1], "rate", 0.9),
    "rate of NumPy": lambda model: setattr(model.layers[1], "rate", np.float64(0.9)),
    "trainable": lambda model: setattr(model.layers[0], "trainable", False),
    "weights_l2": lambda model: setattr(model.layers[0], "weights_l2", np.float32(0.1)),
    "use_bias": lambda model: setattr(model.layers[0], "use_bias", False),
    "momentum": lambda model: setattr(model.layers[2], "momentum", 0.5),
    "epsilon": lambda model: setattr(model.layers[2], "epsilon", 0.5),
    "negative_slope": lambda model: setattr(model.layers[3], "negative_slope", 0.5),
    "label_smoothing": lambda model: setattr(model.loss, "label_smoothing", 0.1),
    "forward": lambda model: setattr(model.layers[3], "forward", lambda inputs: inputs),
    "class": lambda model: setattr(model.layers[4], "__class__", fastnn.Identity),
    "made anew": lambda model: model.layers[0].__init__(5, 9),
    "forward of the loss": lambda model: setattr(model.loss, "forward", lambda p, y: 0),
}


def make_of_all():
    rng = np.random.default_rng(0)
    return fastnn.Sequential(
        [
            fastnn.Dense(5, 8, rng=rng),
            Dropout(0.1, rng=0),
            fastnn.BatchNorm(8),
            fastnn.LeakyReLU(),
            fastnn.Tanh(),
            fastnn.Dense(8, 3, rng=rng),
        ]
    )


@every_path
@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_chunk_end", "on_epoch_end"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_a_plan_was_made_of_changes_within_a_run(own, hook, change):
    X, y = make_data("labels")
    model = make_of_all()
    if own:
        model._program.steps = None
    alter = LambdaCallback(**{hook: lambda run: CHANGES[change](run.model)})
    with pytest.raises(ValueError, match=r"^(a layer or the loss was changed during the run)"):
        fit(model, X, y, epochs=3, callbacks=[alter])


@every_path
def test_what_is_set_back_in_time_is_no_change(own):
    X, y = make_data("labels")
    model, expected = make_of_all(), make_of_all()
    if own:
        model._program.steps = expected._program.steps = None

    def pause(run):
        run.model.layers[1].rate = 0.0
        run.model.layers[1].rate = 0.1
        run.model.layers[0].trainable = True
        run.model.layers[1].forward(np.ones((2, 8)), training=True)  # which counts its calls

    fit(model, X, y, epochs=3, callbacks=[LambdaCallback(on_epoch_begin=pause)])
    fit(expected, X, y, epochs=3)
    assert np.array_equal(model.parameters, expected.parameters)


def test_the_samples_get_another_form_within_a_run():
    """The kernel read the given object's new shape, and rows from beyond its end."""
    run_python(
        BEGIN
        + """
large = rng.standard_normal((300_000, 4)).astype(np.float32)
labels = rng.integers(3, size=len(large))
given, weights = large.copy(), np.ones(len(large))
def spoil(run):
    given.shape = (-1, 40)
    labels.dtype, weights.dtype = np.int8, np.int8
    labels[...] = 99
found, expected = make(), make()
expected.fit(large, labels.copy(), sample_weight=weights.copy(), seed=0)
found.fit(given, labels, sample_weight=weights, seed=0,
          callbacks=[LambdaCallback(on_epoch_begin=spoil)])
assert np.array_equal(found.parameters, expected.parameters)
"""
    )


def test_an_optimizer_of_ones_own_that_gives_other_numbers():
    run_python(
        BEGIN
        + """
class Short(fastnn.Adam):
    def numbers(self, first, count, dtype):
        return super().numbers(first, count, dtype)[:1, :3]

refused(lambda: make().fit(X, y, optimizer=Short()),
        "optimizer.numbers gave float64 of shape (1, 3), expected float64 of (2, 12)")
refused(lambda: Short().update(np.ones(3), np.ones(3)),
        "optimizer.numbers gave float64 of shape (1, 3), expected float64 of (1, 12)")
"""
    )


def test_an_optimizer_of_ones_own_that_counts_its_averages_wrongly():
    """The kernels of Adam write two."""
    run_python(
        BEGIN
        + """
class Stateless(fastnn.Adam):
    n_states = 0

class Unknown(fastnn.AdaGrad):
    rule = 42

model, expected = make(), make()
for each, optimizer in ((model, Stateless()), (expected, fastnn.Adam())):
    each.fit(X, y, optimizer=optimizer, seed=0)
    each.partial_fit(X, y, optimizer=optimizer)
    optimizer.update(each.parameters, each.gradients + 1)
assert np.array_equal(model.parameters, expected.parameters)
refused(lambda: model.fit(X, y, optimizer=Unknown()), "rule is 42, expected a whole number from 0")
"""
    )


def test_a_schedule_of_ones_own_is_asked_epoch_by_epoch():
    """Several short epochs ran in one call, with the rates of a moment before."""

    class Follows(fastnn.ConstantRate):
        def __call__(self, step):
            seen.append(abs(model.parameters).sum())
            return super().__call__(step)

    X, y = make_data("labels")
    model, seen = make_model(), []
    fit(model, X, y, fastnn.SGD(Follows(0.1)), epochs=5)
    assert len(set(seen)) > 3


def test_a_generator_of_ones_own_that_gives_no_order():
    run_python(
        BEGIN
        + """
class Beyond(np.random.Generator):
    def permutation(self, x, axis=0):
        return np.arange(x) + 10_000_000

refused(lambda: make().fit(X, y, seed=Beyond(np.random.PCG64(0))),
        "what seed.permutation gave[0] is 10000000, expected whole numbers from 0 to 63")
"""
    )


# ------------------------------------------------------------- parameters set between two chunks


def set_weights(model):
    model.layers[0].weights = np.full_like(model.layers[0].weights, 0.1)


def set_in_place(model):
    model.layers[0].weights[...] = 0.1
    model.layers[0].biases[...] = 0.2


def set_all(model):
    model.parameters = np.linspace(-0.1, 0.1, len(model.parameters))


def set_anew(model):
    model.layers[0].reset_parameters(7)


def set_by_a_step(model):
    X, y = make_data("labels")
    model.partial_fit(X, y, optimizer=fastnn.SGD(1.0))


@every_path
@pytest.mark.parametrize("optimizer", [fastnn.SGD(0.1), fastnn.Adam(0.01)], ids=["SGD", "Adam"])
@pytest.mark.parametrize("alter", [set_weights, set_in_place, set_all, set_anew, set_by_a_step])
@pytest.mark.parametrize("source", ["arrays", "batches"])
def test_parameters_set_between_two_parts_are_taken(own, optimizer, alter, source, monkeypatch):
    """Of weights and biases set in `on_chunk_end` only the biases were taken."""
    monkeypatch.setattr("fastnn.program.trainer.CHUNK_SECONDS", 0.0)
    monkeypatch.setattr("fastnn.program.trainer.FIRST_CHUNK", 1)
    X, y = make_data("labels")
    parts = [(X[:8], y[:8]), (X[8:16], y[8:16]), (X[16:24], y[16:24])]
    model, expected = make(own), make(own)
    optimizer = copy.deepcopy(optimizer)
    by_hand = copy.deepcopy(optimizer)
    seen = []

    def change(run):
        seen.append(run.step)
        if run.step == 2:
            alter(run.model)

    if source == "batches":

        def batches():
            yield from parts[:2]
            alter(model)
            yield parts[2]

        model.fit(batches=batches, optimizer=optimizer)
    else:
        model.fit(
            X[:24], y[:24], batch_size=8, shuffle=False, optimizer=optimizer,
            callbacks=[LambdaCallback(on_chunk_end=change)],
        )  # fmt: skip
        assert seen == [1, 2, 3]
    for i, part in enumerate(parts):
        if i == 2:
            alter(expected)
        expected.fit(*part, batch_size=8, shuffle=False, optimizer=by_hand)
    assert np.array_equal(model.parameters, expected.parameters)
    for found, wanted in ((optimizer, by_hand),):
        states = [each.state_of(m.parameters) for each, m in ((found, model), (wanted, expected))]
        assert np.array_equal(states[0].arrays, states[1].arrays)


# ------------------------------------------------------------------------------- settings


SETTINGS = [
    (fastnn.Dropout, {"rate": 0.5}, "rate", 2),
    (fastnn.Dropout, {"rate": 0.5}, "rate", "much"),
    (fastnn.Dense, {"n_inputs": 2, "n_neurons": 3}, "weights_l1", -1),
    (fastnn.Dense, {"n_inputs": 2, "n_neurons": 3}, "weights_l2", np.inf),
    (fastnn.Dense, {"n_inputs": 2, "n_neurons": 3}, "biases_l1", None),
    (fastnn.Dense, {"n_inputs": 2, "n_neurons": 3}, "biases_l2", np.nan),
    (fastnn.Dense, {"n_inputs": 2, "n_neurons": 3}, "use_bias", 1),
    (fastnn.Dense, {"n_inputs": 2, "n_neurons": 3}, "trainable", "no"),
    (fastnn.Dense, {"n_inputs": 2, "n_neurons": 3}, "init", "hee"),
    (fastnn.BatchNorm, {"n_features": 2}, "momentum", 1.5),
    (fastnn.BatchNorm, {"n_features": 2}, "epsilon", 0),
    (fastnn.LayerNorm, {"n_features": 2}, "epsilon", -1.0),
    (fastnn.LayerNorm, {"n_features": 2}, "trainable", None),
    (fastnn.LeakyReLU, {}, "negative_slope", 0),
    (fastnn.ELU, {}, "alpha", np.nan),
    (fastnn.GELU, {}, "approximate", "erf"),
    (fastnn.scaled_normal, {}, "deviation", 0),
    (fastnn.SGD, {}, "learning_rate", -1),
    (fastnn.SGD, {}, "learning_rate", "0.1"),
    (fastnn.SGD, {}, "momentum", 2),
    (fastnn.SGD, {}, "nesterov", True),
    (fastnn.SGD, {"momentum": 0.9, "nesterov": True}, "momentum", 0),
    (fastnn.SGD, {"learning_rate": fastnn.ConstantRate(1.0)}, "decay", 0.1),
    (fastnn.SGD, {"decay": 0.1}, "learning_rate", fastnn.ConstantRate(1.0)),
    (fastnn.SGD, {}, "weight_decay", -1),
    (fastnn.SGD, {}, "clip_norm", 0),
    (fastnn.SGD, {}, "clip_value", "1"),
    (fastnn.AdaGrad, {}, "epsilon", -1e-8),
    (fastnn.RMSprop, {}, "rho", 1),
    (fastnn.Adam, {}, "beta_1", 1),
    (fastnn.Adam, {}, "beta_2", -0.1),
    (fastnn.Adam, {}, "epsilon", np.inf),
    (fastnn.AdamW, {}, "amsgrad", 1),
    (fastnn.AdamW, {}, "weight_decay", np.nan),
    (fastnn.AdamW, {}, "spare_biases", 1),
    (fastnn.ConstantRate, {"rate": 1.0}, "rate", 0),
    (fastnn.StepRate, {"rate": 1.0, "every": 2}, "every", 0),
    (fastnn.StepRate, {"rate": 1.0, "every": 2}, "factor", -1),
    (fastnn.ExponentialRate, {"rate": 1.0, "factor": 0.9}, "factor", 0),
    (fastnn.InverseTimeRate, {"rate": 1.0, "decay": 0.9}, "decay", -1),
    (fastnn.CosineRate, {"rate": 1.0, "steps": 9, "warm_up": 3}, "steps", 3),
    (fastnn.CosineRate, {"rate": 1.0, "steps": 9}, "warm_up", 9),
    (fastnn.CosineRate, {"rate": 1.0, "steps": 9}, "last", -1),
    (fastnn.OneCycleRate, {"rate": 1.0, "steps": 9}, "steps", 1),
    (fastnn.OneCycleRate, {"rate": 1.0, "steps": 9}, "rising", 1),
    (fastnn.OneCycleRate, {"rate": 1.0, "steps": 9}, "first", 0),
    (fastnn.ReduceOnPlateau, {"rate": 1.0}, "factor", 1),
    (fastnn.ReduceOnPlateau, {"rate": 1.0}, "patience", -1),
    (fastnn.ReduceOnPlateau, {"rate": 1.0}, "min_delta", np.nan),
    (fastnn.SoftmaxCrossEntropy, {}, "label_smoothing", 1),
    (fastnn.BinaryCrossEntropy, {}, "epsilon", 0.5),
    (fastnn.CategoricalCrossEntropy, {}, "epsilon", 0),
    (fastnn.BinaryCrossEntropy, {}, "pos_weight", 0),
    (fastnn.Huber, {}, "delta", -1),
    (fastnn.Quantile, {}, "q", 1),
    (fastnn.WeightAverage, {}, "decay", 1),
    (nnfs.Layer_Dropout, {"rate": 0.5}, "rate", 2),
    (nnfs.Optimizer_Adam, {}, "beta_1", 1),
    (nnfs.Optimizer_SGD, {}, "momentum", 2),
    (nnfs.Optimizer_SGD, {}, "decay", -1),
]


@pytest.mark.parametrize(("kind", "given", "name", "value"), SETTINGS)
def test_what_a_constructor_refuses_assignment_refuses(kind, given, name, value):
    made = kind(**given)
    before = repr(made), getattr(made, name)
    with pytest.raises((TypeError, ValueError)) as expected:
        kind(**given | {name: value})
    with pytest.raises(type(expected.value)) as found:
        setattr(made, name, value)
    if kind is not nnfs.Layer_Dropout:  # whose attribute is 1 minus the argument
        assert str(found.value) == str(expected.value)
    assert (repr(made), getattr(made, name)) == before


@pytest.mark.parametrize(
    ("made", "name", "value"),
    [
        (fastnn.BinaryCrossEntropy(), "from_logits", False),
        (fastnn.MeanSquaredError(), "task", "classes"),
        (fastnn.SoftmaxCrossEntropy(), "kind", 3),
        (fastnn.SoftmaxCrossEntropy(), "finish", 0),
        (fastnn.MeanSquaredError(), "threshold", 0.5),
        (fastnn.Tanh(), "operation", 0),
        (fastnn.GELU(), "operation", 0),
        (fastnn.LeakyReLU(), "number", 5.0),
        (fastnn.Dense(2, 3), "n_inputs", 40),
        (fastnn.LayerNorm(2), "n_features", 40),
    ],
)
def test_what_kernels_are_chosen_by_cannot_be_assigned(made, name, value):
    before = getattr(made, name)
    with pytest.raises(AttributeError):
        setattr(made, name, value)
    assert getattr(made, name) == before


@pytest.mark.parametrize(
    ("layer", "name", "value"),
    [
        (fastnn.LeakyReLU(0.1), "negative_slope", 0.7),
        (fastnn.ELU(1.0), "alpha", 3.0),
        (fastnn.GELU(), "approximate", "tanh"),
        (fastnn.LayerNorm(8), "epsilon", 2.0),
        (fastnn.BatchNorm(8), "epsilon", 2.0),
    ],
)
def test_what_is_assigned_is_obeyed_by_predictions(layer, name, value):
    """`fit` followed it and `predict` did not: a network kept the value it was made with."""
    X, _ = make_data("labels")
    layer = copy.deepcopy(layer)
    ends = fastnn.Dense(5, 8, rng=0), fastnn.Dense(8, 3, rng=1)
    model = fastnn.Sequential([ends[0], layer, ends[1]])
    before = model.predict_proba(X)
    setattr(layer, name, value)
    found = model.predict_proba(X)
    expected = copy.deepcopy(model).predict_proba(X)
    assert np.array_equal(found, expected)
    assert not np.allclose(found, before)
    assert np.array_equal(model.compiled().predict_proba(X.astype("f4")), expected)


# ------------------------------------------------------------------------- checked, then copied


class Spoiling(int):
    """A bound that writes to an array as soon as somebody has compared with it."""

    __array_ufunc__ = None

    def __new__(cls, value, given):
        made = super().__new__(cls, value)
        made.given = given
        return made

    def __le__(self, other):  # for `array >= self`
        result = np.greater_equal(other, int(self))
        self.given[...] = 99
        return result

    def __hash__(self):
        return hash(int(self))


@pytest.mark.parametrize("dtype", ["i8", "i4", "u1", "f8", "f4", ">i8"])
@pytest.mark.parametrize("check", [validation.as_labels, validation.as_order])
def test_labels_and_orders_stay_as_checked(check, dtype):
    """Another thread wrote to the array between the check and the copy."""
    given = np.array([2, 0, 1], dtype)
    arguments = (given, Spoiling(3, given), "y") if check is validation.as_order else (
        given, "y", Spoiling(3, given)
    )  # fmt: skip
    found = check(*arguments)
    assert found.tolist() == [2, 0, 1]
    assert (given == 99).all()
    assert found.dtype == np.int64
    assert not np.shares_memory(found, given)


@pytest.mark.parametrize(
    ("check", "given"),
    [
        (lambda v: validation.as_sample_weights(v, 3), np.array([1.0, 2.0, 3.0])),
        (lambda v: validation.as_values(v, "y", 3, 1, "f8"), np.array([1.0, 2.0, 3.0])),
        (lambda v: validation.as_targets(v, "y", 3, 2, "f8"), np.full((3, 2), 0.5)),
        (lambda v: fastnn.BinaryCrossEntropy().as_targets(v, "y", 3, 1, "f8"), np.ones((3, 1))),
    ],
)
def test_weights_and_targets_stay_as_checked(check, given, monkeypatch):
    before = given.copy()

    def spoil(values):
        result = finite(values)
        given[...] = np.nan
        return result

    finite = kernels.all_finite
    monkeypatch.setattr(kernels, "all_finite", spoil)
    found = check(given)
    assert np.array_equal(found.ravel(), before.ravel())


def test_a_number_is_read_once():
    class Changing(float):
        reads = 0

        def __float__(self):
            Changing.reads += 1
            return 0.5 if Changing.reads == 1 else np.inf

    assert validation.as_scaling(Changing(1.0), 0.0, "f4") == (0.5, 0.0)
    Changing.reads = 0
    assert validation.as_number(Changing(1.0), "rate", 0, 1) == 0.5


# ------------------------------------------------------------------------- networks from scratch


def make_from_scratch(rate=0.1):
    np.random.seed(0)  # noqa: NPY002
    model = nnfs.Model()
    model.add(nnfs.Layer_Dense(4, 8))
    model.add(nnfs.Layer_Dropout(rate))
    model.add(nnfs.Activation_ReLU())
    model.add(nnfs.Layer_Dense(8, 3))
    model.add(nnfs.Activation_Linear())
    model.set(
        loss=nnfs.Loss_MeanSquaredError(),
        optimizer=nnfs.Optimizer_SGD(0.05),
        accuracy=nnfs.Accuracy_Regression(),
    )
    model.finalize()
    return model


def train_from_scratch(model):
    rng = np.random.default_rng(0)
    np.random.seed(1)  # noqa: NPY002
    model.train(rng.standard_normal((32, 4)), rng.standard_normal((32, 3)), epochs=3)
    return np.concatenate([a.ravel() for pair in model.get_parameters() for a in pair])


def another_loss(model):
    model.loss = nnfs.Loss_MeanAbsoluteError()


def another_rate(model):
    model.layers[1].rate = 0.5


def another_layer(model):
    np.random.seed(5)  # noqa: NPY002
    model.layers[3] = nnfs.Layer_Dense(8, 3)


@pytest.mark.parametrize("alter", [another_loss, another_rate, another_layer])
def test_a_part_of_a_model_from_scratch_is_replaced(alter, capsys):
    """The program went on with the loss, the rate and the layers of `finalize`."""
    model, expected = make_from_scratch(), make_from_scratch()
    alter(model), alter(expected)
    expected.finalize()
    found = train_from_scratch(model)
    assert np.array_equal(found, train_from_scratch(expected))
    assert not np.allclose(found, train_from_scratch(make_from_scratch()))
    model.layers[3] = nnfs.Layer_Dense(8_000, 3)
    with pytest.raises(ValueError, match=r"takes 8000 inputs, expected 8"):
        train_from_scratch(model)
