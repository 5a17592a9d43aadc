"""One module for each library, all with the names that `worker.py` asks for.

`fastnn bench` has simpler peers of its own; `fastnn/cli/bench_peers.py` says why. A module has
those of the following names in which its library is compared:

    Trainer(network, threads, data)            see `trainer.py`
    AdamTrainer(network, threads, data)        likewise, with Adam
    predictor(sizes, inputs, threads)          -> a function without arguments -> probabilities
    softmax(inputs, threads)                   -> a function without arguments -> probabilities
    product(operation, left, right, threads)   -> a function without arguments -> the product
    versions()                                 -> {name: version or setting}

What can be done before the clock starts is done before the function is returned: conversions,
allocations, compilation of graphs.
"""

import os
from importlib import import_module

# Of fastnn, beside "highest": each is a library of its own, such as "fastnn.high".
PRECISIONS = ("high", "medium")

# Name on the command line -> (name in tables, module).
PEERS = {
    "fastnn": ("fastnn", "fastnn_peer"),
    "numpy": ("NumPy", "numpy_peer"),
    "jax": ("JAX", "jax_peer"),
    "torch": ("PyTorch", "torch_peer"),
    "torch.foreach": ("PyTorch, foreach", "torch_foreach_peer"),
    "torch.compile": ("torch.compile", "torch_compile_peer"),
    "torch.medium": ("PyTorch, medium", "torch_medium_peer"),
    "torch.autocast": ("PyTorch, autocast", "torch_autocast_peer"),
    "keras.jax": ("Keras on JAX", "keras_peer"),
    "keras.torch": ("Keras on PyTorch", "keras_peer"),
    "sklearn": ("scikit-learn", "sklearn_peer"),
    "onnxruntime": ("ONNX Runtime", "onnx_peer"),
    "descent": ("plain descent", "descent_peer"),
    "peak": ("FMA peak", "peak_peer"),
}
PEERS |= {f"fastnn.{each}": (f"fastnn, {each}", "fastnn_peer") for each in PRECISIONS}


def load(name):
    """Import the module of a peer; ImportError where its library is not installed."""
    library, _, form = name.partition(".")
    if library == "keras":
        os.environ["KERAS_BACKEND"] = form
    peer = import_module(f"{__name__}.{PEERS[name][1]}")
    if library == "fastnn" and form:
        peer.set_precision(form)
    return peer
