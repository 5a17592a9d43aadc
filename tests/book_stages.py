"""Scripts in the style of each stage of a "from scratch" book, and what they ought to find.

Each script takes its classes from `fastnn.nnfs`. It leaves `log`, with (accuracy, data loss,
penalty) of each step, and `trained`, its layers with weights; or `model`, and prints. Run as a
program, this module runs them all after `nnfs.init()`, and prints how far off they were.
"""

# ruff: noqa: NPY002 (scripts from scratch draw from the global generator)

import contextlib
import io
import json
import re
import sys

import numpy as np
from book_network import BookNetwork
from nnfs.datasets import sine_data, spiral_data, vertical_data

HEAD = """
import numpy as np
from nnfs.datasets import sine_data, spiral_data, vertical_data
from fastnn.nnfs import *
log = []
"""

# A loop by hand: no optimizer, `forward` without `training`, softmax and loss in one.
DESCENT = """
X, y = spiral_data(samples=40, classes=3)
hidden, relu, output = Layer_Dense(2, 16), Activation_ReLU(), Layer_Dense(16, 3)
head = Activation_Softmax_Loss_CategoricalCrossentropy()
trained = [hidden, output]
for epoch in range(30):
    hidden.forward(X)
    relu.forward(hidden.output)
    output.forward(relu.output)
    loss = head.forward(output.output, y)
    log.append((np.mean(np.argmax(head.output, axis=1) == y), loss, 0.0))
    head.backward(head.output, y)
    output.backward(head.dinputs)
    relu.backward(output.dinputs)
    hidden.backward(relu.dinputs)
    for layer in trained:
        layer.weights += -1.0 * layer.dweights
        layer.biases += -1.0 * layer.dbiases
"""

# Softmax and loss one by one, on one-hot rows.
APART = """
X, y = vertical_data(samples=30, classes=3)
rows = np.eye(3)[y]
hidden, relu, output = Layer_Dense(2, 8), Activation_ReLU(), Layer_Dense(8, 3)
softmax, loss_function = Activation_Softmax(), Loss_CategoricalCrossentropy()
optimizer = Optimizer_SGD()
trained = [hidden, output]
for epoch in range(20):
    hidden.forward(X)
    relu.forward(hidden.output)
    output.forward(relu.output)
    softmax.forward(output.output)
    loss = loss_function.calculate(softmax.output, rows)
    log.append((np.mean(np.argmax(softmax.output, axis=1) == y), loss, 0))
    loss_function.backward(softmax.output, rows)
    softmax.backward(loss_function.dinputs)
    output.backward(softmax.dinputs)
    relu.backward(output.dinputs)
    hidden.backward(relu.dinputs)
    for layer in trained:
        optimizer.update_params(layer)
"""

# An optimizer, and penalties that the script adds up. The classes are of two sizes: else the first
# gradients of some biases are 0, which float32 rounds to either side, and Adam follows the sign.
OPTIMIZER = """
X, y = spiral_data(samples=40, classes=3)
X, y = X[:100], y[:100]
dense1 = Layer_Dense(2, 16, weight_regularizer_l1=1e-4, weight_regularizer_l2=5e-4,
                     bias_regularizer_l1=2e-4, bias_regularizer_l2=5e-4)
activation1, dense2 = Activation_ReLU(), Layer_Dense(16, 3)
loss_activation = Activation_Softmax_Loss_CategoricalCrossentropy()
optimizer = OPTIMIZER
trained = [dense1, dense2]
for epoch in range(30):
    dense1.forward(X)
    activation1.forward(dense1.output)
    dense2.forward(activation1.output)
    data_loss = loss_activation.forward(dense2.output, y)
    regularization_loss = (loss_activation.loss.regularization_loss(dense1)
                           + loss_activation.loss.regularization_loss(dense2))
    predictions = np.argmax(loss_activation.output, axis=1)
    log.append((np.mean(predictions == y), data_loss, regularization_loss))
    loss_activation.backward(loss_activation.output, y)
    dense2.backward(loss_activation.dinputs)
    activation1.backward(dense2.dinputs)
    dense1.backward(activation1.dinputs)
    optimizer.pre_update_params()
    optimizer.update_params(dense1)
    optimizer.update_params(dense2)
    optimizer.post_update_params()
"""

DROPOUT = """
X, y = spiral_data(samples=40, classes=3)
dense1, activation1, dropout1 = Layer_Dense(2, 32), Activation_ReLU(), Layer_Dropout(0.1)
dense2, head = Layer_Dense(32, 3), Activation_Softmax_Loss_CategoricalCrossentropy()
optimizer = Optimizer_Adam(learning_rate=0.05, decay=5e-5)
trained = [dense1, dense2]
for epoch in range(20):
    dense1.forward(X)
    activation1.forward(dense1.output)
    dropout1.forward(activation1.output)
    dense2.forward(dropout1.output)
    loss = head.forward(dense2.output, y)
    log.append((np.mean(np.argmax(head.output, axis=1) == y), loss, 0))
    head.backward(head.output, y)
    dense2.backward(head.dinputs)
    dropout1.backward(dense2.dinputs)
    activation1.backward(dropout1.dinputs)
    dense1.backward(activation1.dinputs)
    optimizer.pre_update_params()
    for layer in trained:
        optimizer.update_params(layer)
    optimizer.post_update_params()
"""

LOGISTIC = """
X, y = spiral_data(samples=40, classes=2)
y = y.reshape(-1, 1)
dense1 = Layer_Dense(2, 16, weight_regularizer_l2=5e-4, bias_regularizer_l2=5e-4)
activation1, dense2, activation2 = Activation_ReLU(), Layer_Dense(16, 1), Activation_Sigmoid()
loss_function = Loss_BinaryCrossentropy()
optimizer = Optimizer_Adam(decay=5e-7)
trained = [dense1, dense2]
for epoch in range(20):
    dense1.forward(X, True)
    activation1.forward(dense1.output, True)
    dense2.forward(activation1.output, True)
    activation2.forward(dense2.output, True)
    data_loss = loss_function.calculate(activation2.output, y)
    penalty = loss_function.regularization_loss(dense1) + loss_function.regularization_loss(dense2)
    log.append((np.mean(activation2.predictions(activation2.output) == y), data_loss, penalty))
    loss_function.backward(activation2.output, y)
    activation2.backward(loss_function.dinputs)
    dense2.backward(activation2.dinputs)
    activation1.backward(dense2.dinputs)
    dense1.backward(activation1.dinputs)
    optimizer.pre_update_params()
    for layer in trained:
        optimizer.update_params(layer)
    optimizer.post_update_params()
"""

REGRESSION = """
X, y = sine_data(100)
X, y = X[:80], y[:80]
dense1, activation1, dense2 = Layer_Dense(1, 16), Activation_ReLU(), Layer_Dense(16, 16)
activation2, dense3, activation3 = Activation_ReLU(), Layer_Dense(16, 1), Activation_Linear()
steps = dense1, activation1, dense2, activation2, dense3, activation3
loss_function = LOSS()
optimizer = Optimizer_Adam(learning_rate=0.005, decay=1e-3)
precision = np.std(y) / 250
trained = [dense1, dense2, dense3]
for epoch in range(20):
    values = X
    for step in steps:
        step.forward(values)
        values = step.output
    data_loss = loss_function.calculate(values, y)
    log.append((np.mean(np.absolute(values - y) < precision), data_loss, 0))
    loss_function.backward(values, y)
    gradient = loss_function.dinputs
    for step in steps[::-1]:
        step.backward(gradient)
        gradient = step.dinputs
    optimizer.pre_update_params()
    for layer in trained:
        optimizer.update_params(layer)
    optimizer.post_update_params()
"""

MODEL_CLASSES = """
X, y = spiral_data(samples=50, classes=3)
X_test, y_test = spiral_data(samples=20, classes=3)
model = Model()
model.add(Layer_Dense(2, 32, weight_regularizer_l1=1e-5, weight_regularizer_l2=5e-4,
                      bias_regularizer_l1=2e-4, bias_regularizer_l2=5e-4))
model.add(Activation_ReLU())
model.add(Layer_Dense(32, 32))
model.add(Activation_ReLU())
model.add(Layer_Dense(32, 3))
model.add(Activation_Softmax())
model.set(loss=Loss_CategoricalCrossentropy(), accuracy=Accuracy_Categorical(),
          optimizer=OPTIMIZER)
model.finalize()
model.train(X, y, epochs=5, batch_size=32, print_every=2, validation_data=(X_test, y_test))
model.train(X, y, epochs=2, print_every=100)
"""

MODEL_ANSWERS = """
X, y = spiral_data(samples=50, classes=2)
X_test, y_test = spiral_data(samples=20, classes=2)
y, y_test = y.reshape(-1, 1), y_test.reshape(-1, 1)
model = Model()
model.add(Layer_Dense(2, 32, weight_regularizer_l2=5e-4, bias_regularizer_l2=5e-4))
model.add(Activation_ReLU())
model.add(Layer_Dense(32, 1))
model.add(Activation_Sigmoid())
model.set(loss=Loss_BinaryCrossentropy(), accuracy=Accuracy_Categorical(binary=True),
          optimizer=Optimizer_Adam(learning_rate=0.02, decay=5e-7))
model.finalize()
model.train(X, y, epochs=8, print_every=1, validation_data=(X_test, y_test))
"""

MODEL_NUMBERS = """
X, y = sine_data(200)
model = Model()
model.add(Layer_Dense(1, 16))
model.add(Activation_ReLU())
model.add(Layer_Dense(16, 16))
model.add(Activation_ReLU())
model.add(Layer_Dense(16, 1))
model.add(Activation_Linear())
model.set(loss=LOSS(), accuracy=Accuracy_Regression(),
          optimizer=Optimizer_Adam(learning_rate=0.02, decay=1e-3))
model.finalize()
model.train(X, y, epochs=10, batch_size=60, print_every=3)
"""

OPTIMIZERS = {
    "Optimizer_SGD()": ("SGD", {"rate": 1.0}),
    "Optimizer_SGD(0.85, decay=1e-2)": ("SGD", {"rate": 0.85, "decay": 1e-2}),
    "Optimizer_SGD(decay=1e-3, momentum=0.9)": (
        "SGD", {"rate": 1.0, "decay": 1e-3, "momentum": 0.9},
    ),
    "Optimizer_Adagrad(0.1, decay=1e-4)": ("Adagrad", {"rate": 0.1, "decay": 1e-4}),
    "Optimizer_RMSprop(decay=1e-3)": ("RMSprop", {"rate": 0.001, "decay": 1e-3}),
    "Optimizer_Adam(learning_rate=0.05, decay=5e-3)": ("Adam", {"rate": 0.05, "decay": 5e-3}),
}  # fmt: skip
PENALTIES = [(1e-4, 5e-4, 2e-4, 5e-4)]


def spiral(samples, classes):
    X, y = spiral_data(samples=samples, classes=classes)
    return X, y.reshape(-1, 1) if classes == 2 else y


def by_hand(data, steps, *arguments, **options):
    """Return a function that takes the same steps in NumPy and returns the network and the log."""

    def run():
        (X, y), network = data(), BookNetwork(*arguments, **options)
        network.precision = np.std(y) / 250
        return network, [network.step(X, y) for _ in range(steps)]

    return run


def classes(optimizer):
    (X, y), test = spiral(50, 3), spiral(20, 3)
    penalties = [(1e-5, 5e-4, 2e-4, 5e-4)]
    network = BookNetwork((2, 32, 32, 3), "classes", optimizer, penalties=penalties)
    lines = network.train(X, y, epochs=5, batch_size=32, print_every=2, validation_data=test)
    return network, lines + network.train(X, y, epochs=2, print_every=100)


def answers():
    (X, y), test = spiral(50, 2), spiral(20, 2)
    adam = "Adam", {"rate": 0.02, "decay": 5e-7}
    network = BookNetwork((2, 32, 1), "answers", adam, penalties=[(0, 5e-4, 0, 5e-4)])
    return network, network.train(X, y, epochs=8, validation_data=test)


def numbers(loss):
    X, y = sine_data(200)
    network = BookNetwork((1, 16, 16, 1), loss, ("Adam", {"rate": 0.02, "decay": 1e-3}))
    return network, network.train(X, y, epochs=10, batch_size=60, print_every=3)


_sgd, _adam = ("SGD", {"rate": 1.0}), ("Adam", {"rate": 0.005, "decay": 1e-3})

# Name: (script, what finds the same in NumPy).
STAGES = {
    "descent": (DESCENT, by_hand(lambda: spiral(40, 3), 30, (2, 16, 3), "classes", _sgd)),
    "apart": (APART, by_hand(lambda: vertical_data(30, 3), 20, (2, 8, 3), "classes", _sgd)),
    "dropout": (
        DROPOUT,
        by_hand(
            lambda: spiral(40, 3), 20, (2, 32, 3), "classes",
            ("Adam", {"rate": 0.05, "decay": 5e-5}), dropped=0.1,
        ),
    ),
    "logistic": (
        LOGISTIC,
        by_hand(
            lambda: spiral(40, 2), 20, (2, 16, 1), "answers",
            ("Adam", {"rate": 0.001, "decay": 5e-7}), penalties=[(0, 5e-4, 0, 5e-4)],
        ),
    ),
    "answers": (MODEL_ANSWERS, answers),
}  # fmt: skip
for _call, _optimizer in OPTIMIZERS.items():
    STAGES[_call] = (
        OPTIMIZER.replace("OPTIMIZER", _call),
        by_hand(
            lambda: [array[:100] for array in spiral(40, 3)],
            30,
            (2, 16, 3),
            "classes",
            _optimizer,
            penalties=PENALTIES,
        ),
    )
    STAGES[f"Model, {_call}"] = (
        MODEL_CLASSES.replace("OPTIMIZER", _call),
        lambda optimizer=_optimizer: classes(optimizer),
    )
for _name, _loss in (("Loss_MeanSquaredError", "squared"), ("Loss_MeanAbsoluteError", "absolute")):
    STAGES[_name] = (
        REGRESSION.replace("LOSS", _name),
        by_hand(lambda: [array[:80] for array in sine_data(100)], 20, (1, 16, 16, 1), _loss, _adam),
    )
    STAGES[f"Model, {_name}"] = (
        MODEL_NUMBERS.replace("LOSS", _name),
        lambda loss=_loss: numbers(loss),
    )


def run_script(text):
    """Return what the script leaves, and the lines that it prints."""
    np.random.seed(0)
    space, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(HEAD + text, space)
    return space, printed.getvalue().splitlines()


def find_differences(name):
    """Run a stage; return how far parameters are off, and both reports of its steps.

    A report is a list of lines, or an array of figures.
    """
    script, run_in_numpy = STAGES[name]
    space, report = run_script(script)
    np.random.seed(0)
    network, expected = run_in_numpy()
    if "model" in space:
        trained = space["model"].trainable_layers
    else:
        trained, report, expected = space["trained"], *map(np.array, (space["log"], expected))
    found = [array for layer in trained for array in layer.get_parameters()]
    pairs = zip(found, network.parameters, strict=True)
    off = max(float(np.abs(a.astype(np.float64) - b).max()) for a, b in pairs)
    return off, report, expected, str(found[0].dtype)


def figures(lines):
    """Return the numbers in some lines, row by row, the accuracy first."""
    number = r"[-+.e\d]*\d"
    rows = []
    for line in lines:
        accuracy, rest = re.findall(f"acc: ({number})", line), re.sub(f"acc: {number}", "", line)
        rows.append([float(word) for word in (accuracy or ["0"]) + re.findall(number, rest)])
    return rows


if __name__ == "__main__":
    import nnfs

    nnfs.init()
    results = {}
    for stage in STAGES:
        off, report, expected, dtype = find_differences(stage)
        lines = isinstance(report, list)
        report, expected = (figures(r) if lines else r.tolist() for r in (report, expected))
        results[stage] = off, report, expected, dtype, 1.1e-3 if lines else 1e-6
    json.dump(results, sys.stdout)
