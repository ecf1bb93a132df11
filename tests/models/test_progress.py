"""Progress: plain lines where nobody watches, a bar on a terminal."""

from __future__ import annotations

import io
import sys
import time

import pytest

from models.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("encoding", 3, "tracks") as progress:
        for name in ("a", "b", "c"):
            progress.note(name)
            progress.advance()
    assert progress.done == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == ["encoding: 0/3 tracks", "encoding: 3/3 tracks (c)"]


def test_lines_in_between_come_every_few_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    with Progress("encoding", 30) as progress:
        for _ in range(30):
            now_s += 1.0
            progress.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"encoding: {done}/30" for done in (0, 10, 20, 30, 30)]


def test_reach_sets_the_total(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("epochs", 10) as progress:
        progress.reach(4)
        progress.reach(9)
    assert progress.done == 9
    assert capsys.readouterr().err.splitlines()[-1] == "epochs: 9/10"


def test_work_that_fails_says_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with Progress("epochs", 10) as progress:
            progress.advance(2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert capsys.readouterr().err.splitlines()[-1] == "epochs: 2/10"


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("fetching", 2_000_000, "B") as progress:
        progress.note("half")
        progress.reach(1_000_000)
        progress.advance(1_000_000)
    shown = terminal.getvalue()
    assert "fetching" in shown
    assert "100%" in shown
    assert "2.00M/2.00M" in shown
