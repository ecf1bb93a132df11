"""Searches over HTTP, against a naive float64 computation of every score."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from models.audio import decode
from models.bundle import Bundle
from models.curve import Curve
from models.moods import mood_curves, mood_point
from models.similarity import Encodings
from service import catalogue, repository
from service.database import Database
from service.emotions import curve_of
from service.offline import search_emotions_offline, search_tracks_offline
from service.settings import Settings
from tests.conftest import random_curve
from tests.service import oracle

LONG_CURVE = random_curve(np.random.default_rng(11), 200)


def as_json(curve: Curve) -> dict[str, Any]:
    return {"arousal": curve.arousal.tolist(), "valence": curve.valence.tolist()}


@pytest.fixture(scope="module")
def items(ingested_home: Path, bundle: Bundle) -> tuple[Encodings, list[str], list[float]]:
    """Every track window's encodings, owners and starts, as the database has them."""
    database = Database(Settings(home=ingested_home).database)
    with database.reading() as session:
        rows = list(repository.stream_windows(session, bundle.id))
    database.close()
    encodings = Encodings(*(np.stack([row[column] for row in rows]) for column in (1, 2, 3)))
    return encodings, [row[0][0] for row in rows], [row[0][2] for row in rows]


def check_scores(
    answer: dict[str, Any],
    query: Encodings,
    query_starts: list[float],
    items: tuple[Encodings, list[str], list[float]],
    key: str,
) -> None:
    encodings, owners, starts = items
    weight, scale = answer["weight"], answer["divergence_scale"]
    previous = np.inf
    for place, result in enumerate(answer["results"], start=1):
        q = query_starts.index(result["query_window"]["start_s"])
        found = (result[key]["id"], result["window"]["start_s"])
        t = next(t for t, item in enumerate(zip(owners, starts, strict=True)) if item == found)
        expected = oracle.scores(query, q, encodings, t, weight, scale)
        given = (result["score"], result["correlation"], result["kl_divergence"])
        assert given == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert result["rank"] == place
        assert result["score"] <= previous
        assert 0 <= result["similarity"] <= 1
        previous = result["score"]


@pytest.mark.parametrize("weight", [None, 0.0, 0.3, 1.0])
def test_tracks_for_a_curve(
    client: httpx.Client,
    bundle: Bundle,
    items: tuple[Encodings, list[str], list[float]],
    weight: float | None,
) -> None:
    body: dict[str, Any] = {"curve": as_json(LONG_CURVE), "k": 12}
    if weight is not None:
        body["weight"] = weight
    answer = client.post("/v1/search/tracks", json=body).json()
    windows = LONG_CURVE.windows()
    query = bundle.encode_curve_windows(windows)
    check_scores(answer, query, [window.start_s for window in windows], items, "track")
    used = bundle.manifest.weight if weight is None else weight
    assert answer["weight"] == used
    assert answer["model"] == bundle.id
    assert answer["index"]
    assert answer["took_ms"] > 0
    truth = oracle.ranking(query, items[0], items[1], used, bundle.manifest.divergence_scale)
    assert [result["track"]["id"] for result in answer["results"]] == [x[1] for x in truth[:12]]
    similarities = bundle.similarity.similarity(
        np.array([result["score"] for result in answer["results"]]), "e2m", used
    )
    assert [result["similarity"] for result in answer["results"]] == similarities.tolist()


@pytest.mark.parametrize("k", [1, 10, 100])
@pytest.mark.parametrize("limit", [None, 1, 2])
def test_the_default_answer_is_the_exact_one(
    client: httpx.Client, k: int, limit: int | None
) -> None:
    body: dict[str, Any] = {"curve": as_json(LONG_CURVE), "k": k}
    everything = client.post("/v1/search/tracks", json={**body, "k": 100}).json()["results"]
    body["exclude_tracks"] = [result["track"]["id"] for result in everything[::2]]
    if limit is not None:
        body["max_per_artist"] = limit
    found, exact = (
        client.post("/v1/search/tracks", json={**body, "exact": exact}).json()["results"]
        for exact in (False, True)
    )
    assert found == exact
    assert not {result["track"]["id"] for result in found} & set(body["exclude_tracks"])
    artists = [result["track"]["artist"] for result in found if result["track"]["artist"]]
    if limit is not None:
        assert artists.count("B") <= limit
        assert artists.count("A") + artists.count("a") <= limit
        remaining = [r["track"] for r in everything[1::2]]
        allowed: list[str] = []
        taken: dict[str, int] = {}
        for track in remaining:
            artist = (track["artist"] or track["id"]).casefold()
            taken[artist] = taken.get(artist, 0) + 1
            if track["artist"] is None or taken[artist] <= limit:
                allowed.append(track["id"])
        assert [result["track"]["id"] for result in found] == allowed[:k]


def test_a_mood_is_its_constant_curve(client: httpx.Client) -> None:
    valence, arousal = mood_point("calm")
    queries: list[dict[str, Any]] = [
        {"mood": "calm"},
        {"point": {"arousal": arousal, "valence": valence}},
        {"point": {"arousal": 5 + 4 * arousal, "valence": 5 + 4 * valence, "scale": "sam9"}},
        {"curve": as_json(mood_curves("calm")["constant"])},
        {"curve": {"arousal": [arousal], "valence": [valence]}},
    ]
    answers = [client.post("/v1/search/tracks", json=query).json() for query in queries]
    for answer in answers[1:]:
        scores = [result["score"] for result in answer["results"]]
        assert scores == pytest.approx([r["score"] for r in answers[0]["results"]], rel=1e-6)
    assert len(answers[0]["results"]) == 10


def test_emotions_for_a_real_recording(
    client: httpx.Client, bundle: Bundle, real_recording: Path
) -> None:
    response = client.post(
        "/v1/search/emotions",
        files={"audio": ("../../etc/passwd", real_recording.read_bytes())},
        data={"k": "20", "weight": "0.7"},
    )
    answer = response.json()
    recording = decode(real_recording.read_bytes())
    heard = bundle.encode_recording(recording)
    emotions = _all_emotions(client)
    owners, starts, windows = [], [], []
    for emotion in emotions:
        curve = Curve.from_points(emotion["curve"]["arousal"], emotion["curve"]["valence"])
        for window in curve.windows():
            owners.append(emotion["id"])
            starts.append(window.start_s)
            windows.append(window)
    encoded = bundle.encode_curve_windows(windows)
    check_scores(answer, heard.encodings, heard.starts_s, (encoded, owners, starts), "emotion")
    truth = oracle.ranking(heard.encodings, encoded, owners, 0.7, answer["divergence_scale"])
    assert [r["emotion"]["id"] for r in answer["results"]] == [x[1] for x in truth[:20]]
    assert answer["audio"]["duration_s"] == recording.duration_s
    assert answer["audio"]["sample_rate_hz"] == 44_100

    estimate = bundle.estimator.estimate(heard.encodings, heard.starts_s, recording.duration_s)
    assert answer["timeline"]["valence"] == pytest.approx(estimate.curve.valence.tolist(), abs=1e-9)
    assert answer["timeline"]["arousal_sd"] == pytest.approx(estimate.sd[:, 1].tolist(), abs=1e-9)
    assert answer["timeline"]["rate_hz"] == 2
    assert answer["estimate"]["mood"] == estimate.mood
    assert answer["estimate"]["valence"] == pytest.approx(estimate.overall[0], abs=1e-9)


def _all_emotions(client: httpx.Client) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/v1/emotions", params={"limit": "30", **cursor}).json()
        items += page["items"]
        if page["next_cursor"] is None:
            assert len(items) == page["total"]
            return items
        cursor = {"cursor": page["next_cursor"]}


def test_a_track_is_heard_as_it_was_ingested(client: httpx.Client, real_recording: Path) -> None:
    """The upload's timeline is the stored track's curve: training, ingest and search hear alike."""
    upload = client.post("/v1/search/emotions", files={"audio": real_recording.read_bytes()})
    tracks = client.get("/v1/tracks", params={"limit": 500}).json()["items"]
    track = next(track for track in tracks if track["duration_s"] > 60.2)
    curve = client.get(track["curve_url"]).json()
    assert curve["arousal"] == pytest.approx(upload.json()["timeline"]["arousal"], abs=1e-6)
    assert curve["valence_sd"] == pytest.approx(upload.json()["timeline"]["valence_sd"], abs=1e-6)


def test_similar_tracks(
    client: httpx.Client, items: tuple[Encodings, list[str], list[float]]
) -> None:
    encodings, owners, starts = items
    track_id = max(owners, key=owners.count)
    rows = [row for row, owner in enumerate(owners) if owner == track_id]
    answer = client.post("/v1/search/similar", json={"track_id": track_id, "k": 100}).json()
    query = encodings.take(rows)
    check_scores(answer, query, [starts[row] for row in rows], items, "track")
    found = [result["track"]["id"] for result in answer["results"]]
    assert track_id not in found
    assert sorted(found) == sorted(set(owners) - {track_id})


def test_uploads_of_other_formats(client: httpx.Client) -> None:
    tone = np.sin(np.arange(40_000) / 10)
    for kind in ("WAV", "FLAC", "OGG"):
        file = io.BytesIO()
        soundfile.write(file, tone, 16_000, format=kind)
        answer = client.post("/v1/search/emotions", files={"audio": file.getvalue()}).json()
        assert answer["audio"]["format"] == kind.lower()
        assert answer["audio"]["duration_s"] == pytest.approx(2.5, abs=0.05)  # Vorbis pads
        steps = int(np.ceil(2 * answer["audio"]["duration_s"]))
        assert len(answer["timeline"]["arousal"]) == steps


def test_the_command_line_finds_the_same(
    client: httpx.Client, ingested_home: Path, real_recording: Path
) -> None:
    settings = Settings(home=ingested_home)
    offline = search_tracks_offline(settings, LONG_CURVE, k=5)
    answer = client.post("/v1/search/tracks", json={"curve": as_json(LONG_CURVE), "k": 5}).json()
    assert [match.id for match in offline.answer.matches] == [
        result["track"]["id"] for result in answer["results"]
    ]
    assert set(offline.tracks) == {match.id for match in offline.answer.matches}
    heard = search_emotions_offline(settings, real_recording, k=3)
    assert len(heard.answer.matches) == 3
    assert heard.recording.duration_s > 60


def test_the_engine_agrees_with_an_exhaustive_search(ingested_home: Path) -> None:
    report = catalogue.verify_index(Settings(home=ingested_home))
    assert report.recall == 1.0
    assert report.tracks == 73
    assert report.queries > 20


def test_seeded_emotions_are_the_moods_and_the_references(
    database: Database, bundle: Bundle
) -> None:
    with database.reading() as session:
        rows = repository.emotions(session)
    assert [row.source for row in rows].count("mood") == 84
    labels = {row.label for row in rows if row.source == "corpus"}
    assert labels == {reference.label for reference in bundle.references}
    rising = next(row for row in rows if row.id == "mood-at-ease-rising")
    np.testing.assert_array_equal(curve_of(rising).values, mood_curves("at ease")["rising"].values)
