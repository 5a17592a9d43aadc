"""An epoch of `model.fit` on the four networks against plain NumPy: equal losses, then times.

    pytest benchmarks/test_bench_training.py --benchmark-enable

Divide by `steps` in the extra information for the time of a step. Libraries with threads of
their own are compared by `compare.py`, each in its own process.
"""

import numpy as np
import pytest
from networks import NETWORKS
from peers import fastnn_peer, numpy_peer
from worker import usable_cpus

EPOCHS = 3


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda network: network.name)
def trainers(request):
    """Return {library: trainer} of one network, after a check that they do equal work."""
    threads = usable_cpus()
    trainers = {
        "fastnn": fastnn_peer.Trainer(request.param, threads),
        "numpy": numpy_peer.Trainer(request.param, threads),
    }
    losses = {library: trainer.losses(EPOCHS) for library, trainer in trainers.items()}
    np.testing.assert_allclose(losses["fastnn"], losses["numpy"], rtol=1e-4)
    # Training that does nothing would be equal as well.
    assert losses["numpy"][-1] < 0.95 * losses["numpy"][0]
    return trainers


@pytest.mark.benchmark(warmup=True)
@pytest.mark.parametrize("library", ["fastnn", "numpy"])
def test_epoch(benchmark, trainers, library):
    trainer = trainers[library]
    network = trainer.network
    benchmark.group = f"training epoch|{network.name}, batch {network.batch}"
    benchmark.extra_info["steps"] = network.steps
    trainer.reset()
    losses = benchmark(trainer.run, 1)
    assert np.isfinite(losses).all()
