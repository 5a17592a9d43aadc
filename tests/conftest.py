"""Fixtures that several files use, and a check of the names of all tests."""

import signal

import pytest

# Files whose tests compile kernels apart, start many processes or train for long. They take three
# quarters of the time of all tests; `.ci/run` runs them after the others.
SLOW = {
    "test_bfloat16", "test_cache", "test_checks", "test_checkpoint_writers", "test_cli_train_large",
    "test_clusters", "test_estimators_sklearn", "test_examples", "test_handles", "test_interrupts",
    "test_mpi", "test_numba_private", "test_phases", "test_prediction", "test_site", "test_targets",
    "test_tiles", "test_time_to_accuracy", "test_two_hosts", "test_types", "test_units",
    "test_versions",
}  # fmt: skip


def pytest_collection_modifyitems(items):
    """Mark slow tests, and refuse names with an address, which differs between workers."""
    for item in items:
        if item.path.stem in SLOW:
            item.add_marker(pytest.mark.slow)
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"the name of a test has an address: {item.nodeid}")


@pytest.fixture
def interrupts():
    """Let SIGINT interrupt: a shell has it ignored in what it runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
