"""Uploads that are heard together: the answers each would have got alone, or its own error."""

from __future__ import annotations

import concurrent.futures
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import helper

from models.bundle import save_bundle
from models.frontends import OnnxFrontend
from service import catalogue
from service.settings import Settings
from tests.conftest import tiny_bundle
from tests.models.graphs import write
from tests.service.conftest import Server, start_server, write_tone
from tests.service.test_errors import check_shape
from tests.service.test_uploads import wav

LENGTHS_S = (1.0, 2.5, 31.0, 4.0, 16.5, 1.2, 47.0, 3.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose model hears through a network over patches."""
    root = tmp_path_factory.mktemp("company")
    graph = write(
        root / "twice.onnx",
        [
            helper.make_node("ReduceMean", ["patches", "axes"], ["means"], keepdims=0),
            helper.make_node("Concat", ["means", "means"], ["embedding"], axis=1),
        ],
        inputs=[("patches", ["N", 1, 96, 64])],
        output=("embedding", ["N", 128]),
        constants={"axes": np.array([1, 2])},
    )
    bundle = tiny_bundle()
    bundle.frontend = OnnxFrontend(graph)
    bundle.manifest = replace(bundle.manifest, frontend=bundle.frontend.identity())
    save_bundle(bundle, root / "bundle")
    tones = [write_tone(root / f"tone-{number}.flac", number) for number in range(3)]
    settings = Settings(home=root / "home")
    assert catalogue.ingest(settings, tones, bundle=root / "bundle").added == 3
    running = start_server(settings.home)
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log.read_text()


@pytest.fixture(scope="module")
def uploads() -> list[bytes]:
    rng = np.random.default_rng(0)
    return [
        wav(np.convolve(rng.normal(0, 0.2, round(seconds * 16_000)), np.ones(8) / 8, "same"))
        for seconds in LENGTHS_S
    ]


def ask(server: Server, audio: bytes) -> httpx.Response:
    url = f"{server.client.base_url}/v1/search/emotions"
    return httpx.post(url, files={"audio": audio}, timeout=30)


def without_time(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    assert found.pop("took_ms") > 0
    return found


def test_answers_are_those_of_each_alone(server: Server, uploads: list[bytes]) -> None:
    alone = [without_time(ask(server, audio)) for audio in uploads]
    assert len({str(answer["results"]) for answer in alone}) == len(uploads)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda audio: ask(server, audio), uploads * 3))
    assert [without_time(response) for response in together] == alone * 3


def check_bad_recordings_fail_alone(server: Server, good: bytes) -> None:
    expected = without_time(ask(server, good))
    files = [good, b"no music", wav(np.zeros(32_000)), good] * 6
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        responses = list(pool.map(lambda audio: ask(server, audio), files))
    for number, response in enumerate(responses):
        if number % 4 in (1, 2):
            code = "audio_unreadable" if number % 4 == 1 else "audio_silent"
            check_shape(response, 422, code)
        else:
            assert without_time(response) == expected


def test_a_bad_recording_fails_alone(server: Server, uploads: list[bytes]) -> None:
    check_bad_recordings_fail_alone(server, uploads[1])


def test_clients_that_hang_up_disturb_nobody(server: Server, uploads: list[bytes]) -> None:
    expected = without_time(ask(server, uploads[3]))
    body = (
        b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n'
        + uploads[6]
        + b"\r\n--x--\r\n"
    )
    head = (
        b"POST /v1/search/emotions HTTP/1.1\r\nHost: x\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    for _ in range(6):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head + body)  # and hangs up
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        responses = list(pool.map(lambda _: ask(server, uploads[3]), range(6)))
    assert all(without_time(response) == expected for response in responses)


def test_a_server_with_recordings_under_way_stops_cleanly(
    server: Server, uploads: list[bytes]
) -> None:
    other = start_server(server.home)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, other, uploads[6]) for _ in range(4)]
        time.sleep(0.1)
        assert other.stop() == 0
        for future in asked:
            error = future.exception()
            assert isinstance(error, httpx.TransportError) or future.result().status_code == 200
    assert "Traceback" not in other.log.read_text()
