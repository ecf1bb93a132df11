"""The shelf of tracks as the database has them now: a snapshot, less and more what changed since.

Every change of a track or its windows has a number (``changes``, written by triggers). What changed
after the number that a snapshot was made at is read from the database anew: its rows in the
snapshot are passed over, and its windows of now, if any, are searched beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from sqlalchemy.orm import Session

from service import repository
from service.errors import StartError
from service.index.protocol import Admission
from service.index.segment import segment_in_memory
from service.index.shelf import Shelf
from service.index.snapshot import Snapshot


@dataclass(frozen=True, eq=False)
class Followed:
    """A shelf that is up to date with the change of number ``change``.

    ``tail`` windows came after the snapshot, ``dead`` ones of it do not count any more.
    """

    shelf: Shelf
    change: int
    tail: int
    dead: int


def follow(session: Session, snapshot: Snapshot) -> Followed:
    """Bring a snapshot up to date.

    Raises:
        StartError: the database does not know the change that the snapshot was made at.
    """
    if not repository.knows_change(session, snapshot.change):
        raise StartError(
            "the search index was not made from this database: "
            "build it again with `circumplex index build`"
        )
    last = repository.last_change(session)
    changed = repository.changed_tracks(session, snapshot.bundle_id, snapshot.change)
    base = snapshot.segment
    if not changed:
        return Followed(Shelf.of(base), last, 0, 0)
    mask = np.ones(len(base), np.bool_)
    for track_id in changed:
        mask[base.rows_of(track_id)] = False
    tail = segment_in_memory(
        repository.stream_windows(session, snapshot.bundle_id, changed),
        base.encodings.dimensions,
        ((row.track_id, row.artist, row.bpm) for row in repository.stream_traits(session, changed)),
        repository.stream_tags(session, changed),
    )
    alive = Admission(mask)
    shelf = Shelf((base, tail), (alive, None)) if len(tail) else Shelf((base,), (alive,))
    return Followed(shelf, last, len(tail), len(base) - alive.count)


def catch_up(session: Session, snapshot: Snapshot, known: Followed) -> Followed:
    """Bring a state of the shelf up to date; returns itself where nothing changed.

    Changes of another bundle's windows, of which an ingest with a new model makes millions, are
    counted and move nothing.

    Raises:
        StartError: as :func:`follow`.
    """
    last = repository.last_change(session)
    if last == known.change:
        return known
    if not repository.changed_tracks(session, snapshot.bundle_id, known.change):
        return replace(known, change=last)
    return follow(session, snapshot)
