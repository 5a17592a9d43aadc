"""The data sets that come with fastnn, CSV files, splitting and standardising."""

import math
import subprocess
import sys
from importlib import resources

import numpy as np
import pytest
from csv_cases import BAD_TABLES

from fastnn import datasets

# ---------------------------------------------------------------------- digits


def test_digits():
    X, y = datasets.load_digits()
    assert (X.shape, X.dtype) == ((1797, 64), np.float32)
    assert (y.shape, y.dtype) == ((1797,), np.int64)
    assert set(np.unique(X)) == set(range(17))
    # Of the original file, optdigits.tes.
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert X.sum(dtype=np.float64) == 561_718


def test_digits_are_new_arrays_each_time():
    X, _ = datasets.load_digits()
    X[...] = -1
    assert datasets.load_digits()[0].min() == 0


def test_digits_are_small_and_come_with_their_source_and_license():
    folder = resources.files("fastnn") / "data"
    assert len((folder / "digits.npz").read_bytes()) < 60_000
    text = (folder / "DIGITS.md").read_text(encoding="utf-8")
    for fact in ("UCI", "Alpaydin", "Kaynak", "1998", "10.24432/C50P49", "CC BY 4.0"):
        assert fact in text


# ---------------------------------------------------------------------- spiral


def test_spiral_is_the_one_of_cs231n():
    X, y = datasets.make_spiral(50, 4, noise=0)
    assert (X.shape, X.dtype) == ((200, 2), np.float32)
    assert (y.dtype, y.tolist()) == (np.int64, [0] * 50 + [1] * 50 + [2] * 50 + [3] * 50)
    for arm in range(4):
        for point in range(50):
            radius, angle = point / 49, 4 * arm + 4 * point / 49
            expected = radius * math.sin(angle), radius * math.cos(angle)
            assert X[50 * arm + point] == pytest.approx(expected, abs=1e-6)


def test_spiral_noise_is_in_the_angle():
    quiet, _ = datasets.make_spiral(4000, 1, noise=0)
    noisy, _ = datasets.make_spiral(4000, 1, noise=0.3, rng=0)
    assert np.hypot(*noisy.T) == pytest.approx(np.hypot(*quiet.T), abs=1e-6)
    turned = np.angle((noisy[1:] @ [1, 1j]) / (quiet[1:] @ [1, 1j]))
    assert turned.mean() == pytest.approx(0, abs=0.02)
    assert turned.std() == pytest.approx(0.3, abs=0.02)


def test_spiral_follows_its_rng():
    X, _ = datasets.make_spiral(rng=3)
    assert X.shape == (300, 2)
    assert np.array_equal(X, datasets.make_spiral(rng=np.random.default_rng(3))[0])
    assert not np.array_equal(X, datasets.make_spiral(rng=4)[0])
    assert not np.array_equal(datasets.make_spiral()[0], datasets.make_spiral()[0])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"n_samples_per_class": 0}, "n_samples_per_class is 0, expected a positive whole number"),
        ({"n_samples_per_class": 2.5}, "n_samples_per_class is 2.5, expected a positive whole"),
        ({"n_classes": -1}, "n_classes is -1, expected a positive whole number"),
        ({"noise": -0.1}, "noise is -0.1, expected a finite number"),
        ({"noise": math.nan}, "noise is nan, expected a finite number"),
        ({"noise": "much"}, "noise is 'much', expected a finite number"),
        ({"rng": "dice"}, "rng is 'dice', expected None, a whole number or a numpy Generator"),
    ],
)
def test_spiral_errors(arguments, error):
    with pytest.raises((TypeError, ValueError), match=f"^{error}"):
        datasets.make_spiral(**arguments)


# ---------------------------------------------------------------------- CSV files


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a CSV file and gives its path."""

    def write(text):
        path = tmp_path / "table.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_csv(write):
    path = write("width,kind,height\n1,oak,-2.5\n1e3,elm,+4\n.5,oak,0\n")
    X, labels, names = datasets.read_csv(path, "kind")
    assert X.tolist() == [[1, -2.5], [1000, 4], [0.5, 0]]
    assert X.dtype == np.float32
    assert X.flags.c_contiguous
    assert labels.tolist() == ["oak", "elm", "oak"]
    assert names == ["width", "height"]
    assert datasets.read_csv(str(path), "kind")[2] == names


def test_csv_file_name_is_no_pattern(write):
    path = write("x,y\n1,0\n2,1\n")
    odd = path.rename(path.with_name("table[1].csv"))
    path.with_name("table1.csv").write_text("x,y\n3,0\n4,1\n")
    assert datasets.read_csv(odd, "y")[0].tolist() == [[1], [2]]


def test_csv_in_float64_keeps_what_float32_would_lose(write):
    path = write("time,y\n1700000000,0\n1700000060,1\n")
    assert np.ptp(datasets.read_csv(path, "y")[0]) == 0
    X, _, _ = datasets.read_csv(path, "y", dtype=np.float64)
    assert X.dtype == np.float64
    assert np.ptp(X) == 60


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["3", "-1", "3"], np.array([3, -1, 3], np.int64)),
        (["True", "false", "TRUE"], np.array([True, False, True])),
        (["007", "7", "7"], np.array(["007", "7", "7"])),
        (["1.0", "2", "2"], np.array(["1.0", "2", "2"])),
        (["true", "1", "0"], np.array(["true", "1", "0"])),
        (["99999999999999999999", "1", "1"], np.array(["99999999999999999999", "1", "1"])),
        (["grün", "NA", '"a, ""b"""'], np.array(["grün", "NA", 'a, "b"'])),
    ],
)
def test_csv_labels_keep_their_values(write, texts, expected):
    rows = "".join(f"0,{text}\n" for text in texts)
    _, labels, _ = datasets.read_csv(write(f"x,y\n{rows}"), "y")
    assert labels.dtype == expected.dtype
    assert labels.tolist() == expected.tolist()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a,b,y\n1,2,no\n3,4,yes", id="no newline at the end"),
        pytest.param("a,b,y\r\n1,2,no\r\n3,4,yes\r\n", id="Windows"),
        pytest.param("\ufeffa,b,y\n1,2,no\n3,4,yes\n", id="byte order mark"),
        pytest.param(" a, b ,y\n 1, 2 , no \n3,4,yes\n", id="blanks"),
        pytest.param('"a","b","y"\n"1","2","no"\n3,4,yes\n', id="quotes"),
        pytest.param("a,b,y\n\n1,2,no\n  \n3,4,yes\n\n", id="empty lines"),
    ],
)
def test_csv_dialects(write, text):
    X, labels, names = datasets.read_csv(write(text), "y")
    assert X.tolist() == [[1, 2], [3, 4]]
    assert labels.tolist() == ["no", "yes"]
    assert names == ["a", "b"]


def test_csv_text_far_down_is_found(write):
    rows = "1,0\n" * 5000 + "one,1\n" + "1,0\n" * 5000
    with pytest.raises(ValueError, match=r"^column 'x', row 5001 is 'one', expected a number$"):
        datasets.read_csv(write(f"x,y\n{rows}"), "y")


@pytest.mark.parametrize(("text", "error"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_csv_errors(write, text, error):
    path = write(text)
    with pytest.raises(ValueError) as raised:  # noqa: PT011, its text is compared below
        datasets.read_csv(path, "y")
    message = str(raised.value)
    assert message.startswith(error.format(path=path))
    assert "\n" not in message


def test_csv_number_too_large_for_float32_alone(write):
    path = write("x,y\n1,0\n1e39,1\n")
    with pytest.raises(ValueError, match=r"row 2 is '1e39', expected a finite number .* float32$"):
        datasets.read_csv(path, "y")
    assert datasets.read_csv(path, "y", dtype=np.float64)[0][1, 0] == 1e39


def test_csv_error_names_some_of_many_columns(write):
    names = ",".join(f"pixel{i}" for i in range(784))
    with pytest.raises(
        ValueError, match=r"'pixel18', 'pixel19', \.\.\.; did you mean 'pixel77"
    ) as e:
        datasets.read_csv(write(f"{names}\n"), "pixels77")
    assert len(str(e.value)) < 400


def test_csv_file_is_missing(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(FileNotFoundError, match=r"^path is '.*', expected a file"):
            datasets.read_csv(path, "y")


def test_csv_without_polars(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(
        ImportError, match=r'^reading CSV files needs polars: pip install "polars>=1.0"$'
    ):
        datasets.read_csv(write("x,y\n1,0\n2,1\n"), "y")


# ---------------------------------------------------------------------- splitting


@pytest.mark.parametrize("n_samples", [2, 3, 10, 101])
@pytest.mark.parametrize("fraction", [0.3, 0.5, 0.7])
def test_split_is_a_partition(n_samples, fraction):
    train, held_out = datasets.split(n_samples, fraction, 0)
    assert len(held_out) == round(fraction * n_samples)
    assert train.dtype == held_out.dtype == np.int64
    assert sorted([*train, *held_out]) == list(range(n_samples))
    assert (np.diff(train) > 0).all()
    assert (np.diff(held_out) > 0).all()


def test_split_follows_its_rng():
    _, held_out = datasets.split(1000, 0.2, 5)
    assert np.array_equal(held_out, datasets.split(1000, 0.2, np.random.default_rng(5))[1])
    assert not np.array_equal(held_out, datasets.split(1000, 0.2, 6)[1])


@pytest.mark.parametrize("labels", [None, np.repeat(["a", "b"], 5), [0] * 8 + [1, 2]])
def test_split_gives_every_sample_the_same_chance(labels):
    rng = np.random.default_rng(0)
    counts = np.bincount(
        np.concatenate([datasets.split(10, 0.2, rng, labels)[1] for _ in range(3000)]), minlength=10
    )
    # Binomial, 3000 draws of 0.2: deviation 22.
    assert abs(counts - 600).max() < 90


def test_split_holds_out_a_share_of_every_class():
    labels = np.random.default_rng(0).permutation(np.repeat([7, 8, 9], [500, 90, 11]))
    train, held_out = datasets.split(601, 0.2, 1, labels)
    for label, count in ((7, 500), (8, 90), (9, 11)):
        assert abs((labels[held_out] == label).sum() - 0.2 * count) <= 1
        assert abs((labels[train] == label).sum() - 0.8 * count) <= 1


def test_split_does_not_depend_on_the_sort_of_the_cpu():
    labels = np.random.default_rng(0).integers(0, 3, 600)
    rng = np.random.default_rng(1)
    by_class = sorted(rng.permutation(600), key=labels.__getitem__)  # stable
    expected = by_class[rng.integers(600) // 120 :: 5]
    assert datasets.split(600, 0.2, 1, labels)[1].tolist() == sorted(expected)


@pytest.mark.parametrize(
    ("n_samples", "fraction", "error"),
    [
        (10, 0.01, "fraction is 0.01, which holds out 0 of 10 samples: expected at least one"),
        (10, 0.99, "fraction is 0.99, which holds out 10 of 10 samples: expected at least one"),
        (10, 1.5, "fraction is 1.5, which holds out 15 of 10 samples: expected at least one"),
        (1, 0.5, "fraction is 0.5, which holds out 0 of 1 samples: expected at least one"),
        (10, 0, "fraction is 0.0, expected a finite number above 0"),
        (10, math.nan, "fraction is nan, expected a finite number above 0"),
        (10, "half", "fraction is 'half', expected a finite number above 0"),
        (0, 0.5, "n_samples is 0, expected a positive whole number"),
    ],
)
def test_split_errors(n_samples, fraction, error):
    with pytest.raises((TypeError, ValueError), match=f"^{error}"):
        datasets.split(n_samples, fraction, 0)


def test_split_with_too_few_labels():
    with pytest.raises(ValueError, match=r"^labels has shape \(9,\), expected \(10,\)$"):
        datasets.split(10, 0.5, 0, labels=[0] * 9)


# ---------------------------------------------------------------------- standardising


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_standardise_uses_the_training_part_alone(dtype):
    rng = np.random.default_rng(0)
    train = (rng.standard_normal((200, 3)) * [1, 50, 1e-3] + [0, 1000, 5]).astype(dtype)
    other = (rng.standard_normal((100, 3)) * 7 + 9).astype(dtype)
    before = train.copy(), other.copy()
    mean, deviation = train.mean(axis=0, dtype=float), train.std(axis=0, dtype=float)

    scaled, scaled_other = datasets.standardise(train, other)

    assert scaled.dtype == scaled_other.dtype == dtype
    assert scaled.mean(axis=0, dtype=float) == pytest.approx(0, abs=1e-6)
    assert scaled.std(axis=0, dtype=float) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(scaled_other, (other - mean) / deviation, rtol=1e-6, atol=1e-6)
    assert abs(scaled_other.mean(axis=0) - scaled.mean(axis=0)).min() > 1
    assert np.array_equal(train, before[0])
    assert np.array_equal(other, before[1])


def test_standardise_shifts_a_constant_feature_only():
    train = np.full((1000, 1), 0.1, np.float32)
    assert np.unique(train.mean(axis=0, dtype=np.float64)) != 0.1  # the mean is not exact
    scaled, other = datasets.standardise(train, np.array([[0.1], [3.1]], np.float32))
    assert not scaled.any()
    assert other.ravel() == pytest.approx([0, 3])


def test_standardise_numbers_that_float32_arithmetic_would_lose():
    train = np.array([[1e8], [1e8 + 8]], np.float32)
    assert datasets.standardise(train)[0].ravel().tolist() == [-1, 1]
    huge = np.array([[-1e300], [1e300]])
    assert datasets.standardise(huge)[0].ravel().tolist() == [-1, 1]


def test_standardise_one_row():
    scaled, other = datasets.standardise([[1, 2]], [[2, 4]])
    assert scaled.tolist() == [[0, 0]]
    assert other.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        (([[]],), r"train has shape \(1, 0\)"),
        ((np.empty((0, 2)),), r"train has shape \(0, 2\)"),
        (([[1, 2]], [[1, 2, 3]]), r"others\[0\] has shape \(1, 3\), expected \(n_samples, 2\)"),
        (([[1, math.nan]],), r"train\[0, 1\] is nan, expected finite numbers"),
        (([[1]], [[1]], [[math.inf]]), r"others\[1\]\[0, 0\] is inf, expected finite numbers"),
        (([["red"]],), r"train has dtype .*, expected real numbers"),
    ],
)
def test_standardise_errors(parts, error):
    with pytest.raises((TypeError, ValueError), match=f"^{error}"):
        datasets.standardise(*parts)


# ---------------------------------------------------------------------- the rest


def test_nnfs_init_changes_nothing(write):
    """It replaces np.dot, np.zeros, np.eye and np.random.randn in the whole process."""
    script = """
import sys, hashlib
if sys.argv[2] == "nnfs":
    import nnfs
    nnfs.init()
from fastnn import datasets
X, y = datasets.load_digits()
train, held_out = datasets.split(len(y), 0.2, 0, labels=y)
table, labels, _ = datasets.read_csv(sys.argv[1], "y")
results = *datasets.make_spiral(rng=0), *datasets.standardise(X[train], X[held_out]), table, labels
for array in results:
    print(array.dtype, array.shape, hashlib.sha256(array.tobytes()).hexdigest())
"""
    path = write("x,y\n1.5,no\n3,yes\n")
    with_nnfs, without = (
        subprocess.run(
            [sys.executable, "-c", script, path, mode],
            check=True, capture_output=True, text=True, timeout=300,
        ).stdout
        for mode in ("nnfs", "plain")
    )  # fmt: skip
    assert with_nnfs == without
    assert len(without.splitlines()) == 6


def test_import_does_not_load_polars():
    script = "import sys; from fastnn import cli, datasets; sys.exit('polars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=300).returncode == 0
