from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError

from service import repository
from service.database import Database, migrate, open_engine
from service.emotions import user_emotion
from service.repository import Position
from service.settings import Settings
from service.tables import Base, EmotionRow, WindowRow
from tests.conftest import random_curve


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'new' / 'circumplex.db'}"


def test_the_migrations_make_the_tables_of_the_code(url: str) -> None:
    migrate(url)
    engine = open_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_migrating_again_changes_nothing(url: str) -> None:
    migrate(url)
    database = Database(url)
    with database.writing() as session:
        session.add(user_emotion("kept", random_curve(np.random.default_rng(0), 60)))
    migrate(url)
    with database.reading() as session:
        assert [row.label for row in repository.emotions(session)] == ["kept"]
    database.close()


def test_sqlite_survives_power_loss_and_other_processes(url: str) -> None:
    migrate(url)
    engine = open_engine(url)
    with engine.connect() as connection:
        values = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()
    assert values == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 30_000,
    }


def test_a_window_needs_its_track(url: str) -> None:
    database = Database(url)
    orphan = np.zeros(3, np.float32)
    window = WindowRow(
        track_id="none",
        bundle_id="none",
        position=0,
        start_s=0.0,
        end_s=30.0,
        embedding=orphan,
        mean=orphan,
        variance=orphan,
    )
    with pytest.raises(IntegrityError), database.writing() as session:
        session.add(window)
    database.close()


def test_a_curve_comes_back_to_the_last_bit(url: str) -> None:
    database = Database(url)
    curve = random_curve(np.random.default_rng(1), 75)
    row = user_emotion("exact", curve)
    with database.writing() as session:
        session.add(row)
    with database.reading() as session:
        stored = session.get_one(EmotionRow, row.id)
        np.testing.assert_array_equal(stored.curve.reshape(-1, 2), curve.values)
        assert stored.added_at == row.added_at
    database.close()


def test_a_failed_block_writes_nothing(url: str) -> None:
    database = Database(url)
    curve = random_curve(np.random.default_rng(1), 60)

    def fail_half_way() -> None:
        with database.writing() as session:
            session.add(user_emotion("lost", curve))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    with database.reading() as session:
        assert repository.count_emotions(session) == 0
    database.close()


def test_pages_cover_a_list_once(database: Database) -> None:
    with database.reading() as session:
        seen: list[str] = []
        after: Position | None = None
        while rows := repository.page_of_tracks(session, after, 7):
            seen += [row.id for row in rows]
            after = Position(rows[-1].added_at, rows[-1].id)
        assert len(seen) == len(set(seen)) == repository.count_tracks(session)


def test_every_setting_says_what_it_is_for() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCUMPLEX_HOME", "/srv/circumplex")
    monkeypatch.setenv("CIRCUMPLEX_MAX_AUDIO_S", "60")
    settings = Settings()
    assert settings.database == "sqlite:////srv/circumplex/circumplex.db"
    assert settings.max_audio_s == 60
