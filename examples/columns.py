"""A classifier without hidden layers, with samples as columns and the biases among the weights.

64 samples of five whole numbers and three classes that have nothing to do with them. One step on
the first batch of 16, then training, in which every epoch takes the batches of a new order once,
and has a loss of its own:

    weights (3, 6), the last column is the biases: [0.01 0.01 0.01]
    loss of the first batch 1.93, after one step 1.53
    epoch   1: loss 1.43
    epoch  50: loss 1.01
    epoch 100: loss 1.01
    batches of the last epoch [16, 16, 16, 16], each sample once: True

Three classes by chance alone have a loss of 1.10. Samples as rows are the same thing the other way
round: `Sequential` with the same batches ends with the same weights.

    rows and columns agree: True
"""

import numpy as np

import fastnn
from fastnn import columnwise

BATCH, RATE = 16, 1e-2
rng = np.random.default_rng(6)
X = rng.integers(3, 10, (5, 64))
y = fastnn.one_hot(rng.integers(0, 3, 64), dtype=np.float64)[0].T  # (3, 64)


def take_step(layer, X, y):
    """Move the weights of a layer by one batch; return the loss per sample before."""
    softmax = columnwise.Softmax()
    probabilities = softmax.forward(layer.forward(X))
    gradient = softmax.backward(columnwise.cce_gradient(y, probabilities))
    layer.backward(gradient / X.shape[1], RATE)
    return columnwise.cce(y, probabilities) / X.shape[1]


def make_layer():
    """Return a layer with the same small weights each time: large ones saturate the softmax."""
    layer = columnwise.Dense(5, 3, rng=0)
    layer.weights[:, :-1] *= 0.1
    return layer


layer = make_layer()
print(f"weights {layer.weights.shape}, the last column is the biases: {layer.weights[:, -1]}")
first = X[:, :BATCH], y[:, :BATCH]
before, after = take_step(layer, *first), take_step(layer, *first)
print(f"loss of the first batch {before:.2f}, after one step {after:.2f}")

layer = make_layer()
start, order = layer.weights.copy(), np.random.default_rng(0)
for epoch in range(1, 101):
    batches = columnwise.generate_batch_indices(64, BATCH, order)
    loss = np.mean([take_step(layer, X[:, batch], y[:, batch]) for batch in batches])
    if epoch in (1, 50, 100):
        print(f"epoch {epoch:3}: loss {loss:.2f}")
once = sorted(np.concatenate(batches)) == list(range(64))
print(f"batches of the last epoch {[len(batch) for batch in batches]}, each sample once: {once}")

rows = fastnn.Dense(5, 3, dtype=np.float64)
rows.weights, rows.biases = start[:, :-1].T, start[:, -1:].T
model = fastnn.Sequential([rows])
model.fit(X.T, y.T, epochs=100, batch_size=BATCH, optimizer=fastnn.SGD(RATE), seed=0)
print("rows and columns agree:", np.allclose(rows.weights.T, layer.weights[:, :-1]))
