"""Segments: one opened from a snapshot's folder, mapped into memory, or one made in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.similarity import Encodings
from service.errors import StartError
from service.index.building import (
    ENCODINGS_FILE,
    FRAME_FILE,
    IDS_FILE,
    NAMES_FILE,
    SKETCH_ROWS_FILE,
    SKETCHES_FILE,
    TRAITS_FILE,
    WINDOWS_FILE,
    effort_of,
)
from service.index.flat import FlatIndex
from service.index.frame import Frame
from service.index.ids import id_array
from service.index.milvus import MilvusStore
from service.index.partition import Partition, SketchIndex
from service.index.shelf import EncodingRows, Segment
from service.index.sketch import Sketch
from service.index.traits import Traits
from service.index.vectors import HALVES_FILE, HalfVectors, search_device
from service.tables import WindowKey


@dataclass(frozen=True, eq=False)
class StoredEncodings:
    """Encodings as the database has them: ``rows`` (N, 3, D) float32, mapped into memory."""

    rows: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dimensions(self) -> int:
        """D."""
        return int(self.rows.shape[2])

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> Encodings:
        """Return the encodings of the given rows, in their order."""
        return Encodings.of_block(self.rows[rows])

    def block(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return all encodings, as they lie, and the given rows."""
        return self.rows, rows


@dataclass(frozen=True, eq=False)
class HalfEncodings:
    """Encodings read back from framed vectors (N, 3D) in half precision: float64, rounded."""

    halves: NDArray[np.float16]
    frame: Frame

    def __len__(self) -> int:
        return len(self.halves)

    @property
    def dimensions(self) -> int:
        """D."""
        return self.frame.dimensions

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> Encodings:
        """Return the encodings of the given rows, in their order."""
        return self.frame.encodings(self.halves[rows])

    def block(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.floating[Any]], NDArray[np.int64]]:
        """Return the given rows side by side (R, 3, D), and their places."""
        return self.take(rows).block(np.arange(len(rows)))


def open_segment(
    folder: Path, measured: dict[str, Any], device: str, store: MilvusStore | None = None
) -> Segment:
    """Open the files of a snapshot that :mod:`service.index.building` wrote.

    With ``store``, its sketches are searched there, where it was filled with them.

    Raises:
        StartError: the GPU that ``device`` asks for cannot be had, or ``store`` lacks the sketches.
    """
    arrays = dict(np.load(folder / FRAME_FILE))
    frame = Frame(arrays["shift"], arrays["centre"], arrays["scale"])
    try:
        chosen = search_device(device, (folder / HALVES_FILE).stat().st_size)
    except RuntimeError as error:
        raise StartError(f"{error}: set CIRCUMPLEX_SEARCH_DEVICE=auto") from error
    partition = None
    if (folder / SKETCHES_FILE).is_file():
        partition = Partition(
            Sketch(arrays["sketch_items"], arrays["sketch_queries"]),
            _mapped(folder / SKETCHES_FILE),
            _mapped(folder / SKETCH_ROWS_FILE),
            arrays["starts"],
            arrays["centroids"],
            arrays["spreads"],
            arrays["steps"],
        )
    index = SketchIndex(frame, HalfVectors.open(folder, chosen), partition, effort_of(measured))
    if (folder / ENCODINGS_FILE).is_file():
        encodings: EncodingRows = StoredEncodings(_mapped(folder / ENCODINGS_FILE))
    else:
        encodings = HalfEncodings(_mapped(folder / HALVES_FILE), frame)
    table, traits = _mapped(folder / WINDOWS_FILE), _read_traits(folder)
    owners = np.ascontiguousarray(table["track"])
    if store is not None:
        index = store.index(folder.name, index, traits, owners)
    return Segment(
        index,
        encodings,
        owners,
        _mapped(folder / IDS_FILE),
        table["start_s"],
        table["end_s"],
        traits,
    )


def _mapped(file: Path) -> NDArray[Any]:
    """Map an array into memory; a plain array over it, which numpy indexes faster than a memmap."""
    return np.asarray(np.load(file, mmap_mode="r"))


def _read_traits(folder: Path) -> Traits:
    arrays = dict(np.load(folder / TRAITS_FILE))
    names = json.loads((folder / NAMES_FILE).read_text())
    return Traits(
        arrays["artists"],
        names["artists"],
        arrays["bpm"],
        arrays["tag_starts"],
        arrays["tag_places"],
        names["tags"],
    )


def encodings_of(rows: Sequence[tuple[WindowKey, Any, Any, Any]], dimensions: int) -> Encodings:
    """Take the encodings (N, D) out of windows as the database streams them."""
    return Encodings(
        *(
            np.array([row[part] for row in rows], np.float32).reshape(-1, dimensions)
            for part in (1, 2, 3)
        )
    )


def segment_in_memory(
    windows: Iterable[tuple[WindowKey, Any, Any, Any]],
    dimensions: int,
    known: Iterable[tuple[str, str | None, float | None]] = (),
    tagged: Iterable[tuple[str, str]] = (),
) -> Segment:
    """Make a segment of windows in any order, searched exhaustively, with their tracks' traits."""
    rows = sorted(windows, key=lambda row: row[0])
    ids = sorted({key[0] for key, *_ in rows})
    places = {owner_id: place for place, owner_id in enumerate(ids)}
    encodings = encodings_of(rows, dimensions)
    owner_ids = id_array(ids)
    return Segment(
        FlatIndex.build(encodings),
        encodings,
        np.array([places[key[0]] for key, *_ in rows], np.int32),
        owner_ids,
        np.array([key[2] for key, *_ in rows], np.float64),
        np.array([key[3] for key, *_ in rows], np.float64),
        Traits.of(owner_ids, known, tagged),
    )
