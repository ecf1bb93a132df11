"""Time left over the whole of a reproduction, whose rows go on side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from models.progress import Progress


class Timed(NamedTuple):
    """What a task is called, the epochs it counts, and its cost beside the others'."""

    label: str
    epochs: int
    cost: int


class Clock:
    """Turns epochs of rows into progress of the whole, with the time that is left."""

    def __init__(self, tasks: Sequence[Timed], progress: Progress) -> None:
        self._tasks = tasks
        self._progress = progress
        self._shares = [0.0] * len(tasks)
        self._resumed = [0.0] * len(tasks)
        self._started: set[int] = set()
        self._since_s = time.monotonic()

    def reach(self, number: int, epoch: int) -> None:
        """Task ``number`` has done so many epochs."""
        self._set(number, epoch / self._tasks[number].epochs)

    def finish(self, number: int) -> None:
        """Task ``number`` is done and written down."""
        self._set(number, 1.0)

    def _set(self, number: int, share: float) -> None:
        if number not in self._started:  # what a checkpoint had says nothing of the speed
            self._started.add(number)
            self._resumed[number] = share if share < 1 else 0.0
        self._shares[number] = share
        done = self._done(self._shares)
        fresh = done - self._done(self._resumed)
        left = sum(task.cost for task in self._tasks) - done
        text = self._tasks[number].label
        if fresh > 0:
            left_s = left * (time.monotonic() - self._since_s) / fresh
            text += f", {_in_words(left_s)} left"
        self._progress.note(text)
        self._progress.reach(round(done))

    def _done(self, shares: Sequence[float]) -> float:
        return sum(share * task.cost for share, task in zip(shares, self._tasks, strict=True))


def _in_words(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
