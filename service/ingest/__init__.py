"""Recordings on disk → windows → encodings → database, resumable at any point.

A file is known by the SHA-256 of its content, so that a run does only what those before it did not.
Files are heard side by side, by threads of this process (:mod:`service.ingest.local`) or by the
actors of a Ray cluster (:mod:`service.ingest.cluster`); one writer commits what they heard.
"""

from service.ingest.cluster import ingest_files_on_ray
from service.ingest.local import ingest_files
from service.ingest.report import IngestReport

__all__ = ["IngestReport", "ingest_files", "ingest_files_on_ray"]
