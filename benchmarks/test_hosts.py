"""The benchmark of ranks runs with one, and its model says what it should."""

import hosts
import pytest
from networks import NETWORKS

from fastnn.distributed import one


def test_tables_of_one_rank():
    networks = NETWORKS[:1]
    rows = hosts.shards_table(networks, 1).rows
    assert [row[0] for row in rows] == ["2-64-3, 32", "2-64-3, 4096"]
    (row,) = hosts.exchange_table(one(8), networks, 1).rows
    assert row[0] == "2-64-3, 4096"
    assert float(row[2].replace(",", "")) > 0


def test_a_batch_pays_where_the_saved_half_outweighs_the_exchange():
    # A step of fixed 1 ms and 1 us a row; an exchange of 2 ms.
    rows = float(hosts.least_batch(1e-3 + 4096e-6, 1e-3 + 8192e-6, 2e-3).replace(",", ""))
    alone, two = 1e-3 + rows * 1e-6, 1e-3 + rows / 2 * 1e-6 + 2e-3
    assert alone / two == pytest.approx(1.5, rel=0.01)
