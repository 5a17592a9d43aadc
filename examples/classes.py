"""The classes of a network from scratch, each with numbers that can be checked by hand.

Softmax makes probabilities of any three numbers. The loss is minus the logarithm of the probability
that the right class got, and this class may be said by its number or by a row:

    exponentials over their sum [0.8953 0.0247 0.08  ]
    Activation_Softmax          [0.8953 0.0247 0.08  ]
    loss of one sample 0.35667494, minus the logarithm of 0.7 is 0.35667494
    losses of three samples [0.3567 0.6931 0.1054], of rows [0.3567 0.6931 0.1054]
    accuracy 0.3333

The gradient of softmax is a matrix for each sample. The class gives its product with a gradient,
and forms no matrix:

    by the matrix      [ 0.1015 -0.0466 -0.0549]
    Activation_Softmax [ 0.1015 -0.0466 -0.0549]
"""

import numpy as np

import fastnn
from fastnn import nnfs

np.set_printoptions(precision=4, suppress=True)

outputs = np.array([4.8, 1.21, 2.385])
softmax = nnfs.Activation_Softmax()
softmax.forward([outputs])
print("exponentials over their sum", np.exp(outputs) / np.exp(outputs).sum())
print("Activation_Softmax         ", softmax.output[0])

loss = nnfs.Loss_CategoricalCrossentropy()
one = loss.calculate([[0.7, 0.1, 0.2]], [0])
print(f"loss of one sample {one:.8f}, minus the logarithm of 0.7 is {-np.log(0.7):.8f}")

probabilities = np.array([[0.7, 0.1, 0.2], [0.1, 0.5, 0.4], [0.02, 0.9, 0.08]])
labels = np.array([0, 1, 1])
rows = np.eye(3)[labels]
print(
    f"losses of three samples {loss.forward(probabilities, labels)}, "
    f"of rows {loss.forward(probabilities, rows)}"
)

answers = np.array([[0.2, 0.7, 0.1], [0.5, 0.1, 0.4], [0.02, 0.9, 0.08]])
print(f"accuracy {fastnn.accuracy(labels, answers):.4f}")

s, dvalues = softmax.output[0], np.array([1.0, -1.0, 0.2])
jacobian = np.diagflat(s) - np.outer(s, s)
print("by the matrix     ", jacobian @ dvalues)
print("Activation_Softmax", softmax.backward([dvalues])[0])
