"""A small network from scratch in plain NumPy, with the formulas of the book.

What `fastnn.nnfs` is compared with. Dense layers with ReLU between them, all in float64.
"""

# ruff: noqa: NPY002 (scripts from scratch draw from the global generator)

import itertools

import numpy as np

EPSILON = 1e-7


class BookNetwork:
    """The network, its loss and its optimizer.

    `sizes`: widths from the inputs to the outputs; weights start as 0.01 * `np.random.randn`.
    `loss`: "classes", "answers", "squared" or "absolute". `penalties`: of each layer (weights' L1
    and L2, biases' L1 and L2). `dropped`: the rate of dropout behind the first ReLU.
    """

    def __init__(self, sizes, loss, optimizer, *, penalties=(), dropped=0.0):
        self.parameters = [
            array
            for n, m in itertools.pairwise(sizes)
            for array in (0.01 * np.random.randn(n, m), np.zeros((1, m)))
        ]
        self.parameters = [array.astype(np.float64) for array in self.parameters]
        self.factors = [pair for four in penalties for pair in (four[:2], four[2:])]
        self.factors += [(0, 0)] * (len(self.parameters) - len(self.factors))
        self.loss, self.dropped, self.precision = loss, dropped, None
        self.kind, self.options = optimizer[0], {"decay": 0.0, "momentum": 0.0, **optimizer[1]}
        self.first = [np.zeros_like(p) for p in self.parameters]
        self.second = [np.zeros_like(p) for p in self.parameters]
        self.iterations, self.rate = 0, self.options["rate"]

    def forward(self, X, training=False):
        """Return the outputs; keep what goes back."""
        self.kept, x = [], np.asarray(X, np.float64)
        last = len(self.parameters) - 2
        for i in range(0, last + 2, 2):
            z, mask = x @ self.parameters[i] + self.parameters[i + 1], 1.0
            if i < last:
                mask = (z > 0) * 1.0
                if training and i == 0 and self.dropped:
                    keep = 1 - self.dropped
                    mask = mask * np.random.binomial(1, keep, size=z.shape) / keep
            self.kept.append((x, mask))
            x = z * mask
        if self.loss == "classes":
            e = np.exp(x - x.max(axis=1, keepdims=True))
            return e / e.sum(axis=1, keepdims=True)
        return 1 / (1 + np.exp(-x)) if self.loss == "answers" else x

    def losses(self, p, y):
        """Return the losses of the samples."""
        clipped = np.clip(p, EPSILON, 1 - EPSILON)
        if self.loss == "classes":
            return -np.log(clipped[np.arange(len(y)), labels_of(y)])
        if self.loss == "answers":
            return -(y * np.log(clipped) + (1 - y) * np.log(1 - clipped)).mean(axis=1)
        return (np.square(p - y) if self.loss == "squared" else np.abs(p - y)).mean(axis=1)

    def right(self, p, y):
        """Return which answers are right."""
        if self.loss == "classes":
            return p.argmax(axis=1) == labels_of(y)
        return (p > 0.5) == y if self.loss == "answers" else np.abs(p - y) < self.precision

    def penalty(self):
        return sum(
            l1 * np.abs(p).sum() + l2 * np.square(p).sum()
            for p, (l1, l2) in zip(self.parameters, self.factors, strict=True)
        )

    def output_gradient(self, p, y):
        """Return the gradient of the mean loss before the last activation."""
        if self.loss == "classes":
            return (p - np.eye(p.shape[1])[labels_of(y)]) / len(p)
        if self.loss == "answers":
            c = np.clip(p, EPSILON, 1 - EPSILON)
            return -(y / c - (1 - y) / (1 - c)) * p * (1 - p) / p.size
        return (2 * (p - y) if self.loss == "squared" else np.sign(p - y)) / p.size

    def step(self, X, y):
        """Take one step; return accuracy, data loss and penalty before it."""
        y = np.asarray(y)
        p = self.forward(X, training=True)
        found = self.right(p, y).mean(), self.losses(p, y).mean(), self.penalty()
        d, gradients = self.output_gradient(p, y), []
        for i, (x, mask) in reversed(list(enumerate(self.kept))):
            d = d * mask
            gradients[:0] = [x.T @ d, d.sum(axis=0, keepdims=True)]
            d = d @ self.parameters[2 * i].T
        for i, (l1, l2) in enumerate(self.factors):
            q = self.parameters[i]
            gradients[i] += l1 * np.where(q < 0, -1, 1) + 2 * l2 * q
            q += self.change(i, gradients[i])
        self.iterations += 1
        return found

    def change(self, i, g):
        o, first, second = self.options, self.first, self.second
        self.rate = o["rate"] * (1.0 / (1.0 + o["decay"] * self.iterations))
        if self.kind == "SGD":
            first[i] = o["momentum"] * first[i] - self.rate * g
            return first[i]
        if self.kind == "Adam":
            first[i] = 0.9 * first[i] + 0.1 * g
            second[i] = 0.999 * second[i] + 0.001 * g**2
            steps = self.iterations + 1
            mean, size = first[i] / (1 - 0.9**steps), second[i] / (1 - 0.999**steps)
            return -self.rate * mean / (np.sqrt(size) + EPSILON)
        old, new = (1, 1) if self.kind == "Adagrad" else (0.9, 0.1)
        second[i] = old * second[i] + new * g**2
        return -self.rate * g / (np.sqrt(second[i]) + EPSILON)

    def train(self, X, y, *, epochs, batch_size=None, print_every=1, validation_data=None):
        """Train, and return the lines that `Model.train` prints."""
        if self.precision is None:
            self.precision = np.std(y) / 250
        lines, size = [], batch_size or len(X)
        starts = range(0, len(X), size)
        for epoch in range(1, epochs + 1):
            lines.append(f"epoch: {epoch}")
            sums = np.zeros(2)
            for step, start in enumerate(starts):
                rows = slice(start, start + size)
                found = self.step(X[rows], y[rows])
                sums += np.multiply(found[:2], len(X[rows]))
                if step % print_every == 0 or step == len(starts) - 1:
                    lines.append(self.line(f"step: {step}", *found))
            lines.append(self.line("training", *sums / len(X), self.penalty()))
            if validation_data is not None:
                lines.append(self.evaluate(*validation_data))
        return lines

    def evaluate(self, X, y):
        p = self.forward(X)
        accuracy, loss = self.right(p, y).mean(), self.losses(p, y).mean()
        return f"validation, acc: {accuracy:.3f}, loss: {loss:.3f}"

    def line(self, place, accuracy, data_loss, penalty):
        return (
            f"{place}, acc: {accuracy:.3f}, loss: {data_loss + penalty:.3f} "
            f"(data_loss: {data_loss:.3f}, reg_loss: {penalty:.3f}), lr: {self.rate}"
        )


def labels_of(y):
    return y if y.ndim == 1 else y.argmax(axis=1)
