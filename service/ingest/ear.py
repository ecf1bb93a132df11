"""What an actor of a Ray cluster does: it holds a bundle, and hears the files it is given."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from models.bundle import load_bundle
from models.tempo import load_librosa
from models.threads import single_threaded
from service.ingest.hearing import Hearer, Wanted
from service.ingest.outcome_table import PATH_COLUMN, Settled, to_table

Digests = NDArray[np.bytes_]
"""SHA-256 of contents, sorted: (n,) of 32 bytes. Ten million are 320 MB, once on each machine."""


@dataclass(frozen=True)
class Errand:
    """What every actor is told.

    ``bundle_files`` refers to a bundle's files by their names, ``encoded`` to the
    :data:`Digests` that need no encoding, ``with_tempo`` to those that need no tempo, None where no
    tempo is asked for. A batch is heard by ``threads`` threads.
    """

    bundle_files: ray.ObjectRef[dict[str, bytes]]
    encoded: ray.ObjectRef[Digests]
    with_tempo: ray.ObjectRef[Digests] | None
    max_audio_s: float
    threads: int


class Ear:
    """Hears batches of files; each thread computes by itself, so that actors share a machine."""

    def __init__(self, errand: Errand) -> None:
        """Load the bundle out of the object store: machines need no folder in common for it."""
        self._threads = errand.threads
        ExitStack().enter_context(single_threaded())  # as long as the actor lives
        self._encoded = ray.get(errand.encoded)
        self._with_tempo = None if errand.with_tempo is None else ray.get(errand.with_tempo)
        if self._with_tempo is not None:
            load_librosa()
        with TemporaryDirectory(prefix="circumplex-bundle-") as folder:
            for name, content in ray.get(errand.bundle_files).items():
                (Path(folder) / name).write_bytes(content)
            bundle = load_bundle(Path(folder), threads=1)
        self._hearer = Hearer(bundle, self._wanted, max_audio_s=errand.max_audio_s)

    def __call__(self, batch: dict[str, NDArray[Any]]) -> pa.Table:
        """Hear the files of a batch; returns one row a file."""
        with ThreadPoolExecutor(self._threads) as pool:
            return to_table(pool.map(self._hear, batch[PATH_COLUMN].tolist()))

    def _hear(self, path: str) -> Settled:
        started_s = time.thread_time()
        outcome = self._hearer.hear(Path(path))
        return Settled(path, outcome, time.thread_time() - started_s)

    def _wanted(self, sha256: str) -> Wanted:
        return Wanted(
            encoding=not contains_digest(self._encoded, sha256),
            tempo=self._with_tempo is not None and not contains_digest(self._with_tempo, sha256),
        )


def sorted_digests(contents_sha256: Iterable[str]) -> Digests:
    """Return the digests of contents given in hexadecimal."""
    digests: Digests = np.fromiter(map(bytes.fromhex, contents_sha256), "S32")
    digests.sort()
    return digests


def contains_digest(digests: Digests, sha256: str) -> bool:
    """Tell whether a content, given in hexadecimal, is among the digests."""
    # As S32, numpy drops zeros at the end; strings that are all 32 long stay different without.
    digest = np.bytes_(bytes.fromhex(sha256).rstrip(b"\0"))
    place = int(np.searchsorted(digests, digest))
    return place < len(digests) and bool(digests[place] == digest)
