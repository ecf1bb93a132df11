"""Offline work on a home folder: registering bundles, ingesting, building and checking the index.

These are the functions that the command line calls; none of them knows HTTP.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle, BundleError, load_bundle
from models.frontends import FrontendError
from models.similarity import Encodings
from models.vggish import WeightsError
from service import repository
from service.database import Database
from service.emotions import seed_emotions
from service.errors import StartError
from service.index.shelf import Shelf
from service.index.snapshot import load_snapshot, windows_fingerprint, write_snapshot
from service.ingest import IngestReport, ingest_files
from service.ranking import window_scores
from service.settings import Settings
from service.tables import BundleRow, WindowKey

_NO_BUNDLE = (
    "no model is registered in {home}: train one with `circumplex train`, then "
    "`circumplex ingest PATH --bundle BUNDLE`"
)
_VERIFIED_QUERIES = 16  # of each kind
_VERIFIED_K = 10


@dataclass(frozen=True)
class IndexReport:
    """A search index: what it holds, and how many tracks the active bundle has not encoded."""

    id: str
    bundle_id: str
    tracks: int
    windows: int
    tracks_not_encoded: int


@dataclass(frozen=True)
class VerifyReport:
    """A verified search index: the share of true top-10 answers that the engine's answers hold.

    ``queries`` windows asked for their neighbours; ``recall`` is 1.0 where all agreed.
    """

    id: str
    tracks: int
    windows: int
    queries: int
    recall: float


def register_bundle(settings: Settings, folder: Path, *, activate: bool = True) -> str:
    """Copy a bundle into the home folder and the database; returns its id.

    Seeds the emotions that come with it. Registering the same bundle again changes nothing but,
    with ``activate``, which one is active.

    Raises:
        StartError: it is no sound bundle, or cannot hear recordings.
    """
    with closing(Database(settings.database)) as database:
        return _register(settings, database, folder, activate=activate)[1].id


def ingest(
    settings: Settings, paths: Sequence[Path], *, bundle: Path | None = None
) -> IngestReport:
    """Take recordings into the catalogue, then build the search index.

    With ``bundle``, the folder of a trained bundle, that one is registered, encodes the recordings,
    and becomes the active one once the index is about to be replaced; else the active one is used.

    Raises:
        StartError: there is no usable bundle.
    """
    with closing(Database(settings.database)) as database:
        if bundle is None:
            row, loaded = load_active_bundle(settings, database)
        else:
            row, loaded = _register(settings, database, bundle, activate=False)
        report = ingest_files(paths, database, loaded, max_audio_s=settings.max_audio_s)
        with database.writing() as session:
            seed_emotions(session, loaded)
            repository.activate_bundle(session, row.id)
        _build(settings, database, loaded)
    return report


def build_index(settings: Settings) -> IndexReport:
    """Build the search index of the active bundle from the database.

    Raises:
        StartError: there is no usable bundle.
    """
    with closing(Database(settings.database)) as database:
        _, bundle = load_active_bundle(settings, database)
        with database.writing() as session:
            seed_emotions(session, bundle)
        return _build(settings, database, bundle)


def verify_index(settings: Settings) -> VerifyReport:
    """Check the current index: its bytes, that it holds the database's windows, and its answers.

    The stored encodings are compared with the database's, number by number, and the answers of the
    engine to sample queries with an exhaustive float64 search.

    Raises:
        StartError: something does not agree; the text says what.
    """
    with closing(Database(settings.database)) as database:
        _, bundle = load_active_bundle(settings, database)
        snapshot = load_snapshot(settings.snapshots_folder, bundle.id)
        keys, encodings = _read_windows(database, bundle)
    same = all(
        np.array_equal(stored, here)
        for stored, here in (
            (snapshot.shelf.encodings.embedding, encodings.embedding),
            (snapshot.shelf.encodings.mean, encodings.mean),
            (snapshot.shelf.encodings.variance, encodings.variance),
        )
    )
    if not same or snapshot.windows_sha256 != windows_fingerprint(keys):
        raise StartError(
            "the search index does not hold the database's windows: "
            "build it again with `circumplex index build`"
        )
    queries, recall = _recall(snapshot.shelf, bundle)
    shelf = snapshot.shelf
    return VerifyReport(snapshot.id, len(shelf.owner_ids), len(shelf.encodings), queries, recall)


def load_active_bundle(settings: Settings, database: Database) -> tuple[BundleRow, Bundle]:
    """Load the active bundle of a home folder.

    Raises:
        StartError: there is none, or it is damaged.
    """
    with database.reading() as session:
        row = repository.active_bundle(session)
    if row is None:
        raise StartError(_NO_BUNDLE.format(home=settings.home))
    bundle = _load(settings.home / row.path)
    if bundle.id != row.id:
        raise StartError(
            f"{settings.home / row.path} is not the bundle that was registered: register it "
            "again with `circumplex ingest PATH --bundle BUNDLE`"
        )
    return row, bundle


def _load(folder: Path) -> Bundle:
    try:
        return load_bundle(folder)
    except (BundleError, FrontendError, WeightsError) as error:
        raise StartError(str(error)) from error


def _register(
    settings: Settings, database: Database, folder: Path, *, activate: bool
) -> tuple[BundleRow, Bundle]:
    bundle = _load(folder)
    if bundle.frontend is None:
        raise StartError(
            f"{folder} was trained on precomputed features and cannot hear recordings: "
            "train one with --frontend"
        )
    with database.reading() as session:
        rows = repository.bundles(session)
    row = next((row for row in rows if row.id == bundle.id), None)
    if row is None:
        name = _free_name(settings, folder, bundle.id, {other.name for other in rows})
        row = BundleRow(
            id=bundle.id,
            name=name,
            path=f"bundles/{name}",
            active=False,
            added_at=repository.now(),
        )
    _copy_bundle(folder, settings.home / row.path)
    with database.writing() as session:
        row = session.merge(row)
        session.flush()
        seed_emotions(session, bundle)
        if activate or repository.active_bundle(session) is None:
            repository.activate_bundle(session, row.id)
    return row, bundle


def _free_name(settings: Settings, folder: Path, bundle_id: str, taken: set[str]) -> str:
    name = folder.resolve().name
    place = settings.bundles_folder / name
    in_place = folder.resolve() == place.resolve()
    if name in taken or (place.exists() and not in_place):
        return f"{name}-{bundle_id[:8]}"
    return name


def _copy_bundle(folder: Path, home: Path) -> None:
    """Put a verified bundle in its place, whole or not at all, also over a damaged one."""
    if folder.resolve() == home.resolve():
        return
    partial = home.with_name(f".{home.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(folder, partial)
    shutil.rmtree(home, ignore_errors=True)
    partial.rename(home)


def _build(settings: Settings, database: Database, bundle: Bundle) -> IndexReport:
    keys, encodings = _read_windows(database, bundle)
    with database.reading() as session:
        missing = repository.count_tracks_without_windows(session, bundle.id)
    snapshot_id = write_snapshot(settings.snapshots_folder, bundle.id, keys, encodings)
    tracks = len({track_id for track_id, *_ in keys})
    return IndexReport(snapshot_id, bundle.id, tracks, len(keys), missing)


def _read_windows(database: Database, bundle: Bundle) -> tuple[list[WindowKey], Encodings]:
    """Read every window of a bundle, ordered by track id and position."""
    with database.reading() as session:
        rows = list(repository.stream_windows(session, bundle.id))
    rows.sort(key=lambda row: row[0])
    dimensions = bundle.manifest.music_tower.dimensions
    parts = [
        np.array([row[column] for row in rows], np.float32).reshape(-1, dimensions)
        for column in (1, 2, 3)
    ]
    return [row[0] for row in rows], Encodings(*parts)


def _recall(shelf: Shelf, bundle: Bundle) -> tuple[int, float]:
    """Compare the engine's own top 10 windows with the true ones, for music and curve queries."""
    k = min(_VERIFIED_K, len(shelf.encodings))
    if k == 0:
        return 0, 1.0
    weight, scale = bundle.manifest.weight, bundle.manifest.divergence_scale
    references = bundle.estimator.references
    queries = Encodings.stack(
        [
            shelf.encodings.take(_spread(len(shelf.encodings))),
            references.take(_spread(len(references))),
        ]
    )
    found = 0
    for row in range(len(queries)):
        query = queries.take([row])
        true = window_scores(shelf, query, weight=weight, divergence_scale=scale)
        proposed = shelf.index.propose(query, k, weight=weight, divergence_scale=scale).rows[0]
        # By score, so that of equal windows either may be the tenth.
        found += int((true[proposed] >= np.sort(true)[-k]).sum())
    return len(queries), found / (k * len(queries))


def _spread(count: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, count - 1, min(_VERIFIED_QUERIES, count)).astype(np.intp))
