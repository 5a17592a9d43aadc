"""Errors of the command line with --json: one object, and the exit code as without."""

import json
import sys

import pytest

from fastnn import cli
from fastnn.cli import machine
from fastnn.run.errors import NonFiniteLossError


@pytest.fixture
def call(capsys):
    """Return a function that runs the command in this process: (exit code, stdout, stderr)."""

    def call(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


BAD = [
    "train digits --epochs 0",
    "train digits --epoch 3",
    "train none.csv --target x",
    "predict none.safetensors digits",
    "predict none.safetensors digits --probabilities --output x.txt",
    "evaluate none.safetensors digits",
    "export none.safetensors model.onnx",
    "info --threads 3",
    "warmup --dtype float16",
    "bench --threads 0",
    "trian digits",
]


@pytest.mark.parametrize("arguments", BAD)
def test_each_command_gives_its_error_as_json(call, arguments):
    code, _, plain = call(*arguments.split())
    assert plain.startswith("fastnn: error: ")
    assert call(*arguments.split(), "--json") == (
        code, "", json.dumps(
            {"error": plain.removeprefix("fastnn: error: ")[:-1], "kind": "bad input",
             "exit_code": 2}, ensure_ascii=False,
        ) + "\n",
    )  # fmt: skip


def test_a_configuration_file_asks_for_json_too(call, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("json = true\n")
    code, output, errors = call("train", "digitz", "--config", path)
    assert (code, output) == (2, "")
    assert json.loads(errors)["error"].startswith("no file 'digitz'; expected digits")


@pytest.mark.parametrize(
    ("error", "code", "kind", "text"),
    [
        (
            NonFiniteLossError(3, 7),
            1,
            "diverged",
            "the loss is no longer finite in epoch 3, batch 7",
        ),
        (KeyboardInterrupt(), 130, "interrupted", "interrupted"),
        (TypeError("one\ttwo"), 3, "mistake in fastnn", "TypeError: one two (a mistake in fastnn"),
        (OSError("no room"), 2, "bad input", "no room"),
        (MemoryError(), 2, "bad input", "MemoryError"),
        (ValueError('"é" and \x9b'), 2, "bad input", '"é" and \ufffd'),
        (ValueError("x" * 9000), 2, "bad input", "x" * 4000 + " ..."),
    ],
)
def test_the_kinds_of_errors(call, monkeypatch, error, code, kind, text):
    def fail(options):
        raise error

    monkeypatch.setattr(machine, "run", fail)
    found, output, errors = call("info", "--json")
    values = json.loads(errors)
    assert (found, output, errors.count("\n")) == (code, "", 1)
    assert (values["kind"], values["exit_code"]) == (kind, code)
    assert values["error"].startswith(text)
    assert list(values) == ["error", "kind", "exit_code"]


def test_the_object_is_the_last_line_behind_notes_and_a_traceback(call, monkeypatch):
    def fail(options):
        print("fastnn: note: some note", file=sys.stderr)
        raise ValueError("no such thing")

    monkeypatch.setattr(machine, "run", fail)
    _, _, errors = call("info", "--json", "--debug")
    first, *_, last = errors.splitlines()
    assert first == "fastnn: note: some note"
    assert "Traceback" in errors
    assert json.loads(last)["error"] == "no such thing"


def test_rows_of_predictions_have_no_error_among_them(call, tmp_path):
    model = tmp_path / "m.safetensors"
    assert call("train", "spiral", "--epochs", 1, "--save", model, "--json")[0] == 0
    path = tmp_path / "t.csv"
    path.write_text("x,y\n1,2\n3,none of them\n")
    code, output, errors = call("predict", model, path, "--json")
    assert (code, output) == (2, "")
    assert json.loads(errors)["error"].startswith("column 'y', row 2")
