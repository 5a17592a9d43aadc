"""A small network as PyTorch writes it, and what it makes of some samples.

    python tests/torch_model.py

writes `torch_model.safetensors` and prints the outputs that `test_export_torch.py` has (PyTorch
2.13.0, safetensors 0.8.0).
"""

from pathlib import Path

PATH = Path(__file__).with_suffix(".safetensors")


def make_samples():
    return [[0.1 * (i + 1) * (-1) ** j + 0.05 * j for j in range(4)] for i in range(3)]


def main():
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(4, 6), torch.nn.GELU(), torch.nn.Dropout(0.5),
        torch.nn.Linear(6, 5, bias=False), torch.nn.LeakyReLU(0.2), torch.nn.Linear(5, 3),
    )  # fmt: skip
    save_file(net.state_dict(), PATH)
    print(net.eval()(torch.tensor(make_samples())).tolist())


if __name__ == "__main__":
    main()
