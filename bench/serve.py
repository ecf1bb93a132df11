"""A server's uploads: together against one by one, and what company costs a lone one.

A real server process, as ``circumplex serve`` runs it, is asked by as many clients at once, each of
which sends its next request when the last one is answered. One by one means that one client alone
does so. What the batcher costs a lone request is measured without HTTP, whose noise is larger than
it.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection

import httpx
import numpy as np

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
_PATIENCE_S = 120
_WARM_UP_S = 8.0  # a server starts processes when several uploads come at once


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
    uploads = [_upload(files[number % len(files)]) for number in range(clients)]
    with running_server(settings) as server, ThreadPoolExecutor(clients) as pool:
        host = server.address.removeprefix("http://")
        connections = [HTTPConnection(host, timeout=_PATIENCE_S) for _ in uploads]
        spent_s: dict[str, list[float]] = {"one_by_one": [], "together": []}

        def ask_one_by_one() -> None:
            for upload in uploads:
                _ask(connections[0], upload)

        def ask_often(client: int) -> None:
            for _ in range(_REQUESTS_EACH):
                _ask(connections[client], uploads[client])

        def counted(name: str, work: Callable[[], object]) -> Callable[[], None]:
            def run() -> None:
                before_s = server.processor_s()
                work()
                spent_s[name].append(server.processor_s() - before_s)

            return run

        until_s = time.monotonic() + _WARM_UP_S
        while time.monotonic() < until_s:
            list(pool.map(ask_often, range(clients)))
        times = medians_ms(
            {
                "one_by_one": counted("one_by_one", ask_one_by_one),
                "together": counted("together", lambda: list(pool.map(ask_often, range(clients)))),
                "lone": lambda: _ask(connections[0], uploads[0]),
            },
            rounds,
        )
        for connection in connections:
            connection.close()
    one_by_one_per_s = clients * 1_000 / times["one_by_one"]
    together_per_s = clients * _REQUESTS_EACH * 1_000 / times["together"]
    alone_s = float(np.median(spent_s["one_by_one"][1:])) / clients
    beside_s = float(np.median(spent_s["together"][1:])) / (clients * _REQUESTS_EACH)
    report: Report = {
        "duration_s": duration_s,
        "lone_ms": times["lone"],
        "one_by_one_per_s": one_by_one_per_s,
        "together_per_s": together_per_s,
        "together_over_one_by_one": together_per_s / one_by_one_per_s,
        "processor_ms_one_by_one": 1_000 * alone_s,
        "processor_ms_together": 1_000 * beside_s,
        "busy_cores_one_by_one": alone_s * one_by_one_per_s,
        "busy_cores_together": beside_s * together_per_s,
    }
    if isinstance(frontend, PatchFrontend):
        report |= _cost_of_company(settings, frontend, files[0], 2 * rounds)
    return report


def _upload(file: bytes) -> httpx.Request:
    """Write a request once, so that sending it costs its client next to nothing."""
    request = httpx.Request("POST", "http://localhost/", files={"audio": file})
    request.read()
    return request


def _ask(connection: HTTPConnection, upload: httpx.Request) -> None:
    headers = {"content-type": upload.headers["content-type"]}
    connection.request("POST", "/v1/search/emotions", upload.content, headers)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != HTTPStatus.OK:
        raise RuntimeError(f"an upload was answered {answer.status}: {body.decode()}")


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
