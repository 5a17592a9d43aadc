"""What PyTorch makes of small networks: the names in their `state_dict`, and their outputs.

    python tests/torch_modules.py

writes `torch_modules.json`, for where PyTorch is not installed. It was made with PyTorch 2.13.0.
The outputs of Softplus are those of its formula in NumPy.
"""

import importlib.util
import json
from pathlib import Path

import catalogue_cases
import numpy as np

import fastnn
from fastnn.export.torch import SHARED_ACTIVATIONS

PATH = Path(__file__).with_suffix(".json")

_ACTIVATIONS = [
    repr(make())
    for make in catalogue_cases.ACTIVATIONS.values()
    if make.func.__name__ in SHARED_ACTIVATIONS
]
# {a module as Python has it, where `nn` is torch.nn: what makes the layer, for a dtype}
MIDDLES = {
    "ReLU()": lambda **_: fastnn.ReLU(),
    "Softmax(dim=1)": lambda **_: fastnn.Softmax(),
    **{
        text: lambda text=text, **_: eval(text, vars(fastnn))  # the repr of a layer
        for text in _ACTIVATIONS
    },
    "Dropout(0.3)": lambda **_: fastnn.Dropout(0.3),
    "LayerNorm(5, eps=0.001)": lambda **dtype: fastnn.LayerNorm(5, 0.001, **dtype),
    "BatchNorm1d(5, eps=0.001, momentum=0.2)": lambda **dtype: fastnn.BatchNorm(
        5, 0.2, 0.001, **dtype
    ),
}
CASES = [f"nn.Sequential(nn.Linear(3, 5), nn.{each}, nn.Linear(5, 2))" for each in MIDDLES]
CASES += [
    "nn.Sequential(nn.Linear(3, 5, bias=False), nn.Linear(5, 2), nn.Sigmoid())",
    "nn.Sequential(nn.BatchNorm1d(3, eps=1e-05, momentum=0.1), nn.Linear(3, 1))",
]


def make_inputs():
    return np.sin(np.outer(np.arange(8) + 1, [1.0, 2.3, 0.7])).astype(np.float32)


def make_state(arrays):
    """Return {name: array} for the {name: (dtype, shape)} of a `state_dict`."""
    state = {}
    for i, (name, (dtype, shape)) in enumerate(arrays.items()):
        values = np.cos(np.arange(np.prod(shape, dtype=int)) * 1.7 + i).reshape(shape)
        if name.endswith("running_var"):
            values = 1.5 + values
        if name.endswith("num_batches_tracked"):
            values = np.zeros(shape)
        state[name] = values.astype(dtype)
    return state


def figures():
    """Return {case: {"state": ..., "outputs": ...}}, from PyTorch, or else from the file."""
    if importlib.util.find_spec("torch") is None:
        return json.loads(PATH.read_text())
    return {case: _run(case) for case in CASES}


def _run(case):
    import torch

    network = eval(case, {"nn": torch.nn}).eval()  # a line of this file
    arrays = {
        name: (str(tensor.dtype).removeprefix("torch."), list(tensor.shape))
        for name, tensor in network.state_dict().items()
    }
    state = {name: torch.tensor(array) for name, array in make_state(arrays).items()}
    network.load_state_dict(state)
    with torch.no_grad():
        outputs = network(torch.tensor(make_inputs())).tolist()
    return {"state": arrays, "outputs": outputs}


if __name__ == "__main__":
    found = figures()
    for figure in found.values():
        figure["outputs"] = [[round(v, 8) for v in row] for row in figure["outputs"]]
    PATH.write_text(json.dumps(found))
