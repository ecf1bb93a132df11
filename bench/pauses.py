"""How long a search waits while a server takes in tracks and has its index built anew beside it.

A real server process is asked one query after the other; a second process meanwhile writes tracks
into its database, and the server compacts them away. What a query waits for more than usual is the
pause. Beside it an idle clock, that sleeps a millisecond at a time, says by how much the machine
itself was late.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import httpx
import numpy as np
from numpy.typing import NDArray

from bench.material import add_random_tracks, home_settings
from bench.server import running_server
from bench.timing import Report, machine
from service.database import Database
from service.index.snapshot import current_id
from service.repository import active_bundle
from service.settings import Settings

_AFTERWARDS_S = 3.0
_LONGEST_S = 600.0
_TICK_S = 0.001


def run(*, tracks: int = 20_000, added: int = 1_000, quiet_s: float = 10.0) -> Report:
    """Serve ``tracks`` of a few windows each, and add some more, enough for a new index."""
    with home_settings(None, tracks=tracks, references=20) as settings:
        with closing(Database(settings.database)) as database, database.reading() as session:
            bundle = active_bundle(session)
            assert bundle is not None
            bundle_id = bundle.id
        compacting = settings.model_copy(update={"compact_after": added})
        before = current_id(settings.snapshots_folder)
        with running_server(compacting) as server, httpx.Client(base_url=server.address) as client:
            ask = _query(client)
            _latencies_ms(ask, lambda: False, for_s=quiet_s / 5)
            quiet = _latencies_ms(ask, lambda: False, for_s=quiet_s)
            writer = _write_in_another_process(settings, bundle_id, tracks, added)
            with late_clock() as clock:
                changing = _latencies_ms(
                    ask, lambda: current_id(settings.snapshots_folder) != before
                )
                swapped = _latencies_ms(ask, lambda: False, for_s=_AFTERWARDS_S)
            if writer.wait() != 0 or current_id(settings.snapshots_folder) == before:
                raise RuntimeError("the tracks were not written, or the index was not built anew")
    usual = float(np.median(quiet))
    return {
        "machine": machine(),
        "tracks": tracks,
        "added": added,
        "phases": [
            {
                "phase": name,
                "queries": len(found),
                "p50_ms": float(np.median(found)),
                "p99_ms": float(np.quantile(found, 0.99)),
                "longest_ms": float(found.max()),
                "longest_pause_ms": float(found.max()) - usual,
            }
            for name, found in (
                ("quiet", quiet),
                ("tracks are written, an index is built", changing),
                ("the index is swapped", swapped),
            )
        ],
        "idle_clock_latest_ms": clock.latest_s * 1_000,
    }


def _query(client: httpx.Client) -> Callable[[], None]:
    rng = np.random.default_rng(0)

    def ask() -> None:
        arousal, valence = rng.uniform(-1, 1, 2)
        body = {
            "point": {"arousal": float(arousal), "valence": float(valence)},
            "k": 10,
            "weight": float(rng.uniform()),
        }
        client.post("/v1/search/tracks", json=body).raise_for_status()

    return ask


def _latencies_ms(
    ask: Callable[[], None], over: Callable[[], bool], *, for_s: float = _LONGEST_S
) -> NDArray[np.float64]:
    """Ask until ``over`` or for so long; returns how long each answer took."""
    found = []
    until_s = time.perf_counter() + for_s
    while not over() and time.perf_counter() < until_s:
        began_s = time.perf_counter()
        ask()
        found.append((time.perf_counter() - began_s) * 1_000)
    return np.array(found)


def _write_in_another_process(
    settings: Settings, bundle_id: str, first: int, count: int
) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "CIRCUMPLEX_HOME": str(settings.home)}
    command = [sys.executable, "-m", "bench.pauses", bundle_id, str(first), str(first + count)]
    return subprocess.Popen(command, env=environment)


class LateClock:
    """By how much a thread that only sleeps was woken too late, at most."""

    def __init__(self) -> None:
        self.latest_s = 0.0


@contextmanager
def late_clock() -> Iterator[LateClock]:
    """Watch how late the machine wakes a sleeper, as long as the block."""
    clock, over = LateClock(), threading.Event()

    def work() -> None:
        before_s = time.perf_counter()
        while not over.wait(_TICK_S):
            now_s = time.perf_counter()
            clock.latest_s = max(clock.latest_s, now_s - before_s - _TICK_S)
            before_s = now_s

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield clock
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    add_random_tracks(Settings(), sys.argv[1], range(int(sys.argv[2]), int(sys.argv[3])))
