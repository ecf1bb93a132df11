"""Recordings that share a network: the same bits, in turn, and none harms another."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.features import BLOCK_PATCHES, block_of
from models.frontends import OnnxFrontend
from service.batching import Batcher, BatcherClosedError
from tests.models.graphs import band_means

Patches = NDArray[np.float32]
POISON = 1e6


class Watched(OnnxFrontend):
    """A real frontend whose blocks can be held back, and which cannot bear poison."""

    def __init__(self, graph: Path) -> None:
        self.go_on = threading.Event()
        self.go_on.set()
        self.started = threading.Semaphore(0)
        self.blocks: list[NDArray[np.float32]] = []
        super().__init__(graph)
        self.blocks.clear()
        self.started = threading.Semaphore(0)

    def run(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        self.blocks.append(block)
        self.started.release()
        assert self.go_on.wait(10)
        if (block == POISON).any():
            raise ValueError("poison")
        return super().run(block)


@pytest.fixture
def frontend(tmp_path: Path) -> Watched:
    return Watched(band_means(tmp_path / "mean.onnx"))


@pytest.fixture
def batcher() -> Batcher:
    return Batcher()


def some_patches(count: int, seed: int) -> Patches:
    return np.random.default_rng(seed).normal(-2, 1, (count, 96, 64)).astype(np.float32)


def alone(frontend: OnnxFrontend, patches: Patches) -> Patches:
    """Every patch by itself: the slow way, to be equalled to the bit."""
    return np.stack([OnnxFrontend.run(frontend, block_of([each[None]]))[0] for each in patches])


def held_back(batcher: Batcher, frontend: Watched) -> Future[NDArray[np.float32]]:
    """Occupy the network with one patch, so that what is submitted next gathers."""
    frontend.go_on.clear()
    first = batcher.submit(frontend, some_patches(1, 99))
    assert frontend.started.acquire(timeout=10)
    return first


def test_company_changes_no_bit_and_saves_blocks(batcher: Batcher, frontend: Watched) -> None:
    recordings = [some_patches(count, count) for count in (1, 5, 31, 2, 16, 7, 33)]
    held_back(batcher, frontend)
    futures = [batcher.submit(frontend, patches) for patches in recordings]
    frontend.go_on.set()
    for future, patches in zip(futures, recordings, strict=True):
        assert future.result(10).tobytes() == alone(frontend, patches).tobytes()
    batcher.close()
    assert len(frontend.blocks) == 1 + 3  # 95 patches, which would be eight blocks one by one


def test_one_alone_waits_for_nobody(batcher: Batcher, frontend: Watched) -> None:
    future = batcher.submit(frontend, some_patches(3, 0))
    assert future.result(10).shape == (3, 64)
    assert len(frontend.blocks) == 1
    batcher.close()


def test_a_short_recording_passes_a_long_one(batcher: Batcher, frontend: Watched) -> None:
    finished: list[str] = []
    held_back(batcher, frontend)
    long = batcher.submit(frontend, some_patches(10 * BLOCK_PATCHES, 1))
    short = batcher.submit(frontend, some_patches(2, 2))
    blocks_before_short: list[int] = []
    short.add_done_callback(lambda _: blocks_before_short.append(len(frontend.blocks)))
    for name, future in (("long", long), ("short", short)):
        future.add_done_callback(lambda _, name=name: finished.append(name))  # type: ignore[misc]
    frontend.go_on.set()
    long.result(10)
    batcher.close()
    assert finished == ["short", "long"]
    assert blocks_before_short == [3]  # the one under way, one of the long recording, its own


def test_an_error_fails_its_recording_alone(
    batcher: Batcher, frontend: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    good = some_patches(4, 4)
    expected = alone(frontend, good)
    held_back(batcher, frontend)
    bad = some_patches(2 * BLOCK_PATCHES, 5)
    bad[1] = POISON
    futures = [
        batcher.submit(frontend, good),
        batcher.submit(frontend, bad),
        batcher.submit(frontend, good),
    ]
    frontend.go_on.set()
    with pytest.raises(ValueError, match="poison"):
        futures[1].result(10)
    for future in (futures[0], futures[2]):
        assert future.result(10).tobytes() == expected.tobytes()
    assert batcher.submit(frontend, good).result(10).shape == (4, 64)
    batcher.close()
    assert "tried alone" in caplog.text


def test_who_leaves_is_dropped(batcher: Batcher, frontend: Watched) -> None:
    good = some_patches(4, 4)
    held_back(batcher, frontend)
    gone = batcher.submit(frontend, some_patches(40 * BLOCK_PATCHES, 1))
    stays = batcher.submit(frontend, good)
    assert gone.cancel()
    frontend.go_on.set()
    found = stays.result(10)
    batcher.close()
    assert len(frontend.blocks) == 2
    assert found.tobytes() == alone(frontend, good).tobytes()
    with pytest.raises(CancelledError):
        gone.result(0)


def test_who_leaves_midway_is_dropped(batcher: Batcher, frontend: Watched) -> None:
    frontend.go_on.clear()
    gone = batcher.submit(frontend, some_patches(40 * BLOCK_PATCHES, 1))
    assert frontend.started.acquire(timeout=10)
    stays = batcher.submit(frontend, some_patches(1, 2))
    assert gone.cancel()
    frontend.go_on.set()
    assert stays.result(10).shape == (1, 64)
    batcher.close()
    assert len(frontend.blocks) == 2


def test_two_networks_share_no_block(batcher: Batcher, frontend: Watched, tmp_path: Path) -> None:
    other = Watched(band_means(tmp_path / "other.onnx", factor=2.0))
    patches = some_patches(3, 3)
    expected = [alone(each, patches).tobytes() for each in (frontend, other)]
    held_back(batcher, frontend)
    futures = [batcher.submit(each, patches) for each in (frontend, other, frontend, other)]
    frontend.go_on.set()
    found = [future.result(10).tobytes() for future in futures]
    batcher.close()
    assert found == expected * 2
    assert expected[0] != expected[1]
    assert (len(frontend.blocks), len(other.blocks)) == (2, 1)


def test_closing_finishes_the_block_and_fails_the_rest(batcher: Batcher, frontend: Watched) -> None:
    under_way = held_back(batcher, frontend)
    waiting = batcher.submit(frontend, some_patches(2, 2))
    closing = threading.Thread(target=batcher.close)
    closing.start()
    frontend.go_on.set()
    closing.join(10)
    assert not closing.is_alive()
    assert under_way.result(0).shape == (1, 64)
    with pytest.raises(BatcherClosedError):
        waiting.result(0)
    with pytest.raises(BatcherClosedError):
        batcher.submit(frontend, some_patches(2, 2))
    batcher.close()


def test_closing_what_was_never_used() -> None:
    before = threading.active_count()
    Batcher().close()
    assert threading.active_count() == before


def test_many_threads_at_once(batcher: Batcher, frontend: Watched) -> None:
    recordings = [some_patches(1 + number % 20, number) for number in range(40)]
    expected = [alone(frontend, patches).tobytes() for patches in recordings]
    found: dict[int, bytes] = {}

    def ask(number: int) -> None:
        future = batcher.submit(frontend, recordings[number])
        found[number] = future.result(20).tobytes()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    batcher.close()
    assert [found[number] for number in range(40)] == expected
