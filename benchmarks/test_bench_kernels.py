"""Every kernel of the registry against its NumPy reference, checked and then timed.

    pytest benchmarks/test_bench_kernels.py --benchmark-enable

Without the option each runs once, as a smoke test.
"""

import numpy as np
import pytest
from kernel_cases import KERNELS

# Shapes from the four networks of `networks.py`, and a prediction of 10,000 rows.
SHAPES = {
    "I": ((10_000,), (1_000_000,)),
    "BI": ((32, 64), (256, 512), (10_000, 64)),
    "BO": ((32, 1), (10_000, 10)),
    "BC": ((32, 3), (256, 10), (10_000, 10), (1_000, 1_000)),
    "BIO": ((32, 2, 64), (32, 64, 64), (128, 784, 128), (256, 784, 512), (256, 512, 10)),
}
DTYPE = np.float32


def widened(values):
    """Return `values` with all float32 arrays in float64."""
    return [
        value.astype(np.float64) if getattr(value, "dtype", None) == DTYPE else value
        for value in values
    ]


def check(case, outputs, inputs):
    """Run the kernel on copies of its outputs and compare with the reference in float64."""
    results = [None if value is None else value.copy() for value in outputs]
    returned = case.kernel(*results, *inputs)
    expected, inputs = widened(outputs), widened(inputs)
    assert returned == case.reference(*expected, *inputs)
    bounds = case.error(expected, *inputs)
    for result, value, bound in zip(results, expected, bounds, strict=True):
        if value is not None:
            assert (np.abs(result - value) <= bound * np.finfo(DTYPE).eps).all()


@pytest.mark.benchmark(warmup=True)
@pytest.mark.parametrize("library", ["fastnn", "numpy"])
@pytest.mark.parametrize(
    ("name", "shape"),
    [(name, shape) for name, case in KERNELS.items() for shape in SHAPES[case.dimensions]],
    ids=lambda value: value if isinstance(value, str) else "x".join(map(str, value)),
)
def test_kernel(benchmark, name, shape, library):
    case = KERNELS[name]
    benchmark.group = f"{name}|{' x '.join(map(str, shape))}"
    outputs, inputs = case.make_arguments(np.random.default_rng(0), shape, DTYPE)
    function = case.reference
    if library == "fastnn":
        check(case, outputs, inputs)  # compiles as well, so no compilation is timed
        function = case.kernel
    benchmark(function, *outputs, *inputs)
