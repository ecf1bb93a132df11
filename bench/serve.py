"""A server's uploads: together against one by one, and what company costs a lone one.

A real server process, as ``circumplex serve`` runs it, is asked by as many clients at once, each of
which sends its next request when the last one is answered. One by one means that one client alone
does so. What the batcher costs a lone request is measured without HTTP, whose noise is larger than
it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import httpx

from bench.encode import random_weights
from bench.material import home_settings, mp3
from bench.server import running_server
from bench.timing import Report, machine, medians_ms
from models.features import PatchFrontend
from models.frontends import Frontend, LogMelFrontend
from models.vggish_frontend import VGGishFrontend
from service.batching import Batcher
from service.listening import answer, hear, listen
from service.live import LiveService
from service.retrieval import Limits
from service.settings import Settings

_REQUESTS_EACH = 4


def run(
    *,
    clients: int = 16,
    durations_s: tuple[float, ...] = (5.0, 30.0),
    rounds: int = 5,
    tracks: int = 60,
    frontends: tuple[str, ...] = ("logmel", "vggish"),
) -> Report:
    """Measure a server with each frontend; VGGish's weights are random."""
    report: Report = {"machine": machine(), "clients": clients}
    for name in frontends:
        with (
            _frontend(name) as frontend,
            home_settings(None, tracks=tracks, frontend=frontend) as settings,
        ):
            report[name] = [
                _one(settings, frontend, clients, duration_s, rounds) for duration_s in durations_s
            ]
    return report


@contextmanager
def _frontend(name: str) -> Iterator[Frontend]:
    if name == "logmel":
        yield LogMelFrontend()
        return
    with random_weights() as weights:
        yield VGGishFrontend(weights)


def _one(
    settings: Settings, frontend: Frontend, clients: int, duration_s: float, rounds: int
) -> Report:
    files = [mp3(duration_s, seed) for seed in range(4)]
    uploads = [files[number % len(files)] for number in range(clients)]
    with (
        running_server(settings) as address,
        ThreadPoolExecutor(clients) as pool,
        httpx.Client(base_url=address, timeout=120) as client,
    ):

        def ask(file: bytes) -> httpx.Response:
            return client.post("/v1/search/emotions", files={"audio": file}).raise_for_status()

        times = medians_ms(
            {
                "one_by_one": lambda: [ask(file) for file in uploads],
                "together": lambda: list(pool.map(ask, uploads * _REQUESTS_EACH)),
                "lone": lambda: ask(files[0]),
            },
            rounds,
        )
    one_by_one_per_s = clients * 1_000 / times["one_by_one"]
    together_per_s = clients * _REQUESTS_EACH * 1_000 / times["together"]
    report: Report = {
        "duration_s": duration_s,
        "lone_ms": times["lone"],
        "one_by_one_per_s": one_by_one_per_s,
        "together_per_s": together_per_s,
        "together_over_one_by_one": together_per_s / one_by_one_per_s,
    }
    if isinstance(frontend, PatchFrontend):
        report |= _cost_of_company(settings, frontend, files[0], 2 * rounds)
    return report


def _cost_of_company(
    settings: Settings, frontend: PatchFrontend, file: bytes, rounds: int
) -> Report:
    """Time one upload, with nobody beside it, through the batcher and without it."""
    limits = Limits()
    with closing(LiveService(settings)) as live, closing(Batcher()) as batcher:
        searcher = live.searcher

        def batched() -> object:
            listened = listen(searcher, frontend, io.BytesIO(file), settings.max_audio_s)
            features = batcher.submit(frontend, listened.patches).result()
            return answer(listened, features, limits)

        def alone() -> object:
            return hear(searcher, io.BytesIO(file), limits, settings.max_audio_s)

        functions: dict[str, Callable[[], object]] = {"batched": batched, "alone": alone}
        times = medians_ms(functions, rounds)
    return {
        "lone_batched_ms": times["batched"],
        "lone_unbatched_ms": times["alone"],
        "lone_batched_over_unbatched": times["batched"] / times["alone"],
    }
