"""Every error has one shape and says what to do; none says anything of the inside."""

from __future__ import annotations

import concurrent.futures
import io
import json
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from service import repository
from service.database import Database
from service.errors import problem
from service.settings import Settings
from tests.service.conftest import Server, start_server

FLAT = {"arousal": [0.0], "valence": [0.0]}


def wav(samples: np.ndarray, rate_hz: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV")
    return file.getvalue()


def check_shape(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert response.status_code == status, body
    assert response.headers["content-type"] == "application/problem+json"
    assert set(body) - {"errors"} == {"type", "title", "status", "detail", "code", "request_id"}
    assert body["status"] == status
    assert body["code"] == code, body
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["title"]
    assert body["detail"]
    for text in ("Traceback", "site-packages", "/service/", "sqlalchemy"):
        assert text not in response.text
    return body


def tracks(**body: Any) -> tuple[str, str, dict[str, Any]]:
    # By hand, since httpx refuses to write NaN.
    return "POST", "/v1/search/tracks", {"content": json.dumps(body), "headers": JSON}


JSON = {"Content-Type": "application/json"}
LONG = [0.0] * 7_201

CURVES: list[tuple[dict[str, Any], str, str]] = [
    ({"arousal": [0.0, float("nan")], "valence": [0, 0]}, "curve.arousal[1]", "is nan"),
    ({"arousal": [0.0], "valence": [float("inf")]}, "curve.valence[0]", "is inf"),
    ({"arousal": [0, 0], "valence": [0]}, "curve.valence", "2 points"),
    ({"arousal": [0] * 4, "valence": [0, 0, 0, 1.4]}, "curve.valence[3]", "is 1.4, outside"),
    ({"arousal": [0.5], "valence": [0.5], "scale": "sam9"}, "curve.valence[0]", "[1, 9]"),
    ({"arousal": [], "valence": []}, "curve.valence", "has 0 points"),
    ({"arousal": LONG, "valence": LONG}, "curve.valence", "has 7201 points"),
    ({**FLAT, "rate_hz": 0}, "curve.rate_hz", "is 0"),
    ({**FLAT, "rate_hz": float("nan")}, "curve.rate_hz", "is nan"),
    ({"arousal": [0, 0], "valence": [0, 0], "times_s": [1, 1]}, "curve.times_s[1]", "increas"),
    ({"arousal": [0, 0], "valence": [0, 0], "rate_hz": 0.0001}, "curve.rate_hz", "an hour"),
]


@pytest.mark.parametrize(("curve", "where", "what"), CURVES)
@pytest.mark.parametrize("path", ["/v1/search/tracks", "/v1/emotions"])
def test_a_bad_curve_is_named(
    client: httpx.Client, path: str, curve: dict[str, Any], where: str, what: str
) -> None:
    body = {"curve": curve} if "search" in path else {"curve": curve, "label": "x"}
    response = client.post(path, content=json.dumps(body), headers=JSON)
    found = check_shape(response, 422, "invalid_curve")
    assert found["detail"].startswith(f"{where}: ")
    assert what in found["detail"]
    field, _, index = where.rstrip("]").partition("[")
    assert found["errors"][0]["field"] == field
    assert found["errors"][0]["index"] == (int(index) if index else None)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"mood": "calm", "k": 0}, "k"),
        ({"mood": "calm", "k": 101}, "k"),
        ({"mood": "calm", "k": "3"}, "k"),
        ({"mood": "calm", "k": 1.5}, "k"),
        ({"mood": "calm", "weight": float("nan")}, "weight"),
        ({"mood": "calm", "weight": 1.01}, "weight"),
        ({"mood": "calm", "wieght": 1}, "wieght"),
        ({"mood": "calm", "\ud800": 1}, "body"),
        ({"mood": "calm", "max_per_artist": 0}, "max_per_artist"),
        ({"mood": "calm", "exclude_tracks": [1]}, "exclude_tracks[0]"),
        ({"curve": {**FLAT, "hz": 2}}, "curve.hz"),
        ({"curve": {**FLAT, "scale": "percent"}}, "curve.scale"),
        ({"curve": {**FLAT, "rate_hz": 2, "times_s": [0]}}, "curve"),
        ({"curve": {"arousal": [True], "valence": [0]}}, "curve.arousal[0]"),
        ({"curve": {"arousal": [0, "1"], "valence": [0, 0]}}, "curve.arousal[1]"),
        ({"curve": {"arousal": [10**400], "valence": [0]}}, "curve.arousal[0]"),
        ({"curve": {"arousal": [0.0]}}, "curve.valence"),
        ({"mood": "calm", "point": {"arousal": 0, "valence": 0}}, "body"),
        ({}, "body"),
        ([], "body"),
    ],
)
def test_a_bad_field_is_named(client: httpx.Client, body: Any, where: str) -> None:
    response = client.post("/v1/search/tracks", content=json.dumps(body), headers=JSON)
    found = check_shape(response, 422, "invalid_request")
    assert found["detail"].startswith(f"{where}: "), found


@pytest.mark.parametrize(
    ("label", "why"),
    [("", "label"), ("  ", "label"), ("a\0b", "label"), ("\ud800", "label"), ("x" * 201, "label")],
)
def test_a_bad_label_is_named(client: httpx.Client, label: str, why: str) -> None:
    body = json.dumps({"label": label, "curve": FLAT})
    response = client.post("/v1/emotions", content=body, headers=JSON)
    assert check_shape(response, 422, "invalid_request")["detail"].startswith("label: ")


ERRORS: list[tuple[str, str, dict[str, Any], int, str]] = [
    (*tracks(mood="calmish"), 422, "unknown_mood"),
    (*tracks(point={"arousal": 2, "valence": 0}), 422, "invalid_curve"),
    ("POST", "/v1/search/tracks", {"content": b"{", "headers": JSON}, 422, "invalid_request"),
    ("POST", "/v1/search/tracks", {"content": b"{}"}, 422, "invalid_request"),
    ("POST", "/v1/search/tracks", {"content": b"\xff", "headers": JSON}, 400, "bad_request"),
    (
        "POST",
        "/v1/search/tracks",
        {"content": b"[" * 100_000, "headers": JSON},
        400,
        "bad_request",
    ),
    ("POST", "/v1/search/tracks", {"content": b" " * 1_000_001}, 413, "body_too_large"),
    ("GET", "/v1/search/tracks", {}, 405, "method_not_allowed"),
    ("POST", "/v1/search/similar", {"json": {"track_id": "nope"}}, 404, "track_not_found"),
    ("POST", "/v1/search/similar", {"json": {"track_id": "a\0b"}}, 404, "track_not_found"),
    ("POST", "/v1/search/emotions", {"json": {}}, 415, "unsupported_media_type"),
    ("POST", "/v1/search/emotions", {"content": b""}, 415, "unsupported_media_type"),
    ("GET", "/v1/tracks", {"params": {"limit": 0}}, 422, "invalid_request"),
    ("GET", "/v1/tracks", {"params": {"limit": "ten"}}, 422, "invalid_request"),
    ("GET", "/v1/tracks", {"params": {"page": 1}}, 422, "invalid_request"),
    ("GET", "/v1/tracks", {"params": {"cursor": "x"}}, 422, "invalid_cursor"),
    ("GET", "/v1/tracks", {"params": {"cursor": "WzEsMl0="}}, 422, "invalid_cursor"),
    ("GET", "/v1/tracks/nope", {}, 404, "track_not_found"),
    ("GET", "/v1/tracks/%00", {}, 404, "track_not_found"),
    ("GET", "/v1/tracks/nope/audio", {}, 404, "track_not_found"),
    ("GET", "/v1/tracks/nope/curve", {}, 404, "track_not_found"),
    ("GET", "/v1/emotions/nope", {}, 404, "emotion_not_found"),
    ("GET", "/v1/nothing", {}, 404, "not_found"),
    ("GET", "/%ff%0d%0aX:", {}, 404, "not_found"),
    ("GET", "/web/nothing.js", {}, 404, "not_found"),
    ("GET", "/web/../settings.py", {}, 404, "not_found"),
    ("GET", "/web/%2e%2e/settings.py", {}, 404, "not_found"),
    ("DELETE", "/livez", {}, 405, "method_not_allowed"),
]


@pytest.mark.parametrize(("verb", "path", "request_", "status", "code"), ERRORS)
def test_every_error_has_one_shape(
    client: httpx.Client, verb: str, path: str, request_: dict[str, Any], status: int, code: str
) -> None:
    check_shape(client.request(verb, path, **request_), status, code)


def test_a_range_beyond_the_file(client: httpx.Client) -> None:
    track = client.get("/v1/tracks", params={"limit": 1}).json()["items"][0]
    response = client.get(track["audio_url"], headers={"Range": "bytes=99999999-"})
    check_shape(response, 416, "range_not_satisfiable")
    assert response.headers["content-range"].startswith("bytes */")
    malformed = client.get(track["audio_url"], headers={"Range": "bytes=x"})
    check_shape(malformed, 400, "bad_request")


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


def test_a_failure_inside_says_nothing_of_it(home: Path) -> None:
    server = start_server(home)
    bundles = home / "bundles"
    (home / "circumplex.db").write_bytes(b"no database" * 1_000)
    shutil.rmtree(bundles)
    response = server.client.get("/v1/tracks/0")
    check_shape(response, 500, "internal_error")
    assert "sqlite" not in response.text.lower()
    assert "Traceback" in server.log.read_text()
    server.stop()


def test_a_file_that_is_gone(home: Path, tmp_path: Path) -> None:

    database = Database(Settings(home=home).database)
    with database.writing() as session:
        track_id = repository.page_of_tracks(session, None, 1)[0].id
        repository.move_track(session, track_id, str(tmp_path / "gone.mp3"))
    database.close()
    server = start_server(home)
    response = server.client.get(f"/v1/tracks/{track_id}/audio")
    check_shape(response, 404, "audio_missing")
    assert str(tmp_path) not in response.text
    server.stop()


def test_a_problem_can_quote_anything() -> None:
    assert json.loads(problem(422, "\ud800 \0 ", "id"))["detail"] == "\ud800 \0 "
