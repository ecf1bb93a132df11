"""What a user would pick instead, over the same vectors φ: each built, asked and judged alike.

``flat``, ``hnsw`` and ``ivf_pq`` are FAISS' on φ, ``numpy`` a product and a partial sort,
``double_loop`` the paper's formula for every pair, one after the other. A graph of inner products
leads nowhere where some items are much longer than others; ``lifted hnsw`` and ``usearch`` are
graphs over φ with one more number that makes all equally long, so that the nearest is the best.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from bench.timing import Report
from models.similarity import Encodings, composite_similarity, item_vectors, query_vectors

WEIGHT = 0.5
_K = 10
_LINKS = 32
_BUILD_WIDTH = 80
_SEARCH_WIDTH = 256
_CODES = 98
_PROBES = 64

Rows = NDArray[np.int64]
Ask = Callable[[int], Rows]
"""From a query's number to its best ten rows."""


@dataclass(frozen=True, eq=False)
class Task:
    """Items, and queries (Q) with their true best ten rows at λ = 0.5."""

    items: Encodings
    query: Encodings
    divergence_scale: float
    truth: list[set[int]]

    def vectors(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return φ of the items (N, 3D + 1) and ψ of the queries (Q, 3D + 1)."""
        shift = self.items.mean.mean(axis=0, dtype=np.float64)
        blocks = [
            item_vectors(self.items.take(range(first, min(first + 8_192, len(self.items)))), shift)
            for first in range(0, len(self.items), 8_192)
        ]
        asked = query_vectors(
            self.query, shift, weight=WEIGHT, divergence_scale=self.divergence_scale
        )
        return np.concatenate(blocks), asked


def measure(task: Task, budget_s: float, known_s: Mapping[str, float]) -> Iterator[Report]:
    """Yield a row of figures a peer; none for one that would take longer than ``budget_s``.

    ``known_s`` holds what each took at the size before, times the growth since; one not in it is
    tried.
    """
    items, asked = task.vectors()
    for name, build in _PEERS.items():
        if known_s.get(name, 0.0) > budget_s:
            continue
        began_s = time.perf_counter()
        ask = build(task, items, asked)
        built_s = time.perf_counter() - began_s
        yield _judged(name, task, ask, built_s)


def _judged(name: str, task: Task, ask: Ask, built_s: float) -> Report:
    queries = range(len(task.query)) if name != "double_loop" else range(1)
    times_ms, kept = [], 0
    for number in queries:
        began_s = time.perf_counter()
        rows = ask(number)
        times_ms.append((time.perf_counter() - began_s) * 1_000)
        kept += len(task.truth[number] & set(rows.tolist()))
    return {
        "engine": name,
        "items": len(task.items),
        "build_s": built_s,
        "p50_ms": float(np.median(times_ms)),
        "recall_at_10": kept / (_K * len(times_ms)),
        "took_s": built_s + sum(times_ms) / 1_000,
    }


def _faiss(index: faiss.Index, asked: NDArray[np.float32]) -> Ask:
    def ask(number: int) -> Rows:
        rows: Rows = index.search(asked[number : number + 1], _K)[1][0]
        return rows

    return ask


def _flat(_: Task, items: NDArray[np.float32], asked: NDArray[np.float32]) -> Ask:
    index = faiss.IndexFlatIP(items.shape[1])
    index.add(items)
    return _faiss(index, asked)


def _hnsw(_: Task, items: NDArray[np.float32], asked: NDArray[np.float32]) -> Ask:
    index = faiss.IndexHNSWFlat(items.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = _BUILD_WIDTH
    index.hnsw.efSearch = _SEARCH_WIDTH
    index.add(items)
    return _faiss(index, asked)


def _lifted_hnsw(_: Task, items: NDArray[np.float32], asked: NDArray[np.float32]) -> Ask:
    index = faiss.IndexHNSWFlat(items.shape[1] + 1, _LINKS)
    index.hnsw.efConstruction = _BUILD_WIDTH
    index.hnsw.efSearch = _SEARCH_WIDTH
    index.add(_lifted(items))
    return _faiss(index, np.pad(asked, ((0, 0), (0, 1))))


def _lifted(items: NDArray[np.float32]) -> NDArray[np.float32]:
    squares = (items.astype(np.float64) ** 2).sum(axis=1, keepdims=True)
    return np.hstack([items, np.sqrt(squares.max() - squares)]).astype(np.float32)


def _ivf_pq(_: Task, items: NDArray[np.float32], asked: NDArray[np.float32]) -> Ask:
    width = -(-items.shape[1] // _CODES) * _CODES
    padded, question = (
        np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in (items, asked)
    )
    lists = int(2 ** round(np.log2(4 * np.sqrt(len(items)))))
    index = faiss.index_factory(width, f"IVF{lists},PQ{_CODES}x4fs", faiss.METRIC_INNER_PRODUCT)
    index.train(padded[:: max(1, len(padded) // (40 * lists))])
    index.add(padded)
    faiss.extract_index_ivf(index).nprobe = _PROBES
    return _faiss(index, question)


def _usearch(_: Task, items: NDArray[np.float32], asked: NDArray[np.float32]) -> Ask:
    from usearch.index import Index

    index = Index(
        ndim=items.shape[1] + 1,
        metric="l2sq",
        dtype="f32",
        connectivity=_LINKS,
        expansion_add=_BUILD_WIDTH,
        expansion_search=_SEARCH_WIDTH,
    )
    index.add(np.arange(len(items)), _lifted(items))
    question = np.pad(asked, ((0, 0), (0, 1)))

    def ask(number: int) -> Rows:
        return np.asarray(index.search(question[number], _K).keys, np.int64)

    return ask


def _numpy(_: Task, items: NDArray[np.float32], asked: NDArray[np.float32]) -> Ask:
    return lambda number: np.argpartition(-(items @ asked[number]), _K)[:_K].astype(np.int64)


def _double_loop(task: Task, _: NDArray[np.float32], asked: NDArray[np.float32]) -> Ask:
    def ask(number: int) -> Rows:
        query = task.query.take([number])
        scores = [
            composite_similarity(
                query,
                task.items.take([row]),
                weight=WEIGHT,
                divergence_scale=task.divergence_scale,
            ).item()
            for row in range(len(task.items))
        ]
        return np.argsort(scores)[::-1][:_K].astype(np.int64)

    assert len(asked)
    return ask


_PEERS: dict[str, Callable[[Task, NDArray[np.float32], NDArray[np.float32]], Ask]] = {
    "flat": _flat,
    "numpy": _numpy,
    "ivf_pq": _ivf_pq,
    "hnsw": _hnsw,
    "lifted hnsw": _lifted_hnsw,
    "usearch": _usearch,
    "double_loop": _double_loop,
}
