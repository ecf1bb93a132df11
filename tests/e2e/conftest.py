"""A real home folder, a real server over it, and a real Chromium that looks at it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mutagen
import pytest
from playwright.sync_api import Browser, sync_playwright

from service import catalogue
from service.settings import Settings
from tests.e2e.chromium import CHROMIUM, Chromium
from tests.e2e.visit import Visit
from tests.service.conftest import Server, start_server, write_tone
from training.corpora.synthetic import synthesise

_LONGEST_S = 180.0
PIECES = 12
# What an unkind file's tags may say: one unbreakable word, and markup.
LONG_TITLE = "Donaudampfschifffahrtsgesellschaftskapitänsmütze" * 5
HOSTILE_ARTIST = "<img src=x onerror=alert(1)> & <b>Sons</b>"


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen composed pieces, and one very short recording with unkind tags."""
    root = tmp_path_factory.mktemp("pieces") / "corpus"
    synthesise(root, pieces=PIECES)
    unkind = write_tone(root / "audio" / "unkind.flac", 1)
    tags: Any = mutagen.File(unkind)
    tags["title"], tags["artist"] = LONG_TITLE, HOSTILE_ARTIST
    tags.save()
    return root


@pytest.fixture(scope="session")
def page_home(
    tmp_path_factory: pytest.TempPathFactory, small_corpus: Path, tiny_bundle_folder: Path
) -> Path:
    """A home folder that holds the small corpus."""
    home = tmp_path_factory.mktemp("page") / "home"
    report = catalogue.ingest(
        Settings(home=home), [small_corpus / "audio"], bundle=tiny_bundle_folder
    )
    assert (report.added, report.failed) == (PIECES + 1, [])
    return home


@pytest.fixture(scope="package")
def page_server(page_home: Path) -> Iterator[Server]:
    """A server over the small home, which no test changes."""
    running = start_server(page_home)
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log.read_text()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run a test once more, and say so, where its browser was lost (see :func:`browser`)."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=["TargetClosedError"]))


# For this package only: Playwright's event loop would stay in the way of later tests' own loops.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Chromium]:
    """Debian's Chromium; without it a test skips, except where CI promises it."""
    if not CHROMIUM.is_file():
        if os.environ.get("CI"):
            pytest.fail(f"{CHROMIUM} is missing, and CI must have it")
        pytest.skip(f"needs the browser {CHROMIUM} (apt-get install chromium)")
    with sync_playwright() as playwright:
        started = Chromium(playwright)
        yield started
        started.close()


@pytest.fixture
def browser(chromium: Chromium) -> Iterator[Browser]:
    """The browser, killed where a test takes minutes: once it hung, and a press of a key waits."""
    running = chromium.running
    watch = threading.Timer(_LONGEST_S, chromium.kill)
    watch.start()
    yield running
    watch.cancel()


@pytest.fixture
def open_page(browser: Browser, page_server: Server) -> Iterator[Callable[..., Visit]]:
    """A function that opens the page in a fresh context; each visit must have stayed clean."""
    visits: list[Visit] = []

    def visit(server: Server = page_server, **context: Any) -> Visit:
        visits.append(Visit(browser, str(server.client.base_url), **context))
        return visits[-1]

    yield visit
    for opened in visits:
        opened.leave()


@pytest.fixture
def visit(open_page: Callable[..., Visit]) -> Visit:
    """The page in a window of 1280 × 800."""
    return open_page()
