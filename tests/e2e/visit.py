"""One visit to the page: what a visitor does there, and what the browser had to say about it."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, Request, Response

WIDE = {"width": 1280, "height": 800}
NARROW = {"width": 390, "height": 844}
# The plot of the curve editor and of the timeline inside their canvases, in pixels.
PLOT_LEFT, PLOT_RIGHT, PLOT_TOP, PLOT_BOTTOM = 40, 20, 14, 30
# The mini chart's own units.
MINI_HEIGHT, MINI_PAD = 60, 4

_REPORT_VIOLATIONS = """document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP violation: ${event.violatedDirective} ${event.blockedURI}`))"""
_DROP = """([name, type, content]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type }));
  return dataTransfer;
}"""


class Visit:
    """A page in a context of its own. ``leave`` fails on anything unclean that happened."""

    def __init__(self, browser: Browser, address: str, *, path: str = "/", **context: Any) -> None:
        self.address = address.rstrip("/")
        self.complaints: list[str] = []
        self.requested: list[str] = []
        self.expected: list[str] = []
        self.context = browser.new_context(**{"viewport": WIDE, **context})
        self.context.set_default_timeout(15_000)
        self.context.add_init_script(_REPORT_VIOLATIONS)
        self.page: Page = self.context.new_page()
        self.page.on(
            "console",
            lambda said: (
                self.complaints.append(f"{said.type}: {said.text}")
                if said.type in ("error", "warning")
                else None
            ),
        )
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        self.context.on("request", lambda request: self.requested.append(request.url))
        self.page.goto(self.address + path)
        self.page.locator(".chip").first.wait_for(state="attached")

    def expect_complaint(self, pattern: str) -> None:
        """Allow a complaint, one that has to come: the browser reports every refused request."""
        self.expected.append(pattern)

    def leave(self) -> None:
        self.context.close()
        ours = (f"{self.address}/", "blob:", "data:")
        assert [url for url in self.requested if not url.startswith(ours)] == []
        for pattern in self.expected:
            assert any(re.search(pattern, complaint) for complaint in self.complaints), pattern
        unexpected = [
            complaint
            for complaint in self.complaints
            if not any(re.search(pattern, complaint) for pattern in self.expected)
        ]
        assert unexpected == []

    def test_id(self, name: str) -> Locator:
        return self.page.get_by_test_id(name)

    @property
    def results(self) -> Locator:
        return self.test_id("track-result")

    def draw(self, line: str, points: Sequence[tuple[float, float]]) -> None:
        """Draw a line by mouse through (part of the width, value) pairs."""
        self.page.locator(f".line-choice--{line}").click()
        box = self.test_id("curve-canvas").bounding_box()
        assert box is not None
        width = box["width"] - PLOT_LEFT - PLOT_RIGHT
        height = box["height"] - PLOT_TOP - PLOT_BOTTOM
        places = [
            (box["x"] + PLOT_LEFT + part * width, box["y"] + PLOT_TOP + (1 - value) / 2 * height)
            for part, value in points
        ]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=4)
        self.page.mouse.up()

    def search(self, act: Callable[[], object], path: str = "/v1/search/tracks") -> Response:
        """Do something that asks the service, and wait for what it answered."""
        with self.page.expect_response(lambda response: response.url.endswith(path)) as caught:
            act()
        caught.value.finished()
        # The page draws the answer after the network has delivered it.
        self.page.wait_for_function(
            "() => !document.querySelector('#found[aria-busy=true], #recording[aria-busy=true]')"
        )
        return caught.value

    def by_hand(self) -> None:
        """Switch off the search as one draws, so that a test decides when to search."""
        self.page.locator("#live").uncheck()

    def drop(self, path: Path) -> None:
        content = base64.b64encode(path.read_bytes()).decode()
        transfer = self.page.evaluate_handle(_DROP, [path.name, "audio/mpeg", content])
        for event in ("dragover", "drop"):
            self.page.dispatch_event("#drop-zone", event, {"dataTransfer": transfer})

    def wait_until_plays(self, beyond_s: float) -> float:
        """Wait until the one player has passed a moment, and return where it is."""
        self.page.wait_for_function(
            """(beyond) => {
              const audio = document.querySelector("#player-audio");
              return !audio.paused && audio.currentTime > beyond;
            }""",
            arg=beyond_s,
        )
        return self.position_s()

    def wait_until_paused(self) -> None:
        # As a function: a plain expression would be evaluated as text, which the page forbids.
        self.page.wait_for_function("() => document.querySelector('#player-audio').paused")

    def position_s(self) -> float:
        return float(self.page.evaluate("document.querySelector('#player-audio').currentTime"))

    def focused(self) -> str:
        """Name what has the focus, by test id or id."""
        return str(
            self.page.evaluate("document.activeElement.dataset.testid ?? document.activeElement.id")
        )

    def tab_to(self, name: str, presses: int = 60) -> None:
        """Press Tab until something has the focus; fails when it is not to be reached."""
        for _ in range(presses):
            self.page.keyboard.press("Tab")
            if self.focused() == name:
                return
        raise AssertionError(f"{name} is not within {presses} presses of Tab")


def sent(response: Response) -> Any:
    """Return the JSON that the page sent."""
    request: Request = response.request
    return request.post_data_json


def mini_values(chart: Locator, line: str, kind: str) -> list[float]:
    """Read the values of a mini chart's line back off its picture."""
    points = chart.locator(f".line--{line}.line--{kind}").get_attribute("points")
    assert points is not None
    heights = [float(point.split(",")[1]) for point in points.split()]
    return [1 - 2 * (y - MINI_PAD) / (MINI_HEIGHT - 2 * MINI_PAD) for y in heights]
