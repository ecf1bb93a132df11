"""What a running service does for itself: follow the database, compact, inspect its own index."""

from __future__ import annotations

import logging
import subprocess
import time

from service.compaction import is_under_way, start_compaction
from service.index.snapshot import damaged_file
from service.live import LiveService
from service.verification import Recall, brief_queries, measure_recall

logger = logging.getLogger(__name__)

_AGAIN_AFTER_S = 300.0


class Upkeep:
    """Called from time to time by the application, :meth:`follow` often, :meth:`inspect` rarely."""

    def __init__(self, live: LiveService) -> None:
        self._live = live
        self._building: subprocess.Popen[bytes] | None = None
        self._not_before_s = 0.0
        self._inspected = ""
        self.recall: Recall | None = None

    def follow(self) -> None:
        """Take over what changed; have the index built anew where much did."""
        self._live.refresh()
        if self._building is not None:
            if self._building.poll() is None:
                return
            if self._building.returncode != 0:
                logger.error("building the index failed; it is tried again later")
                self._not_before_s = time.monotonic() + _AGAIN_AFTER_S
            self._building = None
        settings, searcher = self._live.settings, self._live.searcher
        followed = searcher.followed
        if not 0 < settings.compact_after < followed.tail + followed.dead:
            return
        if time.monotonic() >= self._not_before_s and not is_under_way(settings):
            logger.info(
                "building the index anew: %d windows are new and %d are gone",
                followed.tail,
                followed.dead,
            )
            self._building = start_compaction(settings, searcher.snapshot.id)

    def inspect(self) -> None:
        """Read every byte of a snapshot once; compare answers with an exhaustive search's."""
        searcher = self._live.searcher
        if self._inspected != searcher.snapshot.id:
            path = damaged_file(searcher.snapshot)
            # What was replaced meanwhile may be gone from the disk.
            if path is not None and self._live.searcher.snapshot.id == searcher.snapshot.id:
                logger.error("%s does not match its checksum: build the index again", path)
                self._live.damaged = path
            else:
                self._live.damaged = None
            self._inspected = searcher.snapshot.id
        queries = brief_queries(searcher.tracks)
        self.recall = measure_recall(searcher.tracks, searcher.bundle, queries)

    def close(self) -> None:
        """Stop a build that is under way; what it wrote is dropped by the next one."""
        if self._building is not None and self._building.poll() is None:
            self._building.terminate()
            self._building.wait()
