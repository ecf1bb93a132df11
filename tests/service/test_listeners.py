"""Processes that hear uploads where several come at once: the same answers, whatever happens."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from bench.server import children_of, processor_s
from models.audio import AudioError
from models.bundle import Bundle, load_bundle, save_bundle
from service.listeners import Heard, Listeners, hear_recording
from tests.conftest import is_running, tiny_bundle
from tests.service.conftest import Server, start_server, wait_for, write_tone
from tests.service.test_company import ask, check_bad_recordings_fail_alone, without_time


def listeners_of(process_id: int) -> set[int]:
    """The processes that one has spawned and that still run, but for Python's own tracker."""
    return {
        child
        for child in children_of(process_id)
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    }


def ready(server: Server) -> int:
    """How many processes the server says that it has."""
    found = re.search(
        r"^circumplex_hearing_processes (\d+)", server.client.get("/metrics").text, re.M
    )
    assert found
    return int(found[1])


def ask_together(server: Server, uploads: list[bytes], times: int) -> list[httpx.Response]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda audio: ask(server, audio), uploads * times))


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("uploads")
    lengths_s = (1.2, 31.0, 4.0, 62.0)
    return [
        write_tone(folder / f"{number}.flac", 90 + number, seconds).read_bytes()
        for number, seconds in enumerate(lengths_s)
    ]


@pytest.fixture(scope="module")
def server(ingested_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = Path(shutil.copytree(ingested_home, tmp_path_factory.mktemp("heard") / "home"))
    running = start_server(home, CIRCUMPLEX_HEARING_PROCESSES="2")
    yield running
    children = listeners_of(running.process.pid)
    assert running.stop() == 0
    assert not any(map(is_running, children))
    assert "Traceback" not in running.log.read_text()


def test_a_lone_client_starts_none(server: Server, uploads: list[bytes]) -> None:
    for audio in uploads:
        without_time(ask(server, audio))
    assert listeners_of(server.process.pid) == set()


def test_answers_are_those_of_each_alone(server: Server, uploads: list[bytes]) -> None:
    alone = [without_time(ask(server, audio)) for audio in uploads]
    assert len({str(answer["results"]) for answer in alone}) == len(uploads)
    until_s = time.monotonic() + 60
    while ready(server) < 2:
        together = ask_together(server, uploads, 2)
        assert [without_time(response) for response in together] == alone * 2
        assert time.monotonic() < until_s
    spent_s = [processor_s(child) for child in listeners_of(server.process.pid)]
    together = ask_together(server, uploads, 8)
    assert [without_time(response) for response in together] == alone * 8
    for child, before_s in zip(listeners_of(server.process.pid), spent_s, strict=True):
        assert processor_s(child) > before_s


def test_a_bad_recording_fails_alone(server: Server, uploads: list[bytes]) -> None:
    check_bad_recordings_fail_alone(server, uploads[0])


def test_killed_ones_are_replaced_and_nothing_is_lost(server: Server, uploads: list[bytes]) -> None:
    alone = [without_time(ask(server, audio)) for audio in uploads]
    until_s = time.monotonic() + 60
    while ready(server) < 2:
        ask_together(server, uploads, 1)
        assert time.monotonic() < until_s
    before = listeners_of(server.process.pid)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask_together, server, uploads, 8)
        for child in before:
            time.sleep(0.3)
            os.kill(child, signal.SIGKILL)
        together = asked.result()
    assert [without_time(response) for response in together] == alone * 8
    until_s = time.monotonic() + 60
    while ready(server) < 2:
        ask_together(server, uploads, 1)
        assert time.monotonic() < until_s
    assert not listeners_of(server.process.pid) & before


def test_they_end_with_a_server_that_is_killed(ingested_home: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(ingested_home, tmp_path / "home"))
    server = start_server(home, CIRCUMPLEX_HEARING_PROCESSES="1")
    audio = write_tone(tmp_path / "tone.flac", 1, 8.0).read_bytes()
    until_s = time.monotonic() + 60
    while not (children := listeners_of(server.process.pid)):
        ask_together(server, [audio], 8)
        assert time.monotonic() < until_s
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    wait_for(lambda: not any(map(is_running, children)))


def test_two_bundles_in_turn(bundle: Bundle, tiny_bundle_folder: Path, tmp_path: Path) -> None:
    """Without a server: several at once, so that all but one of them are not alone."""
    audio = write_tone(tmp_path / "tone.flac", 5, 20.0).read_bytes()
    save_bundle(tiny_bundle(seed=1), tmp_path / "other")
    bundles = [(bundle, tiny_bundle_folder), (load_bundle(tmp_path / "other"), tmp_path / "other")]
    listeners = Listeners(1)

    def hear(number: int, content: bytes = audio) -> Heard:
        return listeners.hear(*bundles[number % 2], io.BytesIO(content), 60.0)

    try:
        expected = [hear_recording(each, audio, 60.0)[1].encodings for each, _ in bundles]
        assert not np.array_equal(expected[0].mean, expected[1].mean)
        until_s = time.monotonic() + 60
        with ThreadPoolExecutor(4) as pool:
            while not listeners.ready:
                list(pool.map(hear, range(4)))
                assert time.monotonic() < until_s
            for number, (heard, encoded) in enumerate(pool.map(hear, range(16))):
                assert len(heard.waveform) == 0
                assert heard.duration_s == pytest.approx(20.0)
                for part in ("embedding", "mean", "variance"):
                    there = getattr(encoded.encodings, part)
                    assert np.array_equal(getattr(expected[number % 2], part), there)
            for refused in [pool.submit(hear, number, b"no music") for number in range(8)]:
                with pytest.raises(AudioError) as error:
                    refused.result()
                assert error.value.code == "audio_unreadable"
    finally:
        listeners.close()
    assert not listeners_of(os.getpid())
