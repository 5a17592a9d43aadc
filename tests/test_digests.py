"""Digests of what training gives: a change that says that no result changes is held to it.

Each configuration is run with one and with two threads, and must give what `digests.json` has:
parameters, states of the optimizer, curves, predictions and files, to the last bit.

    python tests/test_digests.py --write

records the digests anew. That is only for a change that says, in the changelog too, which results
change and why; the difference of `digests.json` then shows these and no others. Never do it in a
change that says that nothing changes.

    python tests/test_digests.py --add

records those of configurations that have none yet, such as that of a new row of the catalogue.

The digests do not depend on the order of the tests, on hash seeds, on the cache, on the SIMD code
that NumPy and OpenBLAS choose (tried with NPY_DISABLE_CPU_FEATURES and OPENBLAS_CORETYPE), nor on
the CPU as long as it has fused multiply-add. To `DEPENDENT` the last does not apply: there lengths
of gradients and penalties are added up in an order that follows from the width of the tiles.
`--write` finds these by running all configurations with the tiles of AVX2 and NEON as well, and
records what AVX-512 gives. On another CPU these parts are compared between one thread and two.

Left out is the solver "lbfgs" of the estimators: SciPy's L-BFGS adds up with OpenBLAS, whose order
depends on the CPU. `test_solvers.py` compares it with scikit-learn's.
"""

import itertools
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import catalogue_cases
import numpy as np
import pytest
from child import run_python
from digest_cases import (
    BETAS,
    CLASSES,
    F64,
    N,
    OwnReLU,
    OwnSteps,
    batch_norm,
    case,
    changing,
    checkpointed,
    dense,
    embedding,
    estimator_case,
    fourth_power,
    layer_norm,
    nnfs_case,
    quiet,
    run_again,
    run_columnwise,
    run_compiled,
    run_files,
    run_from_old_checkpoint,
    run_losses,
    run_many,
    run_old_model,
    run_onnx,
    run_partial_fit,
    run_passes,
    run_stream,
    slope_of_fourth_power,
)
from test_targets import CPUS

import fastnn
from fastnn import nnfs
from fastnn.kernels import target
from fastnn.program import plan

PATH = Path(__file__).parent / "digests.json"
C = CLASSES
ReLU, Softmax, Tanh, Dropout = fastnn.ReLU, fastnn.Softmax, fastnn.Tanh, fastnn.Dropout

LAYERS = {
    "dense alone": case(C),
    "dense in float64": case(19, ReLU(), C, dtype=F64),
    "several tiles": case(150, ReLU(), 70, ReLU(), C, batch_size=100),
    "several tiles in float64": case(100, ReLU(), 70, ReLU(), C, dtype=F64, batch_size=100),
    "normal weights": case(dense(19, init="he"), ReLU(), dense(C, init="glorot")),
    "no biases": case(dense(19, use_bias=False), ReLU(), dense(C, use_bias=False)),
    "a frozen layer": case(dense(19, trainable=False), ReLU(), 11, Tanh(), C),
    "a frozen layer in the middle": case(
        19, ReLU(), dense(11, trainable=False, weights_l2=0.1), layer_norm(trainable=False), C
    ),
    "all penalties": case(
        dense(19, weights_l1=0.01, biases_l2=0.1), ReLU(),
        dense(11, weights_l2=0.01, biases_l1=0.001), ReLU(), dense(C, weights_l1=1e-3), dtype=F64,
    ),
    "penalties in float32": case(dense(19, weights_l1=0.01, weights_l2=0.01), ReLU(), C),
    "ReLU first and last": case(ReLU(), 19, ReLU(), ReLU(), C, ReLU()),
    "Softmax first, in the middle and last": case(Softmax(), 19, Softmax(), C, Softmax()),
    "two Softmax at the end": case(19, C, Softmax(), Softmax()),
    "Sigmoid": case(fastnn.Sigmoid(), 19, fastnn.Sigmoid(), C, fastnn.Sigmoid()),
    "Tanh": case(Tanh(), 19, Tanh(), C, Tanh()),
    "LeakyReLU": case(fastnn.LeakyReLU(0.25), 19, fastnn.LeakyReLU(), C, fastnn.LeakyReLU()),
    "ELU": case(fastnn.ELU(0.5), 19, fastnn.ELU(), C, fastnn.ELU()),
    "GELU": case(fastnn.GELU(), 19, fastnn.GELU(), C, fastnn.GELU()),
    "GELU with tanh": case(fastnn.GELU("tanh"), 19, fastnn.GELU("tanh"), C, fastnn.GELU("tanh")),
    "SiLU": case(fastnn.SiLU(), 19, fastnn.SiLU(), C, fastnn.SiLU()),
    "Identity": case(fastnn.Identity(), 19, fastnn.Identity(), C, fastnn.Identity()),
    "all activations in float64": case(
        19, fastnn.Sigmoid(), 17, Tanh(), 13, fastnn.LeakyReLU(), 11, fastnn.ELU(), 9,
        fastnn.GELU(), 9, fastnn.GELU("tanh"), 7, fastnn.SiLU(), 7, fastnn.Identity(), Softmax(), C,
        dtype=F64,
    ),
    "Dropout": case(Dropout(0.125), 19, ReLU(), Dropout(0.5), C),
    "Dropout last, in float64": case(19, Dropout(0.25), Dropout(0.25), C, Dropout(0.25), dtype=F64),
    "LayerNorm": case(layer_norm(), 19, layer_norm(epsilon=0.125), ReLU(), C, layer_norm()),
    "LayerNorm in float64": case(19, layer_norm(), Tanh(), C, dtype=F64),
    "BatchNorm": case(
        batch_norm(), 19, batch_norm(momentum=0.25, epsilon=0.125), ReLU(), C, batch_norm()
    ),
    "BatchNorm in float64": case(19, batch_norm(), Tanh(), C, dtype=F64),
    "a frozen BatchNorm": case(19, batch_norm(trainable=False), ReLU(), C),
    "BatchNorm of several blocks": case(
        70, batch_norm(), ReLU(), 33, layer_norm(), Dropout(0.25), C, batch_size=290
    ),
    "norms, dropout and an activation": case(
        dense(19, use_bias=False, weights_l2=0.01), batch_norm(), fastnn.GELU(), layer_norm(),
        Dropout(0.25), dense(11, weights_l1=0.001), fastnn.ELU(), batch_norm(), C, Softmax(),
        optimizer=fastnn.AdamW(0.0625, weight_decay=0.125),
    ),
}  # fmt: skip

LAYERS |= {
    "Embedding": case(embedding(), 19, ReLU(), C, inputs="codes"),
    "Embedding in float64": case(
        embedding(), Dropout(0.25), 19, Tanh(), C, inputs="codes", dtype=F64,
        optimizer=fastnn.Adam(0.0625, *BETAS),
    ),
    "Embedding and norms": case(
        embedding(), batch_norm(), 19, layer_norm(), fastnn.SiLU(), C, inputs="codes",
        optimizer=fastnn.AdamW(0.0625, weight_decay=0.125),
    ),
    "a frozen Embedding": case(embedding(trainable=False), 19, ReLU(), C, inputs="codes"),
    "Embedding, clipped norm and penalties": case(
        embedding(weights_l1=0.001, weights_l2=0.01), 19, ReLU(), C, inputs="codes",
        optimizer=fastnn.SGD(0.125, momentum=0.75, clip_norm=0.25),
    ),
}  # fmt: skip

# What the lines above do not have.
LAYERS |= {
    title: case(make(), 19, make(), C, make())
    for title, make in catalogue_cases.ACTIVATIONS.items()
    if not any(title.split()[0] in name for name in LAYERS)
}

LOSSES = {
    "one-hot targets": case(targets="one-hot"),
    "soft targets": case(targets="shares"),
    "soft targets in float64": case(targets="shares", dtype=F64),
    "label smoothing": case(loss=fastnn.SoftmaxCrossEntropy(0.25)),
    "label smoothing of soft targets": case(
        loss=fastnn.SoftmaxCrossEntropy(0.25), targets="shares", dtype=F64
    ),
    "binary answers": case(loss=fastnn.BinaryCrossEntropy(), targets="answers"),
    "binary chances": case(loss=fastnn.BinaryCrossEntropy(), targets="chances", dtype=F64),
    "binary, one answer": case(
        19, Tanh(), 1, fastnn.Sigmoid(), loss=fastnn.BinaryCrossEntropy(), targets="answer"
    ),
    "binary, a yes weighs more": case(
        loss=fastnn.BinaryCrossEntropy(pos_weight=2.5), targets="answers"
    ),
    "binary, missing answers": case(
        loss=fastnn.BinaryCrossEntropy(mask_nan=True), targets="some answers", dtype=F64
    ),
    "missing numbers": case(loss=fastnn.MeanSquaredError(mask_nan=True), targets="some numbers"),
    "binary of probabilities": case(
        19, Tanh(), C, fastnn.Sigmoid(), targets="answers",
        loss=fastnn.BinaryCrossEntropy(from_logits=False, epsilon=0.0625),
    ),
    "squared error": case(loss=fastnn.MeanSquaredError(), targets="numbers"),
    "squared error, one output": case(
        19, Tanh(), 1, loss=fastnn.MeanSquaredError(), targets="number", dtype=F64
    ),
    "absolute error": case(loss=fastnn.MeanAbsoluteError(), targets="numbers"),
    "absolute error in float64": case(
        loss=fastnn.MeanAbsoluteError(), targets="numbers", dtype=F64
    ),
    "Huber": case(loss=fastnn.Huber(0.25), targets="numbers"),
    "Huber in float64": case(loss=fastnn.Huber(), targets="numbers", dtype=F64),
    "quantile": case(loss=fastnn.Quantile(0.75), targets="numbers"),
    "quantile in float64": case(loss=fastnn.Quantile(), targets="numbers", dtype=F64),
    "Poisson": case(loss=fastnn.Poisson(), targets="counts"),
    "Poisson in float64": case(loss=fastnn.Poisson(), targets="counts", dtype=F64),
    "losses without a network": run_losses,
}  # fmt: skip

OPTIMIZERS = {
    "SGD, decay": fastnn.SGD(0.25, decay=0.0625),
    "SGD, weight decay": fastnn.SGD(0.125, weight_decay=0.0625),
    "SGD, momentum": fastnn.SGD(0.125, momentum=0.5),
    "SGD, Nesterov": fastnn.SGD(0.125, momentum=0.5, nesterov=True, weight_decay=0.0625),
    "SGD, clipped values": fastnn.SGD(0.5, clip_value=0.03125),
    "SGD, clipped norm": fastnn.SGD(0.5, momentum=0.5, clip_norm=0.125),
    "SGD, both clipped": fastnn.SGD(0.5, clip_norm=0.125, clip_value=0.03125),
    "AdaGrad": fastnn.AdaGrad(0.125, 0.0625, weight_decay=0.0625, clip_value=0.125),
    "RMSprop": fastnn.RMSprop(0.0625, 0.75, weight_decay=0.0625, clip_norm=0.5),
    "Adam": fastnn.Adam(0.0625, *BETAS),
    "Adam, all options": fastnn.Adam(0.0625, *BETAS, 1e-3, 0.0625, clip_norm=0.25),
    "Adam, AMSGrad": fastnn.Adam(0.0625, 0.75, 0.5, amsgrad=True, clip_value=0.0625),
    "AdamW": fastnn.AdamW(0.0625, *BETAS, weight_decay=0.125),
    "AdamW, AMSGrad": fastnn.AdamW(
        0.0625, *BETAS, amsgrad=True, weight_decay=0.125, clip_norm=0.25
    ),
    "AdamW, spared biases": fastnn.AdamW(
        0.0625, *BETAS, weight_decay=0.125, spare_biases=True, clip_value=0.125
    ),
}
OPTIMIZERS |= {
    name: kind(0.0625, weight_decay=0.125)
    for name, kind in catalogue_cases.OPTIMIZERS.items()
    if not any(name in title for title in OPTIMIZERS)
}
SCHEDULES = {
    "ConstantRate": fastnn.ConstantRate(0.125),
    "StepRate": fastnn.StepRate(0.25, every=7, factor=0.5),
    "ExponentialRate": fastnn.ExponentialRate(0.25, 0.875),
    "InverseTimeRate": fastnn.InverseTimeRate(0.25, 0.125),
    "CosineRate": fastnn.CosineRate(0.25, 20, warm_up=5, last=0.0625),
    "OneCycleRate": fastnn.OneCycleRate(0.25, 20),
    "ReduceOnPlateau": fastnn.ReduceOnPlateau(0.25, 0.5, patience=0, min_delta=0.75),
    "a function": lambda step: 0.25 / (1 + step) + 0.0625,
}
STEPS = {
    **{f"{k} in {np.dtype(t)}": case(optimizer=v, dtype=t, batch_size=64)
       for k, v in OPTIMIZERS.items() for t in (np.float32, F64)},
    **{f"rate: {k}": case(optimizer=fastnn.SGD(v, momentum=0.5), epochs=3)
       for k, v in SCHEDULES.items()},
    "clipped norm of a wide network with penalties": case(
        dense(150, weights_l2=0.01), ReLU(), 70, batch_norm(), ReLU(), C,
        optimizer=fastnn.Adam(0.0625, clip_norm=0.25), batch_size=110,
    ),
    "spared biases and norms": case(
        batch_norm(), 19, layer_norm(), ReLU(), C,
        optimizer=fastnn.SGD(0.125, weight_decay=0.25, spare_biases=True),
    ),
    "usual means of Adam": case(optimizer=fastnn.Adam(0.0625)),
    "usual means of AdamW": case(optimizer=fastnn.AdamW(0.0625)),
    "rate of Adam by a schedule": case(
        optimizer=fastnn.Adam(fastnn.CosineRate(0.25, 20, warm_up=5), *BETAS), dtype=F64,
        batch_size=64,
    ),
}  # fmt: skip

WEIGHTS, ORDER = changing(0.0, 0.5, 1.0, 3.0), np.resize(np.arange(100)[::-1], N)
FITS = {
    "sample weights": case(sample_weight=WEIGHTS),
    "sample weights in float64": case(
        19, batch_norm(), Tanh(), C, sample_weight=WEIGHTS, dtype=F64
    ),
    "class weights": case(class_weight={0: 1, 1: 2, 2: 0.5, 3: 0, 4: 0.25}),
    "both weights, clipped and smoothed": case(
        19, ReLU(), Dropout(0.25), C, sample_weight=WEIGHTS,
        class_weight={0: 2, 1: 1, 2: 1, 3: 1, 4: 1},
        loss=fastnn.SoftmaxCrossEntropy(0.125), optimizer=fastnn.SGD(0.5, clip_norm=0.125),
    ),
    "weighted numbers": case(loss=fastnn.Huber(0.5), targets="numbers", sample_weight=WEIGHTS),
    "inputs: uint8, scaled": case(inputs="uint8", scale=1 / 255, offset=-0.5),
    "inputs: uint8, scaled in float64": case(inputs="uint8", scale=1 / 255, offset=-0.5, dtype=F64),
    "inputs: int8": case(inputs="int8", scale=1 / 64),
    "inputs: float16": case(inputs="float16"),
    "inputs: float16 in float64": case(inputs="float16", dtype=F64, scale=0.75),
    "inputs: Fortran order": case(inputs="Fortran"),
    "inputs: Fortran order in float64": case(inputs="Fortran", dtype=F64, scale=0.75),
    "inputs: float32 reversed": case(inputs="reversed"),
    "inputs: float32 reversed in float64": case(inputs="reversed", dtype=F64),
    "inputs: every other": case(inputs="every other"),
    "inputs: int64": case(inputs="int64", scale=1 / 8),
    "batches of one": case(batch_size=1, steps_per_epoch=20),
    "one batch": case(batch_size=1000, epochs=3),
    "batches of 4096 rows and above": case(
        9, batch_norm(), ReLU(), C, rows=9007, batch_size=4500,
        sample_weight=np.resize(WEIGHTS, 9007),
    ),
    "one batch above 4096 rows in float64": case(
        9, layer_norm(), ReLU(), C, rows=4500, batch_size=4500, dtype=F64
    ),
    "no shuffle, drop_last": case(shuffle=False, drop_last=True),
    "an order of one's own": case(shuffle=lambda n: ORDER, batch_size=50),
    "steps_per_epoch and initial_epoch": case(steps_per_epoch=4, initial_epoch=1, epochs=4),
    "validation and metrics": case(
        validation_split=0.25, metrics=["precision", "recall", "f1", "top_2"], sample_weight=WEIGHTS
    ),
    "validation and metrics of numbers": case(
        loss=fastnn.MeanSquaredError(), targets="numbers", validation_split=0.25,
        metrics=["mse", "mae", "r2"], digits=10,
    ),
    "early stopping": case(
        validation_split=0.25, epochs=9, optimizer=fastnn.SGD(4.0, momentum=0.5),
        callbacks=[fastnn.EarlyStopping(patience=2)],
    ),
    "averages of the parameters": case(
        batch_norm(), 19, layer_norm(), ReLU(), C, callbacks=[fastnn.WeightAverage(0.875)],
        optimizer=fastnn.Adam(0.0625, *BETAS), validation_split=0.25,
    ),
    "averages of plain gradient descent": case(
        dtype=F64, callbacks=[fastnn.WeightAverage(0.75)], validation_split=0.25
    ),
    "an epoch in chunks": case(callbacks=[fastnn.LambdaCallback(on_chunk_end=lambda run: None)]),
    "checkpoints, in one piece": checkpointed(),
    "checkpoints, resumed at the end of an epoch": checkpointed((2, 0)),
    "checkpoints, resumed in the middle of an epoch": checkpointed((2, 4)),
    "checkpoints, resumed twice": checkpointed((1, 6), (3, 7)),
    "checkpoints, resumed from a file of version 0.1.0": run_from_old_checkpoint,
    "partial_fit": run_partial_fit,
    "a stream of batches": run_stream,
    "fit_many": run_many,
    "fit again": run_again,
    "handles": run_compiled,
}  # fmt: skip

# Layer by layer, losses are added up by OpenBLAS.
OWN = {
    "passes by hand": run_passes,
    "a layer of one's own": quiet(
        case(19, OwnReLU(), batch_norm(), Dropout(0.25), C, dtype=F64, digits=10)
    ),
    "a layer of one's own in float32": quiet(
        case(
            19, OwnReLU(), C, sample_weight=WEIGHTS, digits=10,
            optimizer=fastnn.Adam(0.0625, *BETAS, clip_norm=0.5),
        )
    ),
    "an optimizer of one's own": quiet(case(optimizer=OwnSteps(0.5, momentum=0.5), digits=10)),
    "a loss of one's own": quiet(
        case(
            loss=(fourth_power, slope_of_fourth_power), targets="numbers", dtype=F64, digits=10,
            optimizer=fastnn.SGD(0.25, clip_norm=0.03125),
        )
    ),
    "columnwise": run_columnwise,
}  # fmt: skip


def nnfs_adam():
    return nnfs.Optimizer_Adam(0.0625, 0.0625, beta_1=BETAS[0], beta_2=BETAS[1])


NNFS = {
    "nnfs SGD": nnfs_case(lambda: nnfs.Optimizer_SGD(0.25, decay=0.0625)),
    "nnfs SGD, momentum": nnfs_case(lambda: nnfs.Optimizer_SGD(0.25, 0.0625, 0.5), "answers"),
    "nnfs Adagrad": nnfs_case(lambda: nnfs.Optimizer_Adagrad(0.125, 0.0625), "numbers"),
    "nnfs RMSprop": nnfs_case(lambda: nnfs.Optimizer_RMSprop(0.0625, 0.0625), "numbers"),
    "nnfs Adam": nnfs_case(nnfs_adam),
    "nnfs Adam, Dropout": nnfs_case(nnfs_adam, drops=True),
    "nnfs, a layer of one's own": quiet(nnfs_case(nnfs_adam, own=True)),
}

ADAM = {"learning_rate_init": 0.0625, "beta_1": BETAS[0], "beta_2": BETAS[1]}
ESTIMATORS = {
    "MLPClassifier, adam": estimator_case("MLPClassifier", **ADAM),
    "MLPClassifier, sgd": estimator_case(
        "MLPClassifier", solver="sgd", activation="tanh", learning_rate="invscaling",
        learning_rate_init=0.25, dtype="float32", weights=WEIGHTS,
    ),
    "MLPClassifier, stopped early": estimator_case(
        "MLPClassifier", "answers", early_stopping=True, activation="gelu", dropout=0.25,
        max_iter=5, n_iter_no_change=2, **ADAM,
    ),
    "MLPRegressor, adam": estimator_case("MLPRegressor", "numbers", **ADAM),
    "MLPRegressor, sgd": estimator_case(
        "MLPRegressor", "number", solver="sgd", learning_rate="adaptive", alpha=0.125, loss="huber",
        nesterovs_momentum=False,
    ),
}  # fmt: skip

CASES = {
    **LAYERS, **LOSSES, **STEPS, **FITS, **OWN, **NNFS, **ESTIMATORS,
    "files": run_files,
    "file of ONNX": run_onnx,
    "a model's file of version 0.1.0": run_old_model,
}  # fmt: skip

# Rows of which some parts have other bits where the tiles have another width: the length of a
# gradient and the penalty are added up panel by panel.
DEPENDENT = {
    "all penalties",
    "penalties in float32",
    "norms, dropout and an activation",
    "Embedding, clipped norm and penalties",
    "SGD, clipped norm in float32",
    "SGD, clipped norm in float64",
    "RMSprop in float32",
    "clipped norm of a wide network with penalties",
    "checkpoints, in one piece",
    "checkpoints, resumed at the end of an epoch",
    "checkpoints, resumed in the middle of an epoch",
    "checkpoints, resumed twice",
    "checkpoints, resumed from a file of version 0.1.0",
    "nnfs SGD",
    "nnfs SGD, momentum",
    "nnfs Adagrad",
    "nnfs RMSprop",
    "nnfs Adam",
    "nnfs Adam, Dropout",
    "MLPClassifier, adam",
    "MLPClassifier, sgd",
    "MLPClassifier, stopped early",
    "MLPRegressor, adam",
    "MLPRegressor, sgd",
}

DIGESTS = json.loads(PATH.read_text()) if PATH.exists() else {}
CPU = target.current()

pytestmark = [
    pytest.mark.skipif(fastnn.kernels.REFERENCE, reason="plain NumPy: the same to rounding"),
    pytest.mark.skipif(not CPU.fma, reason="without fused multiply-add results have other bits"),
]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_results_have_the_bits_that_were_recorded(name, threads):
    assert name in DIGESTS, f"no digests of {name!r} in {PATH.name}"
    found, expected = CASES[name](threads), DIGESTS[name]
    assert list(found) == list(expected), f"{name!r} has other parts than in {PATH.name}"
    known = {part: of(CPU, digest) for part, digest in expected.items()}
    off = [part for part in found if known[part] not in (None, found[part])]
    assert not off, f"{name!r} with threads={threads} has other bits in: {', '.join(off)}"
    missing = [part for part in found if known[part] is None]
    if missing:  # recorded for AVX-512 only: elsewhere they must not depend on the threads
        again = CASES[name](3 - threads)
        off = [part for part in missing if again[part] != found[part]]
        assert not off, f"{name!r} has other bits with other threads in: {', '.join(off)}"


@pytest.mark.parametrize("name", CASES)
def test_packed_operands_change_no_bit(name, monkeypatch):
    """Only layers of 2,048 and more have them by themselves; here all have."""
    monkeypatch.setattr(plan, "LONG_ROW", 0)
    known, found = DIGESTS[name], CASES[name](2)
    off = [part for part in found if of(CPU, known[part]) not in (None, found[part])]
    assert not off, f"{name!r} has other bits in: {', '.join(off)}"


def of(cpu, digest):
    """Return the digest for a row of the CPU table, or None."""
    return digest.get(cpu.name) if isinstance(digest, dict) else digest


def test_every_digest_is_that_of_a_configuration():
    assert sorted(DIGESTS) == sorted(CASES)


def test_no_other_row_depends_on_the_cpu():
    found = {name for name, row in DIGESTS.items() for part in row.values() if type(part) is dict}
    assert found == DEPENDENT


def test_resumed_runs_have_the_digests_of_the_run_in_one_piece():
    rows = {name: row for name, row in DIGESTS.items() if name.startswith("checkpoints, ")}
    assert len(rows) == 5
    for name, row in rows.items():
        assert row == rows["checkpoints, in one piece"], name


def test_no_two_configurations_give_the_same_parameters():
    """A configuration whose option had no effect would have the parameters of another one."""
    alike = "checkpoints, ", "rate: ConstantRate", "an epoch in chunks", "inputs: ", "nnfs, a layer"
    rows = [name for name in DIGESTS if not name.startswith(alike)]
    for a, b in itertools.combinations(rows, 2):
        known = DIGESTS[a].get("parameters"), DIGESTS[b].get("parameters")
        assert None in known or known[0] != known[1], (a, b)


# ------------------------------------------------------------------------------ recording


def run_all(names, *more):
    """Return the digests with one thread; those with `more` numbers of threads must be equal."""
    digests = {}
    for name in names:
        run = CASES[name]
        digests[name] = run(1)
        assert all(run(threads) == digests[name] for threads in more), name
    return digests


def run_all_as(row, names):
    """Return the digests of configurations with the tiles of another row of the CPU table."""
    cpus = {
        "AVX2": {"NUMBA_CPU_NAME": CPUS["AVX2"], "NUMBA_CPU_FEATURES": ""},
        "NEON": {"FASTNN_CACHE": "0"},  # whose key is that of this CPU
    }
    code = f"import json, test_digests as t; print(json.dumps(t.run_all({names!r})))"
    if row == "NEON":
        code = f"import test_targets; test_targets.become_neon(); {code}"
    return json.loads(run_python(code, **cpus[row]))


def write(names, others):
    """Record the digests of some configurations, and of what depends on the CPU those of AVX-512.

    `others` {name: digests} stay.
    """
    if CPU.name != "AVX-512":
        sys.exit(f"this CPU has {CPU.name}, expected AVX-512: it can run the code of all others")
    digests = run_all(names, 2)
    with ThreadPoolExecutor(2) as pool:
        elsewhere = list(pool.map(run_all_as, ("AVX2", "NEON"), [names] * 2))
    for (name, row), *found in zip(digests.items(), *(o.values() for o in elsewhere), strict=True):
        differing = [part for part in row if any(other[part] != row[part] for other in found)]
        row.update({part: {CPU.name: row[part]} for part in differing})
        if differing:
            print(f"{name}: {', '.join(differing)} depend on the CPU")
    digests |= others
    in_order = {name: digests[name] for name in CASES}
    PATH.write_text(json.dumps(in_order, indent=1) + "\n")
    print(f"{len(digests)} configurations written to {PATH}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write(list(CASES), {})
    elif sys.argv[1:] == ["--add"]:
        write([name for name in CASES if name not in DIGESTS], DIGESTS)
    else:
        sys.exit(__doc__)
