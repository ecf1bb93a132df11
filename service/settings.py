"""Settings: environment variables ``CIRCUMPLEX_*``, each read in one place only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

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
    hearing_processes: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=0,
        description="Processes that hear uploads where several come at once, each with a model of "
        "its own in memory, no more than encodings that run at once; started when that first "
        "happens. Default: the number of cores",
    )
    queued_encodings: int = Field(
        32,
        ge=0,
        description="Searches and encodings that may wait; one more is answered with 503",
    )

    tempo: bool = Field(
        False,
        description="Whether ingest finds the tempo of recordings, also of known ones",
    )
    index_precision: Literal["single", "half"] = Field(
        "single",
        description="How an index keeps encodings: single for scores to the last digit, half for "
        "a third of the disk and scores to about three digits",
    )
    search_device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="Where exhaustive searches run; auto takes a GPU that the vectors fit into",
    )
    milvus_uri: str = Field(
        "",
        description="Where Milvus holds the index's sketches: a server's URL, or a path ending "
        "in .db for milvus-lite; empty: FAISS, in this process",
    )
    milvus_token: str = Field(
        "",
        repr=False,
        description="What Milvus knows this service by: user:password, or an API key",
    )
    compact_after: int = Field(
        10_000,
        ge=0,
        description="So many windows, new or gone since the index was built, let a server build it "
        "anew in the background; 0: never",
    )
    recall_every_s: float = Field(
        3_600.0,
        ge=0,
        description="How often a server compares its answers with an exhaustive search, for "
        "/metrics; 0: never",
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
