"""A process of its own that opens an index and answers: what it costs from the start.

``python -m bench.search_probe FOLDER``, the folder as ``bench search`` writes it; prints JSON. The
first pass over the queries and the later ones are told apart: the page cache decides.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch

from bench.timing import status_bytes
from models.similarity import Encodings
from service.index.segment import open_segment
from service.index.shelf import Shelf
from service.ranking import rank

WEIGHTS = (0.0, 0.02, 0.1, 0.35, 0.5, 0.75, 1.0)
_K = 10
_ROUNDS = 3


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--divergence-scale", type=float, required=True)
    options = parser.parse_args()
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    print(json.dumps(_measure(options.folder, options.divergence_scale)))


def _measure(folder: Path, scale: float) -> dict[str, Any]:
    started_s = time.perf_counter()
    measured = json.loads((folder / "measured.json").read_text())
    shelf = Shelf.of(open_segment(folder, measured, "cpu"))
    asked = {kind: Encodings(*np.load(folder / f"{kind}.npy")) for kind in ("curves", "recordings")}
    rank(shelf, asked["curves"].take([0]), _K, weight=0.5, divergence_scale=scale)
    ready_s = time.perf_counter() - started_s
    answers: dict[str, list[list[int]]] = {}
    first_ms: list[float] = []
    again_ms: dict[str, list[float]] = {}
    for kind, queries in asked.items():
        for weight in WEIGHTS:
            name = f"{kind}, weight {weight:g}"
            again_ms[name] = []
            for turn in range(1 + _ROUNDS):
                rows = []
                for place in range(len(queries)):
                    query = queries.take([place])
                    began_ns = time.perf_counter_ns()
                    hits = rank(shelf, query, _K, weight=weight, divergence_scale=scale)
                    took_ms = (time.perf_counter_ns() - began_ns) / 1e6
                    (again_ms[name] if turn else first_ms).append(took_ms)
                    rows.append([hit.row for hit in hits])
            answers[name] = rows
    return {
        "ready_s": ready_s,
        "anonymous_bytes": status_bytes("RssAnon"),
        "first_p50_ms": float(np.median(first_ms)),
        "first_p99_ms": float(np.percentile(first_ms, 99)),
        "p50_ms": float(np.median(np.concatenate(list(again_ms.values())))),
        "p99_ms": float(np.percentile(np.concatenate(list(again_ms.values())), 99)),
        "p50_ms_by_group": {name: float(np.median(times)) for name, times in again_ms.items()},
        "answers": answers,
    }


if __name__ == "__main__":
    main()
