"""Uploads and bodies that are broken, too large, too many, or not what they say."""

from __future__ import annotations

import concurrent.futures
import io
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from tests.service.conftest import Server, start_server
from tests.service.test_errors import check_shape


def wav(samples: np.ndarray, rate_hz: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV")
    return file.getvalue()


NOISE = np.random.default_rng(0).normal(0, 0.1, 32_000)


@pytest.mark.parametrize(
    ("audio", "status", "code"),
    [
        (b"", 422, "audio_empty"),
        (b"This is a text and no MP3." * 100, 422, "audio_unreadable"),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", 422, "audio_unreadable"),
        (wav(NOISE[:8_000]), 422, "audio_too_short"),
        (wav(np.zeros(32_000)), 422, "audio_silent"),
        (wav(np.tile(NOISE[:16_000], 91)), 413, "audio_too_long"),
    ],
)
def test_a_bad_recording(client: httpx.Client, audio: bytes, status: int, code: str) -> None:
    response = client.post("/v1/search/emotions", files={"audio": ("a.mp3", audio)})
    found = check_shape(response, status, code)
    assert found["errors"][0]["field"] == "audio"


@pytest.mark.parametrize(
    ("request_", "where"),
    [
        ({"files": {"sound": b"x"}}, "sound"),
        ({"files": {"audio": wav(NOISE)}, "data": {"k": "0"}}, "k"),
        ({"files": {"audio": wav(NOISE)}, "data": {"k": "ten"}}, "k"),
        ({"files": {"audio": wav(NOISE)}, "data": {"weight": "nan"}}, "weight"),
        ({"files": {"audio": wav(NOISE)}, "data": {"loud": "1"}}, "loud"),
        ({"files": {"audio": wav(NOISE)}, "data": {"k": ["1", "2"]}}, "k"),
        ({"files": {"audio": (None, b"text")}}, "audio"),
    ],
)
def test_a_bad_form_field_is_named(
    client: httpx.Client, request_: dict[str, Any], where: str
) -> None:
    found = check_shape(client.post("/v1/search/emotions", **request_), 422, "invalid_request")
    assert found["detail"].startswith(f"{where}: ")


@pytest.mark.parametrize("body", [b"--x\r\nnonsense", b"", b"--x\r\n\r\n--x--"])
def test_a_broken_form(client: httpx.Client, body: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    response = client.post("/v1/search/emotions", content=body, headers=headers)
    assert response.status_code in (400, 422)
    check_shape(response, response.status_code, response.json()["code"])


def read_answer(connection: socket.socket) -> bytes:
    answer = b""
    connection.settimeout(10)
    while block := connection.recv(65_536):
        answer += block
    return answer


def test_a_length_beyond_the_limit_is_refused_before_the_body(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            b"POST /v1/search/emotions HTTP/1.1\r\nHost: x\r\nContent-Length: 600000000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        )
        answer = read_answer(connection)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"code": "body_too_large"' in answer


def test_a_chunked_body_is_counted_as_it_arrives(server: Server) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a.mp3"\r\n\r\n'
    block = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    sent = 0
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            b"POST /v1/search/emotions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
            + b"%x\r\n%b\r\n"
            % (len(part), part)
        )
        connection.setblocking(False)
        answer = b""
        while not answer and sent < 600:
            try:
                answer = connection.recv(65_536)
            except BlockingIOError:
                connection.setblocking(True)
                connection.sendall(block)
                connection.setblocking(False)
                sent += 1
    assert answer.startswith(b"HTTP/1.1 413")
    assert sent < 100


def test_more_than_the_declared_length_harms_no_one(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            b"POST /v1/search/tracks HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n"
            b'Content-Type: application/json\r\n\r\n{"mood":"calm"}' + b"x" * 100_000
        )
        assert read_answer(connection).startswith(b"HTTP/1.1 200")
    assert server.client.get("/livez").status_code == 200


def test_uploads_leave_no_file_open(server: Server, real_recording: Path) -> None:
    audio = real_recording.read_bytes()  # large enough to be spooled to disk
    large = b"x" * 6_000_000
    form = (
        b"POST /v1/search/emotions HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        b'Content-Disposition: form-data; name="audio"; filename="a"\r\n\r\n'
    )
    server.client.post("/v1/search/emotions", files={"audio": audio})
    time.sleep(0.3)
    before = server.open_files()
    for _ in range(10):
        server.client.post("/v1/search/emotions", files={"audio": large[:3_000_000]})
        server.client.post("/v1/search/emotions", files={"audio": audio}, data={"k": "0"})
        server.client.post("/v1/search/emotions", files={"audio": large})
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(form + large[:2_000_000])  # and hangs up
    time.sleep(0.5)
    assert server.open_files() <= before + 2


def test_too_many_at_once_are_told_to_come_again(home: Path, real_recording: Path) -> None:
    server = start_server(
        home, CIRCUMPLEX_CONCURRENT_ENCODINGS="1", CIRCUMPLEX_QUEUED_ENCODINGS="1"
    )
    audio = real_recording.read_bytes()

    def upload(_: int) -> httpx.Response:
        return httpx.post(
            f"{server.client.base_url}/v1/search/emotions", files={"audio": audio}, timeout=30
        )

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(upload, range(8)))
    refused = [response for response in responses if response.status_code != 200]
    assert len(refused) < 8
    assert refused
    for response in refused:
        check_shape(response, 503, "overloaded")
        assert int(response.headers["retry-after"]) > 0
    assert server.stop() == 0
