"""One network, many recordings: blocks of patches filled from all that wait.

While a block runs, what arrives gathers for the next; a recording that comes alone starts at once
and waits for no company. Recordings take turns, a block's worth at a time, so that an hour of
music delays a short piece by no more than one block for each that waits.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.features import BLOCK_PATCHES, PatchFrontend, block_of

Array = NDArray[np.float32]

logger = logging.getLogger(__name__)


class BatcherClosedError(RuntimeError):
    """The batcher was closed before the features were computed."""


class Batcher:
    """Computes features in a thread of its own, started by the first recording."""

    def __init__(self) -> None:
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, frontend: PatchFrontend, patches: Array) -> Future[Array]:
        """Ask for the features (T, F) of patches (T, 96, 64), the same bits as alone.

        Cancelling the future drops what has not been computed yet.

        Raises:
            BatcherClosedError: it is closed.
        """
        job = _Job(frontend, patches)
        with self._changed:
            if self._closed:
                raise BatcherClosedError
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
                self._thread.start()
            self._waiting.append(job)
            self._changed.notify()
        return job.future

    def close(self) -> None:
        """Finish the block under way, fail what waits, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        while parts := self._next_parts():
            try:
                _run(parts)
            except Exception:
                logger.exception("a block failed: each recording in it is tried alone")
                for part in parts:
                    _run_alone(part)

    def _next_parts(self) -> list[_Part]:
        """Wait for work and return what fills a block; nothing once closed."""
        with self._changed:
            while not self._closed:
                if parts := self._fill_block():
                    return parts
                self._changed.wait()
            for job in self._waiting:
                job.fail(BatcherClosedError())
            self._waiting.clear()
            return []

    def _fill_block(self) -> list[_Part]:
        """Take patches from the recordings in turn; who has more left goes to the end of the row.

        Recordings of another frontend than the first's keep their place for a block of their own.
        """
        parts: list[_Part] = []
        others: list[_Job] = []
        room = BLOCK_PATCHES
        while room and self._waiting:
            job = self._waiting.popleft()
            if job.future.done():
                continue
            if parts and job.frontend is not parts[0].job.frontend:
                others.append(job)
                continue
            parts.append(job.take(room))
            room -= len(parts[-1].patches)
        self._waiting.extendleft(reversed(others))
        if parts and parts[-1].job.has_more:
            self._waiting.append(parts[-1].job)
        return parts


class _Job:
    """One recording's patches, and its features as far as they are known."""

    def __init__(self, frontend: PatchFrontend, patches: Array) -> None:
        self.frontend = frontend
        self.future: Future[Array] = Future()
        self._patches = patches
        self._features = np.empty((len(patches), frontend.feature_size), np.float32)
        self._taken = 0

    @property
    def has_more(self) -> bool:
        return self._taken < len(self._patches)

    def take(self, room: int) -> _Part:
        first = self._taken
        self._taken = min(first + room, len(self._patches))
        return _Part(self, first, self._patches[first : self._taken])

    def put(self, first: int, features: Array) -> None:
        """Take in features; parts come in order, so behind the last patch all are there."""
        end = first + len(features)
        self._features[first:end] = features
        if end == len(self._patches) and self._settles():
            self.future.set_result(self._features)

    def fail(self, error: Exception) -> None:
        if self._settles():
            self.future.set_exception(error)

    def _settles(self) -> bool:
        """Tell whether an outcome is still asked for; from here on nobody can cancel."""
        return not self.future.done() and self.future.set_running_or_notify_cancel()


@dataclass(frozen=True, eq=False)
class _Part:
    """Patches (t, 96, 64) of one recording, from its ``first`` on, that share a block."""

    job: _Job
    first: int
    patches: Array


def _run(parts: list[_Part]) -> None:
    features = parts[0].job.frontend.run(block_of([part.patches for part in parts]))
    begin = 0
    for part in parts:
        part.job.put(part.first, features[begin : begin + len(part.patches)])
        begin += len(part.patches)


def _run_alone(part: _Part) -> None:
    try:
        _run([part])
    except Exception as error:  # noqa: BLE001
        part.job.fail(error)
