"""Offline work on a home folder: registering bundles, ingesting, building and checking the index.

These are the functions that the command line calls; none of them knows HTTP.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from models.bundle import Bundle, BundleError, load_bundle
from models.frontends import FrontendError
from models.vggish import WeightsError
from service import repository
from service.database import Database
from service.emotions import seed_emotions
from service.errors import StartError
from service.following import follow
from service.index.building import Examiners
from service.index.milvus import open_store
from service.index.snapshot import (
    Snapshot,
    SnapshotSource,
    building_alone,
    changes_needed,
    load_snapshot,
    write_snapshot,
)
from service.ingest import IngestReport, ingest_files, ingest_files_on_ray
from service.settings import Settings
from service.tables import BundleRow
from service.verification import measure_recall, require_whole

_NO_BUNDLE = (
    "no model is registered in {home}: train one with `circumplex train`, then "
    "`circumplex ingest PATH --bundle BUNDLE`"
)
_BESIDE_WINDOWS = 256
_BESIDE_SHARE = 0.02
"""So many windows, or such a share, may have changed before ``ingest`` builds the index anew."""


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
    """A verified search index: the share of true top-10 answers that its answers hold.

    ``queries`` windows asked for tracks; ``recall`` is 1.0 where all agreed.
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
    settings: Settings,
    paths: Sequence[Path],
    *,
    bundle: Path | None = None,
    ray_address: str | None = None,
) -> IngestReport:
    """Take recordings into the catalogue; build the search index where much of it changed.

    With ``bundle``, the folder of a trained bundle, that one is registered, encodes the recordings,
    and becomes the active one once the index is about to be replaced; else the active one is used.
    With ``ray_address``, recordings are heard by that Ray cluster, by one of this machine for
    ``local``; else by threads of this process.

    Raises:
        StartError: there is no usable bundle, or no such cluster.
    """
    with closing(Database(settings.database)) as database:
        if bundle is None:
            row, loaded = load_active_bundle(settings, database, threads=1)
        else:
            row, loaded = _register(settings, database, bundle, activate=False, threads=1)
        if ray_address is None:
            report = ingest_files(
                paths, database, loaded, max_audio_s=settings.max_audio_s, tempo=settings.tempo
            )
        else:
            report = ingest_files_on_ray(
                paths,
                database,
                loaded,
                settings.home / row.path,
                address=ray_address,
                max_audio_s=settings.max_audio_s,
                tempo=settings.tempo,
            )
        with database.writing() as session:
            seed_emotions(session, loaded)
            repository.activate_bundle(session, row.id)
        if _worth_building(settings, database, loaded):
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


def fill_index(settings: Settings) -> IndexReport:
    """Bring the current index into Milvus as the settings say, from where that was broken off.

    Raises:
        StartError: the settings name no Milvus, it cannot be used, or there is no usable index.
    """
    store = open_store(settings.milvus_uri, settings.milvus_token)
    if store is None:
        raise StartError("CIRCUMPLEX_MILVUS_URI is empty: there is nothing to fill")
    with closing(Database(settings.database)) as database:
        _, bundle = load_active_bundle(settings, database)
        snapshot = load_snapshot(settings.snapshots_folder, bundle.id)
        store.fill(snapshot.id, snapshot.segment)
        with database.reading() as session:
            missing = repository.count_tracks_without_windows(session, bundle.id)
    segment = snapshot.segment
    return IndexReport(snapshot.id, bundle.id, len(segment.owner_ids), len(segment), missing)


def verify_index(settings: Settings) -> VerifyReport:
    """Check the current index: its bytes, that it holds the database's windows, and its answers.

    The stored encodings are compared with the database's, number by number, and the answers of the
    engine to sample queries with an exhaustive search.

    Raises:
        StartError: something does not agree; the text says what.
    """
    with closing(Database(settings.database)) as database:
        _, bundle = load_active_bundle(settings, database)
        snapshot = load_current_snapshot(settings, bundle.id)
        with database.reading() as session:
            followed = follow(session, snapshot)
            require_whole(session, snapshot, followed)
        shelf = followed.shelf
        measured = measure_recall(shelf, bundle)
    return VerifyReport(
        snapshot.id, shelf.owner_count, shelf.windows, measured.queries, measured.recall
    )


def load_active_bundle(
    settings: Settings, database: Database, *, threads: int = 0
) -> tuple[BundleRow, Bundle]:
    """Load the active bundle of a home folder; ``threads`` as for :func:`load_bundle`.

    Raises:
        StartError: there is none, or it is damaged.
    """
    with database.reading() as session:
        row = repository.active_bundle(session)
    if row is None:
        raise StartError(_NO_BUNDLE.format(home=settings.home))
    bundle = _load(settings.home / row.path, threads)
    if bundle.id != row.id:
        raise StartError(
            f"{settings.home / row.path} is not the bundle that was registered: register it "
            "again with `circumplex ingest PATH --bundle BUNDLE`"
        )
    return row, bundle


def load_current_snapshot(settings: Settings, bundle_id: str) -> Snapshot:
    """Load the current snapshot, to be searched where and as the settings say.

    Raises:
        StartError: as :func:`service.index.snapshot.load_snapshot`, or Milvus cannot be used.
    """
    store = open_store(settings.milvus_uri, settings.milvus_token)
    return load_snapshot(
        settings.snapshots_folder, bundle_id, device=settings.search_device, store=store
    )


def _load(folder: Path, threads: int = 0) -> Bundle:
    try:
        return load_bundle(folder, threads=threads)
    except (BundleError, FrontendError, WeightsError) as error:
        raise StartError(str(error)) from error


def _register(
    settings: Settings, database: Database, folder: Path, *, activate: bool, threads: int = 0
) -> tuple[BundleRow, Bundle]:
    bundle = _load(folder, threads)
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
    """Build an index from one state of the database, then drop the changes it has in it.

    One process at a time does, from reading to forgetting: of two builds the later one must have
    the later state.
    """
    store = open_store(settings.milvus_uri, settings.milvus_token)
    with building_alone(settings.snapshots_folder):
        with database.reading() as session:
            source = SnapshotSource(
                bundle.id,
                repository.last_change(session),
                repository.count_windows(session, bundle.id),
                bundle.manifest.music_tower.dimensions,
                repository.stream_windows(session, bundle.id),
                ((row.track_id, row.artist, row.bpm) for row in repository.stream_traits(session)),
                repository.stream_tags(session),
            )
            missing = repository.count_tracks_without_windows(session, bundle.id)
            examiners = Examiners(bundle.estimator.references, bundle.manifest.divergence_scale)
            written = write_snapshot(
                settings.snapshots_folder, source, examiners, settings.index_precision, store
            )
        needed = changes_needed(settings.snapshots_folder)
        if needed is not None:
            with database.writing() as session:
                repository.forget_changes(session, needed)
    return IndexReport(written.id, bundle.id, written.tracks, written.windows, missing)


def _worth_building(settings: Settings, database: Database, bundle: Bundle) -> bool:
    """Return whether what changed is too much to be searched beside the present index.

    Where there is none, or it is another model's or damaged, it is.
    """
    try:
        snapshot = load_snapshot(settings.snapshots_folder, bundle.id)
        with database.reading() as session:
            followed = follow(session, snapshot)
    except StartError:
        return True
    changed = followed.tail + followed.dead
    return changed > max(_BESIDE_WINDOWS, _BESIDE_SHARE * len(snapshot.segment))
