"""Losses of targets that are not all known (`mask_nan`), and of answers that weigh more."""

import functools
import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose
from test_trainer import BATCH, FEATURES, OUTPUTS, N, compare, fit

import fastnn
from fastnn import kernels
from fastnn.kernels import reference
from fastnn.kernels.catalogue import MASKED

MASKING = {
    "answers": functools.partial(fastnn.BinaryCrossEntropy, pos_weight=3.0),
    "answers to probabilities": functools.partial(fastnn.BinaryCrossEntropy, from_logits=False),
    "squared": fastnn.MeanSquaredError,
    "absolute": fastnn.MeanAbsoluteError,
    "Huber": functools.partial(fastnn.Huber, 0.5),
    "quantile": functools.partial(fastnn.Quantile, 0.8),
    "counts": fastnn.Poisson,
}
every_loss = pytest.mark.parametrize("loss", MASKING)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
NO_TARGET = [2, 11, 30]  # samples


def make_data(loss, dtype=np.float64, n_outputs=OUTPUTS, all_rows=False, n=N):
    """Return samples, and targets of which two thirds are known."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((n, FEATURES)).astype(dtype), rng.standard_normal((n, n_outputs))
    if "answers" in loss:
        y = (y > 0).astype(float)
    elif loss == "counts":
        X, y = X / 4, rng.poisson(1, y.shape).astype(float)
    unknown = rng.random(y.shape) < 1 / 3
    unknown[:, 0] &= n_outputs == 1
    if not all_rows:
        unknown[NO_TARGET] = True
    return X, np.where(unknown, np.nan, y)


def make(loss, dtype=np.float64, n_outputs=OUTPUTS, mask_nan=True, hidden=(17,)):
    layers, sizes = [], [FEATURES, *hidden, n_outputs]
    for i, (n_inputs, n_neurons) in enumerate(itertools.pairwise(sizes)):
        layers += [fastnn.Tanh()] if i else []
        layers.append(fastnn.Dense(n_inputs, n_neurons, dtype=dtype, rng=i))
    if loss == "answers to probabilities":
        layers.append(fastnn.Sigmoid())
    return fastnn.Sequential(layers, loss=MASKING[loss](mask_nan=mask_nan))


# ------------------------------------------------------------------------------ the formula


@every_loss
def test_the_loss_of_a_sample_is_the_mean_over_its_known_targets(loss):
    _, y = make_data(loss)
    z = np.random.default_rng(1).uniform(0.1, 0.9, y.shape)
    masked, plain = MASKING[loss](mask_nan=True), MASKING[loss]()
    found, slopes = masked.forward(z, y), masked.backward(z, y)
    known = ~np.isnan(y)
    counted = known.any(axis=1)
    assert counted.sum() == N - len(NO_TARGET)
    for i in range(N):
        row = z[i, known[i]][np.newaxis], y[i, known[i]][np.newaxis]
        expected = plain.forward(*row)[0] if counted[i] else 0.0
        assert_allclose(found[i], expected, rtol=1e-12)
        wanted = plain.backward(*row)[0] / counted.sum() if counted[i] else []
        assert_allclose(slopes[i, known[i]], wanted, rtol=1e-12)
    assert not slopes[~known].any()
    assert_allclose(masked.calculate(z, y), found.sum() / counted.sum(), rtol=1e-12)


@every_loss
@every_dtype
def test_without_a_missing_target_the_bits_are_those_of_the_plain_loss(loss, dtype):
    X, y = make_data(loss, dtype)
    y = np.where(np.isnan(y), 1.0, y)
    models = [make(loss, dtype, mask_nan=mask) for mask in (False, True)]
    curves = [fit(model, X, y, "Adam").curves for model in models]
    assert models[0].parameters.tobytes() == models[1].parameters.tobytes()
    assert curves[0] == curves[1]


@every_loss
def test_slopes_are_central_differences(loss):
    X, y = make_data(loss)
    model, rng = make(loss, hidden=(4, 6)), np.random.default_rng(1)

    def value():
        return model.loss.calculate(model._network.logits(X, True), y)

    outputs = model._network.logits(X, True)
    model._network.pull(model.loss.backward(outputs, y))
    gradients = model.gradients.copy()
    for at in rng.choice(model.parameters.size, 25, replace=False):
        middle, step, values = model.parameters[at], 1e-6, []
        for shift in (step, -step):
            model.parameters[at] = middle + shift
            values.append(value())
        model.parameters[at] = middle
        slope = (values[0] - values[1]) / (2 * step)
        assert_allclose(gradients[at], slope, rtol=1e-5, atol=1e-8)


@every_loss
@every_dtype
def test_the_kernels_are_the_reference(loss, dtype):
    _, y = make_data(loss, n_outputs=19)
    y, each = y.astype(dtype), MASKING[loss](mask_nan=True)
    z = np.random.default_rng(1).uniform(0.1, 0.9, y.shape).astype(dtype)
    assert each.kernel_code == each.kind + MASKED
    found = []
    for module in (kernels, reference):
        losses, slopes = np.full(N, 7, dtype), np.full_like(z, 7)
        module.loss_forward(losses, z, y, each.kernel_code, each.number)
        module.loss_backward(slopes, z, y, each.kernel_code, each.number)
        found.append((losses, slopes))
    limit = 1e-5 if dtype == np.float32 else 1e-13
    for one, other in zip(*found, strict=True):
        assert_allclose(one, other, rtol=limit, atol=limit)


# -------------------------------------------------------------------------------- all paths


@every_loss
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "Adam, clipped norm"])
def test_the_compiled_epoch_is_that_of_numpy(loss, optimizer, monkeypatch):
    X, y = make_data(loss)
    compare(monkeypatch, lambda: make(loss), X, y, optimizer, rtol=1e-7)


@every_loss
@every_dtype
def test_layers_one_by_one_have_the_same_bits(loss, dtype):
    """Where each sample has a known target: weights of samples are rounded otherwise."""
    X, y = make_data(loss, dtype, all_rows=True)
    assert np.isnan(y).any()
    model, layered = make(loss, dtype), make(loss, dtype)
    layered._program.steps = None
    curves, expected = fit(model, X, y).curves, fit(layered, X, y).curves
    assert model.parameters.tobytes() == layered.parameters.tobytes()
    for name in expected:
        assert_allclose(curves[name], expected[name], rtol=1e-6)


@every_loss
def test_any_number_of_threads_gives_the_same_bits(loss):
    X, y = make_data(loss, np.float32, n=150)
    found = set()
    for threads in (1, 2, 3, 8):
        model = make(loss, np.float32)
        fit(model, X, y, "Adam", threads=threads, batch_size=64)
        found.add(model.parameters.tobytes())
    assert len(found) == 1


@every_loss
@pytest.mark.parametrize("own", [False, True], ids=["compiled", "layer by layer"])
def test_a_sample_without_a_known_target_is_as_if_it_were_not_there(loss, own):
    X, y = make_data(loss)
    rest = ~np.isnan(y).all(axis=1)
    models = make(loss), make(loss)
    if own:
        for model in models:
            model._program.steps = None
    options = {"batch_size": N, "shuffle": False, "epochs": 4}
    found = fit(models[0], X, y, validation_data=(X, y), **options)
    expected = fit(
        models[1], X[rest], y[rest], validation_data=(X[rest], y[rest]),
        **options | {"batch_size": rest.sum()},
    )  # fmt: skip
    assert_allclose(models[0].parameters, models[1].parameters, rtol=1e-9, atol=1e-12)
    for name, curve in expected.curves.items():
        assert_allclose(found.curves[name], curve, rtol=1e-9)
    assert_allclose(
        [*models[0].evaluate(X, y).values()], [*models[0].evaluate(X[rest], y[rest]).values()],
        rtol=1e-12,
    )  # fmt: skip


def test_the_accuracy_is_that_of_known_answers():
    X, y = make_data("answers")
    model = make("answers")
    known = ~np.isnan(y)
    rows = known.any(axis=1)
    right = ((model.predict(X) == y) & known).sum(axis=1)[rows] / known.sum(axis=1)[rows]
    assert model.evaluate(X, y)["accuracy"] == pytest.approx(right.mean())
    model.loss.hits(np.full((1, 3), np.nan), np.full((1, 3), np.nan), np.zeros(1, int))
    history = fit(model, X, y, fastnn.SGD(1e-12), epochs=1)
    assert history.accuracy == [pytest.approx(right.mean())]


@pytest.mark.parametrize("loss", ["answers", "squared"])
def test_metrics_of_one_output_leave_out_what_is_not_known(loss):
    X, y = make_data(loss, n_outputs=1)
    model, known = make(loss, n_outputs=1), ~np.isnan(y[:, 0])
    names = ["roc_auc", "log_loss"] if loss == "answers" else ["r2", "mean_absolute_error"]
    weights = np.random.default_rng(3).random(N)
    for options in ({}, {"sample_weight": weights}):
        some = {name: value[known] for name, value in options.items()}
        found = model.evaluate(X, y[:, 0], metrics=names, **options)
        expected = model.evaluate(X[known], y[known, 0], metrics=names, **some)
        assert found == pytest.approx(expected)
    history = fit(model, X, y, metrics=names, validation_data=(X, y))
    assert f"val_{names[0]}" in history.curves


def test_metrics_of_several_outputs_are_refused_by_name():
    X, y = make_data("squared")
    model = make("squared")
    before = model.parameters.copy()
    words = "metrics has r2, expected none: y has NaN in some of several outputs"
    with pytest.raises(ValueError, match=words):
        model.evaluate(X, y, metrics=["r2"])
    with pytest.raises(ValueError, match=words):
        fit(model, X, y, metrics=["r2"])
    assert np.array_equal(model.parameters, before)
    assert "r2" in model.evaluate(X, np.nan_to_num(y), metrics=["r2"])


def test_a_held_out_part_and_class_weights():
    X, y = make_data("answers", n_outputs=1)
    models = make("answers", n_outputs=1), make("answers", n_outputs=1)
    known = ~np.isnan(y[:, 0])
    options = {"shuffle": False, "class_weight": {0: 1.0, 1: 2.0}, "epochs": 2}
    fit(models[0], X, y, batch_size=N, **options)
    fit(models[1], X[known], y[known], batch_size=known.sum(), **options)
    assert_allclose(models[0].parameters, models[1].parameters, rtol=1e-9)
    fit(models[0], X, y, validation_split=0.4)
    y[-8:] = np.nan
    words = "y is NaN on one side of validation_split 0.2, expected some on both"
    with pytest.raises(ValueError, match=words):
        fit(models[0], X, y, validation_split=0.2)


def test_an_unknown_answer_is_no_class_of_a_held_out_part():
    X, y = make_data("answers", n_outputs=1)
    y[:30], y[30:] = np.arange(30)[:, np.newaxis] % 2, 1.0
    y[36] = np.nan  # not a no
    with pytest.warns(fastnn.MissingClassWarning, match=r"class 0 is only among the samples to"):
        fit(make("answers", n_outputs=1), X, y, validation_split=0.1)


def test_batches_and_many_models():
    X, y = make_data("squared")
    alone, in_batches, *many = (make("squared") for _ in range(4))
    fit(alone, X, y, shuffle=False, batch_size=BATCH)
    batches = [(X[i : i + BATCH], y[i : i + BATCH]) for i in range(0, N, BATCH)]
    in_batches.fit(batches=batches, epochs=3, optimizer=fastnn.SGD(0.05), verbose=False)
    assert in_batches.parameters.tobytes() == alone.parameters.tobytes()
    optimizers = [fastnn.SGD(0.05), fastnn.SGD(0.05)]
    fastnn.fit_many(
        many, X, y, optimizer=optimizers, epochs=3, batch_size=BATCH, shuffle=False, seed=0,
        verbose=False,
    )  # fmt: skip
    for model in many:
        assert model.parameters.tobytes() == alone.parameters.tobytes()


def test_a_batch_without_a_known_target_has_no_gradient():
    X, y = make_data("squared")
    y[BATCH : 2 * BATCH] = np.nan
    whole, in_batches = (make("squared") for _ in range(2))
    fit(whole, X, y, shuffle=False, batch_size=BATCH)
    batches = [(X[i : i + BATCH], y[i : i + BATCH]) for i in range(0, N, BATCH)]
    in_batches.fit(batches=batches, epochs=3, optimizer=fastnn.SGD(0.05), verbose=False)
    assert in_batches.parameters.tobytes() == whole.parameters.tobytes()
    with pytest.raises(ValueError, match=r"^batches: the weights of the samples sum to 0 in epoch"):
        in_batches.fit(batches=batches[1:2], epochs=1, verbose=False)


# -------------------------------------------------------------------------------- bad input


@every_loss
def test_nan_is_refused_without_the_option_and_the_error_names_it(loss):
    X, y = make_data(loss)
    model = make(loss, mask_nan=False)
    before = model.parameters.copy()
    hint = r"is nan, expected finite numbers; mask_nan=True of the loss leaves it out$"
    for run in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=rf"^y\[0, 1\] {hint}"):
            run(X, y)
    with pytest.raises(ValueError, match=rf"^y_true\[0, 1\] {hint}"):
        model.loss.forward(np.full(y.shape, 0.5), y)
    y = np.nan_to_num(y)
    y[4, 1] = np.inf
    for each in (model, make(loss)):
        with pytest.raises(ValueError, match=r"^y\[4, 1\] is inf, expected finite numbers$"):
            each.fit(X, y)
    assert np.array_equal(model.parameters, before)


def test_what_is_wrong_beside_nan_is_refused():
    X, y = make_data("squared", np.float32)
    y[20, 0] = 1e300
    with pytest.raises(ValueError, match=r"^y\[20, 0\] is 1e\+300, too large for float32"):
        make("squared", np.float32).fit(X, y)
    X, y = make_data("answers")
    y[20, 0] = 1.5
    with pytest.raises(ValueError, match=r"^y\[20, 0\] is 1.5, expected numbers from 0 to 1"):
        make("answers").fit(X, y)
    with pytest.raises(ValueError, match=r"^y has only NaN where samples count, expected targets"):
        make("answers").fit(X, np.full(y.shape, np.nan))
    with pytest.raises(ValueError, match=r"^validation_data.1. has only NaN where samples count"):
        make("answers").fit(X, X[:, :3] > 0, validation_data=(X, np.full(y.shape, np.nan)))
    weights = np.isnan(make_data("answers")[1]).all(axis=1)
    with pytest.raises(ValueError, match=r"^y has only NaN where samples count"):
        make("answers").fit(*make_data("answers"), sample_weight=weights)


def test_the_argument_is_checked_and_stays():
    for value in (1, None, "yes"):
        with pytest.raises(TypeError, match=r"mask_nan is .*, expected True or False"):
            fastnn.Huber(mask_nan=value)
    loss = fastnn.MeanSquaredError()
    with pytest.raises(AttributeError, match=r"mask_nan cannot be assigned"):
        loss.mask_nan = True
    assert loss.mask_nan is False


def test_a_loss_of_your_own_gets_no_hint():
    model = fastnn.Sequential(
        [fastnn.Dense(2, 1, rng=0)], loss=(lambda p, y: (p - y)[:, 0] ** 2, lambda p, y: 2 * p)
    )
    with pytest.raises(ValueError, match=r"^y\[1, 0\] is nan, expected finite numbers$"):
        model.fit(np.ones((2, 2)), [0.0, np.nan])


@every_loss
def test_files_and_texts_have_the_arguments_only_where_they_are_set(loss, tmp_path):
    X, y = make_data(loss)
    for mask_nan in (True, False):
        model = make(loss, mask_nan=mask_nan)
        model.save(tmp_path / "model.safetensors")
        again = fastnn.load(tmp_path / "model.safetensors")
        assert repr(again.loss) == repr(model.loss)
        assert ("mask_nan" in repr(again.loss)) == mask_nan
        assert ("mask_nan" in model.to_config()["loss"]) == mask_nan
        assert again.loss.mask_nan is mask_nan
        if mask_nan:
            assert again.evaluate(X, y) == model.evaluate(X, y)
    assert ("pos_weight" in model.to_config()["loss"]) == (loss == "answers")


def test_a_run_goes_on_from_its_checkpoint(tmp_path):
    X, y = make_data("answers")
    whole, parts = make("answers"), make("answers")
    fit(whole, X, y, epochs=4)
    path = tmp_path / "run.safetensors"
    fit(parts, X, y, epochs=2, callbacks=[fastnn.Checkpoint(path)])
    again = make("answers")
    fit(again, X, y, epochs=4, resume=path)
    assert again.parameters.tobytes() == whole.parameters.tobytes()
    with pytest.raises(ValueError, match=r"loss.mask_nan is False, expected True, as in"):
        fit(make("answers", mask_nan=False), X, np.nan_to_num(y), epochs=4, resume=path)


# ------------------------------------------------------------------------------- pos_weight


@pytest.mark.parametrize("weight", [0.25, 1.0, 3.0, 1e6])
@every_dtype
def test_a_yes_weighs_more(weight, dtype):
    """The formula of PyTorch's BCEWithLogitsLoss, in float64."""
    rng = np.random.default_rng(0)
    z, y = rng.normal(0, 4, (20, 7)), rng.random((20, 7)).round(1)
    p = 1 / (1 + np.exp(-z))
    expected = -(weight * y * np.log(p) + (1 - y) * np.log(1 - p)).mean(axis=1)
    loss = fastnn.BinaryCrossEntropy(pos_weight=weight)
    z = z.astype(dtype)
    limit = {"rtol": 2e-5 if dtype == np.float32 else 1e-12}
    assert_allclose(loss.forward(z, y), expected, **limit)
    slopes = (p - y + (weight - 1) * y * (p - 1)) / z.size
    assert_allclose(loss.backward(z, y), slopes, atol=weight * 1e-9, **limit)


def test_the_weighted_loss_of_any_logit_is_finite():
    z = np.array([[-1e4], [-80.0], [0.0], [80.0], [1e4]])
    loss = fastnn.BinaryCrossEntropy(pos_weight=2.0)
    yes, no = loss.forward(z, np.ones(5)), loss.forward(z, np.zeros(5))
    assert_allclose(yes, [2e4, 160, 2 * np.log(2), 2 * np.exp(-80), 0], rtol=1e-12)
    assert_allclose(no, [0, np.exp(-80), np.log(2), 80, 1e4], rtol=1e-12)
    assert_allclose(loss.backward(z, np.ones(5)) * 5, [[-2], [-2], [-1], [0], [0]], atol=1e-12)


@every_dtype
def test_a_weight_of_one_has_the_bits_of_the_plain_loss(dtype):
    z = np.random.default_rng(0).normal(0, 4, (20, 7)).astype(dtype)
    y = (z > 1).astype(dtype)
    losses = fastnn.BinaryCrossEntropy(), fastnn.BinaryCrossEntropy(pos_weight=1)
    for name in ("forward", "backward"):
        one, other = (getattr(each, name)(z, y) for each in losses)
        assert one.tobytes() == other.tobytes()


def test_a_weight_of_a_yes_is_a_weight_of_its_samples():
    """But for the mean, which is over the samples, not over their weights."""
    X, y = make_data("answers", n_outputs=1)
    y = np.nan_to_num(y[:, 0])
    weights = np.where(y > 0, 3.0, 1.0)
    one, other = make("answers", n_outputs=1), make("answers", n_outputs=1)
    other.loss.pos_weight = 1.0
    options = {"batch_size": N, "shuffle": False}
    fit(one, X, y, fastnn.SGD(0.05), **options)
    fit(other, X, y, fastnn.SGD(0.05 * weights.sum() / N), sample_weight=weights, **options)
    assert_allclose(one.parameters, other.parameters, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf, "2", [1.0, 2.0]])
def test_bad_weights_of_a_yes(value):
    with pytest.raises((TypeError, ValueError), match=r"pos_weight is .*, expected"):
        fastnn.BinaryCrossEntropy(pos_weight=value)


def test_the_weight_of_a_yes_needs_logits():
    words = "pos_weight is 2.0, expected 1 for probabilities: it needs from_logits=True"
    with pytest.raises(ValueError, match=words):
        fastnn.BinaryCrossEntropy(from_logits=False, pos_weight=2.0)
    loss = fastnn.BinaryCrossEntropy(from_logits=False)
    with pytest.raises(ValueError, match=words):
        loss.pos_weight = 2.0
    assert loss.pos_weight == 1.0
