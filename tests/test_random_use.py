"""Random mistakes and interrupts: no process dies or hangs, no thread stays, nothing is halved."""

import random_use


def test_random_sequences():
    """A small part of what `python tests/random_use.py` does in half an hour."""
    assert random_use.run(150) == []
