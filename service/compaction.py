"""Building the index anew while a server goes on serving: in a process of its own, at low priority.

Run as ``python -m service.compaction ID``, with the settings in the environment; ID is the index
to be replaced. Of several servers over one folder of snapshots one builds; the others find that it
does, or has done so, and leave.
"""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from service.catalogue import build_index
from service.errors import StartError
from service.index.snapshot import current_id
from service.settings import Settings

_LOWEST_PRIORITY = 19

logger = logging.getLogger(__name__)


def start_compaction(settings: Settings, snapshot_id: str) -> subprocess.Popen[bytes]:
    """Start a process that builds the index of these settings in place of one, on one thread."""
    environment = {
        **os.environ,
        "CIRCUMPLEX_HOME": str(settings.home.resolve()),
        "CIRCUMPLEX_DATABASE_URL": settings.database,
        "CIRCUMPLEX_INDEX_PRECISION": settings.index_precision,
        "CIRCUMPLEX_MILVUS_URI": settings.milvus_uri,
        "CIRCUMPLEX_MILVUS_TOKEN": settings.milvus_token,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "service.compaction", snapshot_id]
    return subprocess.Popen(command, env=environment)


def is_under_way(settings: Settings) -> bool:
    """Return whether a process is building the index, of this server or another."""
    with _only_one(settings) as first:
        return not first


def compact(settings: Settings, snapshot_id: str) -> bool:
    """Build the index in place of one; returns whether it was built.

    It is not where another process is at it, or has replaced that one already.

    Raises:
        StartError: it cannot be built; the present one stays.
    """
    with _only_one(settings) as first:
        if not first or current_id(settings.snapshots_folder) != snapshot_id:
            return False
        build_index(settings)
    return True


@contextmanager
def _only_one(settings: Settings) -> Iterator[bool]:
    """Try to become the one process that compacts; it ceases to be with the block."""
    settings.snapshots_folder.mkdir(parents=True, exist_ok=True)
    with (settings.snapshots_folder / ".compacting").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def main() -> int:
    """Compact by the environment's settings; the exit status says whether that went well."""
    os.nice(_LOWEST_PRIORITY)
    logging.basicConfig(level=logging.INFO)
    try:
        compact(Settings(), sys.argv[1])
    except StartError as error:
        logger.error("the index was not built anew: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
