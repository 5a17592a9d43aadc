"""Subclasses of fastnn's classes, with constructors of their own: they print, copy and pickle."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone

import fastnn
from fastnn import nnfs


def half(y_true, y_pred):
    return 0.5


# Arguments of the constructors that need some.
ARGUMENTS = {
    fastnn.BatchNorm: (3,), fastnn.Checkpoint: ("run.safetensors",), fastnn.ConstantRate: (0.1,),
    fastnn.CosineRate: (0.1, 10), fastnn.CSVLogger: ("run.csv",), fastnn.Dense: (2, 3),
    fastnn.Dropout: (0.5,), fastnn.Embedding: (2, {0: 3}), fastnn.ExponentialRate: (0.1, 0.9),
    fastnn.InverseTimeRate: (0.1, 1e-3),
    fastnn.LayerNorm: (3,), fastnn.Metric: (half,), fastnn.OneCycleRate: (0.1, 10),
    fastnn.Optimizer: (0.1, 0.0, None, None), fastnn.ReduceOnPlateau: (0.1,),
    fastnn.Residual: ([fastnn.ReLU()],), fastnn.Sequential: ([fastnn.ReLU()],),
    fastnn.StepRate: (0.1, 5), nnfs.Layer_Dense: (2, 3), nnfs.Layer_Dropout: (0.1,),
}  # fmt: skip
# What is made by fastnn, not by its users.
MADE = (
    fastnn.CompiledModel,
    fastnn.History,
    fastnn.LearningRateFinder,
    fastnn.Run,
    fastnn.Summary,
    Exception,
)

KINDS = {
    f"{module.__name__}.{name}": kind
    for module in (fastnn, nnfs)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and name in module.__all__ and not issubclass(kind, MADE)
}
every_kind = pytest.mark.parametrize("name", KINDS)


def named(own):
    """Return a class under its own name in this module, where pickle finds it."""
    own.__module__ = __name__
    globals()[own.__qualname__] = own
    return own


def make(name, how):
    """Return an instance of a subclass of the class `name`."""
    kind = KINDS[name]
    arguments = copy.deepcopy(ARGUMENTS.get(kind, ()))

    def before(self, extra):
        self.extra = extra
        kind.__init__(self, *arguments)

    def after(self, extra):
        kind.__init__(self, *arguments)
        self.extra = extra

    def never(self, extra):
        self.extra = extra

    inits = {"before": before, "after": after, "never": never}
    if how == "plain":
        return named(type("Plain", (kind,), {"__qualname__": "Plain"}))(*arguments)
    own = named(type("Own", (kind,), {"__qualname__": "Own", "__init__": inits[how]}))
    return own(np.arange(3))


@every_kind
@pytest.mark.parametrize("how", ["plain", "before", "after", "never"])
def test_a_subclass_has_its_own_name_and_can_be_copied(name, how):
    """Also with an array among its attributes, and where it forgets `super().__init__`."""
    one = make(name, how)
    if KINDS[name].__repr__ is not object.__repr__:
        assert repr(one).startswith(f"{type(one).__name__}(")
    if how == "never" and issubclass(KINDS[name], fastnn.Sequential):
        return  # without layers there is nothing to copy
    for twin in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert type(twin) is type(one)
        if KINDS[name].__repr__ is not object.__repr__:
            assert repr(twin) == repr(one)
        if how != "plain":
            assert np.array_equal(twin.extra, np.arange(3))


def test_names_of_subclasses_by_hand():
    class Sometimes(fastnn.Dropout):
        pass

    class Sharp(fastnn.ELU):
        pass

    assert repr(Sometimes(0.25)) == "Sometimes(0.25)"
    assert repr(Sharp(2.0)) == "Sharp(alpha=2.0)"
    assert repr(fastnn.BinaryCrossEntropy(False)).startswith("BinaryCrossEntropy(from_logits=False")
    model = fastnn.Sequential([fastnn.Dense(2, 2, rng=0), Sometimes(0.25)])
    assert "    Sometimes(0.25),\n" in repr(model)
    assert type(model.clone().layers[1]) is Sometimes
    with pytest.raises(TypeError, match=r"^layers\[1\] is Sometimes\(0.25\), expected one of fas"):
        model.to_config()


class Unready(fastnn.Dropout):
    """Forgets what its base needs."""

    def __init__(self, keep):
        self.keep = keep


def test_errors_about_a_subclass_that_is_not_ready_say_so():
    model = fastnn.Sequential([fastnn.Dense(2, 2, rng=0), Unready(0.5)])
    with pytest.raises(TypeError, match=r"^layers\[1\] is Unready\(\?\), expected one of fastnn's"):
        model.to_config()


class Narrow(fastnn.MLPRegressor):
    """One parameter of its base, and one of its own."""

    def __init__(self, units=3, alpha=0.01):
        super().__init__(hidden_layer_sizes=(units,), alpha=alpha, max_iter=2, tol=0.0)
        self.units = units


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_estimator_with_a_constructor_of_its_own():
    X, y = np.linspace(-1, 1, 20).reshape(-1, 1), np.linspace(0, 1, 20)
    model = clone(Narrow(units=4))
    assert repr(model) == "Narrow(units=4)"
    assert model.get_params() == {"alpha": 0.01, "units": 4}
    model.fit(X, y)
    assert model.coefs_[0].shape == (1, 4)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict(X), model.predict(X))
