"""The search engine at one size: recall, latency, memory, start, exhaustive search, building.

Items and queries come from real towers (:mod:`bench.towers`). The truth is the definition in
float64 over every item, by :func:`models.similarity.composite_similarity`, up to a million items;
beyond, the engine's own exhaustive mode, which is compared with the definition at smaller sizes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.search_probe import WEIGHTS
from bench.timing import Report, machine, medians_ms, status_bytes
from bench.towers import Material, write_encodings
from models.similarity import (
    Encodings,
    composite,
    composite_similarity,
    correlation,
    kl_divergence,
)
from service.index import building
from service.index.building import Examiners, write_index, write_traits
from service.index.ids import id_array
from service.index.partition import SketchIndex
from service.index.segment import open_segment
from service.index.shelf import Segment
from service.index.traits import Traits

_K = 10
_DEFINITION_UP_TO = 1_000_000
_DEFINITION_ROWS = 4_096
_BATCH = 64
_FITTING = 1_000
_NEAR = 100

_Best = tuple[NDArray[np.float64], NDArray[np.int64]]
"""Scores and rows of each query's best."""


def run(
    material: Material,
    *,
    items: int = 100_000,
    queries: int = 24,
    rounds: int = 5,
    folder: Path | None = None,
    precision: building.Precision = "single",
) -> Report:
    """Build an index of ``items`` windows and measure it.

    ``folder`` keeps the files, and takes encodings of the right number that it has already.
    """
    work = folder if folder is not None else Path(mkdtemp(prefix="bench-search-"))
    work.mkdir(parents=True, exist_ok=True)
    try:
        built = _build(material, work, items, precision)
        asked = material.queries(queries, seed=77)
        for kind, block in asked.items():
            np.save(work / f"{kind}.npy", np.stack([block.embedding, block.mean, block.variance]))
        probe = _probe(work, material.divergence_scale)
        segment = open_segment(work, json.loads((work / "measured.json").read_text()), "cpu")
        answers = probe.pop("answers")
        recalls, exact_recall = _recalls(segment, material, asked, answers)
        exhaustive = _exhaustive(segment, asked["curves"], material.divergence_scale, rounds)
    finally:
        if folder is None:
            shutil.rmtree(work)
    groups = probe.pop("p50_ms_by_group")
    return {
        "machine": machine(),
        "items": items,
        "dimensions": material.dimensions,
        **built,
        **probe,
        "recall_at_10": min(recalls.values()),
        "exact_recall_at_10": exact_recall,
        "truth": "definition" if items <= _DEFINITION_UP_TO else "exhaustive mode",
        **exhaustive,
        "groups": [
            {"group": name, "recall_at_10": recalls[name], "p50_ms": groups[name]}
            for name in recalls
        ],
    }


def _build(material: Material, work: Path, items: int, precision: building.Precision) -> Report:
    file = work / building.ENCODINGS_FILE
    known = np.load(file, mmap_mode="r").shape[0] if file.is_file() else -1
    if known != items:
        write_encodings(material, file, items)
    windows = np.zeros(items, building.WINDOW_TYPE)
    windows["track"] = np.arange(items)
    np.save(work / building.WINDOWS_FILE, windows)
    ids = id_array([f"{number:09}" for number in range(items)])
    np.save(work / building.IDS_FILE, ids)
    write_traits(work, Traits.of(ids, (), ()))
    curves = material.queries(_FITTING, seed=5)["curves"]
    examiners = Examiners(curves, material.divergence_scale)
    began_s = time.perf_counter()
    measured, peak_bytes = _watched(lambda: write_index(work, examiners, precision))
    took_s = time.perf_counter() - began_s
    (work / "measured.json").write_text(json.dumps(measured))
    sizes = {path.name: path.stat().st_size for path in work.iterdir() if path.is_file()}
    return {
        "build_s": took_s,
        "build_peak_anonymous_bytes": peak_bytes,
        "index_bytes_per_item": sum(
            sizes.get(name, 0)
            for name in ("vectors.npy", "constants.npy", "sketches.npy", "sketch_rows.npy")
        )
        / items,
        "encodings_bytes_per_item": sizes.get(building.ENCODINGS_FILE, 0) / items,
        **{name: value for name, value in measured.items() if name != "recall_at_10"},
    }


def _watched(work: Callable[[], Any]) -> tuple[Any, int]:
    """Run ``work``; returns what it returns, and the most anonymous memory seen meanwhile."""
    done = threading.Event()
    seen = [0]

    def watch() -> None:
        while not done.wait(0.05):
            seen[0] = max(seen[0], status_bytes("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        return work(), seen[0]
    finally:
        done.set()
        watcher.join()


def _probe(work: Path, scale: float) -> Report:
    """Measure in a process of its own, on one core."""
    command = [sys.executable, "-m", "bench.search_probe", str(work)]
    finished = subprocess.run(
        [*command, "--divergence-scale", repr(scale)],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    report: Report = json.loads(finished.stdout)
    return report


def _recalls(
    segment: Segment,
    material: Material,
    asked: dict[str, Encodings],
    answers: dict[str, list[list[int]]],
) -> tuple[dict[str, float], float]:
    """Return the recall of the answers by group, and of the exhaustive mode in the worst."""
    recalls: dict[str, float] = {}
    exact = 1.0
    for kind, block in asked.items():
        scanned = exhaustively(segment, block, material.divergence_scale)
        truth = scanned
        if len(segment) <= _DEFINITION_UP_TO:
            truth = _definition(segment, block, material.divergence_scale)
        for weight in WEIGHTS:
            name = f"{kind}, weight {weight:g}"
            recalls[name] = _share(truth[weight], [set(rows) for rows in answers[name]])
            exact = min(exact, _share(truth[weight], scanned[weight]))
    return recalls, exact


def _share(truth: Sequence[set[int]], found: Sequence[set[int]]) -> float:
    kept = sum(len(expected & each) for expected, each in zip(truth, found, strict=True))
    return kept / (_K * len(truth))


def exhaustively(
    segment: Segment, query: Encodings, scale: float, weights: Sequence[float] = WEIGHTS
) -> dict[float, list[set[int]]]:
    """Return the best rows of each query at each λ by a scan, its best 100 scored in float64."""
    index = segment.index
    assert isinstance(index, SketchIndex)
    questions = [
        index.frame.queries(query, weight=weight, divergence_scale=scale) for weight in weights
    ]
    near, _ = index.vectors.scan(np.concatenate(questions), _NEAR)
    best: dict[float, list[set[int]]] = {}
    for weight, found in zip(weights, np.split(near, len(weights)), strict=True):
        best[weight] = []
        for row, rows in enumerate(found):
            scores = composite_similarity(
                query.take([row]),
                segment.encodings.take(rows),
                weight=weight,
                divergence_scale=scale,
            )[0]
            best[weight].append(set(rows[np.argsort(-scores)[:_K]].tolist()))
    return best


def _definition(segment: Segment, query: Encodings, scale: float) -> dict[float, list[set[int]]]:
    """Return the best rows of each query at each λ, all items scored by the formula in float64."""

    def best_of_block(first: int) -> dict[float, _Best]:
        rows = np.arange(first, min(first + _DEFINITION_ROWS, len(segment)))
        items = segment.encodings.take(rows)
        rho, divergence = correlation(query, items), kl_divergence(query, items)
        return {
            weight: _first(
                composite(rho, divergence, weight=weight, divergence_scale=scale),
                np.broadcast_to(rows, rho.shape),
            )
            for weight in WEIGHTS
        }

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        blocks = list(pool.map(best_of_block, range(0, len(segment), _DEFINITION_ROWS)))
    best = {
        weight: _first(
            *(np.hstack(part) for part in zip(*(b[weight] for b in blocks), strict=True))
        )
        for weight in WEIGHTS
    }
    return {weight: [set(row.tolist()) for row in rows] for weight, (_, rows) in best.items()}


def _first(scores: NDArray[np.float64], rows: NDArray[np.int64]) -> _Best:
    """Keep the ten that score highest (Q, 10) of some rows (Q, B), and their scores."""
    order = np.argsort(-scores, axis=1)[:, :_K]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)


def _exhaustive(segment: Segment, query: Encodings, scale: float, rounds: int) -> Report:
    """Time the exhaustive mode beside what memory and a plain matrix product allow."""
    index = segment.index
    assert isinstance(index, SketchIndex)
    halves = index.vectors.halves
    rows = min(len(halves), 1_000_000)
    as_integers = halves[:rows].view(torch.int16).view(-1)
    wide = as_integers[: len(as_integers) // 4 * 4].view(torch.int64)
    framed = index.frame.queries(query, weight=0.5, divergence_scale=scale)
    many = np.ascontiguousarray(np.resize(framed, (_BATCH, framed.shape[1])))
    part = torch.randn(min(rows, 65_536), halves.shape[1])
    columns = torch.from_numpy(many[:, :-1].T.copy())
    times = medians_ms(
        {
            "read": lambda: wide.max(),
            "scan": lambda: index.vectors.scan(framed[:1], _K),
            "batch": lambda: index.vectors.scan(many, _K),
            "gemm": lambda: part @ columns,
        },
        rounds,
    )
    scanned_bytes = halves.numel() * 2
    read_bytes = wide.numel() * 8
    gemm_ms = times["gemm"] * len(halves) / len(part)
    scan_rate, read_rate = (
        scanned_bytes / times["scan"] / 1e6,
        read_bytes / times["read"] / 1e6,
    )
    return {
        "exact_ms": times["scan"],
        "exact_gb_per_s": scan_rate,
        "memory_read_gb_per_s": read_rate,
        "memory_read_over_exact": read_rate / scan_rate,
        f"batch_of_{_BATCH}_ms": times["batch"],
        "gemm_of_same_size_ms": gemm_ms,
        "batch_over_gemm": times["batch"] / gemm_ms,
    }
