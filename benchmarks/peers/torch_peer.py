"""PyTorch, eager: no DataLoader, batches by index_select, the fused optimizer."""

from itertools import pairwise

import torch
from networks import ADAM_RATE, LEARNING_RATE, make_parameters
from torch.nn import functional

from . import trainer


def _module(sizes):
    layers = []
    for i, (n_inputs, n_outputs) in enumerate(pairwise(sizes)):
        layers += [torch.nn.ReLU()] if i else []
        layers.append(torch.nn.Linear(n_inputs, n_outputs))
    return torch.nn.Sequential(*layers)


@torch.no_grad()
def _load(module, parameters):
    for layer, (weights, biases) in zip(module[::2], parameters, strict=True):
        layer.weight.copy_(torch.from_numpy(weights.T))
        layer.bias.copy_(torch.from_numpy(biases[0]))


class Trainer(trainer.Trainer):
    """The usual loop, on tensors that are ready before the clock starts."""

    def __init__(self, network, threads, data=None):
        super().__init__(network, threads, data)
        torch.set_num_threads(threads)
        self.module = _module(network.sizes)
        self.optimizer = self.make_optimizer()
        self.tensors = torch.from_numpy(self.inputs), torch.from_numpy(self.labels)

    def make_optimizer(self):
        return torch.optim.SGD(self.module.parameters(), LEARNING_RATE, fused=True)

    def load(self, parameters):
        _load(self.module, parameters)
        self.optimizer = self.make_optimizer()  # with no averages yet

    def snapshot(self):
        return [
            (layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy()[None].copy())
            for layer in self.module[::2]
        ]

    def loss(self, inputs, labels):
        return functional.cross_entropy(self.module(inputs), labels)

    def run_epoch(self, order):
        inputs, labels = self.tensors
        total = torch.zeros(())
        for indices in torch.from_numpy(order).split(self.network.batch):
            loss = self.loss(inputs.index_select(0, indices), labels.index_select(0, indices))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
        return total.item() / self.network.steps


class AdamTrainer(Trainer):
    """With the fused Adam, which is one call for all parameters."""

    def make_optimizer(self):
        return torch.optim.Adam(self.module.parameters(), ADAM_RATE, fused=True)


def predictor(sizes, inputs, threads):
    torch.set_num_threads(threads)
    module = _module(sizes).eval()
    _load(module, make_parameters(sizes))
    tensor = torch.from_numpy(inputs)

    @torch.inference_mode()
    def run():
        return module(tensor).softmax(1)

    return run


def softmax(inputs, threads):
    torch.set_num_threads(threads)
    tensor = torch.from_numpy(inputs)
    outputs = torch.empty_like(tensor)
    return lambda: torch.softmax(tensor, 1, out=outputs)


def product(operation, left, right, threads):
    torch.set_num_threads(threads)
    left, right = torch.from_numpy(left), torch.from_numpy(right)
    if operation == "dweights":
        left = left.T
    elif operation == "dinputs":
        right = right.T
    outputs = torch.empty(left.shape[0], right.shape[1])
    return lambda: torch.mm(left, right, out=outputs)


def versions():
    capability = torch.backends.cpu.get_cpu_capability()
    mkl = "with MKL" if torch.backends.mkl.is_available() else "without MKL"
    return {"PyTorch": f"{torch.__version__} ({mkl}, CPU capability {capability})"}
