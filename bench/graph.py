"""FAISS' graph over a partition's sketches, lifted to distances: what cells are compared with."""

from __future__ import annotations

from typing import Any

import faiss

from service.index.lifting import Lift, sketch_blocks
from service.index.partition import Partition

_ROWS_AT_ONCE = 8_192


def lifted_graph(partition: Partition, *, links: int, width: int) -> tuple[Any, list[int]]:
    """Build an HNSW with M = ``links`` and efConstruction = ``width``.

    Returns it, and which row each of its items is: they are added cell by cell.
    """
    lift = Lift.of(partition)
    longest = lift.longest(partition)
    graph: Any = faiss.IndexHNSWFlat(partition.sketch.rank + 1, links, faiss.METRIC_L2)
    graph.hnsw.efConstruction = width
    order: list[int] = []
    for rows, sketches in sketch_blocks(partition, _ROWS_AT_ONCE):
        graph.add(lift.items(sketches, longest))
        order += rows.tolist()
    return graph, order
