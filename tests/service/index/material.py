"""Encodings that look learned: few hidden numbers behind many dimensions, for items and queries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.similarity import Encodings
from service.index.building import Examiners, Precision, write_index, write_traits, write_windows
from service.index.ids import id_array
from service.index.segment import open_segment
from service.index.shelf import Segment
from service.index.traits import Traits
from service.tables import WindowKey

SCALE = 0.02
HIDDEN = 5


@dataclass(frozen=True)
class Towers:
    """Random smooth maps from hidden numbers to encodings; queries come with a little noise."""

    dimensions: int
    seed: int = 0

    def encode(self, hidden: np.ndarray, noise: float = 0.0) -> Encodings:
        rng = np.random.default_rng(self.seed)
        maps = rng.normal(size=(3, HIDDEN, self.dimensions)) / np.sqrt(HIDDEN)
        shifts = rng.normal(size=(3, self.dimensions))
        noisy = hidden + noise * np.random.default_rng(1).normal(size=hidden.shape)
        embedding, mean, spread = (
            np.tanh(noisy @ each + shift) for each, shift in zip(maps, shifts, strict=True)
        )
        return Encodings(
            embedding.astype(np.float32),
            (3 + mean).astype(np.float32),
            (0.05 + np.log1p(np.exp(spread))).astype(np.float32),
        )

    def items(self, count: int, seed: int = 2) -> Encodings:
        return self.encode(np.random.default_rng(seed).normal(size=(count, HIDDEN)))

    def queries(self, count: int, seed: int = 3) -> Encodings:
        return self.encode(np.random.default_rng(seed).normal(size=(count, HIDDEN)), noise=0.1)


def windows_of(items: Encodings, per_track: int = 1) -> list[tuple[WindowKey, Any, Any, Any]]:
    """Windows as the database streams them: ``per_track`` of each track, its id the number."""
    rows: list[tuple[WindowKey, Any, Any, Any]] = []
    for row in range(len(items)):
        track, position = divmod(row, per_track)
        key = (f"{track:07}", position, 15.0 * position, 15.0 * position + 30)
        rows.append((key, items.embedding[row], items.mean[row], items.variance[row]))
    return rows


def write_segment(
    folder: Path,
    items: Encodings,
    curves: Encodings,
    *,
    per_track: int = 1,
    precision: Precision = "single",
) -> Segment:
    """Build a segment as a snapshot does; artist n % 100, tag ``half`` for even ones, a tempo."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = write_windows(folder, windows_of(items, per_track), len(items), items.dimensions)
    known = [(each, f"Artist {int(each) % 100}", 60 + int(each) / len(ids) * 100) for each in ids]
    tagged = [(each, "half") for each in ids if int(each) % 2 == 0]
    tagged += [(each, "rare") for each in ids if int(each) % 10_000 == 7]
    write_traits(folder, Traits.of(id_array(ids), known, tagged))
    measured = write_index(folder, Examiners(curves, SCALE), precision)
    return open_segment(folder, measured, "cpu")


PARTITIONED = 21_000
