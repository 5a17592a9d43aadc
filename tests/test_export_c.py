"""C files: compiled with every warning as an error, they say what the model says.

They need a C compiler: `cc`, or what the environment variable CC names. Without one they are
skipped, but in CI they fail.
"""

import ctypes
import math
import os
import re
import shutil
import subprocess

import export_cases
import numpy as np
import pytest

import fastnn
from fastnn.export import to_c

DTYPES = [np.float32, np.float64]
WARNINGS = (
    "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wdouble-promotion",
    "-Wshadow", "-Wmissing-prototypes", "-Wstrict-prototypes", "-Wundef",
)  # fmt: skip
# A product is rounded before it is added here, and not in fastnn; the functions of <math.h> have
# rounding errors of their own. Values are about 1, sums have up to 20 terms.
TOLERANCE = {np.float32: 3e-6, np.float64: 6e-15}


@pytest.fixture(scope="module")
def compiler():
    found = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc") or shutil.which("clang")
    if not found:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("there is no C compiler: install one, or let CC name it")
    return found


@pytest.fixture
def load(compiler, tmp_path):
    """Return a function of a model: a Python function of rows, from the compiled file."""

    def load(model, prefix="model"):
        to_c(model, tmp_path / "model.c", prefix=prefix)
        library = tmp_path / "model.so"
        sources = ["-O1", "-shared", "-fPIC", tmp_path / "model.c", "-o", library, "-lm"]
        subprocess.run([compiler, *WARNINGS, *sources], check=True)
        predict = getattr(ctypes.CDLL(str(library)), f"{prefix}_predict")

        def run(rows, n_outputs):
            outputs = np.full((len(rows), n_outputs), np.nan, rows.dtype)
            answers = [
                predict(*(ctypes.c_void_p(array.ctypes.data) for array in pair))
                for pair in zip(rows, outputs, strict=True)
            ]
            return outputs, np.array(answers)

        return run

    return load


def check(model, load, X, tolerance):
    wanted = (model.predict if model.loss.task == "numbers" else model.predict_proba)(X)
    wanted = wanted.reshape(len(X), -1)
    found, answers = load(model)(X, wanted.shape[1])
    # The error of the logarithm of a rate is a relative one of the rate.
    relative = tolerance if isinstance(model.loss, fastnn.Poisson) else 0
    np.testing.assert_allclose(found, wanted, rtol=relative, atol=tolerance)
    single = model.loss.task == "answers" and wanted.shape[1] == 1
    if single or model.loss.task == "classes":
        np.testing.assert_array_equal(answers, model.predict(X))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", export_cases.LAYERS)
def test_every_layer(name, dtype, load):
    model = export_cases.make_model("numbers", [name], dtype)
    check(model, load, export_cases.make_rows(1000, dtype), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("answer", export_cases.ANSWERS)
def test_every_kind_of_answer(answer, dtype, load):
    model = export_cases.make_model(answer, dtype=dtype)
    check(model, load, export_cases.make_rows(1000, dtype), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_deep_network(dtype, load):
    names = [name for name in export_cases.LAYERS if name != "Softmax"]
    model = export_cases.make_model("classes", names, dtype, first=["LayerNorm", "Tanh"])
    check(model, load, export_cases.make_rows(1000, dtype), TOLERANCE[dtype])


def test_a_network_without_hidden_layers(load):
    check(fastnn.Sequential([fastnn.Dense(7, 3, rng=0)]), load, export_cases.make_rows(50), 3e-6)


@pytest.mark.parametrize("n_outputs", [1, 2, 7, 8, 9, 15, 16, 17])
def test_sums_of_products_are_exact_where_they_can_be(n_outputs, load):
    """Small whole numbers: no order of additions and no fused product changes a bit."""
    rng = np.random.default_rng(n_outputs)
    layers = [fastnn.Dense(5, 11), fastnn.ReLU(), fastnn.Dense(11, n_outputs)]
    model = fastnn.Sequential(layers, loss=fastnn.MeanSquaredError())
    model.parameters = rng.integers(-9, 10, model.parameters.shape)
    X = rng.integers(-9, 10, (100, 5)).astype(np.float32)
    check(model, load, X, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("answer", ["classes", "one answer, Sigmoid"])
def test_logits_of_any_size(answer, dtype, load):
    model = export_cases.make_model(answer, dtype=dtype)
    model.layers[2].weights *= 1e4
    X = 100 * export_cases.make_rows(300, dtype)
    probabilities, answers = load(model)(X, model.layers[2].n_neurons)
    assert np.isfinite(probabilities).all()
    np.testing.assert_array_equal(answers, model.predict(X))
    np.testing.assert_allclose(probabilities, model.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("name", ["SiLU", "GELU", "GELU tanh", "ELU", "Tanh"])
def test_large_values(name, load):
    dense = fastnn.Dense(1, 1)
    dense.weights = [[1.0]]
    layers = [dense, export_cases.LAYERS[name]()]
    model = fastnn.Sequential(layers, loss=fastnn.MeanSquaredError())
    X = np.linspace(-1000, 1000, 4001, dtype=np.float32).reshape(-1, 1)
    found, _ = load(model)(X, 1)
    np.testing.assert_allclose(found[:, 0], model.predict(X), rtol=4e-7, atol=1e-7)


@pytest.mark.parametrize("name", ["SiLU", "GELU", "GELU tanh", "ELU", "Tanh"])
def test_small_values_keep_their_digits(name, load):
    dense = fastnn.Dense(1, 1)
    dense.weights = [[1.0]]
    layers = [dense, export_cases.LAYERS[name]()]
    model = fastnn.Sequential(layers, loss=fastnn.MeanSquaredError())
    X = np.geomspace(1e-12, 1, 500, dtype=np.float32)
    X = np.concatenate([-X, X]).reshape(-1, 1)
    found, _ = load(model)(X, 1)
    np.testing.assert_allclose(found[:, 0], model.predict(X), rtol=1e-6)


def test_the_first_of_several_largest_is_the_label(load):
    model = fastnn.Sequential([fastnn.Dense(7, 5)])
    model.parameters = np.zeros(40)
    model.layers[0].biases = [[0, 1, 0, 1, 1]]
    _, labels = load(model)(export_cases.make_rows(3), 5)
    assert labels.tolist() == [1, 1, 1] == model.predict(export_cases.make_rows(3)).tolist()


@pytest.mark.parametrize("name", export_cases.LAYERS)
def test_nan_stays_nan(name, load):
    model = export_cases.make_model("numbers", [name])
    found, _ = load(model)(np.full((1, 7), np.nan, np.float32), 4)
    assert np.isnan(found).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_are_exact(dtype, tmp_path):
    model = fastnn.Sequential([fastnn.Dense(4, 5, dtype=dtype)])
    tiny = np.finfo(dtype).smallest_subnormal
    odd = [0.0, -0.0, 0.1, -1 / 3, tiny, -3 * tiny, np.finfo(dtype).max, np.finfo(dtype).tiny]
    model.parameters[:8] = odd
    to_c(model, tmp_path / "model.c")
    text = (tmp_path / "model.c").read_text()
    weights, biases = re.findall(r"_0\[\d+\] = \{(.*?)\}", text, re.DOTALL)
    numbers = [word.strip() for word in (weights + "," + biases).split(",")]
    assert all(word.endswith("f") == (dtype == np.float32) for word in numbers)
    found = np.array([float.fromhex(word.removesuffix("f")) for word in numbers], dtype)
    assert found.tobytes() == model.parameters.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("answer", ["classes", "one answer", "answers", "numbers", "rates"])
def test_the_example_in_the_comment_runs(answer, dtype, compiler, tmp_path):
    model = export_cases.make_model(answer, ["LayerNorm", "GELU"], dtype)
    to_c(model, tmp_path / "net.c", prefix="net")
    comment, _ = (tmp_path / "net.c").read_text().split("*/", 1)
    example = comment[comment.index("#include <stdio.h>") :]
    (tmp_path / "example.c").write_text(example)
    program = tmp_path / "example"
    command = [compiler, *WARNINGS, "-O2", "example.c", "-o", program, "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    printed = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
    zeros = np.zeros((1, 7), dtype)
    if answer in ("classes", "one answer"):
        assert int(printed.pop(0)) == model.predict(zeros)[0]
    wanted = (model.predict if answer in ("numbers", "rates") else model.predict_proba)(zeros)[0]
    np.testing.assert_allclose([float(each) for each in printed], wanted, rtol=1e-5)


TWO_NETWORKS = """\
#include <stdio.h>
#include "first.c"
#include "REAL.c"

int main(void)
{
    float x[2] = {1.0f, -2.0f}, a[FIRST_N_OUTPUTS], b[REAL_N_OUTPUTS];

    first_predict(x, a);
    REAL_predict(x, b);
    printf("%.7f %.7f", (double)a[1], (double)b[1]);
    return 0;
}
"""


def test_two_networks_in_one_program(compiler, tmp_path):
    models = {}
    for i, prefix in enumerate(["first", "REAL"]):
        models[prefix] = fastnn.Sequential(
            [fastnn.Dense(2, 3, rng=i), fastnn.Tanh(), fastnn.Dense(3, 2, rng=i)],
            loss=fastnn.MeanSquaredError(),
        )
        to_c(models[prefix], tmp_path / f"{prefix}.c", prefix=prefix)
    (tmp_path / "main.c").write_text(TWO_NETWORKS)
    command = [compiler, *WARNINGS, "main.c", "-o", tmp_path / "main", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    printed = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True)
    wanted = [model.predict([[1.0, -2.0]])[0, 1] for model in models.values()]
    np.testing.assert_allclose([float(each) for each in printed.stdout.split()], wanted, atol=1e-6)


def test_what_stands_in_the_file(tmp_path):
    layers = [fastnn.Dense(7, 19, rng=0), fastnn.ReLU(), fastnn.Dropout(0.5), fastnn.Dense(19, 5)]
    to_c(fastnn.Sequential(layers), str(tmp_path / "model.c"))
    text = (tmp_path / "model.c").read_bytes().decode("ascii")
    assert text.startswith("/* A 7-19-5 classifier, float32: Dense, ReLU, Dense.\n")
    assert f"Written by fastnn {fastnn.__version__}." in text
    assert "#define MODEL_N_INPUTS 7\n#define MODEL_N_OUTPUTS 5\n" in text
    n_bytes = 4 * (7 * 19 + 19 + 19 * 5 + 5)
    assert f"{n_bytes:,} bytes of constants and {4 * 19} of the stack." in text
    assert max(map(len, text.splitlines())) <= 100
    assert not re.search(r"[ \t]$", text, re.MULTILINE)
    assert "malloc" not in text
    assert re.findall(r"^static (?!const|float|int|void)", text, re.MULTILINE) == []
    assert re.findall(r"^#include.*", text, re.MULTILINE) == ["#include <math.h>"]


def test_what_needs_no_library_includes_none(load, tmp_path):
    model = export_cases.make_model("positive numbers")
    check(model, load, export_cases.make_rows(10), 3e-6)
    text = (tmp_path / "model.c").read_text()
    assert "no library at all" in text
    assert "<math.h>" not in text


@pytest.mark.parametrize("name", ['a"b.c', "a\nb.c", "ä.c", "a\\b.c"])
def test_odd_file_names_do_not_get_into_the_comment(name, tmp_path):
    to_c(export_cases.make_model("classes"), tmp_path / name)
    assert '#include "model.c"' in (tmp_path / name).read_text()


@pytest.mark.parametrize("prefix", ["", "2d", "my net", "_net", "ä", "net;", None, 3, "a\n"])
def test_other_prefixes_are_refused(prefix, tmp_path):
    with pytest.raises(ValueError, match=r"^prefix is .*, expected letters, digits"):
        to_c(export_cases.make_model("classes"), tmp_path / "model.c", prefix=prefix)
    assert list(tmp_path.iterdir()) == []


def test_gelu_has_its_constant_to_the_last_digit(tmp_path):
    to_c(export_cases.make_model("numbers", ["GELU"], np.float64), tmp_path / "model.c")
    (found,) = re.findall(r"erfc\(-([\d.]+) \* x\)", (tmp_path / "model.c").read_text())
    assert float(found) == math.sqrt(0.5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["LayerNorm", "BatchNorm"])
def test_normalization_far_from_zero_and_of_huge_rows(name, dtype, load):
    model, X = export_cases.make_far_model(name, dtype)
    check(model, load, X, TOLERANCE[dtype])
