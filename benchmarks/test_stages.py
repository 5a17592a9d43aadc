"""What is left out of a step exists, and takes the arguments of what it replaces."""

import inspect

import pytest
import stages
from pictures import draw_stages


@pytest.mark.parametrize("stage", stages.REPLACEMENTS)
def test_a_replacement_has_the_signature_of_its_stage(stage):
    module, function = stages.REPLACEMENTS[stage]
    replaced = getattr(module, function.py_func.__name__)
    assert inspect.signature(function.py_func) == inspect.signature(replaced.py_func)


def test_every_stage_is_left_out_by_a_replacement_or_an_argument():
    assert list(stages.STAGES) == [stages.ORDER, *stages.REPLACEMENTS]


def test_parts_are_differences_within_rounds(monkeypatch):
    seconds = {"all": [10e-6, 20e-6, 12e-6], "loss": [7e-6, 16e-6, 9e-6]}

    class Program:
        def __init__(self, stage):
            self.answers = [[value] * len(stages.names()) for value in seconds[stage]]

        def __enter__(self):
            return self.answers

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(stages, "_program", Program)
    monkeypatch.setattr(stages, "_ask", lambda answers: answers.pop(0))
    parts = stages.measure(["loss"], 3)
    assert list(parts) == stages.names()
    for saved in parts.values():
        assert saved == pytest.approx({"loss": 3e-6, "rest": 9e-6})
    assert stages.table(parts).rows[0][1] == "3.00 (25 %)"


def test_the_picture_shows_each_stage(tmp_path):
    parts = {"2-64-3, SGD": dict.fromkeys((*stages.STAGES, "rest"), 1e-6)}
    draw_stages(tmp_path / "stages.png", parts)
    assert (tmp_path / "stages.png").stat().st_size > 10_000
