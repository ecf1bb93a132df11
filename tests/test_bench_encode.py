"""The benchmarks of encoding and serving give the figures they promise, on tiny inputs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from bench import encode, serve
from bench.timing import DisagreementError
from models.vggish_frontend import VGGishFrontend
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


def test_serve() -> None:
    report = serve.run(clients=2, durations_s=(1.5,), rounds=1, tracks=6, frontends=("logmel",))
    assert_positive(report)
    (row,) = report["logmel"]
    ratio = row["together_per_s"] / row["one_by_one_per_s"]
    assert row["together_over_one_by_one"] == pytest.approx(ratio)
