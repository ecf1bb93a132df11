"""What a sketch keeps, fitted where it counts or to all pairs alike; and cells beside HNSW on it.

``plain`` scales each λ's scores by their deviation over all items and takes the moment of all
items; ``ours`` is :mod:`service.index.sketch`. Both keep the true best ten among 200 candidates or
lose them; the worst kind of query and λ is reported. Over our sketches, at the middle rank,
``inverted file`` is FAISS' with the same cells, ``hnsw`` its graph with the inner product written
as a distance.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from bench.graph import lifted_graph
from bench.timing import Report, machine, medians_ms
from bench.towers import Material
from models.similarity import Encodings
from service.index.exam import Exam
from service.index.frame import Frame
from service.index.lifting import Lift
from service.index.partition import Partition
from service.index.sketch import MIXTURE, Sketch, decompose, moments
from service.index.tuning import WEIGHTS, tune

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
    asked = material.queries(_ASKED, seed=77)
    exam = Exam.of(frame, asked, WEIGHTS, material.divergence_scale)
    exam.see(0, everything)
    rows = []
    for rank in ranks:
        for name, fit in (("plain", _plain_moments), ("ours", moments)):
            sketch = decompose(*fit(frame, framed, fitting, material.divergence_scale), rank)
            found = sketch.best(exam.questions, everything, _CANDIDATES)
            rows.append({"moments": name, "rank": rank, "worst_kept": exam.worst(found)})
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


def _searches(sketch: Sketch, everything: Floats32, exam: Exam) -> list[Report]:
    partition = Partition.build(sketch, everything @ sketch.items)
    effort, _ = tune(partition, exam)
    ways: dict[str, Callable[[Floats32], NDArray[np.int64]]] = {
        f"cells, {effort.cells} visited": lambda asked: partition.candidates(
            asked, effort.cells, _CANDIDATES, None
        )[0],
        f"inverted file, {effort.cells} visited": _inverted_file(partition, effort.cells),
    }
    graph, order = lifted_graph(partition, links=_LINKS, width=_BUILD_WIDTH)
    for width in _WIDTHS:
        ways[f"hnsw, width {width}"] = _graph_search(graph, np.array(order), partition, width)
    rows = []
    questions = np.split(exam.questions, len(exam.questions))

    def one_by_one(search: Callable[[Floats32], NDArray[np.int64]]) -> None:
        for question in questions:
            search(question)

    times = medians_ms({name: partial(one_by_one, search) for name, search in ways.items()}, 5)
    for name, search in ways.items():
        worst = exam.worst(search(exam.questions))
        one_ms = times[name] / len(questions)
        rows.append({"search": name, "worst_kept": worst, "one_query_ms": one_ms})
    return rows


def _inverted_file(partition: Partition, visited: int) -> Callable[[Floats32], NDArray[np.int64]]:
    centres = np.ascontiguousarray(partition.centroids.T)
    cells, rank = centres.shape
    quantizer: Any = faiss.IndexFlatIP(rank)
    quantizer.add(centres)
    index: Any = faiss.IndexIVFFlat(quantizer, rank, cells, faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True
    for cell in range(cells):
        rows, sketches = partition.cell(cell)
        block, ids = np.ascontiguousarray(sketches), rows.astype(np.int64)
        index.add_core(
            len(ids),
            faiss.swig_ptr(block),
            faiss.swig_ptr(ids),
            faiss.swig_ptr(np.full(len(ids), cell)),
        )
    index.nprobe = visited

    def search(asked: Floats32) -> NDArray[np.int64]:
        found: NDArray[np.int64] = index.search(asked @ partition.sketch.queries, _CANDIDATES)[1]
        return found

    return search


def _graph_search(
    graph: faiss.IndexHNSWFlat, order: NDArray[np.int64], partition: Partition, width: int
) -> Callable[[Floats32], NDArray[np.int64]]:
    lift = Lift.of(partition)

    def search(asked: Floats32) -> NDArray[np.int64]:
        graph.hnsw.efSearch = width
        lifted = lift.queries(asked @ partition.sketch.queries)
        found: NDArray[np.int64] = order[graph.search(lifted, min(_CANDIDATES, width))[1]]
        return found

    return search
