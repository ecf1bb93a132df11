"""VGGish as it is run: torchvggish's features in float32, almost the same in sixteen bits."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from models import tile_assembly, vggish, vggish_frontend, vggish_graph
from models.audio import decode
from models.features import BLOCK_PATCHES, PatchFrontend, block_of
from models.frontends import FrontendError, build_frontend, load_frontend
from models.onnx_session import OnnxSession
from models.products import Precision
from models.vggish import ParityError, WeightsError
from models.vggish_frontend import VGGishFrontend, kept_graph
from models.vggish_graph import graph
from models.vggish_network import Network
from tests.models.sounds import noise, sine

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # resampy's use of pkg_resources
    from torchvggish.torchvggish import VGG, make_layers
    from torchvggish.vggish_input import waveform_to_examples

Build = Callable[[Precision], VGGishFrontend]


@pytest.fixture(scope="module")
def exact(vggish_of: Build) -> VGGishFrontend:
    return vggish_of("float32")


@pytest.fixture(scope="module")
def reduced(vggish_of: Build) -> VGGishFrontend:
    return vggish_of("int16")


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class TestFloat32:
    def test_equals_torchvggish(self, vggish_weights: Path, exact: VGGishFrontend) -> None:
        waveform = noise(15_360 * 3 + 300) + sine(16_000, 2.89875)
        features = exact.features(waveform)
        assert features.shape == (3, 128)

        with torch.device("meta"):
            network = VGG(make_layers(), False)
        network.load_state_dict(load_file(vggish_weights), assign=True)
        with torch.inference_mode():
            examples = waveform_to_examples(waveform.astype(np.float64), 16_000)
            expected = network.eval()(examples).numpy()
        assert expected.max() > 0.1
        assert np.abs(features - expected).max() < 1e-4 * np.abs(expected).max()

    def test_identity_is_that_of_the_weights(
        self, vggish_weights: Path, exact: VGGishFrontend
    ) -> None:
        sha256 = sha256_of(vggish_weights)
        assert exact.identity() == {"name": "vggish", "feature_size": 128, "sha256": sha256}

    def test_stays_in_the_cache(
        self,
        vggish_weights: Path,
        exact: VGGishFrontend,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A bundle records the weights' hash and finds them where they were put once."""
        (tmp_path / "vggish-10086976.safetensors").symlink_to(vggish_weights)
        monkeypatch.setenv("CIRCUMPLEX_CACHE", str(tmp_path))
        monkeypatch.setattr(vggish_frontend, "_network", lambda *_: (exact.run, "cpu"))
        frontend = build_frontend("vggish")
        assert frontend.save(tmp_path) == []
        with pytest.raises(FrontendError, match="put the original weights in place"):
            load_frontend({**frontend.identity(), "sha256": "0" * 64}, tmp_path)
        assert load_frontend(frontend.identity(), tmp_path).identity() == frontend.identity()


class TestCompany:
    @pytest.mark.parametrize("precision", ["float32", "int16"])
    def test_neither_place_nor_company_changes_a_bit(
        self, precision: Precision, vggish_of: Build
    ) -> None:
        frontend = vggish_of(precision)
        assert isinstance(frontend, PatchFrontend)
        patches = frontend.patches(noise(15_360 * BLOCK_PATCHES + 240))
        together = frontend.run(block_of([patches]))
        assert len(np.unique(together, axis=0)) == BLOCK_PATCHES
        order = np.random.default_rng(1).permutation(BLOCK_PATCHES)
        assert frontend.run(block_of([patches[order]])).tobytes() == together[order].tobytes()
        for place in (0, 5, 15):
            loud = np.full((BLOCK_PATCHES - 1, 96, 64), 50.0, np.float32)
            block = block_of([loud[:place], patches[:1], loud[place:]])
            assert frontend.run(block)[place].tobytes() == together[0].tobytes()


class TestParity:
    def test_a_network_that_computes_something_else_is_refused(
        self, vggish_weights: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As a processor would whose instructions are not what they are said to be."""
        monkeypatch.setattr(Network, "_embedded", lambda _, pixels: np.zeros((len(pixels), 128)))
        with pytest.raises(FrontendError, match="differs here from torch's network"):
            VGGishFrontend(vggish_weights)

    def test_of_other_tensors(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CIRCUMPLEX_CACHE", str(tmp_path / "cache"))
        save_file({"layer.weight": torch.ones(2)}, tmp_path / "other.safetensors")
        with pytest.raises(WeightsError, match="does not hold VGGish's tensors"):
            VGGishFrontend(tmp_path / "other.safetensors")

    def test_parity_is_a_share_of_the_largest_feature(
        self, vggish_weights: Path, exact: VGGishFrontend
    ) -> None:
        assert vggish.require_parity(exact.run, vggish_weights, 1e-4) < 1e-5

        def one_percent_more(block: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.float32(1.01) * exact.run(block)

        assert vggish.require_parity(one_percent_more, vggish_weights, 0.1) == pytest.approx(
            0.01, rel=0.01
        )
        with pytest.raises(ParityError):
            vggish.require_parity(one_percent_more, vggish_weights, 1e-4)


class TestGraph:
    """Where a processor lacks the instructions, ONNX Runtime runs float32."""

    @pytest.fixture(autouse=True)
    def elsewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tile_assembly, "AVAILABLE", False)
        monkeypatch.setenv("CIRCUMPLEX_CACHE", str(tmp_path))

    def test_gives_the_same_features(
        self, vggish_weights: Path, exact: VGGishFrontend, tmp_path: Path
    ) -> None:
        frontend = VGGishFrontend(vggish_weights)
        assert frontend.identity() == exact.identity()
        waveform = noise(15_360 * 2 + 240)
        features, expected = frontend.features(waveform), exact.features(waveform)
        assert np.abs(features - expected).max() < 1e-5 * expected.max()

        (kept,) = tmp_path.glob("*.onnx")
        assert kept.name == f"vggish-{sha256_of(vggish_weights)[:16]}-v2.onnx"
        assert kept.read_bytes() == graph(vggish_weights).SerializeToString(deterministic=True)
        before = kept.stat().st_mtime_ns
        assert kept_graph(vggish_weights, sha256_of(vggish_weights)) == kept
        assert kept.stat().st_mtime_ns == before

        session = OnnxSession(kept)
        block = block_of([frontend.patches(noise(15_360 * 2 + 240))])
        assert session(block[1:]).tobytes() == session(block)[1:].tobytes()

    def test_that_computes_something_else_is_not_kept(
        self, vggish_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        silent = np.zeros((1, 128), np.float32)
        monkeypatch.setattr(vggish_frontend, "OnnxSession", lambda _: lambda _: silent)
        monkeypatch.setattr(vggish_graph, "graph", lambda _: onnx.ModelProto())
        with pytest.raises(FrontendError, match="differs here from torch's network"):
            VGGishFrontend(vggish_weights)
        assert list(tmp_path.iterdir()) == []

    def test_that_is_damaged_says_what_to_do(self, vggish_weights: Path, tmp_path: Path) -> None:
        name = f"vggish-{sha256_of(vggish_weights)[:16]}-v2.onnx"
        (tmp_path / name).write_bytes(b"half a graph")
        with pytest.raises(FrontendError, match="remove it to make it again"):
            VGGishFrontend(vggish_weights)


class TestInt16:
    def test_is_close_to_float32_on_a_real_recording(
        self, exact: VGGishFrontend, reduced: VGGishFrontend, real_recording: Path
    ) -> None:
        waveform = decode(real_recording.read_bytes()).waveform[: 15_360 * BLOCK_PATCHES + 240]
        expected, found = exact.features(waveform), reduced.features(waveform)
        error = np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))
        assert 0 < error < 3e-3

    def test_identity_says_so(self, exact: VGGishFrontend, reduced: VGGishFrontend) -> None:
        assert reduced.identity() == {
            **exact.identity(),
            "precision": "int16",
            "rounding_version": vggish_frontend.ROUNDING_VERSION,
        }


class TestGpu:
    def test_one_that_fails_is_passed_over_aloud(
        self,
        vggish_weights: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Here torch has no CUDA: told that there is some, it fails in earnest."""
        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU that works")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        with caplog.at_level(logging.WARNING):
            frontend = VGGishFrontend(vggish_weights)
        assert frontend.device == "cpu"
        assert "runs on the processor, not on the GPU" in caplog.text
