"""Emotion to music: draw, choose, play and follow up, by mouse and by keyboard alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.e2e.conftest import HOSTILE_ARTIST, LONG_TITLE, PIECES
from tests.e2e.visit import Visit, mini_values, sent
from tests.service.conftest import Server

VALENCE = [(0.0, -0.5), (0.25, -0.3), (0.5, 0.1), (0.75, 0.5), (1.0, 0.75)]
AROUSAL = [(0.0, 0.8), (0.3, 0.4), (0.6, -0.2), (1.0, -0.6)]
_PIXEL = 0.02  # half a pixel of the canvas, and of the mini chart, in values


def asked_again(server: Server, path: str, body: Any) -> Any:
    answer = server.client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def assert_shown(visit: Visit, answer: Any) -> None:
    """The page shows the answer's tracks in the answer's order, with their own words."""
    expected = [
        (
            result["track"]["id"],
            result["track"]["title"],
            result["track"]["artist"],
            f"{100 * result['similarity']:.1f} %",
        )
        for result in answer["results"]
    ]
    shown = [
        (
            row.get_attribute("data-track-id"),
            row.get_by_test_id("track-title").text_content(),
            row.get_by_test_id("track-artist").text_content(),
            row.get_by_test_id("similarity").text_content(),
        )
        for row in visit.results.all()
    ]
    assert shown == expected
    assert len(shown) > 0


def draw_and_search(visit: Visit) -> Any:
    visit.by_hand()
    visit.draw("valence", VALENCE)
    visit.draw("arousal", AROUSAL)
    return visit.search(visit.page.locator("#find-tracks").click)


def test_a_drawn_curve_finds_what_the_api_finds_for_it(visit: Visit, page_server: Server) -> None:
    body = sent(draw_and_search(visit))
    assert set(body) == {"curve", "k"}
    curve = body["curve"]
    assert (curve["rate_hz"], curve["scale"], body["k"]) == (2.0, "signed", 10)
    part = np.arange(60) / 60
    for line, drawn in (("valence", VALENCE), ("arousal", AROUSAL)):
        expected = np.interp(part, *np.transpose(drawn))
        np.testing.assert_allclose(curve[line], expected, atol=0.05)
    assert visit.results.count() == 10
    assert_shown(visit, asked_again(page_server, "/v1/search/tracks", body))


def test_it_searches_as_one_draws(visit: Visit, page_server: Server) -> None:
    response = visit.search(lambda: visit.draw("arousal", AROUSAL))
    assert sent(response)["curve"]["arousal"][0] == pytest.approx(0.8, abs=_PIXEL)
    assert_shown(visit, response.json())


def test_a_result_plays_from_its_window_on(visit: Visit) -> None:
    visit.page.locator("#result-count").select_option("20")
    results = draw_and_search(visit).json()["results"]
    assert len(results) == PIECES + 1
    late = next(i for i, result in enumerate(results) if result["window"]["start_s"] > 0)
    result, row = results[late], visit.results.nth(late)
    row.get_by_test_id("play").click()
    start_s = result["window"]["start_s"]
    before = visit.wait_until_plays(start_s)
    assert before < start_s + 3
    assert visit.wait_until_plays(before + 0.1) > before
    source = visit.page.locator("#player-audio").get_attribute("src")
    assert source is not None
    assert source.startswith(result["track"]["audio_url"])
    assert visit.page.locator("audio").count() == 1
    title = result["track"]["title"]
    assert row.get_by_test_id("play").get_attribute("aria-label") == f"Pause {title}"
    assert visit.page.locator("#player-title").text_content() == title
    # Another one takes over, and the first no longer says that it plays.
    visit.results.nth(late - 1 if late else 1).get_by_test_id("play").click()
    visit.page.wait_for_function(
        "(old) => !document.querySelector('audio').src.includes(old)", arg=source
    )
    assert str(row.get_by_test_id("play").get_attribute("aria-label")).startswith(f"Play {title}")
    visit.page.locator("#player-toggle").click()
    visit.wait_until_paused()


def test_a_result_s_own_curve_lies_over_the_asked_one(visit: Visit, page_server: Server) -> None:
    response = draw_and_search(visit)
    asked = sent(response)["curve"]
    whole = [
        (result, row)
        for result, row in zip(response.json()["results"], visit.results.all(), strict=True)
        if result["window"]["end_s"] - result["window"]["start_s"] == 30
    ]
    assert len(whole) >= 8
    for result, row in whole[:4]:
        row.scroll_into_view_if_needed()
        chart = row.get_by_test_id("mini-chart")
        chart.locator(".line--found").first.wait_for(state="attached")
        found = page_server.client.get(result["track"]["curve_url"]).json()
        first = round(2 * result["window"]["start_s"])
        for line in ("arousal", "valence"):
            np.testing.assert_allclose(mini_values(chart, line, "asked"), asked[line], atol=_PIXEL)
            np.testing.assert_allclose(
                mini_values(chart, line, "found"), found[line][first : first + 60], atol=_PIXEL
            )


def test_a_mood_finds_what_the_api_finds_for_it(visit: Visit, page_server: Server) -> None:
    calm = visit.test_id("mood-calm")
    response = visit.search(calm.click)
    assert sent(response) == {"mood": "calm", "k": 10}
    assert_shown(visit, asked_again(page_server, "/v1/search/tracks", {"mood": "calm", "k": 10}))
    assert calm.get_attribute("aria-pressed") == "true"
    assert visit.page.locator("#found-heading").text_content() == "Music that feels calm"
    # Drawing lets go of the mood.
    visit.search(lambda: visit.draw("arousal", AROUSAL))
    assert calm.get_attribute("aria-pressed") == "false"


def test_a_point_of_the_plane_is_an_emotion_that_stays(visit: Visit) -> None:
    box = visit.test_id("query-plane").bounding_box()
    assert box is not None
    unit = box["width"] / 436 * 132
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    response = visit.search(lambda: visit.page.mouse.click(x + 0.5 * unit, y + 0.4 * unit))
    point = sent(response)["point"]
    assert (point["valence"], point["arousal"]) == pytest.approx((0.5, -0.4), abs=0.02)
    assert_shown(visit, response.json())


def test_the_keyboard_alone_draws_finds_and_plays(visit: Visit, page_server: Server) -> None:
    press = visit.page.keyboard.press
    visit.tab_to("handle-arousal-0")
    press("ArrowRight")
    assert visit.focused() == "handle-arousal-1"
    handle = visit.test_id("handle-arousal-1")
    before = float(str(handle.get_attribute("aria-valuenow")))

    def raise_it() -> None:
        for _ in range(4):
            press("ArrowUp")

    raised = sent(visit.search(raise_it))["curve"]["arousal"]
    after = float(str(handle.get_attribute("aria-valuenow")))
    assert after == pytest.approx(before + 0.2, abs=0.011)
    assert raised[10] == pytest.approx(after, abs=0.011)
    visit.tab_to("handle-valence-0")
    press("End")
    visit.tab_to("find-tracks")
    body = sent(visit.search(lambda: press("Enter")))
    assert body["curve"]["valence"][0] == 1
    assert_shown(visit, asked_again(page_server, "/v1/search/tracks", body))
    visit.tab_to("play")
    press("Space")
    start_s = visit.wait_until_plays(0.2)
    press("Enter")
    visit.wait_until_paused()
    assert visit.position_s() >= start_s


def test_more_like_this_asks_for_similar_music(visit: Visit, page_server: Server) -> None:
    draw_and_search(visit)
    row = visit.results.nth(1)
    track_id = row.get_attribute("data-track-id")
    title = row.get_by_test_id("track-title").text_content()
    response = visit.search(row.get_by_test_id("more-like-this").click, "/v1/search/similar")
    assert sent(response) == {"track_id": track_id, "k": 10}
    assert_shown(visit, asked_again(page_server, "/v1/search/similar", sent(response)))
    assert track_id not in [shown.get_attribute("data-track-id") for shown in visit.results.all()]
    assert visit.page.locator("#found-heading").text_content() == f"Music like {title}"
    visit.search(visit.page.locator("#back-to-query").click)
    assert visit.page.locator("#back-to-query").is_hidden()
    assert visit.results.nth(1).get_attribute("data-track-id") == track_id


def test_the_details_say_the_answer_s_numbers(visit: Visit) -> None:
    result = draw_and_search(visit).json()["results"][0]
    row = visit.results.first
    assert row.get_by_test_id("score-details").is_hidden()
    row.get_by_test_id("score-details-toggle").click()
    details = row.get_by_test_id("score-details").inner_text()
    assert f"{result['score']:.4f}" in details
    assert f"{result['kl_divergence']:.3f}" in details


def test_unkind_tags_stay_text(visit: Visit) -> None:
    visit.page.locator("#result-count").select_option("20")
    draw_and_search(visit)
    row = visit.results.filter(has_text=HOSTILE_ARTIST)
    assert row.get_by_test_id("track-title").text_content() == LONG_TITLE
    assert row.locator("img, b").count() == 0
    row.get_by_test_id("play").click()
    visit.wait_until_plays(0)
    assert visit.page.locator("#player-artist").text_content() == HOSTILE_ARTIST
