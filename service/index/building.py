"""Builds the files of a segment from windows that stream by, without ever holding φ in memory.

The encodings are written as they come; whatever follows reads them from there: a sample to choose
the frame and fit the sketch, then block by block the vectors in half precision and the sketches.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from models.progress import Progress
from models.similarity import Encodings
from service.errors import StartError
from service.index.exam import Exam
from service.index.frame import Floats32, Frame
from service.index.ids import id_array
from service.index.partition import Effort, Partition
from service.index.sketch import Sketch, fit_sketch
from service.index.traits import Traits
from service.index.tuning import WEIGHTS, tune
from service.index.vectors import CONSTANTS_FILE, HALVES_FILE, HalfVectors
from service.tables import WindowKey

Precision = Literal["single", "half"]
WindowStream = Iterable[tuple[WindowKey, Any, Any, Any]]

ENCODINGS_FILE, WINDOWS_FILE, IDS_FILE = "encodings.npy", "windows.npy", "tracks.npy"
FRAME_FILE, TRAITS_FILE, NAMES_FILE = "frame.npz", "traits.npz", "names.json"
SKETCHES_FILE, SKETCH_ROWS_FILE = "sketches.npy", "sketch_rows.npy"
WINDOW_TYPE = np.dtype([("track", "<i4"), ("start_s", "<f8"), ("end_s", "<f8")])

PARTITION_FROM = 8_000
"""So many windows are searched through a partition; fewer are scanned, which takes as long."""

_SAMPLE = 20_000
_ROWS_AT_ONCE = 8_192
_FITTING_QUERIES, _JUDGING_QUERIES, _EXAM_QUERIES = 256, 64, 128
_LEAST_AGREEMENT = 0.999
_LEAST_RECALL = 0.99
_SEED = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Examiners:
    """What an index is fitted to and measured with: encoded curves (Q, D), and how KL is scaled."""

    curves: Encodings
    divergence_scale: float


def write_windows(folder: Path, windows: WindowStream, count: int, dimensions: int) -> list[str]:
    """Write encodings and the table of windows as they stream by; returns the sorted owner ids.

    The stream may order text as its database does; what is written is ordered by id.

    Raises:
        StartError: there are more or fewer than ``count`` windows.
    """
    encodings = np.lib.format.open_memmap(
        folder / ENCODINGS_FILE, "w+", "<f4", (count, 3, dimensions)
    )
    spans = np.zeros(count, WINDOW_TYPE)
    ids: list[str] = []
    row = -1
    for row, (key, *parts) in enumerate(windows):
        track_id, _, start_s, end_s = key
        if row == count:
            raise _changed()
        if not ids or ids[-1] != track_id:
            ids.append(track_id)
        encodings[row] = parts
        spans[row] = (len(ids) - 1, start_s, end_s)
    if row + 1 != count:
        raise _changed()
    if any(first >= second for first, second in pairwise(ids)):
        _reorder(encodings, spans, ids)
        ids.sort()
    encodings.flush()
    np.save(folder / WINDOWS_FILE, spans)
    np.save(folder / IDS_FILE, id_array(ids))
    return ids


def _changed() -> StartError:
    return StartError("the windows changed while they were read: build the index again")


def _reorder(encodings: NDArray[Any], spans: NDArray[Any], ids: list[str]) -> None:
    """Bring windows whose database sorts text by another rule into the order of their ids."""
    order = np.argsort(np.array(ids), kind="stable")
    new_place = np.empty(len(ids), np.int32)
    new_place[order] = np.arange(len(ids))
    spans["track"] = new_place[spans["track"]]
    rows = np.argsort(spans["track"], kind="stable")
    spans[:] = spans[rows]
    encodings[:] = encodings[rows]


def write_traits(folder: Path, traits: Traits) -> None:
    """Write what tracks can be filtered by."""
    np.savez(
        folder / TRAITS_FILE,
        artists=traits.artists,
        bpm=traits.bpm,
        tag_starts=traits.tag_starts,
        tag_places=traits.tag_places,
    )
    names = {"artists": list(traits.artist_names), "tags": list(traits.tag_names)}
    (folder / NAMES_FILE).write_text(json.dumps(names, ensure_ascii=False) + "\n")


def write_index(folder: Path, examiners: Examiners, precision: Precision) -> dict[str, Any]:
    """Write vectors, sketches and cells beside the encodings; returns what was measured.

    Raises:
        StartError: ``half`` precision would change more than one in a thousand of the best 10.
    """
    stored = np.load(folder / ENCODINGS_FILE, mmap_mode="r")
    rng = np.random.default_rng(_SEED)
    rows = np.sort(rng.choice(len(stored), min(_SAMPLE, len(stored)), replace=False))
    sample = Encodings.of_block(stored[rows])
    frame = Frame.of(sample)
    framed = frame.items(sample)
    kinds = {"curves": examiners.curves, "recordings": sample}
    fitting, judging, asking = _split(kinds, rng)
    measured: dict[str, Any] = {"precision": precision}
    sketch = None
    if len(stored) >= PARTITION_FROM:
        sketch = fit_sketch(frame, framed, fitting, judging, examiners.divergence_scale)
        logger.info("sketches of %d numbers", sketch.rank)
    exam = Exam.of(frame, asking, WEIGHTS, examiners.divergence_scale)
    sketches = _write_vectors(folder, stored, frame, sketch, exam)
    vectors = HalfVectors.open(folder)
    if len(stored):
        measured["half_precision_agreement"] = exam.half_precision_agreement(vectors)
    arrays: dict[str, Any] = {"shift": frame.shift, "centre": frame.centre, "scale": frame.scale}
    if sketch is not None:
        partition = Partition.build(sketch, sketches)
        effort, recalls = tune(partition, exam)
        if min(recalls.values()) < _LEAST_RECALL:
            logger.warning(
                "sketches hold only %.1f %% of the best ten: every search will be exhaustive",
                100 * min(recalls.values()),
            )
        else:
            arrays |= _write_partition(folder, partition)
            measured |= {
                "rank": sketch.rank,
                "cells": partition.cells,
                "visited_cells": effort.cells,
                "candidates": effort.candidates,
                "recall_at_10": recalls,
            }
    np.savez(folder / FRAME_FILE, **arrays)
    if precision == "half":
        _drop_single_precision(folder, measured)
    return measured


def _write_partition(folder: Path, partition: Partition) -> dict[str, NDArray[Any]]:
    """Write the sketches; returns the small arrays that go with the frame's."""
    np.save(folder / SKETCHES_FILE, partition.codes)
    np.save(folder / SKETCH_ROWS_FILE, partition.rows)
    return {
        "sketch_items": partition.sketch.items,
        "sketch_queries": partition.sketch.queries,
        "starts": partition.starts,
        "centroids": partition.centroids,
        "spreads": partition.spreads,
        "steps": partition.steps,
    }


def _split(
    kinds: dict[str, Encodings], rng: np.random.Generator
) -> tuple[list[Encodings], dict[str, Encodings], dict[str, Encodings]]:
    """Draw queries of each kind to fit to, to choose the rank by, and to measure with."""
    fitting: list[Encodings] = []
    judging: dict[str, Encodings] = {}
    asking: dict[str, Encodings] = {}
    for kind, known in kinds.items():
        if not len(known):
            continue
        order = rng.permutation(len(known))
        wanted = np.cumsum([_JUDGING_QUERIES, _EXAM_QUERIES, _FITTING_QUERIES])
        # Where there are few, a third serves each purpose.
        bounds = np.minimum(wanted, [len(known) // 3, 2 * len(known) // 3, len(known)])
        first, second, third = (
            known.take(part) for part in np.split(order[: bounds[2]], bounds[:2])
        )
        judging[kind] = first if len(first) else known
        asking[kind] = second if len(second) else known
        fitting.append(third)
    return fitting, judging, asking


def _write_vectors(
    folder: Path, stored: NDArray[np.float32], frame: Frame, sketch: Sketch | None, exam: Exam
) -> Floats32:
    """Write half-precision vectors; returns the sketches (N, r), r 0 without a sketch."""
    count, columns = len(stored), 3 * frame.dimensions
    halves = np.lib.format.open_memmap(folder / HALVES_FILE, "w+", "<f2", (count, columns))
    constants = np.empty(count, "<f4")
    sketches = np.empty((count, 0 if sketch is None else sketch.rank), np.float32)
    with Progress("Writing vectors", count, "windows") as progress:
        for first, block in _blocks(stored):
            vectors = frame.items(block)
            part = slice(first, first + len(vectors))
            halves[part] = torch.from_numpy(vectors[:, :-1]).half().numpy()
            constants[part] = vectors[:, -1]
            if sketch is not None:
                sketches[part] = vectors @ sketch.items
            exam.see(first, vectors)
            progress.advance(len(vectors))
    halves.flush()
    np.save(folder / CONSTANTS_FILE, constants)
    return sketches


def _blocks(stored: NDArray[np.float32]) -> Iterator[tuple[int, Encodings]]:
    for first in range(0, len(stored), _ROWS_AT_ONCE):
        yield first, Encodings.of_block(np.asarray(stored[first : first + _ROWS_AT_ONCE]))


def _drop_single_precision(folder: Path, measured: dict[str, Any]) -> None:
    agreement = measured.get("half_precision_agreement", 1.0)
    if agreement < _LEAST_AGREEMENT:
        raise StartError(
            f"in half precision {1 - agreement:.2%} of the best ten would change: build with "
            "CIRCUMPLEX_INDEX_PRECISION=single"
        )
    (folder / ENCODINGS_FILE).unlink()


def effort_of(measured: dict[str, Any]) -> Effort:
    """Read how far to look from what :func:`write_index` measured."""
    return Effort(int(measured.get("visited_cells", 1)), int(measured.get("candidates", 1)))
