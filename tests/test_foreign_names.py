"""Names of Keras and PyTorch: errors that point, and losses and optimizers by name."""

import copy
import inspect
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import foreign

DOCS = Path(__file__).parents[1] / "docs"
X, Y = np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1])


def make_model(**options):
    return fastnn.Sequential([fastnn.Dense(4, 2, rng=0)], **options)


@pytest.mark.parametrize("name", foreign.ATTRIBUTES)
def test_attributes_that_a_model_does_not_have(name):
    model = make_model()
    assert not hasattr(model, name)
    message = f"'Sequential' object has no attribute {name!r}: {foreign.ATTRIBUTES[name]}"
    with pytest.raises(AttributeError, match=f"^{re.escape(message)}$"):
        getattr(model, name)


def test_other_attributes_and_copies():
    model = make_model()
    with pytest.raises(AttributeError, match=r"^'Sequential' object has no attribute 'fitt'$"):
        model.fitt  # noqa: B018
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(other.parameters, model.parameters)


@pytest.mark.parametrize("name", foreign.NAMES)
def test_names_that_fastnn_does_not_have(name):
    with pytest.raises(AttributeError, match=f"has no attribute '{name}': use "):
        getattr(fastnn, name)


def test_names_that_are_pointed_to_exist():
    texts = [*foreign.NAMES.values(), *foreign.ATTRIBUTES.values()]
    names = {name for text in texts for name in re.findall(r"\b(?:fastnn\.)?([A-Z]\w+)\b", text)}
    for name in names - {"NumPy", "CPU", "PyTorch", "False"}:
        assert hasattr(fastnn, name), name
    for text in foreign.ATTRIBUTES.values():
        for name in re.findall(r"\buse (?:model\.)?(\w+)\b", text):
            assert hasattr(make_model(), name) or name == "fastnn", name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fastnn.Adam(lr=0.1), "lr is given, expected learning_rate"),
        (lambda: fastnn.SGD(0.1, clipnorm=1), "clipnorm is given, expected clip_norm"),
        (lambda: fastnn.Dense(2, 3, activation="relu"), "activation is given, expected a layer"),
        (lambda: fastnn.Dense(units=3), "units is given, expected n_neurons"),
        (lambda: fastnn.Dropout(p=0.5), "p is given, expected rate"),
        (lambda: fastnn.LayerNorm(2, eps=1), "eps is given, expected epsilon"),
        (lambda: fastnn.BatchNorm(num_features=2), "num_features is given, expected n_features"),
        (lambda: fastnn.Adam(rate=1), r"Adam.__init__\(\) got an unexpected keyword"),
    ],
)
def test_arguments(call, message):
    with pytest.raises(TypeError, match=f"^{message}"):
        call()


def test_a_class_of_ones_own_may_have_such_an_argument():
    class Mine(fastnn.Adam):
        def __init__(self, lr):
            super().__init__(lr)

    assert Mine(lr=0.5).learning_rate == 0.5
    assert list(inspect.signature(fastnn.Dropout).parameters) == ["rate", "rng"]


# ------------------------------------------------------------------- losses and optimizers


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("softmax_cross_entropy", fastnn.SoftmaxCrossEntropy),
        ("binary_cross_entropy", fastnn.BinaryCrossEntropy),
        ("mse", fastnn.MeanSquaredError),
        ("mean_absolute_error", fastnn.MeanAbsoluteError),
        ("huber", fastnn.Huber),
        ("quantile", fastnn.Quantile),
        ("poisson", fastnn.Poisson),
    ],
)
def test_losses_by_name(name, kind):
    model = make_model(loss=name)
    assert repr(model.loss) == repr(kind())
    model.loss = "mse"
    assert type(model.loss) is fastnn.MeanSquaredError


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "adagrad", "lion"])
def test_optimizers_by_name(name):
    kind = {each.lower(): getattr(fastnn, each) for each in fastnn.__all__}[name]
    by_name, by_object = make_model(), make_model()
    by_name.fit(X, Y, epochs=3, seed=0, optimizer=name)
    by_object.fit(X, Y, epochs=3, seed=0, optimizer=kind())
    assert np.array_equal(by_name.parameters, by_object.parameters)
    models = [make_model(), make_model()]
    fastnn.fit_many(models, X, Y, epochs=3, seed=[0, 0], optimizer=[name, kind()])
    for model in models:
        assert np.array_equal(model.parameters, by_object.parameters)


def test_partial_fit_goes_on_with_the_optimizer_of_the_name():
    by_name, by_object, adam = make_model(), make_model(), fastnn.Adam()
    for _ in range(3):
        by_name.partial_fit(X, Y, optimizer="adam")
        by_object.partial_fit(X, Y, optimizer=adam)
    assert np.array_equal(by_name.parameters, by_object.parameters)
    by_name.partial_fit(X, Y, optimizer="sgd")
    assert type(by_name.optimizer) is fastnn.SGD


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_model(loss="msee"), "loss is 'msee', expected one of .*mean 'mse'"),
        (
            lambda: make_model(loss="sparse_categorical_crossentropy"),
            "loss is 'sparse_categorical_crossentropy', .*mean 'softmax_cross_entropy'",
        ),
        (lambda: make_model().fit(X, Y, optimizer="Adam"), "optimizer is 'Adam', .*mean 'adam'"),
        (lambda: make_model().partial_fit(X, Y, optimizer="x"), "optimizer is 'x', expected one"),
        (
            lambda: fastnn.fit_many([make_model()], X, Y, optimizer=["adm"], seed=0),
            r"optimizer\[0\] is 'adm', expected one of sgd, .*mean 'adam'",
        ),
    ],
)
def test_bad_names(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


# ------------------------------------------------------------------------------- the pages


@pytest.mark.parametrize("page", ["keras.md", "pytorch.md"])
def test_names_in_the_tables_exist(page):
    """Every class of the right column is one of fastnn's."""
    rows = re.findall(r"^\| .*? \| (.*) \|$", (DOCS / page).read_text(encoding="utf-8"), re.M)
    names = {name for row in rows for name in re.findall(r"`(?:fastnn\.)?([A-Z]\w+)", row)}
    assert len(names) > 15
    for name in names - {"X"}:
        assert hasattr(fastnn, name), name
