"""One module for each library, all with the names that `worker.py` asks for.

`fastnn bench` has simpler peers of its own; `fastnn/cli/bench_peers.py` says why. A module has
those of the following names in which its library is compared:

    Trainer(network, threads)                  see `trainer.py`
    AdamTrainer(network, threads)              likewise, with Adam
    predictor(sizes, inputs, threads)          -> a function without arguments -> probabilities
    softmax(inputs, threads)                   -> a function without arguments -> probabilities
    product(operation, left, right, threads)   -> a function without arguments -> the product
    versions()                                 -> {name: version or setting}

What can be done before the clock starts is done before the function is returned: conversions,
allocations, compilation of graphs.
"""

from importlib import import_module

# Name on the command line -> (name in tables, module).
PEERS = {
    "fastnn": ("fastnn", "fastnn_peer"),
    "numpy": ("NumPy", "numpy_peer"),
    "jax": ("JAX", "jax_peer"),
    "torch": ("PyTorch", "torch_peer"),
    "torch.foreach": ("PyTorch, foreach", "torch_foreach_peer"),
    "torch.compile": ("torch.compile", "torch_compile_peer"),
    "sklearn": ("scikit-learn", "sklearn_peer"),
    "onnxruntime": ("ONNX Runtime", "onnx_peer"),
    "descent": ("plain descent", "descent_peer"),
    "peak": ("FMA peak", "peak_peer"),
}


def load(name):
    """Import the module of a peer; ImportError where its library is not installed."""
    return import_module(f"{__name__}.{PEERS[name][1]}")
