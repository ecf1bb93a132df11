"""Engine, sessions and migrations."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from service.errors import DatabaseUnreachableError

_MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
_BUSY_TIMEOUT_MS = 30_000
_POOL_SIZE = 16
_POOL_OVERFLOW = 48  # more than the threads that may ask at once
_SHARED_POOL_SIZE, _SHARED_POOL_OVERFLOW = 4, 8
"""A server of databases admits 100 connections in all, as it comes: room for eight replicas.
Threads wait for one another's, which none holds for more than a query or two."""
_CONNECTED_S = 10
_JOURNAL_LOCK = 4_027_003_111  # the triggers' (migration 0002)
_MIGRATION_LOCK = 4_027_003_112

logger = logging.getLogger(__name__)


class Database:
    """A database that is migrated to this version of the code; sessions to read and to write."""

    def __init__(self, url: str) -> None:
        migrate(url)
        self._engine = open_engine(url)
        # One state for the length of a session, as SQLite gives it anyway.
        self._reading = self._engine
        if self._engine.dialect.name != "sqlite":
            self._reading = self._engine.execution_options(isolation_level="REPEATABLE READ")
        # SQLite: a transaction that reads first and writes later fails at once when another one
        # wrote in between; taking the write lock at the start waits for it instead.
        self._writing = self._engine.execution_options(sqlite_begin="IMMEDIATE")

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that sees one state of the database.

        Raises:
            DatabaseUnreachableError: it does not answer, or not in time.
        """
        with _reached(), Session(self._reading, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a session whose work is committed, durably, when the block ends without an error.

        Raises:
            DatabaseUnreachableError: it does not answer, or not in time; nothing is committed that
                the block was told of.
        """
        with (
            _reached(),
            Session(self._writing, expire_on_commit=False) as session,
            session.begin(),
        ):
            # Writers take turns, as on SQLite. The triggers take this lock too, but only after a
            # row is locked: two writers could each hold what the other waits for.
            _lock(session.connection(), _JOURNAL_LOCK)
            yield session

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


@contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except (OperationalError, PoolTimeoutError) as error:
        logger.warning("the database does not answer: %s", str(error).splitlines()[0])
        raise DatabaseUnreachableError from error


def open_engine(url: str) -> Engine:
    """Create an engine; a SQLite one is set up for several processes and for sudden power loss."""
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(
            url,
            pool_size=_SHARED_POOL_SIZE,
            max_overflow=_SHARED_POOL_OVERFLOW,
            pool_pre_ping=True,
            pool_timeout=_CONNECTED_S,
            connect_args={"connect_timeout": _CONNECTED_S},
        )
    path = make_url(url).database
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, pool_size=_POOL_SIZE, max_overflow=_POOL_OVERFLOW)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def migrate(url: str) -> None:
    """Bring the database to the newest migration, creating it where there is none."""
    engine = open_engine(url)
    try:
        with engine.execution_options(sqlite_begin="IMMEDIATE").begin() as connection:
            _lock(connection, _MIGRATION_LOCK)  # replicas start together
            command.upgrade(_alembic_config(connection), "head")
    finally:
        engine.dispose()


def _lock(connection: Connection, number: int) -> None:
    """Wait for a lock that this transaction holds to its end; SQLite has taken its own."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(number)))


def _alembic_config(connection: Connection) -> Config:
    config = Config(_MIGRATIONS / "alembic.ini")
    config.attributes["connection"] = connection
    return config


def _set_up_sqlite(connection: Any, record: Any) -> None:  # noqa: ARG001
    connection.isolation_level = None  # the driver's own BEGIN comes late; see _begin_sqlite
    for pragma in (
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")
