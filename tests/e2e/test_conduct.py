"""How the page behaves towards everyone: names, contrast, focus, motion and small windows."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import LONG_TITLE
from tests.e2e.visit import NARROW, WIDE, Visit, sent

_NAMED_ROLES = {
    "application", "button", "checkbox", "combobox", "link", "listbox", "meter", "option",
    "progressbar", "radio", "radiogroup", "slider", "spinbutton", "tab", "tablist", "tabpanel",
    "textbox", "image", "img",
}  # fmt: skip
TABS = ("tab-music", "tab-emotion")
_AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

# Text in pictures, which axe leaves out: its own ink against the nearest painted ground.
_PICTURE_INKS = """() => [...document.querySelectorAll("svg text")]
  .filter((text) => text.checkVisibility())
  .map((text) => {
    let ground = text;
    const clear = (node) => getComputedStyle(node).backgroundColor === "rgba(0, 0, 0, 0)";
    while (ground.parentElement && clear(ground)) ground = ground.parentElement;
    return [text.textContent, getComputedStyle(text).fill,
      getComputedStyle(ground).backgroundColor];
  })"""
# Whether something that belongs to the focused element shows the focus.
_SHOWS_FOCUS = """() => {
  const here = document.activeElement;
  const zone = here.closest(".drop-zone")?.querySelector(".drop-zone__choose");
  const accent = document.createElement("i");
  accent.style.color = "var(--focus)";
  document.body.append(accent);
  const focus = getComputedStyle(accent).color;
  accent.remove();
  return [here, here.nextElementSibling, zone].filter(Boolean).some((node) => {
    const style = getComputedStyle(node);
    const outlined = style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 2;
    return (outlined && style.outlineColor === focus) || style.stroke === focus;
  });
}"""


def fill_both_halves(visit: Visit, recording: Path) -> None:
    """Bring the page to where everything on it is used: results, details, player, recording."""
    visit.page.locator("#result-count").select_option("20")
    visit.search(visit.test_id("mood-calm").click)
    visit.test_id("score-details-toggle").first.click()
    visit.search(lambda: visit.drop(recording), "/v1/search/emotions")
    visit.page.locator("#play-recording").click()
    visit.wait_until_plays(0.1)
    visit.page.locator("#play-recording").click()


def contrast(first: str, second: str) -> float:
    """Return WCAG's contrast ratio of two CSS colours like ``rgb(1, 2, 3)``."""

    def luminance(colour: str) -> float:
        parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, the accessibility checker."""
    if find_spec("axe_playwright_python") is None:
        if os.environ.get("CI"):
            pytest.fail("axe-playwright-python is missing, and CI must have it")
        pytest.skip("needs the package axe-playwright-python, of the dev extra")
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("window", "scheme"),
    [(WIDE, "light"), (NARROW, "dark")],
    ids=["wide light", "narrow dark"],
)
def test_axe_finds_nothing_to_object_to(
    open_page: Callable[..., Visit],
    real_recording: Path,
    axe: str,
    window: dict[str, int],
    scheme: str,
) -> None:
    visit = open_page(viewport=window, color_scheme=scheme, reduced_motion="reduce")
    fill_both_halves(visit, real_recording)
    visit.page.evaluate(axe)
    for tab in TABS:
        visit.page.locator(f"#{tab}").click()
        report: Any = visit.page.evaluate(
            "(tags) => axe.run(document, { runOnly: tags })", _AXE_TAGS
        )
        assert len(report["passes"]) > 20
        assert {"color-contrast", "aria-input-field-name"} & {r["id"] for r in report["passes"]}
        objections = [
            (violation["id"], node["target"], node["failureSummary"])
            for violation in report["violations"]
            for node in violation["nodes"]
        ]
        assert objections == [], tab


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_in_pictures_can_be_read(
    open_page: Callable[..., Visit], real_recording: Path, scheme: str
) -> None:
    visit = open_page(color_scheme=scheme)
    fill_both_halves(visit, real_recording)
    for tab in TABS:
        visit.page.locator(f"#{tab}").click()
        inks: list[tuple[str, str, str]] = visit.page.evaluate(_PICTURE_INKS)
        assert len(inks) > 28  # the mood words at least
        pale = [(*ink, contrast(*ink[1:])) for ink in inks if contrast(*ink[1:]) < 4.5]
        assert pale == []


def test_everything_to_use_has_a_name(visit: Visit, real_recording: Path) -> None:
    fill_both_halves(visit, real_recording)
    browser = visit.context.new_cdp_session(visit.page)
    for tab in TABS:
        visit.page.locator(f"#{tab}").click()
        nodes: list[Any] = browser.send("Accessibility.getFullAXTree")["nodes"]
        used = [
            node
            for node in nodes
            if not node["ignored"] and node.get("role", {}).get("value") in _NAMED_ROLES
        ]
        assert len(used) > 20
        nameless = [node for node in used if not node.get("name", {}).get("value", "").strip()]
        assert nameless == []
        # A name serves nobody if several buttons of a list share it.
        names = [node["name"]["value"] for node in used if node["role"]["value"] == "button"]
        assert len(set(names)) == len(names)


def test_the_focus_is_always_seen(visit: Visit, real_recording: Path) -> None:
    fill_both_halves(visit, real_recording)
    for tab in TABS:
        visit.page.locator(f"#{tab}").click()
        seen: list[str] = []
        for _ in range(60):
            visit.page.keyboard.press("Tab")
            # After the last stop the focus leaves the page, for the browser's own controls.
            if visit.page.evaluate("document.activeElement === document.body"):
                continue
            seen.append(visit.focused())
            assert visit.page.evaluate(_SHOWS_FOCUS), seen[-1]
        assert len(set(seen)) >= 10


@pytest.mark.parametrize("window", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_reaches_beyond_the_window(
    open_page: Callable[..., Visit], real_recording: Path, window: dict[str, int]
) -> None:
    visit = open_page(viewport=window)
    visit.page.locator("#advanced summary").click()
    assert visit.page.locator("#weight").is_visible()
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= window["width"]
    visit.page.keyboard.press("Escape")
    fill_both_halves(visit, real_recording)
    for tab in TABS:
        visit.page.locator(f"#{tab}").click()
        # No wider than the window, and nothing cut off that scrolling could not bring back.
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= window["width"]
        for name in ("track-result", "emotion-result"):
            for row in visit.test_id(name).all():
                box = row.bounding_box()
                assert box is None or (box["x"] >= 0 and box["x"] + box["width"] <= window["width"])
    # An unbreakable title does not push its row's other parts away or over each other.
    visit.page.locator("#tab-music").click()
    row = visit.results.filter(has_text=LONG_TITLE)
    title, meter = (
        row.get_by_test_id(name).bounding_box() for name in ("track-title", "similarity")
    )
    assert title is not None
    assert meter is not None
    assert title["x"] + title["width"] <= meter["x"]
    assert title["height"] < 60


def test_the_advanced_settings_get_out_of_the_way(visit: Visit) -> None:
    opener, weight = visit.page.locator("#advanced summary"), visit.page.locator("#weight")
    opener.click()
    assert weight.is_visible()
    weight.press("Escape")
    assert weight.is_hidden()
    assert visit.page.evaluate("document.activeElement.tagName") == "SUMMARY"
    opener.click()
    visit.page.locator("#query-name").click()
    assert weight.is_hidden()


def test_motion_stops_for_those_who_ask(open_page: Callable[..., Visit]) -> None:
    moving, still = open_page(), open_page(reduced_motion="reduce")
    looks = []
    for visit in (moving, still):
        visit.page.locator("#found").evaluate("(found) => found.setAttribute('aria-busy', 'true')")
        looks.append(
            visit.page.evaluate(
                """() => [
                  getComputedStyle(document.querySelector("#found"), "::before").animationName,
                  getComputedStyle(document.querySelector(".handle")).transitionDuration !== "0s",
                ]"""
            )
        )
    assert looks == [["seek", True], ["none", False]]


def test_a_finger_draws_without_scrolling_the_page(open_page: Callable[..., Visit]) -> None:
    visit = open_page(viewport=NARROW, has_touch=True, is_mobile=True)
    box = visit.test_id("curve-canvas").bounding_box()
    assert box is not None
    finger = visit.context.new_cdp_session(visit.page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": x, "y": y} for x, y in points]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    def stroke() -> None:
        left, top = box["x"] + 60, box["y"] + 200
        touch("touchStart", (left, top))
        for step in range(1, 20):
            touch("touchMove", (left + 12 * step, top - 6 * step))
        touch("touchEnd")

    curve = sent(visit.search(stroke))["curve"]["arousal"]
    assert curve[40] - curve[10] > 0.2
    assert visit.page.evaluate("scrollY") == 0
