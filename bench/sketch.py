"""What a sketch keeps, fitted where it counts or to all pairs alike; and cells beside HNSW on it.

``plain`` scales each λ's scores by their deviation over all items and takes the moment of all
items; ``ours`` is :mod:`service.index.sketch`. Both keep the true best ten among 200 candidates or
lose them; the worst kind of query and λ is reported. ``hnsw`` is FAISS' graph over our sketches
with the inner product written as a distance.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from bench.timing import Report, machine, medians_ms
from bench.towers import Material
from models.similarity import Encodings
from service.index.frame import Frame
from service.index.partition import Partition
from service.index.sketch import MIXTURE, Sketch, decompose, moments
from service.index.tuning import Exam, tune

_SAMPLE = 20_000
_CANDIDATES = 200
_FITTING, _ASKED = 256, 24
_WIDTHS = (64, 256, 1_024)
_LINKS, _BUILD_WIDTH = 32, 80

Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]


def run(
    material: Material, *, items: int = 100_000, ranks: tuple[int, ...] = (8, 16, 32)
) -> Report:
    """Compare at every rank, and the two ways of searching sketches at the middle one."""
    blocks = list(material.items(items))
    sample = Encodings.stack(blocks).take(np.arange(min(_SAMPLE, items)))
    frame = Frame.of(sample)
    framed = frame.items(sample)
    everything = np.concatenate([frame.items(block) for block in blocks])
    fitting = list(material.queries(_FITTING, seed=5).values())
    exam = Exam.of(frame, material.queries(_ASKED, seed=77), material.divergence_scale)
    exam.see(0, everything)
    rows = []
    for rank in ranks:
        for name, fit in (("plain", _plain_moments), ("ours", moments)):
            sketch = decompose(*fit(frame, framed, fitting, material.divergence_scale), rank)
            kept = exam.recalls(_best(exam, sketch, everything))
            rows.append({"moments": name, "rank": rank, "worst_kept": min(kept.values())})
    sketch = decompose(
        *moments(frame, framed, fitting, material.divergence_scale), ranks[len(ranks) // 2]
    )
    return {
        "machine": machine(),
        "items": items,
        "dimensions": material.dimensions,
        "candidates": _CANDIDATES,
        "fits": rows,
        "searches": _searches(sketch, everything, exam),
    }


def _plain_moments(
    frame: Frame, items: Floats32, queries: list[Encodings], divergence_scale: float
) -> tuple[Floats64, Floats64]:
    query_moment = np.zeros((items.shape[1], items.shape[1]))
    for weight in MIXTURE:
        for block in queries:
            vectors = frame.queries(block, weight=weight, divergence_scale=divergence_scale)
            scaled = (vectors / (vectors @ items.T).std()).astype(np.float64)
            query_moment += scaled.T @ scaled / len(block)
    everything = items.astype(np.float64)
    return query_moment, everything.T @ everything / len(items)


def _best(exam: Exam, sketch: Sketch, everything: Floats32) -> NDArray[np.int64]:
    scores = torch.from_numpy((exam.questions @ sketch.queries) @ (everything @ sketch.items).T)
    best: NDArray[np.int64] = torch.topk(scores, _CANDIDATES, dim=1).indices.numpy()
    return best


def _searches(sketch: Sketch, everything: Floats32, exam: Exam) -> list[Report]:
    sketches = everything @ sketch.items
    partition = Partition.build(sketch, sketches)
    effort, _ = tune(partition, exam)
    ways: dict[str, Callable[[Floats32], NDArray[np.int64]]] = {
        f"cells, {effort.cells} visited": lambda asked: partition.candidates(
            asked, effort.cells, _CANDIDATES, None
        )
    }
    lengths = (sketches.astype(np.float64) ** 2).sum(axis=1)
    longest = lengths.max()
    graph = faiss.IndexHNSWFlat(sketch.rank + 1, _LINKS)
    graph.hnsw.efConstruction = _BUILD_WIDTH
    graph.add(np.hstack([sketches, np.sqrt(longest - lengths)[:, None]]).astype(np.float32))
    for width in _WIDTHS:
        ways[f"hnsw, width {width}"] = _graph_search(graph, sketch, width, float(longest))
    rows = []
    for name, search in ways.items():
        found = search(exam.questions)
        one = exam.questions[:1]
        times = medians_ms({"one": partial(search, one)}, 30)
        rows.append({"search": name, "worst_kept": exam.worst(found), "one_query_ms": times["one"]})
    return rows


def _graph_search(
    graph: faiss.IndexHNSWFlat, sketch: Sketch, width: int, longest: float
) -> Callable[[Floats32], NDArray[np.int64]]:
    def search(asked: Floats32) -> NDArray[np.int64]:
        sketched = asked @ sketch.queries
        # As long as the items, or float32 would not tell their distances apart.
        sketched *= np.sqrt(longest) / np.linalg.norm(sketched, axis=1, keepdims=True)
        graph.hnsw.efSearch = width
        found: NDArray[np.int64] = graph.search(
            np.pad(sketched, ((0, 0), (0, 1))), min(_CANDIDATES, width)
        )[1]
        return found

    return search
