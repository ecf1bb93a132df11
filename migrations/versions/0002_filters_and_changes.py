"""Tempo and tags of tracks, and the journal of changes that running services follow.

Triggers write the journal, so that whoever changes a track or its windows, by whatever statement,
is heard. On PostgreSQL a lock makes changes commit in the order of their numbers: a reader that has
seen number n has seen all below it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_WATCHED = (
    ("windows_insert", "INSERT", "windows", "NEW.track_id, NEW.bundle_id"),
    ("windows_update", "UPDATE", "windows", "NEW.track_id, NEW.bundle_id"),
    ("windows_delete", "DELETE", "windows", "OLD.track_id, OLD.bundle_id"),
    ("tracks_update", "UPDATE OF artist, bpm", "tracks", "NEW.id, NULL"),
    ("tracks_delete", "DELETE", "tracks", "OLD.id, NULL"),
    ("track_tags_insert", "INSERT", "track_tags", "NEW.track_id, NULL"),
    ("track_tags_delete", "DELETE", "track_tags", "OLD.track_id, NULL"),
)
_JOURNAL_LOCK = 4_027_003_111


def upgrade() -> None:
    op.add_column("tracks", sa.Column("bpm", sa.Float(53), nullable=True))
    op.create_table(
        "track_tags",
        sa.Column("track_id", sa.String(64), nullable=False),
        sa.Column("tag", sa.String(100), nullable=False),
        sa.PrimaryKeyConstraint("track_id", "tag", name="pk_track_tags"),
        sa.ForeignKeyConstraint(
            ["track_id"], ["tracks.id"], name="fk_track_tags_track_id_tracks", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "changes",
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            autoincrement=True,
        ),
        sa.Column("track_id", sa.String(64), nullable=False),
        sa.Column("bundle_id", sa.String(64), nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_changes"),
        sqlite_autoincrement=True,
    )
    if op.get_bind().dialect.name == "postgresql":
        _watch_postgresql()
    else:
        _watch_sqlite()


def _watch_sqlite() -> None:
    for name, event, table, changed in _WATCHED:
        op.execute(
            f"CREATE TRIGGER watch_{name} AFTER {event} ON {table} BEGIN "
            f"INSERT INTO changes (track_id, bundle_id) VALUES ({changed}); END"
        )


def _watch_postgresql() -> None:
    for name, event, table, changed in _WATCHED:
        op.execute(
            f"CREATE FUNCTION watch_{name}() RETURNS trigger AS $$ BEGIN "
            f"PERFORM pg_advisory_xact_lock({_JOURNAL_LOCK}); "
            f"INSERT INTO changes (track_id, bundle_id) VALUES ({changed}); RETURN NULL; "
            "END $$ LANGUAGE plpgsql"
        )
        op.execute(
            f"CREATE TRIGGER watch_{name} AFTER {event} ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION watch_{name}()"
        )


def downgrade() -> None:
    for name, _, table, _ in _WATCHED:
        if op.get_bind().dialect.name == "postgresql":
            op.execute(f"DROP TRIGGER watch_{name} ON {table}")
            op.execute(f"DROP FUNCTION watch_{name}()")
        else:
            op.execute(f"DROP TRIGGER watch_{name}")
    op.drop_table("changes")
    op.drop_table("track_tags")
    with op.batch_alter_table("tracks") as tracks:
        tracks.drop_column("bpm")
