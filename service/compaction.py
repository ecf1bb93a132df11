"""Building the index anew while a server goes on serving: in a process of its own, at low priority.

Run as ``python -m service.compaction``, with the settings in the environment. Of several servers
over one folder of snapshots, one builds; the others find that it does and leave.
"""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import sys

from service.catalogue import build_index
from service.errors import StartError
from service.settings import Settings

_LOWEST_PRIORITY = 19

logger = logging.getLogger(__name__)


def start_compaction(settings: Settings) -> subprocess.Popen[bytes]:
    """Start a process that builds the index of these settings, on one thread."""
    environment = {
        **os.environ,
        "CIRCUMPLEX_HOME": str(settings.home.resolve()),
        "CIRCUMPLEX_DATABASE_URL": settings.database,
        "CIRCUMPLEX_INDEX_PRECISION": settings.index_precision,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    return subprocess.Popen([sys.executable, "-m", "service.compaction"], env=environment)


def compact(settings: Settings) -> bool:
    """Build the index unless another process is at it; returns whether it was built.

    Raises:
        StartError: it cannot be built; the present one stays.
    """
    settings.snapshots_folder.mkdir(parents=True, exist_ok=True)
    with (settings.snapshots_folder / ".compacting").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        build_index(settings)
    return True


def main() -> int:
    """Compact by the environment's settings; the exit status says whether that went well."""
    os.nice(_LOWEST_PRIORITY)
    logging.basicConfig(level=logging.INFO)
    try:
        compact(Settings())
    except StartError as error:
        logger.error("the index was not built anew: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
