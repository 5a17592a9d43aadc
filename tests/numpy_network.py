"""Networks in plain NumPy, written without fastnn: what its results are compared with.

A network is a line of words: a number is a dense layer with so many outputs, "r" a ReLU, "s" a
softmax, and "own" before it a class from scratch. A softmax at the end belongs to the loss, which
is the cross-entropy of the softmax of the logits.
"""

import numpy as np

import fastnn


class OwnDense:
    """A dense layer as in a script from scratch: nothing is returned, all is kept."""

    def __init__(self, n_inputs, n_neurons, dtype=np.float64):
        self.weights = np.zeros((n_inputs, n_neurons), dtype)
        self.biases = np.zeros((1, n_neurons), dtype)

    def forward(self, inputs):
        self.inputs = inputs
        self.output = np.dot(inputs, self.weights) + self.biases

    def backward(self, dvalues):
        self.dweights = np.dot(self.inputs.T, dvalues)
        self.dbiases = np.sum(dvalues, axis=0, keepdims=True)
        self.dinputs = np.dot(dvalues, self.weights.T)


class OwnReLU:
    """A ReLU as in a script from scratch."""

    def forward(self, inputs):
        self.inputs = inputs
        self.output = np.maximum(0, inputs)

    def backward(self, dvalues):
        self.dinputs = dvalues.copy()
        self.dinputs[self.inputs <= 0] = 0


CLASSES = {
    "dense": fastnn.Dense,
    "r": fastnn.ReLU,
    "s": fastnn.Softmax,
    "own dense": OwnDense,
    "own r": OwnReLU,
}


def build(words, n_inputs, dtype, seed=0, **classes):
    """Return a model of `words`, whose biases are not 0; `classes` replaces some of `CLASSES`."""
    classes, rng, layers = CLASSES | classes, np.random.default_rng(seed), []
    for word in words.split():
        own, word = "own " * word.startswith("own"), word.removeprefix("own")
        if word.isdigit():
            shape = n_inputs, int(word)
            layer = classes[own + "dense"](*shape, dtype=dtype)
            layer.weights = (rng.standard_normal(shape) * (2 / n_inputs) ** 0.5).astype(dtype)
            layer.biases = (0.1 * rng.standard_normal((1, int(word)))).astype(dtype)
            n_inputs = int(word)
        else:
            layer = classes[own + word]()
        layers.append(layer)
    return fastnn.Sequential(layers)


class PlainNetwork:
    """The network of `words` with the parameters that `model` has now, in float64."""

    def __init__(self, words, model):
        pairs = iter([layer for layer in model.layers if hasattr(layer, "weights")])
        self.steps = words.removesuffix(" s").replace("own", "").split()
        for i, word in enumerate(self.steps):
            if word.isdigit():
                layer = next(pairs)
                self.steps[i] = [np.array(a, np.float64) for a in (layer.weights, layer.biases)]

    @property
    def parameters(self):
        """All parameters in one array, in the order of `Sequential.parameters`."""
        pairs = [step for step in self.steps if isinstance(step, list)]
        return np.concatenate([array.ravel() for pair in pairs for array in pair])

    def forward(self, inputs):
        """Return the inputs of every step, and the logits behind the last."""
        values = [inputs]
        for step in self.steps:
            x = values[-1]
            if isinstance(step, list):
                values.append(x @ step[0] + step[1])
            else:
                values.append(np.maximum(x, 0) if step == "r" else softmax(x))
        return values

    def step(self, inputs, rows, rate):
        """Descend once; return the losses and which answers were right, before the step."""
        values = self.forward(inputs)
        logits = values.pop()
        losses = cross_entropy(logits, rows)
        right = logits.argmax(axis=1) == rows.argmax(axis=1)
        slope = (softmax(logits) * rows.sum(axis=1, keepdims=True) - rows) / len(rows)
        for step, x in zip(reversed(self.steps), reversed(values), strict=True):
            if isinstance(step, list):
                dweights, dbiases = x.T @ slope, slope.sum(axis=0)
                slope = slope @ step[0].T
                step[0] -= rate * dweights
                step[1] -= rate * dbiases
            elif step == "r":
                slope = slope * (x > 0)
            else:
                s = softmax(x)
                slope = s * (slope - (slope * s).sum(axis=1, keepdims=True))
        return losses, right

    def fit(self, inputs, rows, *, epochs, batch_size, rate, seed=None):
        """Return the curves of loss and accuracy; without a seed the order is not shuffled."""
        rng, curves = np.random.default_rng(seed), []
        inputs, rows = inputs.astype(np.float64), rows.astype(np.float64)
        for _ in range(epochs):
            order = np.arange(len(rows)) if seed is None else rng.permutation(len(rows))
            batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
            parts = [self.step(inputs[batch], rows[batch], rate) for batch in batches]
            curves.append([np.concatenate(part).mean() for part in zip(*parts, strict=True)])
        loss, accuracy = np.transpose(curves)
        return loss.tolist(), accuracy.tolist()


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def cross_entropy(logits, rows):
    """Return the losses of the rows: -sum(rows * log(softmax(logits)))."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return -(rows * (shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))).sum(axis=1)
