"""The page at its best, as the pictures of the documentation show it.

``CIRCUMPLEX_PICTURES`` names the folder to write them to, ``CIRCUMPLEX_PAGE_URL`` a running server
to take them of; without them the small home is taken and the pictures go to a temporary folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from playwright.sync_api import Browser

from tests.e2e.visit import WIDE, Visit

VALENCE = [(0.0, -0.5), (0.2, -0.3), (0.45, 0.1), (0.7, 0.5), (1.0, 0.75)]
AROUSAL = [(0.0, -0.6), (0.15, -0.4), (0.3, 0.1), (0.5, 0.5), (0.8, 0.7), (0.99, 0.4)]


@pytest.fixture
def shown(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Visit]:
    """The page of the server to take pictures of."""
    address = os.environ.get("CIRCUMPLEX_PAGE_URL")
    if address is None:
        address = str(request.getfixturevalue("page_server").client.base_url)
    visit = Visit(browser, address, color_scheme="light")
    yield visit
    visit.leave()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The folder that the pictures go to."""
    folder = Path(os.environ.get("CIRCUMPLEX_PICTURES", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def take(visit: Visit, path: Path) -> None:
    """Take a picture of the window, and check that there is something in it."""
    visit.page.mouse.move(0, 0)
    visit.page.evaluate("() => document.activeElement.blur()")
    visit.page.screenshot(path=path)
    pixels = np.asarray(imread(path))[..., :3]
    assert pixels.shape == (WIDE["height"], WIDE["width"], 3)
    colours = np.unique((pixels.reshape(-1, 3) * 31).round().astype(int), axis=0)
    assert len(colours) > 200  # paper, ink and the hues of the plane
    paper = (np.abs(pixels - pixels[2, 2]) < 0.02).all(axis=2).mean()
    assert 0.2 < paper < 0.97
    # Neither half is empty: the score on the left, the plane on the right.
    for half in np.split(pixels, 2, axis=1):
        assert half.std() > 0.03


def test_picture_of_music_found_by_emotion(shown: Visit, pictures: Path) -> None:
    shown.draw("valence", VALENCE)
    shown.draw("arousal", AROUSAL)
    shown.search(shown.page.locator("#find-tracks").click)
    row = shown.results.first
    row.get_by_test_id("play").click()
    shown.wait_until_plays(0)
    # Some way into the track, where the playhead and the point on the plane have moved.
    shown.page.locator("#player-seek").press("PageUp")
    shown.wait_until_plays(shown.position_s() + 1)
    row.locator(".line--found").first.wait_for(state="attached")
    # The whole instrument, and the first result above the player.
    shown.page.evaluate("() => scrollTo(0, document.querySelector('.score__bar').offsetTop - 12)")
    shown.page.wait_for_timeout(300)
    for visible in (row.get_by_test_id("similarity"), shown.page.locator("#player")):
        box = visible.bounding_box()
        assert box is not None
        assert 0 <= box["y"] <= WIDE["height"] - box["height"]
    take(shown, pictures / "page.png")


def test_picture_of_emotion_found_in_music(
    shown: Visit, pictures: Path, real_recording: Path
) -> None:
    shown.page.locator("#tab-emotion").click()
    choose = shown.page.locator("#audio-file")
    shown.search(lambda: choose.set_input_files(real_recording), "/v1/search/emotions")
    shown.page.locator("#play-recording").click()
    shown.wait_until_plays(2)
    assert shown.test_id("emotion-result").count() == 8
    take(shown, pictures / "emotion.png")
