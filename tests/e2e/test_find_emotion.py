"""Music to emotion: a dropped recording becomes a timeline, a path, a mood and a new query."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.e2e.visit import PLOT_BOTTOM, PLOT_TOP, Visit, mini_values, sent
from tests.service.conftest import Server

_SEARCH = "/v1/search/emotions"
_RADIUS = 132  # of the plane, in its own units


def coordinates(text: str | None) -> NDArray[np.float64]:
    assert text is not None
    return np.array([[float(n) for n in point.split(",")] for point in text.split()])


def assert_timeline(visit: Visit, timeline: Any) -> None:
    """Each line has a band from one standard deviation below it to one above."""
    chart = visit.test_id("timeline")
    box = chart.bounding_box()
    assert box is not None
    height = box["height"] - PLOT_TOP - PLOT_BOTTOM
    for line in ("arousal", "valence"):
        mean, sd = np.array(timeline[line]), np.array(timeline[f"{line}_sd"])
        band = coordinates(chart.locator(f".band--{line}").get_attribute("points"))
        upper, lower = band[: len(band) // 2, 1], band[len(band) // 2 :, 1][::-1]
        assert len(upper) == len(mean) + 1
        high, low = np.clip(mean + sd, -1, 1), np.clip(mean - sd, -1, 1)
        np.testing.assert_allclose(upper[:-1], PLOT_TOP + (1 - high) / 2 * height, atol=1)
        np.testing.assert_allclose(lower[:-1], PLOT_TOP + (1 - low) / 2 * height, atol=1)
        assert (lower - upper).min() > 2
        path = visit.test_id(f"timeline-{line}").get_attribute("d")
        assert path is not None
        assert path.count("Q") == len(mean) - 1


def assert_emotions(visit: Visit, answer: Any) -> None:
    cards = visit.test_id("emotion-result").all()
    assert [card.get_attribute("data-emotion-id") for card in cards] == [
        result["emotion"]["id"] for result in answer["results"]
    ]
    assert len(cards) == 8
    for card, result in zip(cards, answer["results"], strict=True):
        assert card.get_by_test_id("emotion-label").text_content() == result["emotion"]["label"]
        similarity = card.get_by_test_id("similarity").text_content()
        assert similarity == f"{100 * result['similarity']:.1f} %"
        # What is drawn is the part of the emotion that matched, not all of it.
        window = result["window"]
        first, last = round(2 * window["start_s"]), round(2 * window["end_s"])
        drawn = mini_values(card, "valence", "found")
        assert len(drawn) == last - first
        held = result["emotion"]["curve"]["valence"][first:last]
        np.testing.assert_allclose(drawn[: len(held)], held, atol=0.02)


def assert_recording(visit: Visit, answer: Any) -> None:
    page, timeline = visit.page, answer["timeline"]
    assert page.locator("#estimate-mood").text_content() == answer["estimate"]["mood"]
    arousal = page.locator("#estimate-arousal").inner_text().replace("−", "-")
    mean, sd = (float(number) for number in arousal.split("±"))
    assert mean == pytest.approx(answer["estimate"]["arousal"], abs=0.0051)
    assert sd == pytest.approx(answer["estimate"]["arousal_sd"], abs=0.0051)
    assert_timeline(visit, timeline)
    plane = visit.test_id("recording-plane")
    assert plane.locator(".plane__path line").count() > len(timeline["arousal"])
    end = plane.locator(".plane__end")
    assert float(str(end.get_attribute("cx"))) == pytest.approx(timeline["valence"][-1] * _RADIUS)
    assert float(str(end.get_attribute("cy"))) == pytest.approx(-timeline["arousal"][-1] * _RADIUS)
    assert_emotions(visit, answer)


def playhead_x(visit: Visit) -> float:
    return float(str(visit.test_id("timeline").locator(".playhead").get_attribute("x1")))


def test_a_dropped_recording_shows_its_emotion_and_finds_music_like_it(
    visit: Visit, page_server: Server, real_recording: Path
) -> None:
    # Dropped anywhere, also while the other half is open.
    response = visit.search(lambda: visit.drop(real_recording), _SEARCH)
    page, answer = visit.page, response.json()
    assert page.locator("#panel-emotion").is_visible()
    assert page.locator("#recording-name").text_content() == real_recording.name
    assert_recording(visit, answer)

    now = visit.test_id("recording-plane").locator(".plane__now")
    x, place = playhead_x(visit), now.get_attribute("cx")
    page.locator("#play-recording").click()
    visit.wait_until_plays(1.0)
    assert playhead_x(visit) > x
    assert now.get_attribute("cx") != place
    # A click on the timeline goes there, and so do the arrow keys.
    box = visit.test_id("timeline").bounding_box()
    assert box is not None
    visit.test_id("timeline").click(position={"x": 40 + (box["width"] - 60) / 2, "y": 60})
    middle_s = answer["audio"]["duration_s"] / 2
    assert visit.wait_until_plays(middle_s - 0.2) < middle_s + 3
    page.keyboard.press("ArrowRight")
    visit.wait_until_plays(middle_s + 4.5)
    page.locator("#play-recording").click()

    query = visit.search(page.locator("#use-timeline").click)
    curve = sent(query)["curve"]
    for line in ("arousal", "valence"):
        np.testing.assert_allclose(curve[line], answer["timeline"][line], atol=0.00051)
    assert page.locator("#panel-music").is_visible()
    assert page.locator("#query-name").text_content() == f"Emotion of {real_recording.name}"
    again = page_server.client.post("/v1/search/tracks", json=sent(query)).json()
    assert [row.get_attribute("data-track-id") for row in visit.results.all()] == [
        result["track"]["id"] for result in again["results"]
    ]


def test_a_chosen_piece_of_the_corpus_shows_its_emotion(
    open_page: Callable[..., Visit], small_corpus: Path
) -> None:
    piece = min((small_corpus / "audio").glob("*.flac"))
    visit = open_page(path="/#emotion")
    choose = visit.page.locator("#audio-file")
    answer = visit.search(lambda: choose.set_input_files(piece), _SEARCH).json()
    assert_recording(visit, answer)
    facts = visit.test_id("recording-facts").inner_text()
    assert facts == "0:45 · flac · 24 kHz · stereo"
    # A found emotion is a query for music, too.
    label = answer["results"][0]["emotion"]["label"]
    use = visit.test_id("use-emotion").first
    query = visit.search(use.click)
    held = answer["results"][0]["emotion"]["curve"]["arousal"]
    np.testing.assert_allclose(sent(query)["curve"]["arousal"], held, atol=0.00051)
    assert visit.page.locator("#query-name").text_content() == f"Emotion: {label}"
    assert visit.results.count() == 10


def test_only_the_matching_part_of_an_emotion_is_drawn(
    visit: Visit, page_server: Server, small_corpus: Path
) -> None:
    # The small home's nearest emotions match as a whole, so the real answer is narrowed.
    piece = min((small_corpus / "audio").glob("*.flac"))
    with piece.open("rb") as audio:
        answer = page_server.client.post(_SEARCH, files={"audio": audio}, data={"k": "8"}).json()
    for result in answer["results"]:
        result["window"] = {"start_s": 4.0, "end_s": 22.0}
    visit.page.route(f"**{_SEARCH}", lambda route: route.fulfill(json=answer))
    visit.page.locator("#tab-emotion").click()
    choose = visit.page.locator("#audio-file")
    visit.search(lambda: choose.set_input_files(piece), _SEARCH)
    assert_emotions(visit, answer)
