"""`python cluster_work.py BACKEND` prints what fastnn does on a cluster, as JSON."""

import contextlib
import json
import sys
import warnings
import zlib

import joblib
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastnn
from fastnn.datasets import load_digits
from fastnn.program.threads import resolve_threads, usable_cpus


def count_threads(_):
    """Return (CPUs of this process, threads of a large network, threads of an estimator)."""
    estimator = resolve_threads(fastnn.MLPClassifier()._threads(), 10**12)
    return usable_cpus(), resolve_threads(None, 10**12), estimator


def search(n_jobs):
    """Return the scores of a search."""
    X, y = load_digits()
    candidates = make_pipeline(StandardScaler(), fastnn.MLPClassifier(max_iter=30, random_state=0))
    grid = {"mlpclassifier__hidden_layer_sizes": [(8,), (16,)]}
    found = GridSearchCV(candidates, grid, cv=3, n_jobs=n_jobs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return found.fit(X[:300], y[:300]).cv_results_["mean_test_score"].tolist()


def train(executor=None):
    """Return a checksum of the parameters of 9 models."""
    X, y = load_digits()
    models = [
        fastnn.Sequential([fastnn.Dense(64, 12, rng=seed), fastnn.ReLU(), fastnn.Dense(12, 10)])
        for seed in range(9)
    ]
    for model in models:
        model.layers[2].reset_parameters(0)
    fastnn.fit_many(models, X[:200], y[:200], epochs=3, seed=0, verbose=0, executor=executor)
    return zlib.crc32(b"".join(model.parameters.tobytes() for model in models))


def train_on_many(executor):
    """Train on samples that are large for Dask, with warnings as errors."""
    X, y = np.full((30_000, 100), 1.0), np.zeros(30_000, int)
    models = [fastnn.Sequential([fastnn.Dense(100, 2, rng=seed)]) for seed in range(2)]
    with warnings.catch_warnings(action="error"):
        fastnn.fit_many(models, X, y, batch_size=1000, verbose=0, executor=executor)


def joblib_backend(name, **options):
    jobs = (joblib.delayed(count_threads)(i) for i in range(4))
    with joblib.parallel_config(name, **options):
        threads = joblib.Parallel(n_jobs=2)(jobs)
        scores = search(2)
    return {"threads": threads, "scores": scores}


def loky():
    from joblib.externals.loky import get_reusable_executor

    result = joblib_backend("loky")
    with get_reusable_executor(2) as executor:
        return {**result, "bits": train(executor)}


def dask(processes=True):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=processes, dashboard_address=None
        ) as local,
        Client(local) as client,
    ):
        client.wait_for_workers(2)
        executor = client.get_executor()
        train_on_many(executor)
        return {**joblib_backend("dask"), "bits": train(executor)}


def ray():
    import ray
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, logging_level="error")
    register_ray()
    try:
        return joblib_backend("ray")
    finally:
        ray.shutdown()


def mpi():
    from mpi4py.futures import MPIPoolExecutor

    with MPIPoolExecutor() as executor:
        return {"bits": train(executor)}


BACKENDS = {
    "threading": lambda: {**joblib_backend("threading"), "bits": train()},
    "loky": loky,
    "dask": dask,
    "dask threads": lambda: dask(processes=False),
    "ray": ray,
    "mpi": mpi,
}

if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        result = BACKENDS[sys.argv[1]]()
    print(json.dumps(result))
