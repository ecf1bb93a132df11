"""How many threads compute never shows in what they compute."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits  # type: ignore[import-untyped]

from models.audio import Recording, decode
from models.bundle import Bundle, EncodedRecording
from models.frontends import LogMelFrontend, Precision, VGGishFrontend
from models.threads import single_threaded
from tests.conftest import tiny_bundle


def blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_it_holds_in_threads_and_ends() -> None:
    torch.set_num_threads(2)
    before = blas_threads()
    with single_threaded(), ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 1
        assert set(blas_threads()) == {1}
    assert torch.get_num_threads() == 2
    assert blas_threads() == before


def encode(bundle: Bundle, path: Path) -> tuple[Recording, EncodedRecording]:
    recording = decode(path.read_bytes())
    return recording, bundle.encode_recording(recording)


def test_a_recording_is_encoded_to_the_same_bits(real_recording: Path) -> None:
    bundle = tiny_bundle()
    found = []
    for context in (single_threaded(), nullcontext()):
        torch.set_num_threads(2)
        with threadpool_limits(2, user_api="blas"), context, ThreadPoolExecutor(2) as pool:
            found += list(pool.map(lambda path: encode(bundle, path), [real_recording] * 2))
    first, *others = found
    for recording, encoded in others:
        np.testing.assert_array_equal(recording.waveform, first[0].waveform)
        for name in ("embedding", "mean", "variance"):
            np.testing.assert_array_equal(
                getattr(encoded.encodings, name), getattr(first[1].encodings, name)
            )


def test_log_mel_is_the_same(real_recording: Path) -> None:
    waveform = decode(real_recording.read_bytes()).waveform
    with single_threaded():
        alone = LogMelFrontend().features(waveform)
    with threadpool_limits(2, user_api="blas"):
        np.testing.assert_array_equal(LogMelFrontend().features(waveform), alone)


@pytest.mark.parametrize("precision", ["float32", "int16"])
def test_vggish_is_the_same_on_any_number_of_threads(
    precision: Precision,
    vggish_of: Callable[[Precision], VGGishFrontend],
    vggish_weights: Path,
    vggish_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    real_recording: Path,
) -> None:
    monkeypatch.setenv("CIRCUMPLEX_CACHE", str(vggish_cache))
    waveform = decode(real_recording.read_bytes()).waveform[: 8 * 16_000]
    many = vggish_of(precision)  # one a core; made first, so that the graph is in the cache
    alone = VGGishFrontend(vggish_weights, precision, threads=1)
    np.testing.assert_array_equal(alone.features(waveform), many.features(waveform))
