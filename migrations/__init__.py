"""Alembic migrations: the only way that tables come to be."""
