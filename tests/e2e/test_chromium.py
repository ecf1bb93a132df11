"""A browser that hangs is ended and started again; no test waits for it forever."""

from __future__ import annotations

import threading

import pytest
from playwright.sync_api import Error

from tests.e2e.chromium import Chromium


def test_a_browser_that_hangs_is_started_again(chromium: Chromium) -> None:
    page = chromium.running.new_page()
    threading.Timer(2.0, chromium.kill).start()
    with pytest.raises(Error) as raised:
        page.evaluate("() => { for (;;); }")
    assert type(raised.value).__name__ == "TargetClosedError"
    assert chromium.running.new_page().evaluate("1 + 1") == 2
