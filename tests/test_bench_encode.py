"""The benchmarks of encoding and serving give the figures they promise, on tiny inputs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from bench import encode, precision, serve
from bench.timing import DisagreementError
from models.similarity import Encodings, composite_similarity
from models.vggish_frontend import VGGishFrontend
from tests.service.conftest import write_tone
from tests.test_bench import assert_positive


@pytest.fixture(autouse=True)
def cache(vggish_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCUMPLEX_CACHE", str(vggish_cache))


def test_encode(vggish_weights: Path) -> None:
    report = encode.run(duration_s=2.0, rounds=1, threads=(1,), weights=vggish_weights)
    assert report["patches"] == 2
    # 96 × 64 × 9 × 64, then each layer by its shape: 0.86 G products.
    assert report["network_gflop_a_patch"] == pytest.approx(1.728, abs=0.001)
    measured = report["threads"]["1"]
    signed = ("device", "overlap_saves_ms")
    assert_positive({name: value for name, value in measured.items() if name not in signed})
    assert math.isfinite(measured["overlap_saves_ms"])
    exact = measured["float32"]
    assert exact["largest_difference_over_largest"] < 1e-4
    ratio = measured["torchvggish_ms"] / exact["whole_ms"]
    assert exact["torchvggish_over_here"] == pytest.approx(ratio)


def test_features_that_differ_are_an_error(
    vggish_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = VGGishFrontend.run
    monkeypatch.setattr(
        VGGishFrontend, "run", lambda self, block: np.float32(1.001) * right(self, block)
    )
    with pytest.raises(DisagreementError, match="features"):
        encode.run(duration_s=1.0, rounds=1, threads=(1,), weights=vggish_weights)


def test_precision(vggish_weights: Path, tmp_path: Path) -> None:
    for number in range(12):
        write_tone(tmp_path / f"tone-{number:02}.flac", number)
    report = precision.run(sorted(tmp_path.glob("*.flac")), weights=vggish_weights)
    assert (report["recordings"], report["windows"]) == (12, 12)
    # Ten of the other eleven: even orders that have nothing in common share nine.
    assert 0.9 <= report["top_10_agreement"] <= 1


def test_nearest_by_plain_loops() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.uniform(0.1, 1, (14, 6)).astype(np.float32) for _ in range(3)]
    encodings = Encodings(*parts)
    scores = composite_similarity(encodings, encodings, weight=0.5, divergence_scale=1.0)
    found = precision._nearest(encodings)
    for row in range(14):
        others = sorted((i for i in range(14) if i != row), key=lambda i, row=row: -scores[row, i])  # type: ignore[misc]
        assert found[row].tolist() == others[:10]


def test_serve() -> None:
    report = serve.run(clients=2, durations_s=(1.5,), rounds=1, tracks=6, frontends=("logmel",))
    assert_positive(report)
    (row,) = report["logmel"]
    ratio = row["together_per_s"] / row["one_by_one_per_s"]
    assert row["together_over_one_by_one"] == pytest.approx(ratio)
