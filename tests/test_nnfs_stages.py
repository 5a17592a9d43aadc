"""Scripts of every stage of a "from scratch" book against plain NumPy with the book's formulas."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from book_stages import STAGES, find_differences
from numpy.testing import assert_allclose

every_stage = pytest.mark.parametrize("stage", STAGES)


@every_stage
def test_stage_in_float64(stage):
    off, report, expected, dtype = find_differences(stage)
    assert dtype == "float64"
    if isinstance(report, list):
        assert report == expected  # every printed line, to the last character
    else:
        assert_allclose(report, expected, rtol=1e-9, atol=1e-12)
        assert report[0][1] != report[-1][1]
    assert off < 1e-9


@pytest.fixture(scope="module")
def after_init():
    """Return what all stages found after `nnfs.init()`, which changes NumPy in its process."""
    result = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "book_stages.py"],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@every_stage
def test_stage_in_float32_after_nnfs_init(stage, after_init):
    off, report, expected, dtype, atol = after_init[stage]
    assert dtype == "float32"
    assert [len(row) for row in report] == [len(row) for row in expected]
    for found, wanted in zip(report, expected, strict=True):
        assert_allclose(found[0], wanted[0], atol=0.05)  # one sample of the smallest batch
        assert_allclose(found[1:], wanted[1:], rtol=1e-5, atol=atol)  # as printed, or as it is
    assert off < 2e-5
