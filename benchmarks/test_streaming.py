"""The benchmark of windows runs, and says what was read."""

import sys

import pytest
import streaming


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_measure(tmp_path):
    path = tmp_path / "X.npy"
    n_rows = streaming.write(path, 0.01)
    for way in ("global", "windows", "in memory"):
        figures = streaming.run(path, way, None, None)
        assert figures["rows"] == n_rows
        assert figures["rows_per_second"] > 0
        assert figures["read_per_used"] < 1.2
