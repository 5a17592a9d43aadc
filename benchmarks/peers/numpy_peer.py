"""NumPy as an expert would write it: in-place arithmetic on arrays that are allocated once."""

import numpy as np
from networks import ADAM_RATE, LEARNING_RATE, make_parameters

from . import trainer


class Trainer(trainer.Trainer):
    """A training loop in which only the small arrays of the loss are allocated in a step."""

    def __init__(self, network, threads, data=None):
        super().__init__(network, threads, data)
        rows = network.batch
        self.batch_labels = np.empty(rows, self.labels.dtype)
        self.rows = np.arange(rows)
        # values[0] is the batch, values[-1] the logits, whose gradient takes their place.
        self.values = [np.empty((rows, size), np.float32) for size in network.sizes]
        self.gradients = [np.empty_like(value) for value in self.values[:-1]] + [self.values[-1]]
        self.masks = [np.empty(value.shape, bool) for value in self.values[:-1]]
        self.steps = [
            (np.empty_like(weights), np.empty_like(biases))
            for weights, biases in make_parameters(network.sizes)
        ]

    def load(self, parameters):
        self.parameters = parameters

    def snapshot(self):
        return [(weights.copy(), biases.copy()) for weights, biases in self.parameters]

    def run_epoch(self, order):
        total = 0.0
        for start in range(0, len(order), self.network.batch):
            total += self.step(order[start : start + self.network.batch])
        return total / len(order)

    def step(self, indices):
        """Train on one batch and return the sum of its losses."""
        # With mode="clip" NumPy writes straight into `out`; "raise" goes through a copy.
        np.take(self.inputs, indices, axis=0, out=self.values[0], mode="clip")
        np.take(self.labels, indices, out=self.batch_labels, mode="clip")
        self.forward()
        loss = self.take_loss()
        self.backward()
        for layer, gradients in zip(self.parameters, self.steps, strict=True):
            for parameter, gradient in zip(layer, gradients, strict=True):
                self.follow(parameter, gradient)
        return loss

    def follow(self, parameter, gradient):
        gradient *= LEARNING_RATE
        parameter -= gradient

    def forward(self):
        for i, (weights, biases) in enumerate(self.parameters):
            outputs = self.values[i + 1]
            np.matmul(self.values[i], weights, out=outputs)
            outputs += biases
            if i + 1 < len(self.parameters):
                np.maximum(outputs, 0, out=outputs)

    def take_loss(self):
        """Return the sum of losses; the logits become their gradient."""
        logits = self.values[-1]
        logits -= logits.max(axis=1, keepdims=True)
        targets = logits[self.rows, self.batch_labels]
        np.exp(logits, out=logits)
        sums = logits.sum(axis=1, keepdims=True)
        loss = np.log(sums).sum() - targets.sum()
        logits /= sums
        logits[self.rows, self.batch_labels] -= 1
        logits *= 1 / len(logits)
        return float(loss)

    def backward(self):
        for i in reversed(range(len(self.parameters))):
            weights, _ = self.parameters[i]
            dweights, dbiases = self.steps[i]
            inputs, doutputs = self.values[i], self.gradients[i + 1]
            np.matmul(inputs.T, doutputs, out=dweights)
            doutputs.sum(axis=0, keepdims=True, out=dbiases)
            if i > 0:
                np.matmul(doutputs, weights.T, out=self.gradients[i])
                np.greater(inputs, 0, out=self.masks[i])
                self.gradients[i] *= self.masks[i]


class AdamTrainer(Trainer):
    """With Adam in place."""

    def load(self, parameters):
        super().load(parameters)
        self.n_steps = 0
        self.averages = {
            id(array): (np.full_like(array, 0), np.full_like(array, 0), np.empty_like(array))
            for layer in parameters
            for array in layer
        }

    def step(self, indices):
        self.n_steps += 1
        return super().step(indices)

    def follow(self, parameter, gradient):
        first, second, spare = self.averages[id(parameter)]
        first *= 0.9
        np.multiply(gradient, 0.1, out=spare)
        first += spare
        second *= 0.999
        np.multiply(gradient, gradient, out=gradient)
        gradient *= 0.001
        second += gradient
        np.multiply(second, 1 / (1 - 0.999**self.n_steps), out=spare)
        np.sqrt(spare, out=spare)
        spare += 1e-8
        np.divide(first, spare, out=spare)
        spare *= ADAM_RATE / (1 - 0.9**self.n_steps)
        parameter -= spare


def predictor(sizes, inputs, threads):
    layers = make_parameters(sizes)
    values = [np.empty((len(inputs), size), np.float32) for size in sizes[1:]]

    def run():
        current = inputs
        for i, ((weights, biases), outputs) in enumerate(zip(layers, values, strict=True)):
            np.matmul(current, weights, out=outputs)
            outputs += biases
            if i + 1 < len(layers):
                np.maximum(outputs, 0, out=outputs)
            current = outputs
        _softmax(current, current)
        return current

    return run


def softmax(inputs, threads):
    outputs = np.empty_like(inputs)

    def run():
        _softmax(outputs, inputs)
        return outputs

    return run


def _softmax(outputs, inputs):
    """The stable form: the row maximum is subtracted first. `outputs` may be `inputs`."""
    np.subtract(inputs, inputs.max(axis=1, keepdims=True), out=outputs)
    np.exp(outputs, out=outputs)
    outputs /= outputs.sum(axis=1, keepdims=True)


def product(operation, left, right, threads):
    if operation == "dweights":
        left = left.T
    elif operation == "dinputs":
        right = right.T
    outputs = np.empty((left.shape[0], right.shape[1]), left.dtype)
    return lambda: np.matmul(left, right, out=outputs)


def versions():
    result = {"NumPy": np.__version__}
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return result | {"BLAS": "unknown: threadpoolctl is not installed"}
    for library in threadpool_info():
        if library["user_api"] == "blas":
            kind, core = library["internal_api"], library.get("architecture", "unknown")
            result["BLAS"] = f"{kind} {library['version']}, its {core} kernels"
    return result
