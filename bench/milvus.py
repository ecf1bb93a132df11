"""Milvus beside FAISS on the same sketches, and what a billion windows would take.

milvus-lite is what runs in a process: its bytes and its graph are those of FAISS, its speed is that
of a program in Python. So times are measured on it and on the same graph in FAISS alone, which is
what a Milvus server's query node runs natively. The sizing is arithmetic on these, see
:func:`sizing`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import faiss
import numpy as np

from bench.graph import lifted_graph
from bench.timing import Report, machine, medians_ms
from models.similarity import Encodings
from service.index.building import Examiners, write_index, write_traits, write_windows
from service.index.ids import id_array
from service.index.lifting import Lift
from service.index.milvus import (
    BUILDING_WIDTH,
    LINKS,
    SEARCH_WIDTH,
    MilvusIndex,
    open_store,
    shards_for,
)
from service.index.partition import SketchIndex
from service.index.segment import open_segment
from service.index.shelf import Segment
from service.index.traits import Traits

_DIMENSIONS, _SCALE, _HIDDEN = 64, 0.02, 5
_K, _ASKED = 10, 24
_SNAPSHOT = "20260101T000000000000-000000000000"
_SIZES = (20_000, 100_000)
_QUERIES = 8
_SERVED_DIMENSIONS = 1_024
_TARGETS = (10**6, 10**7, 10**8, 10**9)
_NODE_BYTES, _NODE_SHARE = 128e9, 0.7
_SEGMENT_ROWS = 5_000_000


def run(*, sizes: Sequence[int] = _SIZES, rounds: int = 7) -> Report:
    """Measure both engines at some sizes, and print the sizing with the last one's figures."""
    measured = [_measure(count, rounds) for count in sizes]
    return {"machine": machine(), "measured": measured, "sizing": sizing(measured[-1])}


def sizing(measured: Report, targets: Sequence[int] = _TARGETS) -> list[Report]:
    """Compute what numbers of windows take, from bytes and times of one item.

    Linear in the windows: what a query node holds (lifted sketch, links of the graph, traits),
    sketches and traits on object storage, vectors and encodings for the second look beside the
    service (half precision, D 1,024). One process fills, however many shards it writes to.
    Query nodes have 128 GB, of which 70 % are filled, and one copy is kept.
    """
    rows = []
    for windows in targets:
        held = windows * measured["query_node_bytes_per_item"]
        rows.append(
            {
                "windows": windows,
                "query_nodes_gb": held / 1e9,
                "query_nodes": int(np.ceil(held / (_NODE_BYTES * _NODE_SHARE))),
                "object_storage_gb": windows * measured["stored_bytes_per_item"] / 1e9,
                "second_look_disk_gb": windows * (6 * _SERVED_DIMENSIONS + 4) / 1e9,
                "shards": shards_for(windows),
                "fill_hours": windows * measured["fill_us_per_item"] / 3.6e9,
                "graph_core_hours": windows * measured["graph_us_per_item"] / 3.6e9,
                "graphs_searched": int(np.ceil(windows / _SEGMENT_ROWS)),
            }
        )
    return rows


def _measure(count: int, rounds: int) -> Report:
    rng = np.random.default_rng(5)
    items = _encode(rng.normal(size=(count, _HIDDEN)), 0.0)
    asked = _encode(rng.normal(size=(_QUERIES, _HIDDEN)), 0.1)
    with TemporaryDirectory() as place:
        started_s = time.perf_counter()
        segment = _segment(Path(place), items, _encode(rng.normal(size=(300, _HIDDEN)), 0.1))
        built_s = time.perf_counter() - started_s
        plain, traits = segment.index, segment.traits
        assert isinstance(plain, SketchIndex)
        assert plain.partition is not None
        assert traits is not None
        store = open_store(str(Path(place) / "milvus.db"))
        assert store is not None
        started_s = time.perf_counter()
        store.fill(_SNAPSHOT, segment)
        filled_s = time.perf_counter() - started_s
        there = store.index(_SNAPSHOT, plain, traits, segment.owners)
        assert isinstance(there, MilvusIndex)
        stored = sum(f.stat().st_size for f in (Path(place) / "milvus.db").rglob("*.parquet"))
        graph, graph_s = _graph(plain)
        rank = plain.partition.sketch.rank
        report: Report = {
            "items": count,
            "rank": rank,
            "faiss_build_us_per_item": built_s / count * 1e6,
            "fill_us_per_item": filled_s / count * 1e6,
            "graph_us_per_item": graph_s / count * 1e6,
            "stored_bytes_per_item": stored / count,
            "graph_bytes_per_item": len(faiss.serialize_index(graph)) / count,
            "query_node_bytes_per_item": len(faiss.serialize_index(graph)) / count + 8 + 4 + 4 + 8,
            "faiss_bytes_per_item": 4 * rank + 8,
        }
        report |= _times(plain, there, graph, asked, rounds)
        return report


def _times(
    plain: SketchIndex, there: MilvusIndex, graph: Any, asked: Encodings, rounds: int
) -> Report:
    """Time one query at a time, at λ 0.3, and compare what is found with an exhaustive search."""
    scales: dict[str, Any] = {"weight": 0.3, "divergence_scale": _SCALE}
    assert plain.partition is not None
    questions, _ = plain.frame.questions(asked, **scales)
    lifted = Lift.of(plain.partition).queries(questions @ plain.partition.sketch.queries)
    candidates = max(plain.effort.candidates, 2 * _ASKED)
    width = faiss.SearchParametersHNSW(  # type: ignore[attr-defined]
        efSearch=round(SEARCH_WIDTH * candidates)
    )
    one = [asked.take([row]) for row in range(len(asked))]
    times = medians_ms(
        {
            "faiss": lambda: [plain.propose(query, _ASKED, **scales) for query in one],
            "milvus_lite": lambda: [there.propose(query, _ASKED, **scales) for query in one],
            "graph_alone": lambda: [
                graph.search(query[None], candidates, params=width) for query in lifted
            ],
        },
        rounds,
    )
    true = plain.propose(asked, _K, **scales, exact=True).rows
    found = {"faiss": plain, "milvus_lite": there}
    return {f"{name}_ms_per_query": value / len(one) for name, value in times.items()} | {
        f"{name}_recall_at_10": float(
            np.mean(
                [
                    np.isin(best, rows).mean()
                    for best, rows in zip(
                        true, engine.propose(asked, _ASKED, **scales).rows, strict=True
                    )
                ]
            )
        )
        for name, engine in found.items()
    }


def _graph(plain: SketchIndex) -> tuple[Any, float]:
    """Build the graph that a query node holds, natively; returns it and the seconds it took."""
    assert plain.partition is not None
    started_s = time.perf_counter()
    graph, _ = lifted_graph(plain.partition, links=LINKS, width=BUILDING_WIDTH)
    return graph, (time.perf_counter() - started_s) * faiss.omp_get_max_threads()


def _segment(folder: Path, items: Encodings, curves: Encodings) -> Segment:
    windows = (
        ((f"{row:09}", 0, 0.0, 30.0), items.embedding[row], items.mean[row], items.variance[row])
        for row in range(len(items))
    )
    ids = write_windows(folder, windows, len(items), items.dimensions)
    known = [(each, f"artist {int(each) % 1_000}", 60 + int(each) % 120) for each in ids]
    tagged = [(each, f"tag {int(each) % 50}") for each in ids]
    write_traits(folder, Traits.of(id_array(ids), known, tagged))
    measured = write_index(folder, Examiners(curves, _SCALE), "single")
    return open_segment(folder, measured, "cpu")


def _encode(hidden: np.ndarray, noise: float) -> Encodings:
    """Encodings with few hidden numbers behind them, as learned ones have."""
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(3, _HIDDEN, _DIMENSIONS)) / np.sqrt(_HIDDEN)
    noisy = hidden + noise * rng.normal(size=hidden.shape)
    embedding, mean, spread = (np.tanh(noisy @ each).astype(np.float32) for each in maps)
    return Encodings(embedding, 3 + mean, 0.05 + np.log1p(np.exp(spread)))
