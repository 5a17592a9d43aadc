"""The table of a network as a file of C."""

from exported_c import table


def test_table():
    shown = table([("2-64-3", 12345, 2000, 2e-7, 1.5e-6)])
    assert shown.rows == [
        ("2-64-3", "12,345", "2,000", "0.20", "5,000,000", "1.50", "667,000"),
    ]
    assert "2-64-3" in shown.section()
