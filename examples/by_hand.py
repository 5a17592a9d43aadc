"""A network of 3, 4 and 2 neurons, pass by pass: as one would on paper, with layers in place of it.

Five samples with a yes or a no. First forward, then the loss, then back through every layer:

    targets [[1. 0.] [0. 1.] [0. 1.] [1. 0.] [1. 0.]]
    probabilities
    [[0.4157 0.5843]
     [0.2503 0.7497]
     [0.223  0.777 ]
     [0.3446 0.6554]
     [0.3112 0.6888]]
    loss 0.7301727079439
    gradient of the output weights
    [[ 0.      0.    ]
     [ 0.      0.    ]
     [-0.0277  0.0277]
     [-0.7716  0.7716]]
    gradient of the hidden biases [[0.     0.     0.034  0.0451]]

Two of the hidden neurons are asleep: no sample lets them through their ReLU, so no gradient comes
to them. Then one step downhill, by hand, and the same step by `fit`:

    loss after the step 0.7168031908508
    loss after the step of fit 0.7168031908508
"""

import numpy as np

import fastnn

np.set_printoptions(precision=4, suppress=True)

X = np.array([[1, 2, 3], [6, 7, 8], [7, 8, 9], [3, 4, 5], [4, 5, 6]])
y, classes = fastnn.one_hot([False, True, True, False, False], dtype=np.float64)
print("targets", str(y).replace("\n", ""))


def make_layers():
    """Return hidden layer, ReLU and output layer, with the same weights each time."""
    hidden = fastnn.Dense(3, 4, dtype=np.float64)
    output = fastnn.Dense(4, 2, dtype=np.float64)
    hidden.weights = np.random.RandomState(10).uniform(-0.5, 0.5, (3, 4))
    output.weights = np.random.RandomState(100).uniform(-0.5, 0.5, (4, 2))
    return hidden, fastnn.ReLU(), output


hidden, relu, output = make_layers()
head = fastnn.SoftmaxCrossEntropy()  # softmax and loss in one


def measure():
    """Run the samples forward, and return the loss."""
    return head.forward(output.forward(relu.forward(hidden.forward(X))), y)


loss = measure()
print(f"probabilities\n{head.output}")
print(f"loss {loss:.13f}")

hidden.backward(relu.backward(output.backward(head.backward(head.output, y))))
print(f"gradient of the output weights\n{output.dweights + 0.0}")
print("gradient of the hidden biases", hidden.dbiases)

for layer in (hidden, output):
    layer.weights -= 0.01 * layer.dweights
    layer.biases -= 0.01 * layer.dbiases
print(f"loss after the step {measure():.13f}")

model = fastnn.Sequential(make_layers())
model.fit(X, y, epochs=1, batch_size=5, optimizer=fastnn.SGD(0.01))
print(f"loss after the step of fit {model.evaluate(X, y)['loss']:.13f}")
