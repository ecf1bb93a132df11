"""Runs migrations on the connection it is handed, or on the database of the settings."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from service.database import open_engine
from service.settings import Settings
from service.tables import Base


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


handed = context.config.attributes.get("connection")
if handed is not None:
    _run(handed)
else:
    engine = open_engine(Settings().database)
    with engine.begin() as connection:
        _run(connection)
    engine.dispose()
