"""The sizing is linear in what was measured, and says what it rests on."""

from __future__ import annotations

import pytest

from bench.milvus import sizing

MEASURED = {
    "query_node_bytes_per_item": 200.0,
    "stored_bytes_per_item": 150.0,
    "fill_us_per_item": 36.0,
    "graph_us_per_item": 72.0,
}


def test_a_billion_windows_by_hand() -> None:
    small, large = sizing(MEASURED, [10**6, 10**9])
    assert large["query_nodes_gb"] == pytest.approx(200)
    assert large["query_nodes"] == 3  # 200 GB in nodes of 128 GB, 70 % of it filled
    assert large["object_storage_gb"] == pytest.approx(150)
    assert large["second_look_disk_gb"] == pytest.approx(6_148)
    assert large["fill_hours"] == pytest.approx(36e-6 * 1e9 / 3_600)
    assert large["graph_core_hours"] == pytest.approx(20)
    assert (small["query_nodes"], small["shards"], large["shards"]) == (1, 1, 16)
    assert (small["graphs_searched"], large["graphs_searched"]) == (1, 200)
