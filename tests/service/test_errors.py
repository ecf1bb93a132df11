"""Every error has one shape and says what to do; none says anything of the inside."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from service import repository
from service.database import Database
from service.errors import problem
from service.settings import Settings
from tests.service.conftest import Server, start_server

FLAT = {"arousal": [0.0], "valence": [0.0]}


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


def cursor_of_text(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


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
    *(
        ("GET", path, {"params": {"cursor": cursor_of_text(text)}}, 422, "invalid_cursor")
        for path in ("/v1/tracks", "/v1/emotions")
        for text in (
            '["0001-01-01T00:00:00+23:59", "a moment before the first"]',
            '["9999-12-31T23:59:59-23:59", "a moment after the last"]',
            '["2026-01-01T00:00:00+00:00", "\\ud800"]',
            '["2026-01-01T00:00:00+00:00", 7]',
        )
    ),
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


def test_a_file_that_is_gone(server: Server, tmp_path: Path) -> None:
    database = Database(Settings(home=server.home).database)
    with database.reading() as session:
        track = repository.page_of_tracks(session, None, 1)[0]
    with database.writing() as session:
        repository.move_track(session, track.id, str(tmp_path / "gone.mp3"))
    response = server.client.get(f"/v1/tracks/{track.id}/audio")
    with database.writing() as session:
        repository.move_track(session, track.id, track.path)
    database.close()
    check_shape(response, 404, "audio_missing")
    assert str(tmp_path) not in response.text


def test_a_problem_can_quote_anything() -> None:
    assert json.loads(problem(422, "\ud800 \0 ", "id"))["detail"] == "\ud800 \0 "
