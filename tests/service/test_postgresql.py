"""PostgreSQL as the database: migrations, the order of changes, and many at once."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import numpy as np
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, func, insert, select, text

from service import repository
from service.database import Database, _alembic_config, migrate, open_engine
from service.index.building import write_windows
from service.tables import Base, BundleRow, ChangeRow, TrackRow, WindowRow
from tests.service.postgres import Postgres

_NAMES = (f"database-{number}" for number in itertools.count())
DIMENSIONS = 4


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.create(next(_NAMES))


@pytest.fixture
def opened(url: str) -> Iterator[Database]:
    with closing(Database(url)) as database:
        with database.writing() as session:
            session.add(
                BundleRow(id="b", name="b", path="b", active=True, added_at=repository.now())
            )
        yield database


@contextmanager
def closing_engine(url: str) -> Iterator[Engine]:
    engine = open_engine(url)
    yield engine
    engine.dispose()


def track(track_id: str) -> TrackRow:
    return TrackRow(
        id=track_id,
        content_sha256=track_id,
        path=f"/music/{track_id}",
        title=track_id,
        duration_s=30.0,
        sample_rate_hz=16_000,
        channels=1,
        format="flac",
        size_bytes=1,
        added_at=repository.now(),
        windows=[window(0)],
    )


def window(position: int) -> WindowRow:
    values = np.full(DIMENSIONS, position + 1, np.float32)
    return WindowRow(
        bundle_id="b",
        position=position,
        start_s=15.0 * position,
        end_s=15.0 * position + 30.0,
        embedding=values,
        mean=values,
        variance=values,
    )


def test_the_migrations_make_the_tables_of_the_code_and_take_them_away(url: str) -> None:
    migrate(url)
    with closing_engine(url) as engine, engine.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        command.downgrade(_alembic_config(connection), "base")
        left = connection.execute(
            text(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' UNION ALL "
                "SELECT proname FROM pg_proc WHERE proname LIKE 'watch%'"
            )
        )
        assert left.scalars().all() == ["alembic_version"]
    migrate(url)
    with closing_engine(url) as engine, engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_replicas_that_start_together_migrate_once(url: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(migrate, [url] * 6))
    with closing(Database(url)) as database, database.reading() as session:
        assert repository.count_tracks(session) == 0
        assert repository.last_change(session) == 0


def test_a_follower_misses_no_change(opened: Database, url: str) -> None:
    """Numbers are given in the order of commits, whoever writes and however long it takes."""
    writers, rounds = 6, 12
    written: set[str] = set()
    seen: set[str] = set()
    done = threading.Event()

    def write(writer: int, how: Database) -> None:
        rng = np.random.default_rng(writer)
        for number in range(rounds):
            track_id = f"{writer}-{number}"
            # Half of the writers are not ours: no lock at the start, as in a psql session.
            by = how.writing() if writer % 2 else how.reading()
            with by as session:
                session.add(track(track_id))
                session.flush()
                time.sleep(rng.uniform(0, 0.01))
                if number % 4 == 3:
                    session.rollback()  # leaves a gap in the numbers
                    continue
                session.commit()
            with how.writing() as session:
                if number % 3 == 0:
                    repository.delete_track(session, track_id)
            written.add(track_id)

    def follow() -> int:
        polls, last = 0, 0
        with closing(Database(url)) as database:
            while True:
                finished = done.is_set()
                with database.reading() as session:
                    now = repository.last_change(session)
                    changed = repository.changed_tracks(session, "b", last)
                    count = session.scalar(
                        select(func.count()).select_from(ChangeRow).where(ChangeRow.number <= now)
                    )
                    counts.append((now, count or 0))
                seen.update(changed)
                last = now
                polls += 1
                if finished:
                    return polls

    counts: list[tuple[int, int]] = []
    with ThreadPoolExecutor(writers + 1) as pool:
        following = pool.submit(follow)
        with closing(Database(url)) as other:
            for future in [pool.submit(write, n, other) for n in range(writers)]:
                future.result(timeout=60)
        done.set()
        assert following.result(timeout=10) > 10
    assert len(written) == writers * rounds * 3 // 4
    assert seen == written
    # What a poll saw below its last number is what there ever was below it.
    with opened.reading() as session:
        numbers = np.array(session.scalars(select(ChangeRow.number).order_by("number")).all())
    assert [count for _, count in counts] == [
        int(np.searchsorted(numbers, now, side="right")) for now, _ in counts
    ]
    assert numbers[-1] > len(numbers), "there are gaps"


def test_writers_that_cross_do_not_deadlock(opened: Database) -> None:
    """One deletes what the other gives windows to, each in its own order."""
    with opened.writing() as session:
        session.add_all(track(f"t{number}") for number in range(8))

    def write(number: int) -> int:
        rng = np.random.default_rng(number)
        for turn in range(10):
            with opened.writing() as session:
                for place in rng.permutation(8):
                    asked = select(TrackRow).where(TrackRow.id == f"t{place}")
                    known = session.scalars(asked).one_or_none()
                    if known is None:
                        session.add(track(f"t{place}"))
                    elif (turn + number) % 2:
                        repository.delete_track(session, known.id)
                        session.expunge(known)
                    else:
                        known.bpm = float(rng.uniform(60, 180))
                    session.flush()
        return turn

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(write, number) for number in range(4)]
        assert [future.result(timeout=60) for future in futures] == [9, 9, 9, 9]


def test_more_threads_than_connections_wait_for_one_another(opened: Database) -> None:
    def read(_: int) -> int:
        with opened.reading() as session:
            used = session.scalar(
                text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
            )
            time.sleep(0.02)
            return int(used or 0)

    with ThreadPoolExecutor(40) as pool:
        used = list(pool.map(read, range(80)))
    assert max(used) <= 12


def test_a_reading_session_sees_one_state(opened: Database) -> None:
    with opened.reading() as session:
        before = repository.last_change(session)
        with opened.writing() as other:
            other.add(track("late"))
        assert repository.last_change(session) == before
        assert repository.count_tracks(session) == 0


def test_windows_stream_in_parts_and_are_written_by_id_whatever_the_order_of_text(
    opened: Database, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ids = ["B", "a", "Ab", "aB", "a-c", "ac", "_", "Z", "é"]
    with opened.writing() as session:
        session.add_all(track(track_id) for track_id in ids)
        session.flush()
        rows = [
            {
                **{key: value for key, value in vars(window(n)).items() if key[0] != "_"},
                "track_id": ids[n % len(ids)],
                "position": n,
            }
            for n in range(1, 2_500)  # more than one fetch
        ]
        session.execute(insert(WindowRow), rows)
    with opened.reading() as session:
        streamed = [key[0] for key, *_ in repository.stream_windows(session, "b")]
        assert list(dict.fromkeys(streamed)) != sorted(ids), "the database sorts otherwise"
        folder = tmp_path_factory.mktemp("written")
        count = repository.count_windows(session, "b")
        stream = repository.stream_windows(session, "b")
        assert write_windows(folder, stream, count, DIMENSIONS) == sorted(ids)
    encodings = np.load(folder / "encodings.npy")
    spans = np.load(folder / "windows.npy")
    assert count == len(encodings) == len(ids) + len(rows)
    assert (np.diff(spans["track"]) >= 0).all()
    for row, span in zip(encodings[:, 0, 0], spans, strict=True):
        position = round(float(row)) - 1
        owner = sorted(ids)[span["track"]]
        assert position == 0 or ids[position % len(ids)] == owner
        assert span["start_s"] == 15.0 * position


def test_a_database_that_comes_back_is_used_again(postgres: Postgres, opened: Database) -> None:
    with opened.reading() as session:
        assert repository.count_tracks(session) == 0
    postgres.stop()
    postgres.start()
    with opened.writing() as session:
        session.add(track("after"))
    with opened.reading() as session:
        assert repository.count_tracks(session) == 1
