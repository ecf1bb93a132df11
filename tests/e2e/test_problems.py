"""What goes wrong is said on the page, in the service's own words, and the page goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.visit import Visit
from tests.service.conftest import Server, start_server

_SEARCH = "/v1/search/emotions"
_REFUSED = r"Failed to load resource.* 422 "
_GONE = r"Failed to load resource: net::ERR_"


def test_a_text_called_mp3_is_refused_in_the_service_s_words(
    visit: Visit, tmp_path: Path, real_recording: Path
) -> None:
    notes = tmp_path / "notes.mp3"
    notes.write_text("A melody that I must not forget: la, la, la.\n" * 50)
    visit.expect_complaint(_REFUSED)
    response = visit.search(lambda: visit.drop(notes), _SEARCH)
    assert response.status == 422
    problem = visit.page.locator("#emotion-problem")
    problem.wait_for()
    assert problem.get_attribute("role") == "alert"
    said = problem.inner_text()
    body = response.json()
    assert body["detail"] in said
    assert body["code"] in said
    assert body["request_id"] in said
    assert "This recording could not be used" in said
    assert visit.page.locator("#recording").is_hidden()
    assert visit.page.locator("#upload").is_hidden()
    # A sound recording afterwards works, and takes the problem away.
    visit.search(lambda: visit.drop(real_recording), _SEARCH)
    visit.page.locator("#recording").wait_for()
    assert problem.is_hidden()
    assert visit.test_id("emotion-result").count() == 8


def test_an_empty_file_is_refused_in_the_service_s_words(visit: Visit, tmp_path: Path) -> None:
    empty = tmp_path / "silence.wav"
    empty.write_bytes(b"")
    visit.expect_complaint(_REFUSED)
    response = visit.search(lambda: visit.drop(empty), _SEARCH)
    problem = visit.page.locator("#emotion-problem")
    problem.wait_for()
    assert response.json()["detail"] in problem.inner_text()


@pytest.fixture
def mortal_server(page_home: Path) -> Server:
    """A server of its own for a test that stops it."""
    return start_server(page_home)


def test_a_stopped_server_is_named_as_the_cause(
    open_page: Callable[..., Visit], mortal_server: Server, real_recording: Path
) -> None:
    visit = open_page(mortal_server)
    visit.by_hand()
    visit.search(visit.page.locator("#find-tracks").click)
    found = visit.results.count()
    assert found == 10
    assert mortal_server.stop() == 0
    visit.expect_complaint(_GONE)

    visit.page.locator("#find-tracks").click()
    problem = visit.page.locator("#music-problem")
    problem.wait_for()
    assert problem.get_attribute("role") == "alert"
    assert "The service cannot be reached" in problem.inner_text()
    assert "Check that the service is running" in problem.inner_text()
    assert visit.results.count() == found  # what was found is still there to read
    assert visit.page.locator("#found").get_attribute("aria-busy") == "false"

    visit.drop(real_recording)
    problem = visit.page.locator("#emotion-problem")
    problem.wait_for()
    assert "The service cannot be reached" in problem.inner_text()
    assert visit.page.locator("#upload").is_hidden()
