"""From one neuron to a network of three layers, with the classes of a network from scratch.

One neuron with a ReLU: its gradients are known without a computer. A step of 0.001 on the weights
lowers its output from 6:

    gradient at the inputs [-3. -1.  2.], at the weights [ 1. -2.  3.], at the bias 1.0
    output after a step 5.986

Then 300 points on three arms of a spiral and a network of 2, 3 and 3 neurons, before any training.
Its loss is that of three classes by chance, log 3:

    loss 1.0986, accuracy 0.34
    gradient of the first weights
    [[ 1.577e-04  7.837e-05  4.732e-05]
     [ 1.816e-04  1.105e-05 -3.310e-05]]

With 64 neurons in the middle and Adam it learns, pass by pass as in a notebook, and in one call:

    pass by pass: step    0, loss 1.099
    pass by pass: step  500, loss 0.354
    pass by pass: step 1000, loss 0.237
    Model.train:  epoch 1001, loss 0.237
"""
# ruff: noqa: NPY002 (networks from scratch draw from NumPy's global generator)

import contextlib
import io

import numpy as np

from fastnn.nnfs import (
    Accuracy_Categorical,
    Activation_ReLU,
    Activation_Softmax,
    Activation_Softmax_Loss_CategoricalCrossentropy,
    Layer_Dense,
    Loss_CategoricalCrossentropy,
    Model,
    Optimizer_Adam,
)

neuron, relu = Layer_Dense(3, 1), Activation_ReLU()
neuron.weights, neuron.biases = [[-3.0], [-1.0], [2.0]], [[1.0]]
relu.forward(neuron.forward([[1.0, -2.0, 3.0]]))
neuron.backward(relu.backward([[1.0]]))
print(
    f"gradient at the inputs {neuron.dinputs[0]}, at the weights {neuron.dweights[:, 0]}, "
    f"at the bias {neuron.dbiases[0, 0]}"
)
neuron.weights -= 0.001 * neuron.dweights
print(f"output after a step {relu.forward(neuron.forward([[1.0, -2.0, 3.0]]))[0, 0]:.3f}")


def make_spiral(n=100, n_classes=3):
    """Return points (N, 2) and labels (N,), as the package `nnfs` draws them."""
    points, radius = [], np.linspace(0, 1, n)
    for arm in range(n_classes):
        angle = np.linspace(4 * arm, 4 * (arm + 1), n) + 0.2 * np.random.randn(n)
        points.append(np.c_[radius * np.sin(2.5 * angle), radius * np.cos(2.5 * angle)])
    return np.concatenate(points), np.repeat(np.arange(n_classes), n)


def run_passes(dense1, activation1, dense2, loss_activation):
    """Run all samples forward and the gradients back; return the loss."""
    activation1.forward(dense1.forward(X))
    loss = loss_activation.forward(dense2.forward(activation1.output), y)
    loss_activation.backward(loss_activation.output, y)
    dense2.backward(loss_activation.dinputs)
    activation1.backward(dense2.dinputs)
    dense1.backward(activation1.dinputs)
    return loss


np.random.seed(0)
X, y = make_spiral()
loss_activation = Activation_Softmax_Loss_CategoricalCrossentropy()
dense1, dense2 = Layer_Dense(2, 3), Layer_Dense(3, 3)
loss = run_passes(dense1, Activation_ReLU(), dense2, loss_activation)
accuracy = np.mean(loss_activation.output.argmax(axis=1) == y)
print(f"loss {loss:.4f}, accuracy {accuracy:.2f}")
print("gradient of the first weights")
print(np.array2string(dense1.dweights, precision=3))

np.random.seed(1)
dense1, dense2 = Layer_Dense(2, 64), Layer_Dense(64, 3)
optimizer = Optimizer_Adam(learning_rate=0.02, decay=1e-5)
for step in range(1001):
    loss = run_passes(dense1, relu, dense2, loss_activation)
    optimizer.pre_update_params()
    optimizer.update_params(dense1)
    optimizer.update_params(dense2)
    optimizer.post_update_params()
    if step % 500 == 0:
        print(f"pass by pass: step {step:4}, loss {loss:.3f}")

np.random.seed(1)
model = Model()
for layer in (Layer_Dense(2, 64), Activation_ReLU(), Layer_Dense(64, 3), Activation_Softmax()):
    model.add(layer)
model.set(
    loss=Loss_CategoricalCrossentropy(),
    optimizer=Optimizer_Adam(learning_rate=0.02, decay=1e-5),
    accuracy=Accuracy_Categorical(),
)
model.finalize()
with contextlib.redirect_stdout(io.StringIO()):  # it prints every epoch
    model.train(X, y, epochs=1001)
print(f"Model.train:  epoch {len(model.history)}, loss {model.history.loss[-1]:.3f}")
