"""Fixtures that several files use."""

import signal

import pytest


@pytest.fixture
def interrupts():
    """Let SIGINT interrupt: a shell has it ignored in what it runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
