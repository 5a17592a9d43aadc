"""PyTorch with autocast: products in bfloat16, and their results too."""

import torch

from . import torch_peer


class _Autocast:
    def loss(self, inputs, labels):
        with torch.autocast("cpu", torch.bfloat16):
            return super().loss(inputs, labels)


class Trainer(_Autocast, torch_peer.Trainer):
    """As eager PyTorch otherwise."""


class AdamTrainer(_Autocast, torch_peer.AdamTrainer):
    """As eager PyTorch otherwise."""


versions = torch_peer.versions
