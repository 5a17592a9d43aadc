"""What PyTorch makes of 100 steps of one small network with each of its optimizers, in float64.

    python tests/torch_figures.py

writes `torch_figures.json` (made with PyTorch 2.13.0), for where PyTorch is not installed.
"""

import importlib.util
import itertools
import json
from pathlib import Path

import numpy as np

PATH = Path(__file__).with_suffix(".json")
SIZES, N, BATCH, STEPS = (4, 6, 3), 40, 10, 100

# Each: the class in torch.optim, its arguments, and what clips the gradient.
CASES = {
    "SGD": ("SGD", {"lr": 0.1}, None),
    "SGD, weight decay": ("SGD", {"lr": 0.1, "weight_decay": 0.01}, None),
    "SGD, momentum": ("SGD", {"lr": 0.05, "momentum": 0.9}, None),
    "SGD, Nesterov": (
        "SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}, None,
    ),
    "AdaGrad": ("Adagrad", {"lr": 0.05}, None),
    "RMSprop": ("RMSprop", {"lr": 0.01, "weight_decay": 0.01}, None),
    "Adam": ("Adam", {"lr": 0.01}, None),
    "AdamW": ("AdamW", {"lr": 0.01}, None),
    "AMSGrad": ("Adam", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.01}, None),
    "Adam, clipped norm": ("Adam", {"lr": 0.01}, ("clip_grad_norm_", 0.05)),
    "SGD, clipped values": ("SGD", {"lr": 0.1}, ("clip_grad_value_", 0.01)),
}  # fmt: skip


def make_data():
    i = np.arange(N)
    return np.sin(np.outer(i + 1, [1.0, 2.3, 0.7, 1.9])), i * 7 % 3


def make_weights():
    """Return the first weights of both layers; the biases are 0."""
    shapes = itertools.pairwise(SIZES)
    return [
        np.cos(np.arange(n_in * n_out) * 1.7 + layer).reshape(n_in, n_out) * 0.5
        for layer, (n_in, n_out) in enumerate(shapes)
    ]


def figures():
    """Return {case: parameters after the last step}, from PyTorch, or else from the file."""
    if importlib.util.find_spec("torch") is None:
        return json.loads(PATH.read_text())
    return {name: _run(*case) for name, case in CASES.items()}


def _run(optimizer, arguments, clip):
    import torch

    X, y = map(torch.tensor, make_data())
    parameters = []
    for weights in make_weights():
        parameters.append(torch.tensor(weights, requires_grad=True))
        parameters.append(torch.zeros(weights.shape[1], dtype=torch.float64, requires_grad=True))
    w, b, w2, b2 = parameters
    steps = getattr(torch.optim, optimizer)(parameters, **arguments)
    for step in range(STEPS):
        batch = [(BATCH * step + i) % N for i in range(BATCH)]
        outputs = torch.relu(X[batch] @ w + b) @ w2 + b2
        steps.zero_grad()
        torch.nn.functional.cross_entropy(outputs, y[batch]).backward()
        if clip:
            getattr(torch.nn.utils, clip[0])(parameters, clip[1])
        steps.step()
    return torch.cat([p.detach().flatten() for p in parameters]).tolist()


if __name__ == "__main__":
    rounded = {name: [round(v, 13) for v in values] for name, values in figures().items()}
    PATH.write_text(json.dumps(rounded))
