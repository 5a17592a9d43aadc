"""ONNX Runtime: prediction with a network written by `onnx.helper`.

`session.run` takes any array, as `predict_proba` does. On arrays that never change, I/O binding
would save about 2 us a call.
"""

import onnxruntime
from networks import make_parameters
from onnx import TensorProto, helper, numpy_helper


def _network(sizes):
    """Return the ONNX model, serialized: Gemm, Relu, ..., Gemm, Softmax."""
    nodes, constants, current = [], [], "inputs"
    layers = make_parameters(sizes)
    for i, (weights, biases) in enumerate(layers):
        constants.append(numpy_helper.from_array(weights, f"weights{i}"))
        constants.append(numpy_helper.from_array(biases[0], f"biases{i}"))
        nodes.append(
            helper.make_node("Gemm", [current, f"weights{i}", f"biases{i}"], [f"dense{i}"])
        )
        operation, following = ("Relu", f"relu{i}") if i + 1 < len(layers) else ("Softmax", "out")
        nodes.append(helper.make_node(operation, [f"dense{i}"], [following]))
        current = following

    def rows_of(name, width):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])

    graph = helper.make_graph(
        nodes, "network", [rows_of("inputs", sizes[0])], [rows_of("out", sizes[-1])], constants
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def predictor(sizes, inputs, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        _network(sizes), options, providers=["CPUExecutionProvider"]
    )
    outputs, feed = ["out"], {"inputs": inputs}
    return lambda: session.run(outputs, feed)[0]


def versions():
    return {"ONNX Runtime": onnxruntime.__version__}
