"""The catalogue over HTTP, the page, operation, and the OpenAPI document."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from openapi_spec_validator import validate

from models.moods import MOOD_ANGLES_DEG
from tests.service.conftest import GENERATED, REAL_RECORDINGS, Server, start_server, wait_for

OPERATIONS = {
    ("post", "/v1/search/tracks"),
    ("post", "/v1/search/emotions"),
    ("post", "/v1/search/similar"),
    ("get", "/v1/tracks"),
    ("get", "/v1/tracks/{track_id}"),
    ("delete", "/v1/tracks/{track_id}"),
    ("get", "/v1/tracks/{track_id}/audio"),
    ("get", "/v1/tracks/{track_id}/curve"),
    ("get", "/v1/emotions"),
    ("post", "/v1/emotions"),
    ("get", "/v1/emotions/{emotion_id}"),
    ("get", "/v1/moods"),
    ("get", "/v1/models"),
    ("get", "/livez"),
    ("get", "/readyz"),
    ("get", "/metrics"),
}


@pytest.fixture
def real_track(client: httpx.Client) -> dict[str, Any]:
    tracks = client.get("/v1/tracks", params={"limit": 500}).json()["items"]
    return next(track for track in tracks if track["format"] == "mp3")


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_a_load_balancer_may_ask_for_the_head(client: httpx.Client, path: str) -> None:
    answer = client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


def test_the_document_is_valid_and_complete(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    validate(document)
    operations = {(verb, path) for path, verbs in document["paths"].items() for verb in verbs}
    assert operations == OPERATIONS
    for path in document["paths"].values():
        for operation in path.values():
            assert "application/problem+json" in operation["responses"]["default"]["content"]
    assert client.get("/docs").status_code == 200


def test_the_catalogue_is_paged(client: httpx.Client) -> None:
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/v1/tracks", params={"limit": "20", **cursor}).json()
        assert page["total"] == GENERATED + len(REAL_RECORDINGS)
        seen += [track["id"] for track in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert len(seen) == len(set(seen)) == page["total"]


def test_a_track_says_what_it_is(client: httpx.Client, real_track: dict[str, Any]) -> None:
    track = client.get(f"/v1/tracks/{real_track['id']}").json()
    assert track == real_track
    assert track["sample_rate_hz"] == 44_100
    assert track["channels"] == 2
    assert 26 < track["duration_s"] < 61
    assert track["title"]
    assert track["audio_url"] == f"/v1/tracks/{track['id']}/audio"
    assert track["bpm"] is None  # CIRCUMPLEX_TEMPO is off


def test_genres_of_a_file_are_tags(client: httpx.Client) -> None:
    tracks = client.get("/v1/tracks", params={"limit": 500}).json()["items"]
    assert {tuple(track["tags"]) for track in tracks if track["format"] == "mp3"} >= {
        ("alt. rock",)
    }
    assert [track["tags"] for track in tracks if track["title"] == "Tone 1"] == [[]]


def test_audio_in_ranges(
    client: httpx.Client, real_track: dict[str, Any], shared_data: Path
) -> None:
    whole = client.get(real_track["audio_url"])
    assert whole.headers["content-type"] == "audio/mpeg"
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.content in [
        (shared_data / "recordings" / name).read_bytes() for name in REAL_RECORDINGS
    ]
    part = client.get(real_track["audio_url"], headers={"Range": "bytes=1000-1999"})
    assert part.status_code == 206
    assert part.content == whole.content[1000:2000]
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(whole.content)}"
    tail = client.get(real_track["audio_url"], headers={"Range": "bytes=-10"})
    assert tail.content == whole.content[-10:]
    head = client.head(real_track["audio_url"])
    assert head.status_code == 200
    assert int(head.headers["content-length"]) == len(whole.content)


def test_a_track_s_curve_covers_it(client: httpx.Client, real_track: dict[str, Any]) -> None:
    curve = client.get(real_track["curve_url"]).json()
    steps = int(np.ceil(real_track["duration_s"] * 2 - 1e-6))
    for axis in ("arousal", "valence", "arousal_sd", "valence_sd"):
        assert len(curve[axis]) == steps
    assert (curve["rate_hz"], curve["scale"]) == (2, "signed")


def test_moods_and_models(client: httpx.Client) -> None:
    moods = client.get("/v1/moods").json()["items"]
    assert [mood["word"] for mood in moods] == list(MOOD_ANGLES_DEG)
    assert all(np.hypot(m["valence"], m["arousal"]) == pytest.approx(1, abs=1e-5) for m in moods)
    models = client.get("/v1/models").json()["items"]
    assert [(model["name"], model["active"]) for model in models] == [("tiny", True)]
    assert models[0]["id"] == client.get("/readyz").json()["model"]


def test_the_page_may_load_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for path in ["/", *re.findall(r'(?:src|href)="(/web/[^"]+)"', page.text)]:
        response = client.get(path)
        assert response.status_code == 200, path
        assert "default-src 'self'" in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"


def test_every_answer_has_a_request_id(client: httpx.Client) -> None:
    given = client.get("/livez", headers={"X-Request-ID": "abc-1.2"})
    assert given.headers["x-request-id"] == "abc-1.2"
    own = client.get("/livez", headers={"X-Request-ID": "no spaces\tallowed"})
    assert re.fullmatch("[0-9a-f]{32}", own.headers["x-request-id"])


def test_a_posted_emotion_keeps_its_scale(client: httpx.Client) -> None:
    curve = {"arousal": [1, 9, 5.5], "valence": [9, 1, 2.25], "rate_hz": 2, "scale": "sam9"}
    response = client.post("/v1/emotions", json={"label": " Wehmut ✨ ", "curve": curve})
    assert response.status_code == 201
    emotion = response.json()
    assert emotion["label"] == "Wehmut ✨"
    assert emotion["source"] == "user"
    assert emotion["curve"]["scale"] == "sam9"
    assert emotion["curve"]["arousal"] == pytest.approx(curve["arousal"], abs=1e-12)
    stored = client.get(response.headers["location"]).json()
    assert stored["curve"]["scale"] == "signed"
    assert stored["curve"]["valence"] == pytest.approx([1, -1, -0.6875], abs=1e-12)


def test_a_posted_emotion_is_found_at_once_and_survives_a_kill(
    home: Path, real_recording: Path
) -> None:
    first = start_server(home)
    ids = [
        first.client.post(
            "/v1/emotions",
            json={"label": f"E{i}", "curve": {"arousal": [i / 9], "valence": [-i / 9]}},
        ).json()["id"]
        for i in range(9)
    ]

    def found(server: Server) -> set[str]:
        answer = server.client.post(
            "/v1/search/emotions",
            files={"audio": real_recording.read_bytes()},
            data={"k": "100"},
        )
        return {result["emotion"]["id"] for result in answer.json()["results"]}

    total = first.client.get("/readyz").json()["emotions"]
    before = found(first)
    assert len(before) == 100
    assert set(ids) <= _emotion_ids(first)
    first.stop(9)
    second = start_server(home)
    assert second.client.get("/readyz").json()["emotions"] == total
    assert set(ids) <= _emotion_ids(second)
    assert found(second) == before
    assert second.stop() == 0


def _emotion_ids(server: Server) -> set[str]:
    page = server.client.get("/v1/emotions", params={"limit": 500}).json()
    return {item["id"] for item in page["items"]}


def test_a_request_under_way_is_finished_when_stopped(home: Path, real_recording: Path) -> None:
    server = start_server(home)
    audio = real_recording.read_bytes()
    answers: list[httpx.Response] = []

    def upload() -> None:
        url = f"{server.client.base_url}/v1/search/emotions"
        answers.append(httpx.post(url, files={"audio": audio}, timeout=30))

    before = server.open_files()
    asking = threading.Thread(target=upload)
    asking.start()
    wait_for(lambda: server.open_files() > before)
    time.sleep(0.1)  # accepted, received, and being decoded
    assert server.stop() == 0
    asking.join()
    assert answers[0].status_code == 200
    assert "Finished server process" in server.log.read_text()
