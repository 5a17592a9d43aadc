"""PyTorch with torch.compile: forward pass, loss and their gradients compiled together."""

import shutil

import torch

from . import torch_peer

if not any(map(shutil.which, ("g++", "clang++", "c++", "cl"))):
    raise ImportError("torch.compile needs a C++ compiler, and there is none")


class Trainer(torch_peer.Trainer):
    """As eager PyTorch; the fused optimizer is a single call already."""

    def __init__(self, network, threads, data=None):
        super().__init__(network, threads, data)
        self.loss = torch.compile(super().loss)


versions = torch_peer.versions
