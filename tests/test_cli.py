"""The command `fastnn`, run as a user runs it: in a pipe, on a terminal, with wrong arguments."""

import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from csv_cases import BAD_TABLES

import fastnn
from fastnn import cli, datasets

CASES = Path(__file__).parent / "csv_cases.py"  # a file that is no table
COMMAND = [sys.executable, "-m", "fastnn"]
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX terminals and signals")


def run(*arguments):
    """Run the program in pipes."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=300)


@pytest.fixture
def call(capsys):
    """Return a function that runs the command in this process: (exit code, stdout, stderr)."""

    def call(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def scores(output):
    """Return the printed {"training": (loss, accuracy), "held out": (loss, accuracy)}."""
    found = re.findall(r"(training|held out) +(\d+\.\d+) +(\d+\.\d+) +\d\.\d+\n", output)
    assert len(found) == 2
    return {name: (float(loss), float(accuracy)) for name, loss, accuracy in found}


def untimed(output):
    """Return what has to be the same in every run."""
    return re.sub(r"(?m)^time .*\n.* code$", "", output)


# ---------------------------------------------------------------------- the main job


def test_digits_in_a_pipe():
    done = run("train", "digits")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\r" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 80
    for line in (
        "digits: 1,797 samples, 64 features",
        "10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
        "1,438 to train on, 359 held out",
        "features standardized by mean and deviation of the training part only",
        "19,210 parameters, float32",
        "training  50 epochs, batches of 32, SGD with learning rate 0.1, seed 0",
    ):
        assert f"{line}\n" in done.stdout
    assert re.search(
        r"Dense +weights \(64, 256\), biases \(1, 256\) +16,640\n +ReLU\n", done.stdout
    )
    assert re.search(r"Dense +weights \(256, 10\), biases \(1, 10\) +2,570\n", done.stdout)

    result = scores(done.stdout)
    assert result["training"][1] >= 0.99
    assert result["held out"][1] >= 0.96
    assert result["training"][0] < result["held out"][0] < 0.15
    seconds, rate = re.search(r"time +(\S+) s, (\S+) samples/s", done.stdout).groups()
    assert 0 < float(seconds) < 2
    assert float(rate.replace(",", "")) == pytest.approx(50 * 1438 / float(seconds), rel=0.1)
    assert re.search(r"\n +\d+\.\d+ s before that, to compile or load", done.stdout)
    assert re.search(r"\nmachine   \S.*\n +.*: vectors of (4|8|16) float32\n$", done.stdout)


@posix
def test_digits_on_a_terminal():
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    program = subprocess.Popen(
        [*COMMAND, "train", "digits"], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    output = b""
    try:
        while block := os.read(ours, 65536):
            output += block
    except OSError:  # how Linux reports that the other side is closed
        pass
    os.close(ours)
    assert program.wait(timeout=300) == 0
    before, bar, after = re.split("(\r[^\n]*50/50[^\n]*\r\n)", output.decode())
    assert before.index("training  50 epochs") > 0
    assert "100%" in bar
    assert "loss" in bar
    assert "accuracy" in bar
    assert after.startswith("result ")
    assert scores(after.replace("\r\n", "\n"))["held out"][1] >= 0.96


def test_spiral_is_learnt(call):
    code, output, errors = call("train", "spiral")
    assert (code, errors) == (0, "")
    assert "spiral: 300 samples, 2 features\n          3 classes: 0, 1, 2\n" in output
    # The best straight lines get about half of them right.
    assert scores(output)["training"][1] >= 0.97
    assert scores(output)["held out"][1] >= 0.9


@pytest.fixture
def planets(tmp_path):
    """A CSV file: the spiral with names, unequal scales, and the labels between the features."""
    X, y = datasets.make_spiral(rng=1)
    names = ["Venus", "Mars", "Röntgen, W. C."]
    rows = [f'{a * 1e6:.9g},"{names[k]}",{b / 1e6:.9g}\n' for (a, b), k in zip(X, y, strict=True)]
    path = tmp_path / "planets.csv"
    path.write_text("east,who,north\n" + "".join(rows), encoding="utf-8")
    return path


def test_csv_file_with_labels_of_text(call, planets):
    code, output, errors = call("train", planets, "--target", "who", "--epochs", 200)
    assert (code, errors) == (0, "")
    assert f"{planets}: 300 samples, 2 features\n" in output
    assert "3 classes: Mars, Röntgen, W. C., Venus\n" in output
    assert scores(output)["held out"][1] >= 0.9


@pytest.mark.parametrize(
    ("labels", "shown"),
    [("7,-1,7,7", "-1, 7"), ("true,False,false,true", "False, True")],
)
def test_csv_file_with_other_labels(call, tmp_path, labels, shown):
    path = tmp_path / "table.csv"
    path.write_text("y,x\n" + "".join(f"{y},{i}\n" for i, y in enumerate(labels.split(","))))
    code, output, _ = call("train", path, "--target", "y", "--validation-fraction", 0.5)
    assert code == 0
    assert f"4 samples, 1 feature\n          2 classes: {shown}\n" in output


def test_csv_file_with_numbers_that_float32_cannot_tell_apart(call, tmp_path):
    path = tmp_path / "times.csv"
    rows = [f"{1_700_000_000 + i},{'early' if i < 60 else 'late'}\n" for i in range(120)]
    path.write_text("time,when\n" + "".join(rows))
    code, output, _ = call("train", path, "--target", "when")
    assert code == 0
    assert scores(output)["held out"][1] >= 0.9


def test_options(call):
    code, output, _ = call(
        "train", "digits", "--hidden", "24,12", "--epochs", 3, "--batch-size", 50,
        "--learning-rate", 0.02, "--validation-fraction", 0.5, "--seed", 9, "--dtype", "float64",
    )  # fmt: skip
    assert code == 0
    assert "899 to train on, 898 held out\n" in output
    assert "training  3 epochs, batches of 50, SGD with learning rate 0.02, seed 9\n" in output
    size = 64 * 24 + 24 + 24 * 12 + 12 + 12 * 10 + 10
    assert f"{size:,} parameters, float64\n" in output
    for inputs, outputs in ((64, 24), (24, 12), (12, 10)):
        assert f"weights ({inputs}, {outputs}), biases (1, {outputs}) " in output
    assert re.search(r": vectors of (2|4|8) float64\n$", output)


def test_options_reach_fit(call, monkeypatch):
    seen = []

    def fit(model, X, y, **options):
        seen.append((model, X, y, options))

    monkeypatch.setattr(fastnn.Sequential, "fit", fit)
    call(
        "train", "digits", "--epochs", 3, "--batch-size", 50, "--learning-rate", 0.02, "--seed", 9,
        "--dtype", "float64",
    )  # fmt: skip
    (_, few, *_), (model, X, y, options), baseline = seen
    assert len(baseline[0].layers) == 1  # the linear model
    assert few.dtype == np.float64
    assert len(few) < 10  # the warm-up, timed apart: it compiles
    assert model.parameters.dtype == X.dtype == np.float64
    assert len(X) == len(y) == 1438
    assert (options["epochs"], options["batch_size"], options["seed"]) == (3, 50, 9)
    assert options["optimizer"].learning_rate == 0.02
    assert options.get("verbose", "auto") == "auto"
    assert [len(part) for part in options["validation_data"]] == [359, 359]


def test_features_are_standardized_on_the_training_part(call, monkeypatch):
    seen = []
    monkeypatch.setattr(
        fastnn.Sequential,
        "fit",
        lambda model, X, y, validation_data, **_: seen.append((X, validation_data[0])),
    )
    call("train", "digits", "--dtype", "float64")
    X, X_held_out = seen[-1]
    varies = X.std(axis=0) > 0
    assert 55 < varies.sum() < 64
    # Mean and deviation of all samples would leave about 0.01 here.
    assert X.mean(axis=0) == pytest.approx(0, abs=1e-6)
    assert X.std(axis=0)[varies] == pytest.approx(1, abs=1e-6)
    assert abs(np.concatenate([X, X_held_out]).mean(axis=0)).max() > 1e-3


def test_same_seed_same_numbers(call):
    arguments = "train", "spiral", "--epochs", 20, "--seed"
    _, first, _ = call(*arguments, 4)
    assert untimed(first) == untimed(call(*arguments, 4)[1])
    assert scores(first) != scores(call(*arguments, 5)[1])


def test_same_numbers_in_another_process(call):
    arguments = "train", "digits", "--epochs", "3"
    done = run(*arguments)
    assert untimed(done.stdout) == untimed(call(*arguments)[1])
    assert untimed(done.stdout) != done.stdout


# ---------------------------------------------------------------------- bad input


def assert_refused(done, error, code=2):
    """One line on stderr, nothing on stdout: nothing was trained."""
    assert done == (code, "", f"fastnn: error: {error}\n")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("train", "the following arguments are required: DATA"),
        ("train digits more", "unrecognized arguments: more"),
        ("train digits --layers 3", "unrecognized arguments: --layers 3"),
        (
            "train digits --epoch 3",
            "unrecognized arguments: --epoch 3; did you mean --epochs?",
        ),
        ("train digits --epochs", "argument --epochs: expected one argument"),
        ("train digits --target y", "argument --target: 'y' is for data files; digits has labels"),
        ("train spiral --target y", "argument --target: 'y' is for data files; spiral has labels"),
        ("train none.csv", "no file 'none.csv'; expected digits, spiral, or the path of a table"),
        (
            "train none.csv --target y",
            "no file 'none.csv'; expected digits, spiral, or the path of a table",
        ),
        (
            f"train {CASES}",
            f"path: {CASES} is no table of comma-separated values in UTF-8, each row as long as "
            "the line of names (found more fields than defined in 'Schema')",
        ),
        (
            "train digits --validation-fraction 0.0001",
            "argument --validation-fraction: fraction is 0.0001, which holds out 0 of 1797 "
            "samples: expected at least one on either side",
        ),
        *(
            (
                f"train digits --hidden {value}",
                f"argument --hidden: {value!r} is not a list of whole numbers of at least 1, as in "
                "64,64",
            )
            for value in ("64,,x", "64,", "0", "64,-1", "6.4", "nan", "64;64")
        ),
        *(
            (
                f"train digits {name} {value}",
                f"argument {name}: {value!r} is not a whole number of at least 1",
            )
            for name in ("--epochs", "--batch-size")
            for value in ("0", "-1", "2.5", "nan", "ten")
        ),
        *(
            (
                f"train digits --learning-rate {value}",
                f"argument --learning-rate: {value!r} is not a finite number above 0",
            )
            for value in ("0", "-0.1", "nan", "inf", "fast")
        ),
        *(
            (
                f"train digits --validation-fraction {value}",
                f"argument --validation-fraction: {value!r} is not a number between 0 and 1",
            )
            for value in ("0", "1", "-0.1", "nan", "half")
        ),
        *(
            (
                f"train digits --seed {value}",
                f"argument --seed: {value!r} is not a whole number of at least 0",
            )
            for value in ("-1", "1.5", "lucky")
        ),
    ],
)
def test_bad_arguments(call, arguments, error):
    assert_refused(call(*arguments.split()), error)


def test_unknown_choices(call):
    # The wording of argparse changes with the version of Python.
    for arguments, name in (("test", "COMMAND"), ("train digits --dtype float16", "--dtype")):
        code, output, errors = call(*arguments.split())
        assert (code, output) == (2, "")
        assert re.fullmatch(f"fastnn: error: argument {name}: invalid choice: .*\n", errors)


# The command reads these, and leaves out rows without a target; `read_csv` does not.
READ_HERE = ("a decimal comma", "no label", "semicolons")
REFUSED = {name: case for name, case in BAD_TABLES.items() if name not in READ_HERE}


@pytest.mark.parametrize(("text", "error"), REFUSED.values(), ids=REFUSED)
def test_bad_csv_files(call, tmp_path, text, error):
    path = tmp_path / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    code, output, errors = call("train", path, "--target", "y")
    assert (code, output) == (2, "")
    assert errors.startswith(f"fastnn: error: {error.format(path=path)}")
    assert errors.count("\n") == 1


def test_csv_file_without_polars(call, planets, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    error = 'reading CSV files needs polars: pip install "polars>=1.0"'
    assert_refused(call("train", planets, "--target", "who"), error)


def test_network_that_does_not_fit_into_memory(call):
    code, _, errors = call("train", "digits", "--hidden", "1000000000000000")
    assert code == 2
    assert re.fullmatch("fastnn: error: Unable to allocate .*\n", errors)


def test_bad_input_to_the_real_program(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("x,y\n1,0\nred,1\n")
    for arguments, error in (
        (["train", "digits", "--epochs", "0"], "argument --epochs: '0' is not a whole number of"),
        (
            ["train", "none.csv"],
            "no file 'none.csv'; expected digits, spiral, or the path of a table",
        ),
        (["train", str(path), "--target", "y"], "column 'x', row 2 is 'red', expected a number"),
    ):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"fastnn: error: {error}")
        assert done.stderr.count("\n") == 1


# ---------------------------------------------------------------------- other ways to end


def test_training_that_diverges():
    done = run("train", "digits", "--learning-rate", "10000")
    assert done.returncode == 1
    assert re.fullmatch(r"fastnn: error: .* epoch \d+, batch \d+.*\n", done.stderr)
    assert "result" not in done.stdout


@posix
def test_ctrl_c(interrupts):
    buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    program = subprocess.Popen(
        [*COMMAND, "train", "digits", "--epochs", "20000"],  # half a minute
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=buffered,
    )  # fmt: skip
    # What is printed before training has to be seen before training.
    while not program.stdout.readline().startswith("training"):
        assert program.poll() is None
    time.sleep(0.5)
    begin = time.monotonic()
    program.send_signal(signal.SIGINT)
    _, errors = program.communicate(timeout=300)
    assert errors == "fastnn: interrupted\n"
    # Python ends itself by the signal, which a shell shows as 130 too, where it came while code
    # ran that was compiled from text: numba and named tuples do that.
    assert program.returncode in (130, -signal.SIGINT)
    assert time.monotonic() - begin < 5


@posix
def test_reader_that_goes_away():
    program = subprocess.Popen(
        [*COMMAND, "train", "spiral"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    program.stdout.close()
    assert program.stderr.read() == b""
    program.stderr.close()
    assert program.wait(timeout=300) == 1


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--version"], rf"fastnn {re.escape(fastnn.__version__)}\n"),
        (["--help"], r"(?s)usage: fastnn .*\btrain\b.*"),
        ([], r"(?s)usage: fastnn .*\btrain\b.*"),
        (
            ["train", "--help"],
            r"(?s)usage: fastnn train .*--hidden.*\b1,000 +64,64 +200 +32 +0\.5\n.*",
        ),
    ],
)
def test_version_and_help(capsys, arguments, shown):
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main(arguments)
    output, errors = capsys.readouterr()
    assert re.fullmatch(shown, output)
    assert errors == ""


def test_installed_command_is_this_one():
    scripts = entry_points(group="console_scripts", name="fastnn")
    assert {script.load() for script in scripts} == {cli.main}


def test_numpy_in_place_of_compiled_kernels():
    environment = {**os.environ, "FASTNN_REFERENCE": "1"}
    done = subprocess.run(
        [*COMMAND, "train", "digits", "--epochs", "3"],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("NumPy in place of compiled kernels (FASTNN_REFERENCE)\n")
    assert scores(done.stdout)["held out"][1] >= 0.9
