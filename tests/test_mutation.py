"""The list of `mutation.py` is in step with the kernels."""

import mutation
import pytest


@pytest.mark.parametrize(("file", "old", "new"), mutation.MUTANTS)
def test_what_a_mutant_replaces_stands_there_once(file, old, new):
    text = (mutation.ROOT / "kernels" / file).read_text(encoding="utf-8")
    assert text.count(old) == 1
    assert old != new
