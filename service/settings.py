"""Settings: environment variables ``CIRCUMPLEX_*``, each read in one place only."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.audio import MAX_AUDIO_S


class Settings(BaseSettings):
    """Where things live and how much the service takes on; every field has a default."""

    model_config = SettingsConfigDict(env_prefix="CIRCUMPLEX_", frozen=True)

    home: Path = Field(
        Path("home"),
        description="Folder of the database, the bundles and the search index",
    )
    database_url: str = Field(
        "",
        description="Any SQLAlchemy URL; empty: SQLite in the home folder",
    )
    max_upload_bytes: int = Field(
        200_000_000,
        gt=0,
        description="Largest upload in bytes; a larger one is answered with 413",
    )
    max_audio_s: float = Field(
        MAX_AUDIO_S,
        gt=0,
        description="Longest recording in decoded seconds; a longer one is refused",
    )
    concurrent_encodings: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        gt=0,
        description="Searches and encodings that run at once; the others wait. "
        "Default: the number of cores",
    )
    queued_encodings: int = Field(
        32,
        ge=0,
        description="Searches and encodings that may wait; one more is answered with 503",
    )

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.home.resolve() / 'circumplex.db'}"

    @property
    def bundles_folder(self) -> Path:
        """Where registered bundles are kept."""
        return self.home / "bundles"

    @property
    def snapshots_folder(self) -> Path:
        """Where search indexes are kept."""
        return self.home / "snapshots"
