"""Rows side by side: on a CPU one process a core, each on one thread; on a GPU one after another.

The stacked products of one row are too small to share among threads, and rows need nothing of each
other. One thread always, so that numbers do not depend on how many cores there are.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar, cast

import torch

from models.processes import end_with_parent

C = TypeVar("C")
T = TypeVar("T")
R = TypeVar("R")

Work = Callable[[C, T, Callable[[int], None]], R]
"""Does a task in a context and tells as it goes how many units are done."""


class RowError(RuntimeError):
    """A row that could not be trained; the text says what went wrong in its process."""


def run_tasks(
    work: Work[C, T, R],
    context: C,
    tasks: Sequence[T],
    *,
    workers: int,
    on_progress: Callable[[int, int], None],
) -> Iterator[tuple[int, R]]:
    """Do all tasks, ``workers`` at once; yield (task's number, result) as they are done.

    ``on_progress`` gets a task's number and its units done. One worker is this process; more are
    processes of their own, which end with this one, however it ends.

    Raises:
        RowError: a worker process failed, or was ended from outside.
    """
    if min(workers, len(tasks)) <= 1:
        with _one_thread():
            for number, task in enumerate(tasks):
                yield number, work(context, task, lambda done, n=number: on_progress(n, done))  # type: ignore[misc]
        return
    pool = _Pool(work, context, min(workers, len(tasks)))
    try:
        yield from pool.run(tasks, on_progress)
    finally:
        pool.end()


class _Pool(Generic[C, T, R]):
    """Worker processes, each at the other end of a pipe."""

    def __init__(self, work: Work[C, T, R], context: C, workers: int) -> None:
        # Spawned, not forked: a fork would copy the locks of whatever threads the caller runs.
        spawn = multiprocessing.get_context("spawn")
        self._processes, self._connections = [], []
        for _ in range(workers):
            here, there = spawn.Pipe()
            process = spawn.Process(target=_serve, args=(there, work, context), daemon=True)
            process.start()
            there.close()
            self._processes.append(process)
            self._connections.append(here)

    def run(
        self, tasks: Sequence[T], on_progress: Callable[[int, int], None]
    ) -> Iterator[tuple[int, R]]:
        waiting = list(enumerate(tasks))
        at_work: dict[Connection, int] = {}
        for connection in self._connections:
            at_work[connection] = waiting[0][0]
            connection.send(waiting.pop(0)[1])
        while at_work:
            for ready in wait(list(at_work)):
                connection = cast("Connection", ready)
                number = at_work[connection]
                kind, value = _received(connection)
                if kind == "done":
                    on_progress(number, value)
                    continue
                if kind == "failed":
                    raise RowError(value)
                del at_work[connection]
                if waiting:
                    at_work[connection] = waiting[0][0]
                    connection.send(waiting.pop(0)[1])
                yield number, value

    def end(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()


def _received(connection: Connection) -> tuple[str, Any]:
    try:
        message: tuple[str, Any] = connection.recv()
    except EOFError:
        raise RowError("a worker process was ended, perhaps for want of memory") from None
    return message


def _serve(connection: Connection, work: Work[C, T, R], context: C) -> None:
    """Do tasks from the pipe until it closes; runs in a worker process."""
    torch.set_num_threads(1)
    end_with_parent()
    while True:
        try:
            task = connection.recv()
            result = work(context, task, lambda done: connection.send(("done", done)))
            connection.send(("result", result))
        except (EOFError, BrokenPipeError, KeyboardInterrupt):
            return  # whoever asked is gone, or going
        except Exception as error:  # noqa: BLE001  it is the other process that can tell the user
            connection.send(("failed", f"{type(error).__name__}: {error}"))


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
