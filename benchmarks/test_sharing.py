"""The part of a speed that is kept is a median over the ratios of each round."""

from sharing import table


def test_table():
    alone = [[0.01, 0.02], [0.02, 0.02], [0.01, 0.02]]
    together = [[0.02, 0.08], [0.05, 0.08], [0.02, 0.02]]
    assert table(alone, together).rows == [
        ("1", "100", "50.0", "50 %"),
        ("2", "50.0", "12.5", "25 %"),
    ]
