"""Fixtures that several files use, and a check of the names of all tests."""

import signal

import pytest


def pytest_collection_modifyitems(items):
    """Refuse names with an address in them: each worker of pytest-xdist would have others."""
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"the name of a test has an address: {item.nodeid}")


@pytest.fixture
def interrupts():
    """Let SIGINT interrupt: a shell has it ignored in what it runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
