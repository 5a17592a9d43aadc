"""Gradients on their way back, class by class.

A dense layer of four inputs and three neurons gets the gradient of the loss at its outputs. It
gives the gradients of its weights, its biases and its inputs:

    dweights
    [[ 0.5  0.5  0.5]
     [20.1 20.1 20.1]
     [10.9 10.9 10.9]
     [ 4.1  4.1  4.1]]
    dbiases [[6. 6. 6.]]
    dinputs
    [[ 0.44 -0.38 -0.07  1.37]
     [ 0.88 -0.76 -0.14  2.74]
     [ 1.32 -1.14 -0.21  4.11]]

A ReLU lets the gradient pass where its input was above 0, and leaves the array that it was given
alone. The loss divides by the number of samples, once:

    given to the ReLU [7. 7. 7. 7.], it gives back [7. 7. 0. 7.]
    gradient of the loss
    [[ 0.     -0.6667  0.      0.    ]
     [ 0.      0.     -0.8333  0.    ]
     [ 0.      0.      0.     -0.8333]]
    gradient of softmax and loss in one
    [[-0.1     0.0333  0.0667]
     [ 0.0333 -0.1667  0.1333]
     [ 0.0067 -0.0333  0.0267]]

All of it agrees with differences, where a gradient is measured by small steps:

    largest disagreement of a small network below 1e-9: True
"""

import numpy as np

import fastnn
from fastnn import nnfs

np.set_printoptions(precision=4, suppress=True)

inputs = np.array([[1, 2, 3, 2.5], [2, 5, -1, 2], [-1.5, 2.7, 3.3, -0.8]])
weights = np.array([[0.2, 0.8, -0.5, 1], [0.5, -0.91, 0.26, -0.5], [-0.26, -0.27, 0.17, 0.87]]).T
layer = nnfs.Layer_Dense(4, 3)
layer.weights = weights
layer.forward(inputs)
layer.backward(np.array([[1.0, 1, 1], [2, 2, 2], [3, 3, 3]]))
print(f"dweights\n{layer.dweights}\ndbiases {layer.dbiases}\ndinputs\n{layer.dinputs}")

relu, dvalues = nnfs.Activation_ReLU(), np.full((3, 4), 7.0)
relu.forward(inputs)
relu.backward(dvalues)
print(f"given to the ReLU {dvalues[1]}, it gives back {relu.dinputs[1]}")

loss = nnfs.Loss_CategoricalCrossentropy()
predicted = [[0.1, 0.5, 0.3, 0.1], [0.2, 0.1, 0.4, 0.3], [0.3, 0.2, 0.1, 0.4]]
loss.backward(predicted, [1, 2, 3])
print(f"gradient of the loss\n{loss.dinputs + 0.0}")

combined = nnfs.Activation_Softmax_Loss_CategoricalCrossentropy()
combined.backward([[0.7, 0.1, 0.2], [0.1, 0.5, 0.4], [0.02, 0.9, 0.08]], [0, 1, 1])
print(f"gradient of softmax and loss in one\n{combined.dinputs}")

layers = [
    fastnn.Dense(4, 5, dtype=np.float64, rng=0), fastnn.Tanh(),
    fastnn.Dense(5, 3, dtype=np.float64, rng=1),
]  # fmt: skip
model, head, labels = fastnn.Sequential(layers), fastnn.SoftmaxCrossEntropy(), [0, 2, 1]
head.forward(model.forward(inputs), labels)
model.backward(head.backward(head.output, labels))
measured, step = np.empty_like(model.parameters), 1e-5
for i, value in enumerate(model.parameters.copy()):
    losses = []
    for moved in (value + step, value - step):
        model.parameters[i] = moved
        losses.append(head.forward(model.forward(inputs), labels))
    model.parameters[i] = value
    measured[i] = (losses[0] - losses[1]) / (2 * step)
worst = np.abs(measured - model.gradients).max()
print(f"largest disagreement of a small network below 1e-9: {worst < 1e-9}")
