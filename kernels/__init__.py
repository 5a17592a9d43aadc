"""Kernels: plain jitted functions on arrays, for scripts and for jitted code of your own.

They never check their arguments, as BLAS does not: `README.md` in this folder holds one contract
a kernel. Outputs come first. Arrays are C-contiguous and of one dtype, float32 or float64.
With FASTNN_CHECKS=1 in the environment they do check, and raise ValueError.
"""

import os

REFERENCE = os.environ.get("FASTNN_REFERENCE", "0") == "1"

if REFERENCE:
    from .reference import (
        activation_backward,
        activation_forward,
        all_finite,
        batch_norm_backward,
        batch_norm_forward,
        batch_norm_predict,
        convert_rows,
        cross_entropy_backward,
        cross_entropy_forward,
        dense_backward,
        dense_forward,
        dropout_backward,
        dropout_forward,
        embedding_backward,
        embedding_forward,
        gather_rows,
        layer_norm_backward,
        layer_norm_forward,
        loss_backward,
        loss_forward,
        optimizer_update,
        relu_backward,
        relu_forward,
        running_update,
        sgd_update,
        softmax_backward,
        softmax_cross_entropy,
        softmax_cross_entropy_backward,
        softmax_cross_entropy_forward,
        softmax_forward,
    )
    from .reference_program import (
        pack_network,
        predict_few,
        predict_rows,
        shard_gradients,
        train_steps,
        unpack_states,
    )
else:
    from .activations import activation_backward, activation_forward
    from .batch_norm import (
        batch_norm_backward,
        batch_norm_forward,
        batch_norm_predict,
        running_update,
    )
    from .batches import all_finite, gather_rows
    from .conversion import convert_rows
    from .cross_entropy import (
        cross_entropy_backward,
        cross_entropy_forward,
        softmax_cross_entropy,
        softmax_cross_entropy_backward,
        softmax_cross_entropy_forward,
    )
    from .dense import dense_backward, dense_forward
    from .dropout import dropout_backward, dropout_forward
    from .embedding import embedding_backward, embedding_forward
    from .layer_norm import (
        layer_norm_backward,
        layer_norm_forward,
    )
    from .losses import loss_backward, loss_forward
    from .prediction import pack_network, predict_few, predict_rows
    from .program import train_steps, unpack_states
    from .relu import relu_backward, relu_forward
    from .shards import shard_gradients
    from .softmax import softmax_backward, softmax_forward
    from .update import optimizer_update, sgd_update

__all__ = [
    "activation_backward",
    "activation_forward",
    "all_finite",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_predict",
    "convert_rows",
    "cross_entropy_backward",
    "cross_entropy_forward",
    "dense_backward",
    "dense_forward",
    "dropout_backward",
    "dropout_forward",
    "embedding_backward",
    "embedding_forward",
    "gather_rows",
    "layer_norm_backward",
    "layer_norm_forward",
    "loss_backward",
    "loss_forward",
    "optimizer_update",
    "pack_network",
    "predict_few",
    "predict_rows",
    "relu_backward",
    "relu_forward",
    "running_update",
    "sgd_update",
    "shard_gradients",
    "softmax_backward",
    "softmax_cross_entropy",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_forward",
    "softmax_forward",
    "train_steps",
    "unpack_states",
]
