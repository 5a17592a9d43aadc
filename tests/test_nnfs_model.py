"""`fastnn.nnfs.Model`: the compiled loop and the one by hand, what they leave, files, errors."""

# ruff: noqa: NPY002 (scripts from scratch draw from the global generator)

import copy
import inspect

import numpy as np
import pytest
from book_network import BookNetwork
from kernel_cases import find_oracle
from numpy.testing import assert_allclose

import fastnn
from fastnn import NonFiniteLossError, SlowTrainingWarning, kernels
from fastnn.files import format as files
from fastnn.kernels import reference_program
from fastnn.nnfs import (
    Accuracy,
    Accuracy_Categorical,
    Accuracy_Regression,
    Activation_Linear,
    Activation_ReLU,
    Activation_Sigmoid,
    Activation_Softmax,
    Activation_Softmax_Loss_CategoricalCrossentropy,
    Layer_Dense,
    Layer_Dropout,
    Layer_Input,
    Loss,
    Loss_BinaryCrossentropy,
    Loss_CategoricalCrossentropy,
    Loss_MeanAbsoluteError,
    Loss_MeanSquaredError,
    Model,
    Optimizer_Adagrad,
    Optimizer_Adam,
    Optimizer_RMSprop,
    Optimizer_SGD,
    loops,
)

N, BATCH = 37, 8
TASK = list(inspect.signature(reference_program.train_steps).parameters).index("task")
ADAM = "Adam", {"rate": 0.05, "decay": 1e-2}
PENALTIES = (1e-3, 5e-3, 2e-3, 4e-3)

# Task: (last activation, loss, accuracy, the loss of the plain network).
TASKS = {
    "classes": (Activation_Softmax, Loss_CategoricalCrossentropy, Accuracy_Categorical, "classes"),
    "answers": (
        Activation_Sigmoid, Loss_BinaryCrossentropy, lambda: Accuracy_Categorical(binary=True),
        "answers",
    ),
    "squared": (Activation_Linear, Loss_MeanSquaredError, Accuracy_Regression, "squared"),
    "absolute": (Activation_Linear, Loss_MeanAbsoluteError, Accuracy_Regression, "absolute"),
}  # fmt: skip
OPTIMIZERS = {
    "SGD": Optimizer_SGD,
    "decay": lambda: Optimizer_SGD(decay=0.1),
    "momentum": lambda: Optimizer_SGD(0.1, momentum=0.9),
    "Adagrad": lambda: Optimizer_Adagrad(0.1, decay=0.01),
    "RMSprop": lambda: Optimizer_RMSprop(0.01),
    "Adam": lambda: Optimizer_Adam(0.05, decay=1e-2),
}

every_task = pytest.mark.parametrize("task", TASKS)
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)


def make_data(task, n=N):
    """Return samples (n, 4) and targets for three outputs."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((n, 4))
    if task == "classes":
        return X, rng.integers(0, 3, n)
    return X, rng.integers(0, 2, (n, 3)) if task == "answers" else rng.normal(0, 1, (n, 3))


def make_model(task="classes", optimizer="Adam", dense=Layer_Dense, **replaced):
    """Return a finalized model 4-16-3; `replaced` are other parts of it."""
    activation, loss, accuracy, _ = TASKS[task]
    np.random.seed(0)
    model = Model()
    model.add(dense(4, 16, *PENALTIES))
    model.add(Activation_ReLU())
    model.add(dense(16, 3))
    model.add(replaced.pop("activation", activation)())
    parts = {"loss": loss(), "accuracy": accuracy(), "optimizer": OPTIMIZERS[optimizer]()}
    model.set(**parts | replaced)
    model.finalize()
    return model


def make_book_network(task="classes", optimizer=ADAM):
    np.random.seed(0)
    return BookNetwork((4, 16, 3), TASKS[task][3], optimizer, penalties=[PENALTIES])


def parameters_of(model):
    return np.concatenate([a.ravel() for pair in model.get_parameters() for a in pair])


def train(model, X, y, capsys, **options):
    """Return the lines that training prints."""
    capsys.readouterr()
    model.train(X, y, **{"epochs": 3, "batch_size": BATCH, **options})
    return capsys.readouterr().out.splitlines()


@pytest.fixture
def compiled_steps(monkeypatch):
    """Return a list that gets (first, last) of every call of the compiled program."""
    steps, take = [], kernels.train_steps

    def train_steps(*arguments):
        ((job,), _) = arguments[TASK]
        steps.append((int(job["first_step"]), int(job["last_step"])))
        return take(*arguments)

    monkeypatch.setattr(kernels, "train_steps", train_steps)
    return steps


class OwnDense:
    """A dense layer from scratch, with penalties on its weights."""

    def __init__(self, n_inputs, n_neurons, l1=0, l2=0, bias_l1=0, bias_l2=0):
        self.weights = 0.01 * np.random.randn(n_inputs, n_neurons)
        self.biases = np.zeros((1, n_neurons))
        self.weight_regularizer_l1, self.weight_regularizer_l2 = l1, l2
        self.bias_regularizer_l1, self.bias_regularizer_l2 = bias_l1, bias_l2

    def forward(self, inputs, training):
        self.inputs = inputs
        self.output = inputs @ self.weights + self.biases

    def backward(self, dvalues):
        self.dweights = self.inputs.T @ dvalues
        self.dbiases = dvalues.sum(axis=0, keepdims=True)
        for p, d, l1, l2 in (
            (self.weights, self.dweights, self.weight_regularizer_l1, self.weight_regularizer_l2),
            (self.biases, self.dbiases, self.bias_regularizer_l1, self.bias_regularizer_l2),
        ):
            d += l1 * np.where(p < 0, -1, 1) + 2 * l2 * p
        self.dinputs = dvalues @ self.weights.T

    def get_parameters(self):
        return self.weights, self.biases

    def set_parameters(self, weights, biases):
        self.weights, self.biases = weights, biases


# ------------------------------------------------------------------ training


@every_task
@pytest.mark.parametrize(
    ("n", "batch_size", "print_every"),
    [(37, 8, 1), (37, 8, 3), (40, 8, 100), (37, None, 1), (37, 100, 2), (1500, 2, 100)],
)
def test_lines_are_those_of_the_book(task, n, batch_size, print_every, capsys, compiled_steps):
    X, y = make_data(task, n)
    options = {"epochs": 2, "batch_size": batch_size, "print_every": print_every}
    model, network = make_model(task), make_book_network(task)
    lines = train(model, X, y, capsys, **options, validation_data=(X[:9], y[:9]))
    assert lines == network.train(X, y, **options, validation_data=(X[:9], y[:9]))
    assert compiled_steps
    expected = np.concatenate([p.ravel() for p in network.parameters])
    assert_allclose(parameters_of(model), expected, rtol=1e-8, atol=1e-10)
    steps = 2 * -(-n // (batch_size or n))
    assert (model.optimizer.iterations, network.iterations) == (steps, steps)
    assert model.optimizer.current_learning_rate == network.rate
    for layer, at in zip(model.trainable_layers, (0, 2), strict=True):
        assert_allclose(layer.weight_momentums, network.first[at], rtol=1e-7, atol=1e-12)
        assert_allclose(layer.bias_cache, network.second[at + 1], rtol=1e-7, atol=1e-12)


@pytest.fixture
def one_by_one(monkeypatch):
    """Return a function that lets the loop ask for no more steps at once than it has to."""
    return lambda: monkeypatch.setattr(loops.ProgramLoop, "steps_at_once", 1)


@pytest.mark.parametrize("n", [400, 401])
@every_optimizer
def test_few_calls_and_many_do_the_same(n, optimizer, capsys, compiled_steps, one_by_one):
    """Short epochs run together; of a long one, the steps between two that are printed."""
    X, y = make_data("answers", n)
    options = {"epochs": 3, "batch_size": 2, "print_every": 70}
    model, other = make_model("answers", optimizer), make_model("answers", optimizer)
    lines = train(model, X, y, capsys, **options)
    few = len(compiled_steps)
    one_by_one()
    compiled_steps.clear()
    assert train(other, X, y, capsys, **options) == lines
    assert few < len(compiled_steps) >= 3 * 4
    assert parameters_of(other).tobytes() == parameters_of(model).tobytes()
    for a, b in zip(other.trainable_layers, model.trainable_layers, strict=True):
        for name in model.optimizer.averages:
            assert np.array_equal(getattr(a, f"weight_{name}"), getattr(b, f"weight_{name}"))
    assert other.history.curves.keys() == model.history.curves.keys()
    for name, curve in model.history.curves.items():
        assert_allclose(other.history.curves[name], curve, rtol=1e-12)


def test_epochs_that_diverge_together_end_as_alone(capsys, one_by_one):
    """The rate grows until the loss is not finite, some epochs into a call."""

    def run():
        model = make_model("squared", "SGD")
        model.optimizer.learning_rate = model.optimizer.current_learning_rate = 30.0
        capsys.readouterr()
        with pytest.raises(NonFiniteLossError) as caught:
            model.train(X, y, epochs=50, batch_size=BATCH)
        return model, caught.value, capsys.readouterr().out

    X, y = make_data("squared")
    model, error, lines = run()
    assert 1 < error.epoch < 50
    assert len(error.history) == error.epoch - 1
    assert f"epoch: {error.epoch - 1}\n" in lines
    assert model.optimizer.iterations == 5 * (error.epoch - 1)
    good = make_model("squared", "SGD")
    good.optimizer.learning_rate = good.optimizer.current_learning_rate = 30.0
    train(good, X, y, capsys, epochs=error.epoch - 1)
    assert parameters_of(model).tobytes() == parameters_of(good).tobytes()
    one_by_one()
    other, same, same_lines = run()
    assert (same.epoch, same.batch) == (error.epoch, error.batch)
    assert same_lines.startswith(lines)  # with those of the bad epoch's first steps
    assert parameters_of(other).tobytes() == parameters_of(model).tobytes()


@every_task
@every_optimizer
def test_by_hand_and_in_numpy_do_the_same(task, optimizer, capsys, monkeypatch):
    """The compiled program, its reference, and the layers' own passes, one by one."""
    X, y = make_data(task)
    found, layered, plain = (make_model(task, optimizer) for _ in range(3))
    lines = train(found, X, y, capsys)
    layered.network = None
    with pytest.warns(SlowTrainingWarning):
        assert train(layered, X, y, capsys) == lines
    for name in ("train_steps", "unpack_states"):
        monkeypatch.setattr(kernels, name, find_oracle(name))
    assert train(plain, X, y, capsys) == lines
    for other in (layered, plain):
        assert_allclose(parameters_of(other), parameters_of(found), rtol=1e-8, atol=1e-10)
        for a, b in zip(other.trainable_layers, found.trainable_layers, strict=True):
            for name in found.optimizer.averages:
                name = f"weight_{name}"
                assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-7, atol=1e-12)
        assert_allclose(other.loss.accumulated_sum, found.loss.accumulated_sum)
        counts = (m.accuracy.accumulated_count for m in (other, found))
        assert len(set(counts)) == 1


@every_optimizer
def test_training_goes_on_by_hand_and_back(optimizer, capsys):
    X, y = make_data("classes")
    model, expected = make_model(optimizer=optimizer), make_model(optimizer=optimizer)
    train(expected, X, y, capsys, epochs=3, batch_size=None)
    train(model, X, y, capsys, epochs=1, batch_size=None)
    output = model.forward(X, True)
    model.backward(output, y)
    model.optimizer.pre_update_params()
    for layer in model.trainable_layers:
        model.optimizer.update_params(layer)
    model.optimizer.post_update_params()
    train(model, X, y, capsys, epochs=1, batch_size=None)
    assert_allclose(parameters_of(model), parameters_of(expected), rtol=1e-9, atol=1e-11)
    assert model.optimizer.iterations == 3
    rates = (m.optimizer.current_learning_rate for m in (model, expected))
    assert len(set(rates)) == 1


def test_rate_that_a_script_sets_is_taken(capsys):
    X, y = make_data("classes")
    model, expected = make_model(optimizer="SGD"), make_model(optimizer="SGD")
    expected.set(optimizer=Optimizer_SGD(0.25))
    model.optimizer.current_learning_rate = 0.25
    assert train(model, X, y, capsys) == train(expected, X, y, capsys)
    assert np.array_equal(parameters_of(model), parameters_of(expected))


@pytest.mark.parametrize("method", ["compiled", "by hand"])
@pytest.mark.parametrize("rows", [False, True])
def test_sure_answers_have_the_losses_of_clipped_probabilities(method, rows, capsys):
    X, y = np.array([[40.0, 0.0], [40.0, 0.0], [0.0, 40.0], [0.1, 0.0]]), np.array([0, 1, 1, 0])
    model = Model()
    model.add(Layer_Dense(2, 2))
    model.add(Activation_Softmax())
    model.set(
        loss=Loss_CategoricalCrossentropy(), optimizer=Optimizer_SGD(1e-30),
        accuracy=Accuracy_Categorical(),
    )  # fmt: skip
    model.finalize()
    model.set_parameters([(np.eye(2), np.zeros((1, 2)))])
    if method == "by hand":
        model.network = None
        model._warned = True
    train(model, X, np.eye(2)[y] if rows else y, capsys, epochs=1, batch_size=None)
    expected = -np.log(1e-7) - 2 * np.log(1 - 1e-7) + np.log1p(np.exp(-0.1))
    assert_allclose(model.loss.accumulated_sum, expected, rtol=1e-12)
    assert model.accuracy.accumulated_sum == 3


def test_soft_rows_train(capsys):
    X, _ = make_data("classes")
    y = np.random.default_rng(0).dirichlet(np.ones(3), N)
    found, layered = make_model(), make_model()
    lines = train(found, X, y, capsys)
    layered.network, layered._warned = None, True
    assert train(layered, X, y, capsys) == lines


class OwnAccuracy(Accuracy):
    def compare(self, predictions, y):
        return predictions == y


class OwnLoss(Loss_CategoricalCrossentropy):
    def forward(self, y_pred, y_true):
        return super().forward(y_pred, y_true)


class OwnSGD(Optimizer_SGD):
    def update_params(self, layer):
        layer.weights -= self.current_learning_rate * layer.dweights
        layer.biases -= self.current_learning_rate * layer.dbiases


class OwnHead(Activation_Softmax):
    def predictions(self, outputs):
        return outputs.argmax(axis=1)


@pytest.mark.parametrize(
    ("replaced", "word"),
    [
        ({"dense": OwnDense}, "layers.0., <.*OwnDense"),
        ({"accuracy": OwnAccuracy()}, r"accuracy OwnAccuracy\(\)"),
        ({"loss": OwnLoss()}, "loss OwnLoss"),
        ({"optimizer": OwnSGD()}, "optimizer OwnSGD"),
        ({"activation": OwnHead}, r"predictions of OwnHead\(\)"),
    ],
)
def test_classes_of_ones_own_train_by_hand(replaced, word, capsys, compiled_steps):
    X, y = make_data("classes")
    if isinstance(replaced.get("optimizer"), OwnSGD):
        replaced, model = {"optimizer": OwnSGD()}, make_model(optimizer="SGD")
        own = make_model(**replaced | {"optimizer": "SGD"})
        own.set(**replaced)
    else:
        model, own = make_model(), make_model(**replaced)
    expected = train(model, X, y, capsys)
    compiled_steps.clear()
    with pytest.warns(SlowTrainingWarning, match=word):
        assert train(own, X, y, capsys) == expected
    train(own, X, y, capsys)  # a second warning would be an error
    assert not compiled_steps
    train(model, X, y, capsys)
    assert_allclose(parameters_of(own), parameters_of(model), rtol=1e-8, atol=1e-10)
    assert_allclose(own.predict(X), model.predict(X), rtol=1e-8)
    assert_allclose(own.predict(X, batch_size=5), model.predict(X, batch_size=5), rtol=1e-8)


def test_dropout_in_a_model(capsys, compiled_steps, one_by_one):
    """Half of the values are left out while training, and none in an answer."""
    X, y = make_data("classes", 500)
    np.random.seed(0)
    model = Model()
    for layer in (Layer_Dense(4, 64), Activation_ReLU(), Layer_Dropout(0.5), Layer_Dense(64, 3)):
        model.add(layer)
    model.add(Activation_Softmax())
    model.set(
        loss=Loss_CategoricalCrossentropy(), optimizer=Optimizer_Adam(0.01),
        accuracy=Accuracy_Categorical(),
    )  # fmt: skip
    model.finalize()
    y = (X[:, 0] > 0) * 1 + (X[:, 1] > 0)
    fresh = copy.deepcopy(model)
    np.random.seed(0)
    lines = train(model, X, y, capsys, epochs=40, batch_size=50, print_every=100)
    assert compiled_steps
    accuracies = [float(line.split("acc: ")[1][:5]) for line in lines if "training" in line]
    assert accuracies[-1] > 0.8
    np.random.seed(0)
    repeated = copy.deepcopy(fresh)
    one_by_one()
    assert train(repeated, X, y, capsys, epochs=40, batch_size=50, print_every=100) == lines
    assert np.array_equal(model.predict(X), model.predict(X))
    assert (model.predict(X).argmax(axis=1) == y).mean() >= accuracies[-1]


@pytest.mark.parametrize("method", ["compiled", "by hand"])
@pytest.mark.parametrize("optimizer", ["SGD", "momentum", "Adam"])
def test_diverging_training_leaves_the_last_good_epoch(method, optimizer, capsys):
    X, y = make_data("squared")
    model, good = (make_model("squared", optimizer) for _ in range(2))
    if method == "by hand":
        model.network = good.network = None
        model._warned = good._warned = True
    train(good, X, y, capsys, epochs=1)
    train(model, X, y, capsys, epochs=1)
    model.optimizer.learning_rate = model.optimizer.current_learning_rate = 1e300
    with pytest.raises(NonFiniteLossError, match="epoch 1") as caught:
        train(model, 1e9 * X, 1e9 * y, capsys, epochs=3)
    assert caught.value.history.epochs == []
    assert np.array_equal(parameters_of(model), parameters_of(good))
    assert model.optimizer.iterations == good.optimizer.iterations
    for a, b in zip(model.trainable_layers, good.trainable_layers, strict=True):
        for name in model.optimizer.averages:
            name = f"bias_{name}"
            assert np.array_equal(getattr(a, name), getattr(b, name))


def test_history_has_the_curves(capsys):
    X, y = make_data("classes")
    model = make_model()
    lines = train(model, X, y, capsys, validation_data=(X, y))
    names = {"loss", "accuracy", "penalty", "val_loss", "val_accuracy"}
    assert set(model.history.curves) == names
    losses = [line for line in lines if line.startswith("training")]
    assert len(losses) == 3
    for loss, line in zip(model.history.loss, losses, strict=True):
        assert f"loss: {loss:.3f} " in line


# ------------------------------------------------------------------ answers and parameters


@every_task
def test_answers(task, capsys):
    X, y = make_data(task)
    model, network = make_model(task), make_book_network(task)
    network.precision = np.std(y) / 250
    model.accuracy.init(y)
    assert_allclose(model.predict(X), network.forward(X), rtol=1e-12)
    assert_allclose(model.predict(X, batch_size=10), model.predict(X), rtol=1e-12)
    model.evaluate(X, y, batch_size=10)
    assert capsys.readouterr().out == network.evaluate(X, y) + "\n"
    confidences = model.predict(X[:5])
    answers = model.output_layer_activation.predictions(confidences)
    if task == "classes":
        assert answers.tolist() == confidences.argmax(axis=1).tolist()
    elif task == "answers":
        assert answers.tolist() == (confidences > 0.5).astype(int).tolist()
    else:
        assert answers is confidences


def test_layers_know_their_neighbors():
    model = make_model()
    row = [model.input_layer, *model.layers, model.loss]
    assert isinstance(model.input_layer, Layer_Input)
    for before, layer, behind in zip(row, row[1:], row[2:], strict=False):
        assert layer.prev is before
        assert layer.next is behind
    assert model.input_layer.next is model.layers[0]
    assert model.trainable_layers == [model.layers[0], model.layers[2]]
    assert model.loss.trainable_layers is model.trainable_layers
    assert model.output_layer_activation is model.layers[-1]
    head = model.softmax_classifier_output
    assert isinstance(head, Activation_Softmax_Loss_CategoricalCrossentropy)


def test_parameters_of_one_model_in_another():
    X, _ = make_data("classes")
    model, other = make_model(), make_model()
    other.set_parameters([(w + 1, b + 1) for w, b in model.get_parameters()])
    assert not np.allclose(other.predict(X), model.predict(X))
    other.set_parameters(model.get_parameters())
    assert np.array_equal(other.predict(X), model.predict(X))
    (weights, biases), second = other.get_parameters()
    with pytest.raises(ValueError, match=r"biases has shape \(1, 3\), expected \(1, 16\)"):
        other.set_parameters([(weights + 1, second[1]), second])
    with pytest.raises(ValueError, match=r"weights has shape \(1, 2\)"):
        other.set_parameters([(weights + 1, biases), (np.ones((1, 2)), second[1])])
    assert np.array_equal(other.predict(X), model.predict(X))


def test_copies_train_on_their_own(capsys):
    X, y = make_data("classes")
    model = make_model()
    train(model, X, y, capsys)
    twin, before = copy.deepcopy(model), parameters_of(model)
    lines = train(twin, X, y, capsys)
    assert np.array_equal(parameters_of(model), before)
    assert train(model, X, y, capsys) == lines
    assert copy.deepcopy(model.layers[0]).prev is None


# ------------------------------------------------------------------ files


@every_task
@every_optimizer
def test_saved_model_goes_on_with_the_same_bits(task, optimizer, capsys, tmp_path):
    X, y = make_data(task)
    model, path = make_model(task, optimizer), tmp_path / "some.model"
    train(model, X, y, capsys)
    model.save(path)
    np.random.seed(3)
    loaded = Model.load(path)
    drawn = np.random.rand()
    np.random.seed(3)
    assert drawn == np.random.rand()
    assert loaded.predict(X).tobytes() == model.predict(X).tobytes()
    assert [repr(layer) for layer in loaded.layers] == [repr(layer) for layer in model.layers]
    assert loaded.layers[0].penalties == PENALTIES
    assert train(loaded, X, y, capsys) == train(model, X, y, capsys)
    assert parameters_of(loaded).tobytes() == parameters_of(model).tobytes()
    assert [file.name for file in tmp_path.iterdir()] == ["some.model"]


def test_every_kind_of_part_is_kept(tmp_path):
    model = Model()
    for layer in (Layer_Dense(2, 3), Activation_ReLU(), Layer_Dropout(0.1), Layer_Dense(3, 1)):
        model.add(layer)
    model.add(Activation_Linear())
    model.set(accuracy=Accuracy_Regression(), loss=Loss_MeanAbsoluteError())
    model.finalize()
    model.accuracy.init(np.arange(5.0))
    model.save(tmp_path / "m")
    loaded = Model.load(tmp_path / "m")
    assert loaded.layers[2].rate == model.layers[2].rate == 0.9
    assert loaded.accuracy.precision == model.accuracy.precision
    assert loaded.optimizer is None
    assert np.array_equal(loaded.predict([[1.0, 2.0]]), model.predict([[1.0, 2.0]]))


def test_parameters_in_a_file(tmp_path):
    X, _ = make_data("classes")
    model, other = make_model(), make_model()
    other.set_parameters([(w + 1, b + 1) for w, b in model.get_parameters()])
    model.save_parameters(tmp_path / "x.parms")
    other.load_parameters(str(tmp_path / "x.parms"))
    assert np.array_equal(other.predict(X), model.predict(X))
    wider = Model()
    wider.add(Layer_Dense(5, 3))
    wider.finalize()
    with pytest.raises(ValueError, match="parameters has 2 entries, expected 1"):
        wider.load_parameters(tmp_path / "x.parms")


def test_files_have_no_pickle(tmp_path):
    make_model().save(tmp_path / "m")
    data = (tmp_path / "m").read_bytes()
    header = data[8 : 8 + int.from_bytes(data[:8], "little")]
    assert header.lstrip().startswith(b"{")
    assert b'"0.weights"' in header


def test_damaged_and_foreign_files(tmp_path):
    model, path = make_model(), tmp_path / "m"
    model.save(path)
    whole = path.read_bytes()
    model.save_parameters(tmp_path / "p")
    fastnn_error = pytest.raises(fastnn.FileFormatError)
    for data in (
        b"", b"x", whole[:20], whole[:-1], whole[:300], b"\xff" * 8 + whole[8:], b"\x80\x04K.",
        whole.replace(b"Layer_Dense", b"Layer_Dunce"), (tmp_path / "p").read_bytes(),
        whole.replace(b"n_neurons", b"n_nerouns").replace(b"biases", b"baises"),
    ):  # fmt: skip
        path.write_bytes(data)
        with fastnn_error:
            Model.load(path)
    with pytest.raises(FileNotFoundError):
        Model.load(tmp_path / "none")
    path.write_bytes(whole)
    with fastnn_error:
        model.load_parameters(path)


@pytest.mark.parametrize(
    "change",
    [
        {"layers": 3},
        {"layers": []},
        {"layers": [{"class": "Layer_Dunce", "arguments": {}, "attributes": {}}]},
        {"layers": [{"class": "Layer_Dropout", "arguments": {}, "attributes": {"rate": "x"}}]},
        {"loss": {"class": "Optimizer_SGD", "arguments": {}, "attributes": {}}},
        {"loss": {"class": "Loss_MeanSquaredError", "arguments": {"a": 1}, "attributes": {}}},
        {"accuracy": {"class": "Accuracy_Regression", "arguments": {}, "attributes": {"x": 1}}},
        {"optimizer": {"class": "Optimizer_SGD", "arguments": {"decay": -1}, "attributes": {}}},
    ],
)
def test_whole_files_with_another_description(change, tmp_path):
    make_model().save(tmp_path / "m")
    description, arrays = files.read(tmp_path / "m")
    files.write(tmp_path / "m", description | change, arrays)
    with pytest.raises(fastnn.FileFormatError, match=r"is no file of fastnn\.nnfs"):
        Model.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("0.weights", np.ones((4, 15))), ("0.weights", np.full((4, 16), np.nan)),
        ("0.biases", np.ones(16)), ("0.biases", np.ones((1, 16), np.float32)),
        ("0.weight_cache", np.ones((2, 2))), ("2.weights", np.ones((15, 3))),
        ("2.weights", np.ones((16, 3), np.int64)), ("2.biases", None),
    ],
)  # fmt: skip
def test_whole_files_with_other_arrays(name, array, tmp_path):
    make_model().save(tmp_path / "m")
    description, arrays = files.read(tmp_path / "m")
    arrays = {k: a for k, a in {**arrays, name: array}.items() if a is not None}
    files.write(tmp_path / "m", description, arrays)
    with pytest.raises(fastnn.FileFormatError, match=r"is no file of fastnn\.nnfs"):
        Model.load(tmp_path / "m")


def test_what_no_file_holds(tmp_path):
    model, path = make_model(dense=OwnDense), tmp_path / "m"
    path.write_bytes(b"here before")
    with pytest.raises(TypeError, match=r"layers\[0\] is <.*OwnDense.*expected one of Layer_Dense"):
        model.save(path)
    model = make_model(loss=OwnLoss())
    with pytest.raises(TypeError, match="loss is OwnLoss"):
        model.save(path)
    assert path.read_bytes() == b"here before"


# ------------------------------------------------------------------ single classes


def arguments_of(function):
    """Return the names and defaults of the arguments, without their types."""
    arguments = inspect.signature(function).parameters.values()
    plain = [each.replace(annotation=each.empty) for each in arguments]
    return str(inspect.Signature(plain))[1:-1]


def test_arguments_and_defaults_are_those_of_the_book():
    expected = {
        Layer_Dense: "n_inputs, n_neurons, weight_regularizer_l1=0, weight_regularizer_l2=0, "
        "bias_regularizer_l1=0, bias_regularizer_l2=0",
        Layer_Dropout: "rate",
        Optimizer_SGD: "learning_rate=1.0, decay=0.0, momentum=0.0",
        Optimizer_Adagrad: "learning_rate=1.0, decay=0.0, epsilon=1e-07",
        Optimizer_RMSprop: "learning_rate=0.001, decay=0.0, epsilon=1e-07, rho=0.9",
        Optimizer_Adam: "learning_rate=0.001, decay=0.0, epsilon=1e-07, beta_1=0.9, beta_2=0.999",
        Accuracy_Categorical: "*, binary=False",
        Model.set: "self, *, loss=None, optimizer=None, accuracy=None",
        Model.train: "self, X, y, *, epochs=1, batch_size=None, print_every=1, "
        "validation_data=None",
        Model.evaluate: "self, X_val, y_val, *, batch_size=None",
        Model.predict: "self, X, *, batch_size=None",
    }
    assert {k: arguments_of(k) for k in expected} == expected


@pytest.mark.parametrize("kind", ["weights", "biases"])
@pytest.mark.parametrize("make", ["book", "own"])
def test_gradients_of_penalties(make, kind):
    np.random.seed(0)
    names = ("weights_l1", "weights_l2", "biases_l1", "biases_l2")
    if make == "book":
        layer = Layer_Dense(3, 2, *PENALTIES)
    else:
        layer = fastnn.Dense(3, 2, dtype=np.float64, **dict(zip(names, PENALTIES, strict=True)))
    layer.biases = [[0.3, -0.2]]
    loss, X, y = Loss_MeanSquaredError(), np.random.randn(5, 3), np.random.randn(5, 2)
    layer.backward(loss.backward(layer.forward(X), y))
    parameters, step = getattr(layer, kind), 1e-6
    for at in np.ndindex(parameters.shape):
        losses = []
        for change in (step, -2 * step):
            parameters[at] += change
            losses.append(loss.calculate(layer.forward(X), y) + loss.regularization_loss(layer))
        parameters[at] += step
        slope = (losses[0] - losses[1]) / (2 * step)
        assert_allclose(getattr(layer, "d" + kind)[at], slope, rtol=1e-6)


class OwnReLU(Activation_ReLU):
    """An activation of a user's own, so that the model trains layer by layer."""

    def forward(self, inputs, training=False):
        return super().forward(inputs, training)


def make_zeros(activation, optimizer, width=3):
    """Return a model whose weights are all 0 and have a penalty, and its dense layers."""
    model, layers = Model(), [
        Layer_Dense(2, width, weight_regularizer_l1=1e-3), Layer_Dense(width, 2, 1e-3)
    ]  # fmt: skip
    for layer in layers:
        layer.weights = np.zeros_like(layer.weights)
    for layer in (layers[0], activation, layers[1], Activation_Softmax()):
        model.add(layer)
    model.set(
        loss=Loss_CategoricalCrossentropy(), optimizer=optimizer, accuracy=Accuracy_Categorical()
    )
    model.finalize()
    return model, layers


def test_weights_of_zero_stay_zero_where_no_step_is_taken():
    """The slope of their penalty is 1 in the book: none of them has to move for that."""
    model, layers = make_zeros(Activation_ReLU(), Optimizer_SGD(1.0))
    layers[1].biases = [[1e308, -1e308]]
    with pytest.raises(NonFiniteLossError, match="batch 1"):
        model.train(np.ones((4, 2)), np.ones(4, int))
    assert not layers[0].weights.any()
    assert not layers[1].weights.any()


@pytest.mark.parametrize("width", [1, 3, 16, 17, 50])
@pytest.mark.parametrize("optimizer", [Optimizer_SGD, Optimizer_Adam, Optimizer_Adagrad])
def test_the_slope_of_a_penalty_of_weights_at_zero_is_one(optimizer, width, capsys):
    """As in the book, also where a panel of weights is wider than the layer."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((12, 2)), rng.integers(0, 2, 12)
    parameters = []
    for activation in (Activation_ReLU(), OwnReLU()):
        model, layers = make_zeros(activation, optimizer(learning_rate=0.1), width)
        model._warned = True
        model.train(X, y, epochs=4, batch_size=5)
        assert all(layer.weights.all() for layer in layers)
        parameters.append(model.get_parameters())
    for one, other in zip(*parameters, strict=True):
        for found, expected in zip(one, other, strict=True):
            assert_allclose(found, expected, rtol=1e-8, atol=1e-12)


def test_frozen_layer_has_no_slopes_of_penalties():
    layer = fastnn.Dense(2, 2, weights_l2=1.0, rng=0)
    layer.trainable = False
    layer.forward(np.zeros((1, 2)))
    layer.backward(np.zeros((1, 2)))
    assert not layer.dweights.any()


def test_slope_of_a_bias_of_zero_is_one():
    layer = Layer_Dense(2, 2, bias_regularizer_l1=0.5)
    layer.forward(np.zeros((1, 2)))
    layer.backward(np.zeros((1, 2)))
    assert layer.dbiases.tolist() == [[0.5, 0.5]]
    assert layer.bias_regularizer_l1 == layer.biases_l1 == 0.5
    layer.weight_regularizer_l2 = 3
    assert layer.penalties == (0, 3, 0.5, 0)
    with pytest.raises(ValueError, match="weight_regularizer_l2 is -1"):
        layer.weight_regularizer_l2 = -1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_draws_what_scripts_draw(dtype):
    layer, inputs = Layer_Dropout(0.4), np.ones((50, 40), dtype)
    assert layer.rate == 0.6
    np.random.seed(5)
    found = layer.forward(inputs)
    np.random.seed(5)
    mask = np.random.binomial(1, 0.6, size=(50, 40)) / 0.6
    assert np.array_equal(layer.binary_mask, mask)
    assert found.dtype == dtype
    assert np.array_equal(found, mask.astype(dtype))
    assert np.array_equal(layer.backward(2 * inputs), (2 * mask).astype(dtype))
    assert np.array_equal(layer.forward(inputs, False), inputs)
    assert layer.output is not layer.inputs
    assert np.array_equal(layer.forward(inputs, training=True) > 0, layer.binary_mask > 0)


def test_figures_of_many_batches():
    model = make_model("squared")
    X, y = make_data("squared")
    loss, accuracy = model.loss, model.accuracy
    accuracy.init(y)
    precision = accuracy.precision
    assert_allclose(precision, y.std() / 250)
    accuracy.init(2 * y)
    assert accuracy.precision == precision
    accuracy.init(2 * y, reinit=True)
    assert_allclose(accuracy.precision, 2 * precision)
    output = model.predict(X)
    for part in (slice(0, 8), slice(8, N)):
        data_loss, penalty = loss.calculate(output[part], y[part], include_regularization=True)
        assert_allclose(data_loss, np.square(output[part] - y[part]).mean())
        accuracy.calculate(y[part] + (np.arange(len(y))[part, None] % 2), y[part])
    assert_allclose(penalty, make_book_network("squared").penalty())
    assert_allclose(loss.calculate_accumulated(), np.square(output - y).mean())
    assert loss.calculate_accumulated(include_regularization=True)[1] == penalty
    assert loss.accumulated_count == N
    assert_allclose(accuracy.calculate_accumulated(), 19 / 37)
    loss.new_pass()
    accuracy.new_pass()
    assert (loss.accumulated_sum, accuracy.accumulated_count) == (0, 0)
    with pytest.raises(ValueError, match="accumulated_count is 0"):
        loss.calculate_accumulated()


def test_update_of_a_layer_from_scratch():
    """Gradients may broadcast, as in `weights -= rate * dweights`; averages are on the layer."""
    np.random.seed(0)
    layer, expected = OwnDense(3, 2), OwnDense(3, 2)
    optimizer = Optimizer_SGD(0.5, momentum=0.9)
    expected.weights[...] = layer.weights
    layer.dweights, layer.dbiases = np.ones((3, 2)), np.ones(2)
    for step in (-0.5, -0.95):
        optimizer.update_params(layer)
        expected.weights += step
        assert_allclose(layer.weights, expected.weights)
        assert_allclose(layer.weight_momentums, np.full((3, 2), step))
        assert_allclose(layer.bias_momentums, np.full((1, 2), step))


def test_own_loss_without_more_than_forward():
    class Absolute(Loss):
        def forward(self, y_pred, y_true):
            return np.abs(y_pred - y_true)

    assert Absolute().calculate(np.array([1.0, 4.0]), np.array([2.0, 2.0])) == 1.5
    assert Absolute().regularization_loss() == 0


# ------------------------------------------------------------------ bad input


def trained(**options):
    X, y = make_data("classes")
    make_model().train(**{"X": X, "y": y, **options})


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        (lambda: Layer_Dense(2, 3, -1), ValueError, "weight_regularizer_l1 is -1"),
        (lambda: Layer_Dense(2, 3, 0, "a"), TypeError, "weight_regularizer_l2 is 'a'"),
        (lambda: Layer_Dense(2, 3, 0, 0, np.nan), ValueError, "bias_regularizer_l1 is nan"),
        (lambda: Layer_Dense(2, 3, bias_regularizer_l2=-2), ValueError, "bias_regularizer_l2"),
        (lambda: Layer_Dropout(1.0), ValueError, "rate is 1.0, expected .* below 1"),
        (lambda: Layer_Dropout(0.5).backward([[1.0]]), RuntimeError, "before forward"),
        (lambda: Optimizer_SGD(-1), ValueError, "learning_rate is -1.0"),
        (lambda: Optimizer_SGD(decay=-1), ValueError, "decay is -1"),
        (lambda: Optimizer_SGD(momentum=1), ValueError, "momentum is 1"),
        (lambda: Optimizer_RMSprop(rho=1.5), ValueError, "rho is 1.5"),
        (lambda: Optimizer_Adam(beta_2="x"), TypeError, "beta_2 is 'x'"),
        (lambda: Optimizer_Adagrad(epsilon=-1), ValueError, "epsilon is -1"),
        (lambda: Optimizer_SGD().update_params(Layer_Dense(2, 2)), RuntimeError, "dweights is"),
        (lambda: Accuracy_Categorical(binary=1), TypeError, "binary is 1"),
        (lambda: Accuracy_Regression().compare([[1.0]], [[1.0]]), RuntimeError, "before init"),
        (
            lambda: Accuracy_Categorical(binary=True).calculate(np.ones((3, 1)), np.ones(3)),
            ValueError, r"predictions has shape \(3, 1\), expected \(3,\)",
        ),
        (lambda: Model().add(Layer_Dense), TypeError, "layer is <class"),
        (lambda: Model().add(3), TypeError, "layer is 3, .* method forward"),
        (lambda: Model().set(loss=Loss_MeanSquaredError), TypeError, "loss is <class"),
        (lambda: Model().set(optimizer=Loss()), TypeError, "optimizer is Loss.*pre_update_params"),
        (lambda: Model().set(accuracy="a"), TypeError, "accuracy is 'a'"),
        (lambda: Model().finalize(), ValueError, "layers is empty"),
        (lambda: Model().predict([[1.0]]), RuntimeError, "predict was called before finalize"),
        (lambda: Model().get_parameters(), RuntimeError, "before finalize"),
        (lambda: trained(epochs=0), ValueError, "epochs is 0"),
        (lambda: trained(batch_size=2.5), TypeError, "batch_size is 2.5"),
        (lambda: trained(print_every=0), ValueError, "print_every is 0"),
        (lambda: trained(X=np.ones((37, 3))), ValueError, r"X has shape \(37, 3\)"),
        (lambda: trained(X=np.full((37, 4), np.nan)), ValueError, r"X\[0, 0\] is nan"),
        (lambda: trained(y=np.arange(37)), ValueError, r"y\[3\] is 3"),
        (lambda: trained(y=np.zeros(36, int)), ValueError, "y has 36 rows"),
        (lambda: trained(validation_data=3), TypeError, "validation_data is not a pair"),
        (
            lambda: trained(validation_data=(np.ones((3, 4)), np.full(3, 7))),
            ValueError, r"validation_data\[1\]\[0\] is 7",
        ),
        (lambda: make_model().set_parameters(3), TypeError, "parameters is 3"),
        (lambda: make_model().set_parameters([(1, 2)]), ValueError, "1 entries, expected 2"),
    ],
)  # fmt: skip
def test_bad_input(action, error, words, capsys):
    with pytest.raises(error, match=words):
        action()
    assert capsys.readouterr().out == ""


def test_rate_that_is_no_rate(capsys):
    X, y = make_data("classes")
    model = make_model()
    model.optimizer.current_learning_rate = -1
    with pytest.raises(ValueError, match="current_learning_rate is -1"):
        model.train(X, y)
    assert capsys.readouterr().out == ""


def test_what_is_missing_is_named():
    X, y = make_data("classes")
    model = Model()
    model.add(Layer_Dense(4, 3))
    model.finalize()
    with pytest.raises(RuntimeError, match=r"loss is None, expected set\(loss=...\) before train"):
        model.train(X, y)
    model.set(loss=Loss_MeanSquaredError(), optimizer=Optimizer_SGD())
    with pytest.raises(RuntimeError, match="accuracy is None"):
        model.train(X, y)
    model.set(accuracy=Accuracy_Regression())
    with pytest.raises(TypeError, match=r"the last layer is Layer_Dense.*predictions"):
        model.train(X, y)
    model.add(Layer_Dense(2, 3))
    with pytest.raises(ValueError, match=r"layers\[1\] takes 2 inputs, expected 3"):
        model.finalize()
    with pytest.raises(ValueError, match="layer is in the model already"):
        model.add(model.layers[0])


def test_the_slope_of_a_penalty_at_zero_leaves_samples_at_the_origin_alone():
    """Biases start at 0: their penalty has the book's slope there, and no ReLU opens for it."""
    X, y = np.zeros((4, 2)), np.array([0, 1, 0, 0])

    class Own(Activation_ReLU):
        def forward(self, inputs, training=False):
            return super().forward(inputs, training)

    found = []
    for activation in (Activation_ReLU, Own):
        np.random.seed(0)
        model, dense = Model(), Layer_Dense(2, 3, bias_regularizer_l1=1e-3)
        for layer in (dense, activation(), Layer_Dense(3, 2), Activation_Softmax()):
            model.add(layer)
        model.set(
            loss=Loss_CategoricalCrossentropy(),
            optimizer=Optimizer_SGD(1.0),
            accuracy=Accuracy_Categorical(),
        )
        model.finalize()
        model.train(X, y, epochs=1)
        found.append(dense.biases.copy())
    assert np.array_equal(found[0], np.full((1, 3), -0.001))
    assert np.array_equal(found[0], found[1])
