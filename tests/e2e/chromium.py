"""Debian's Chromium, which is started again where it was lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from uuid import uuid4

from playwright.sync_api import Browser, Playwright

CHROMIUM = Path(os.environ.get("CIRCUMPLEX_CHROMIUM", "/usr/bin/chromium"))
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
    "--autoplay-policy=no-user-gesture-required",
]


class Chromium:
    """One browser at a time."""

    def __init__(self, playwright: Playwright) -> None:
        self._playwright = playwright
        self._mark = f"--circumplex-tests={uuid4()}"
        self._browser: Browser | None = None

    @property
    def running(self) -> Browser:
        """The browser."""
        if self._browser is None or not self._browser.is_connected():
            self._browser = self._playwright.chromium.launch(
                executable_path=str(CHROMIUM), args=[*_ARGUMENTS, self._mark]
            )
        return self._browser

    def close(self) -> None:
        """End it."""
        if self._browser is not None:
            self._browser.close()

    def kill(self) -> None:
        """End it from outside, in any thread: whoever waits for it gets a ``TargetClosedError``."""
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if self._mark.encode() in file.read_bytes().split(b"\0"):
                    os.kill(int(file.parent.name), signal.SIGKILL)
            except OSError:  # it has ended meanwhile
                continue
