"""Is the search index what the database says, and does it find what an exhaustive search finds?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from models.bundle import Bundle
from models.similarity import Encodings
from service import repository
from service.errors import StartError
from service.following import Followed
from service.index.partition import SketchIndex
from service.index.segment import encodings_of
from service.index.shelf import Shelf
from service.index.snapshot import Snapshot, damaged_file
from service.ranking import rank

RECALL_K = 10
_QUERIES = 16  # of each kind
_BRIEFLY_SCANNED = 200_000_000
_WEIGHTS = (0.0, 0.5, 1.0)
_ADVICE = "build it again with `circumplex index build`"


@dataclass(frozen=True)
class Recall:
    """The share of true best 10 tracks that answers hold, over so many queries."""

    queries: int
    recall: float


def measure_recall(shelf: Shelf, bundle: Bundle, queries: int = _QUERIES) -> Recall:
    """Compare answers with those of an exhaustive search, for curves and recordings, at several λ.

    By score, so that of equal tracks either may be the tenth.
    """
    if shelf.windows == 0:
        return Recall(0, 1.0)
    scale = bundle.manifest.divergence_scale
    weights = sorted({*_WEIGHTS, bundle.manifest.weight})
    asked = _queries(shelf, bundle, queries)
    found = wanted = 0
    for weight in weights:
        for row in range(len(asked)):
            answers, truth = (
                rank(
                    shelf,
                    asked.take([row]),
                    RECALL_K,
                    weight=weight,
                    divergence_scale=scale,
                    exact=exact,
                )
                for exact in (False, True)
            )
            least = truth[-1].score
            found += sum(hit.score >= least for hit in answers)
            wanted += len(truth)
    return Recall(len(asked) * len(weights), found / wanted)


def brief_queries(shelf: Shelf) -> int:
    """Return how many queries of each kind a server may measure recall with while it answers.

    Fewer where the catalogue is large, so that two hundred million windows are read at most: some
    seconds of both cores.
    """
    scans = 2 * (len(_WEIGHTS) + 1)
    return max(1, min(_QUERIES, _BRIEFLY_SCANNED // (scans * max(shelf.windows, 1))))


def _queries(shelf: Shelf, bundle: Bundle, count: int) -> Encodings:
    references = bundle.estimator.references
    living = [
        first + (np.arange(len(segment)) if alive is None else alive.rows)
        for segment, alive, first in zip(
            shelf.segments, shelf.alive, shelf.first_rows, strict=False
        )
    ]
    rows = np.concatenate(living)
    return Encodings.stack(
        [
            shelf.take(rows[_spread(len(rows), count)]),
            references.take(_spread(len(references), count)),
        ]
    )


def _spread(total: int, count: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, total - 1, min(count, total)).astype(np.intp))


def require_whole(session: Session, snapshot: Snapshot, followed: Followed) -> None:
    """Check every byte of a snapshot, and every number in it against the database's.

    Raises:
        StartError: something does not agree; the text says what.
    """
    damaged = damaged_file(snapshot)
    if damaged is not None:
        raise StartError(f"{damaged} is missing or does not match its checksum: {_ADVICE}")
    changed = set(repository.changed_tracks(session, snapshot.bundle_id, snapshot.change))
    seen = 0
    for track_id, rows in _tracks(repository.stream_windows(session, snapshot.bundle_id)):
        if track_id not in changed:
            seen += _require_same(snapshot, track_id, rows)
    if seen != len(snapshot.segment) - followed.dead:
        raise StartError(f"the search index holds windows that the database does not: {_ADVICE}")


def _tracks(stream: Iterator[Any]) -> Iterator[tuple[str, list[Any]]]:
    for track_id, rows in groupby(stream, key=lambda row: row[0][0]):
        yield track_id, list(rows)


def _require_same(snapshot: Snapshot, track_id: str, rows: Sequence[Any]) -> int:
    segment = snapshot.segment
    places = segment.rows_of(track_id)
    here = encodings_of(rows, segment.encodings.dimensions)
    spans = [(row[0][2], row[0][3]) for row in rows]
    same = len(places) == len(rows) and np.array_equal(
        spans, np.stack([segment.starts_s[places], segment.ends_s[places]], axis=1)
    )
    if same and snapshot.measured["precision"] == "single":
        stored = segment.encodings.take(places)
        same = all(
            np.array_equal(getattr(stored, name), getattr(here, name))
            for name in ("embedding", "mean", "variance")
        )
    if same:
        assert isinstance(segment.index, SketchIndex)
        same = segment.index.holds(places, here)
    if not same:
        raise StartError(
            f"the search index does not hold the database's windows of track {track_id}: {_ADVICE}"
        )
    return len(rows)
