"""PyTorch with the optimizer that runs each operation over all parameters."""

import torch
from networks import ADAM_RATE

from . import torch_peer


class AdamTrainer(torch_peer.Trainer):
    """As eager PyTorch otherwise."""

    def make_optimizer(self):
        return torch.optim.Adam(self.module.parameters(), ADAM_RATE, foreach=True)


versions = torch_peer.versions
