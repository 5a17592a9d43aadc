"""Random sequences of assignments, changes in place and calls: Python's errors, and no more."""

import os

import pytest
from child import run_python

# FASTNN_SEQUENCES=20000 pytest tests/test_random_attributes.py takes an hour.
COUNT = int(os.environ.get("FASTNN_SEQUENCES", "60"))
PARTS = 2


@pytest.mark.parametrize("part", range(PARTS))
def test_random_sequences(part):
    count = COUNT // PARTS
    run_python(f"import random_attributes; random_attributes.run({part * count}, {count})")
