"""The benchmarks of search run, agree with the definition, and say what they measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest

from bench import growth, peers, search, search_probe, sizing, sketch
from bench.material import random_bundle, wandering_curve
from bench.towers import Material
from models.similarity import Encodings
from training.recipes import CIRCUMPLEX


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """FAISS' threads wait for one another in a loop: on a busy machine, for minutes."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


@pytest.fixture(scope="module")
def material() -> Material:
    rng = np.random.default_rng(0)
    curves = [wandering_curve(rng, 60).values.astype(np.float32) for _ in range(30)]
    return Material(
        random_bundle(CIRCUMPLEX, references=20),
        rng.normal(-2, 1, (40, 128)).astype(np.float32),
        np.stack(curves),
    )


def test_items_are_the_same_each_time_and_differ_from_queries(material: Material) -> None:
    first, again = (Encodings.stack(list(material.items(50))) for _ in range(2))
    np.testing.assert_array_equal(first.embedding, again.embedding)
    asked = material.queries(5, seed=1)
    assert set(asked) == {"curves", "recordings"}
    assert not np.isin(asked["recordings"].mean[:, 0], first.mean[:, 0]).any()


def test_search(material: Material, tmp_path: Path) -> None:
    report = search.run(material, items=1_500, queries=3, rounds=1, folder=tmp_path)
    assert report["truth"] == "definition"
    assert report["recall_at_10"] == 1.0
    assert report["items"] == 1_500
    assert report["encodings_bytes_per_item"] == pytest.approx(12 * material.dimensions, rel=0.01)
    assert report["exact_gb_per_s"] > 0
    assert report["anonymous_bytes"] > 1_000_000
    assert report["exact_recall_at_10"] >= 0.99
    assert len(report["groups"]) == 2 * len(search_probe.WEIGHTS)
    kept = (tmp_path / "encodings.npy").stat().st_mtime_ns
    again = search.run(material, items=1_500, queries=3, rounds=1, folder=tmp_path)
    assert (tmp_path / "encodings.npy").stat().st_mtime_ns == kept
    assert again["half_precision_agreement"] == report["half_precision_agreement"]


def test_growth_draws_its_engines(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Product quantisers want more points than a test has, and take minutes over too few.
    for slow in ("ivf_pq", "hnsw", "lifted hnsw"):
        monkeypatch.delitem(peers._PEERS, slow)
    report = growth.run(material, largest=400, out=tmp_path, sizes=(400, 9_000))
    rows = report["rows"]
    assert {row["items"] for row in rows} == {400}
    exact = {"flat", "numpy", "double_loop", "sketch", "sketch, exact mode"}
    assert {row["engine"] for row in rows} == exact | {"usearch"}
    for row in rows:
        if row["engine"] in exact:  # two songs mixed with themselves may tie for the tenth place
            assert row["recall_at_10"] >= 0.99, row
    assert len(list(tmp_path.glob("growth-*.png"))) == 5


def test_a_peer_that_would_take_too_long_is_left_out(material: Material) -> None:
    items = Encodings.stack(list(material.items(60)))
    task = peers.Task(items, items.take([0, 1]), 1.0, [set(range(10))] * 2)
    known_s = dict.fromkeys(peers._PEERS, 11.0) | {"numpy": 9.0}
    assert [row["engine"] for row in peers.measure(task, 10.0, known_s)] == ["numpy"]


def test_sketch_compares_two_fits(material: Material) -> None:
    report = sketch.run(material, items=2_000, ranks=(4, 16))
    assert [(row["moments"], row["rank"]) for row in report["fits"]] == [
        ("plain", 4),
        ("ours", 4),
        ("plain", 16),
        ("ours", 16),
    ]
    assert all(0 <= row["worst_kept"] <= 1 for row in report["fits"])
    assert report["fits"][3]["worst_kept"] >= report["fits"][1]["worst_kept"]
    assert len(report["searches"]) == 5


def test_the_model_of_a_hundred_million_tracks_is_arithmetic() -> None:
    constants = {
        "items": 10_000_000,
        "index_bytes_a_window": 1_600.0,
        "encodings_bytes_a_window": 3_000.0,
        "query_p50_ms": 4.0,
        "hearing_core_s_a_second": 0.02,
    }
    (row,) = sizing.model(constants, tracks=(100_000_000,))
    assert row["windows"] == 1_100_000_000
    assert row["shards"] == 110
    assert row["query_core_ms"] == pytest.approx(440)
    assert row["index_gb"] == pytest.approx(1_760)
    assert row["ingest_core_hours"] == pytest.approx(100_000)
    assert row["cost_a_million_queries"] == pytest.approx(0.44 * 1e6 / 3_600 * 0.04 / 0.5)
