"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import NoReturn

from tqdm import tqdm

_LINE_EVERY_S = 10.0


class Progress:
    """Show how much of a counted piece of work is done, on standard error.

    Used as a context manager; :meth:`advance` counts units, :meth:`note` shows a figure beside the
    bar (a loss, a file's name).
    """

    def __init__(self, label: str, total: int, unit: str = "") -> None:
        self.label = label
        self.total = total
        self.done = 0
        self._unit = unit
        self._note = ""
        self._last_line_s = time.monotonic()
        self._bar: tqdm[NoReturn] | None = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=self.total,
                desc=f"{self.label:<28}",
                unit=self._unit or "it",
                unit_scale=self._unit == "B",
                dynamic_ncols=True,
            )
        else:
            self._line()
        return self

    def advance(self, count: int = 1) -> None:
        """Count ``count`` more units as done."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._last_line_s >= _LINE_EVERY_S:
            self._line()

    def reach(self, done: int) -> None:
        """Set the number of units done, for work that reports totals."""
        self.advance(done - self.done)

    def note(self, text: str) -> None:
        """Show ``text`` beside the progress."""
        self._note = text
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        else:
            self._line()

    def _line(self) -> None:
        self._last_line_s = time.monotonic()
        note = f" ({self._note})" if self._note else ""
        sys.stderr.write(
            f"{self.label}: {self.done}/{self.total} {self._unit}".rstrip() + f"{note}\n"
        )
        sys.stderr.flush()
