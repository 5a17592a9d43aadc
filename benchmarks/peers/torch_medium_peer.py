"""PyTorch with the line that lets it round the operands of products to bfloat16."""

import torch

from .torch_peer import AdamTrainer, Trainer, versions

__all__ = ["AdamTrainer", "Trainer", "versions"]

torch.set_float32_matmul_precision("medium")
