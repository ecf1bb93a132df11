"""Frontends: the features they promise, to the bit, whoever else is asking."""

from __future__ import annotations

import json
import math
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from models.frontends import (
    Frontend,
    FrontendError,
    LogMelFrontend,
    OnnxFrontend,
    Precision,
    VGGishFrontend,
    build_frontend,
    load_frontend,
)
from models.logmel import log_mel_patches
from tests.models.graphs import band_means, write
from tests.models.sounds import noise


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return band_means(tmp_path / "mean.onnx")


class TestLogMel:
    def test_values_by_plain_loops(self) -> None:
        waveform = noise(40_000)
        patches = log_mel_patches(waveform).astype(np.float64)
        features = LogMelFrontend().features(waveform)
        assert features.shape == (2, 128)
        for patch in range(2):
            for band in (0, 1, 31, 63):
                values = [patches[patch, frame, band] for frame in range(96)]
                mean = sum(values) / 96
                spread = math.sqrt(sum((value - mean) ** 2 for value in values) / 96)
                assert features[patch, band] == pytest.approx(mean, abs=1e-5)
                assert features[patch, 64 + band] == pytest.approx(spread, abs=1e-5)

    def test_has_an_identity_and_no_files(self, tmp_path: Path) -> None:
        frontend = LogMelFrontend()
        assert frontend.identity() == {"name": "logmel", "feature_size": 128, "version": 1}
        assert frontend.save(tmp_path) == []
        assert list(tmp_path.iterdir()) == []


class TestOnnx:
    def test_values_of_a_tiny_graph(self, graph: Path) -> None:
        waveform = noise(100_000)
        features = OnnxFrontend(graph).features(waveform)
        expected = log_mel_patches(waveform, 0.001).mean(axis=1)
        assert features.shape == (6, 64)
        assert features.dtype == np.float32
        assert np.abs(features - expected).max() < 1e-5

    @pytest.mark.parametrize("patches", [1, 15, 16, 17, 33])
    def test_blocks_leave_no_seam(self, graph: Path, patches: int) -> None:
        waveform = noise(15_360 * patches + 240)
        features = OnnxFrontend(graph).features(waveform)
        expected = log_mel_patches(waveform, 0.001).mean(axis=1)
        assert features.shape == expected.shape == (patches, 64)
        assert np.abs(features - expected).max() < 1e-5

    def test_yamnet_reproduces_its_reference(self, shared_data: Path) -> None:
        folder = shared_data / "frontends"
        with np.load(folder / "yamnet_reference.npz") as reference:
            audio, patches = reference["audio"], reference["patches"]
            embedding = reference["embedding"]
        settings = json.loads((folder / "yamnet.json").read_text())
        ours = log_mel_patches(audio, settings["log_offset"])
        assert ours.shape == (3, 96, 64)
        assert np.abs(ours - patches[:, 0]).max() < 1e-4

        frontend = OnnxFrontend(folder / "yamnet.onnx")
        assert frontend.feature_size == 1_024
        features = frontend.features(audio)
        assert np.abs(features - embedding).max() < 1e-4
        assert np.abs(embedding).max() > 1
        assert frontend.identity()["model"] == "yamnet"
        assert frontend.identity()["log_offset"] == 0.001

    def test_names_default_to_the_graphs_own(self, graph: Path) -> None:
        graph.with_suffix(".json").write_text('{"log_offset": 0.001}')
        frontend = OnnxFrontend(graph)
        assert frontend.features(noise(16_000)).shape == (1, 64)
        assert frontend.identity()["model"] == "mean"

    def test_a_missing_graph(self, tmp_path: Path) -> None:
        with pytest.raises(FrontendError, match=r"nothing\.onnx does not exist"):
            OnnxFrontend(tmp_path / "nothing.onnx")

    @pytest.mark.parametrize(
        "content",
        [None, "", "{", "[]", "1", "{}", '{"log_offset": null}', '{"log_offset": "soft"}'],
    )
    def test_a_bad_json_file(self, graph: Path, content: str | None) -> None:
        beside = graph.with_suffix(".json")
        beside.unlink()
        if content is not None:
            beside.write_text(content)
        with pytest.raises(FrontendError, match=r"mean\.json must be a JSON file") as refused:
            OnnxFrontend(graph)
        assert '{"log_offset": 0.01}' in str(refused.value)

    @pytest.mark.parametrize("offset", ["0", "-0.01", "1", "7", "NaN", "Infinity"])
    def test_a_bad_log_offset(self, graph: Path, offset: str) -> None:
        graph.with_suffix(".json").write_text(f'{{"log_offset": {offset}}}')
        with pytest.raises(FrontendError, match=r"expected a number in \(0, 1\)"):
            OnnxFrontend(graph)

    @pytest.mark.parametrize("content", [b"", b"no graph", bytes(1_000)])
    def test_no_graph_at_all(self, graph: Path, content: bytes) -> None:
        graph.write_bytes(content)
        with pytest.raises(FrontendError, match="no ONNX graph that can be run"):
            OnnxFrontend(graph)

    @pytest.mark.parametrize("shape", [["N", 96, 64], ["N", 1, 64, 96], [3, 1, 96, 64]])
    def test_another_input_shape(self, tmp_path: Path, shape: list[str | int]) -> None:
        path = write(
            tmp_path / "other.onnx",
            [helper.make_node("Flatten", ["x"], ["y"])],
            inputs=[("x", shape)],
            output=("y", None),
        )
        with pytest.raises(FrontendError, match="does not take log-mel patches"):
            OnnxFrontend(path)

    @pytest.mark.parametrize("operation", ["Identity", "ReduceMax"])
    def test_another_output_shape(self, tmp_path: Path, operation: str) -> None:
        path = write(
            tmp_path / "other.onnx",
            [helper.make_node(operation, ["x"], ["y"])],
            inputs=[("x", ["N", 1, 96, 64])],
            output=("y", None),
        )
        with pytest.raises(FrontendError, match=r"where \[N, F\] was expected"):
            OnnxFrontend(path)

    @pytest.mark.parametrize("key", ["input", "output"])
    def test_another_name(self, graph: Path, key: str) -> None:
        graph.with_suffix(".json").write_text(json.dumps({"log_offset": 0.01, key: "nothing"}))
        with pytest.raises(FrontendError, match="nothing"):
            OnnxFrontend(graph)

    def test_two_inputs(self, tmp_path: Path) -> None:
        path = write(
            tmp_path / "two.onnx",
            [helper.make_node("Add", ["x", "z"], ["w"]), helper.make_node("Flatten", ["w"], ["y"])],
            inputs=[("x", ["N", 1, 96, 64]), ("z", ["N", 1, 96, 64])],
            output=("y", None),
        )
        with pytest.raises(FrontendError, match="does not take log-mel patches"):
            OnnxFrontend(path)

    def test_no_input(self, tmp_path: Path) -> None:
        path = write(
            tmp_path / "none.onnx",
            [helper.make_node("Constant", [], ["y"], value_floats=[1.0, 2.0])],
            inputs=[],
            output=("y", None),
        )
        with pytest.raises(FrontendError, match="no ONNX graph that can be run"):
            OnnxFrontend(path)

    def test_weights_in_another_file_would_not_travel(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A bundle copies the graph alone: what it needs besides must be missed at once."""
        path = write(
            tmp_path / "split.onnx",
            [
                helper.make_node("Flatten", ["x"], ["f"]),
                helper.make_node("MatMul", ["f", "w"], ["y"]),
            ],
            inputs=[("x", ["N", 1, 96, 64])],
            output=("y", ["N", 8]),
            constants={"w": np.ones((96 * 64, 8), np.float32)},
        )
        assert OnnxFrontend(path).feature_size == 8
        onnx.save(
            onnx.load(path),
            path,
            save_as_external_data=True,
            location="split.weights",
            size_threshold=0,
        )
        assert (tmp_path / "split.weights").stat().st_size > 100_000
        monkeypatch.chdir(tmp_path)
        with pytest.raises(FrontendError, match="no ONNX graph that can be run"):
            OnnxFrontend(path)

    def test_identity_tells_graphs_apart(self, graph: Path, tmp_path: Path) -> None:
        other = band_means(tmp_path / "other" / "mean.onnx", factor=2.0)
        same = tmp_path / "same" / "mean.onnx"
        same.parent.mkdir()
        shutil.copy(graph, same)
        shutil.copy(graph.with_suffix(".json"), same.with_suffix(".json"))
        identity = OnnxFrontend(graph).identity()
        assert OnnxFrontend(same).identity() == identity
        assert OnnxFrontend(other).identity() != identity
        settings = json.loads(same.with_suffix(".json").read_text())
        same.with_suffix(".json").write_text(json.dumps({**settings, "log_offset": 0.01}))
        assert OnnxFrontend(same).identity() != identity

    @pytest.mark.parametrize("named", [True, False])
    def test_travels_with_a_bundle(self, graph: Path, tmp_path: Path, named: bool) -> None:
        if not named:
            graph.with_suffix(".json").write_text('{"log_offset": 0.001}')
        frontend = OnnxFrontend(graph)
        folder = tmp_path / "bundle"
        folder.mkdir()
        assert sorted(frontend.save(folder)) == ["frontend.json", "frontend.onnx"]
        again = load_frontend(frontend.identity(), folder)
        waveform = noise(50_000)
        assert again.identity() == frontend.identity()
        assert again.features(waveform).tobytes() == frontend.features(waveform).tobytes()

    def test_an_exchanged_graph_is_noticed(self, graph: Path, tmp_path: Path) -> None:
        frontend = OnnxFrontend(graph)
        folder = tmp_path / "bundle"
        folder.mkdir()
        frontend.save(folder)
        band_means(folder / "frontend.onnx", factor=3.0)
        with pytest.raises(FrontendError, match="train again, or put the original"):
            load_frontend(frontend.identity(), folder)


@pytest.fixture(params=["logmel", "onnx", "yamnet", "vggish", "vggish int16"])
def any_frontend(request: pytest.FixtureRequest) -> Frontend:
    kind: str = request.param
    if kind == "logmel":
        return LogMelFrontend()
    if kind == "onnx":
        return OnnxFrontend(request.getfixturevalue("graph"))
    if kind == "yamnet":
        return OnnxFrontend(request.getfixturevalue("shared_data") / "frontends" / "yamnet.onnx")
    precision: Precision = "int16" if kind.endswith("int16") else "float32"
    vggish: VGGishFrontend = request.getfixturevalue("vggish_of")(precision)
    return vggish


class TestSameBits:
    def test_again_beside_others_and_in_any_length(self, any_frontend: Frontend) -> None:
        patches = 4 if any_frontend.name == "vggish" else 18  # within and beyond one block
        waveform = noise(15_360 * patches + 240, seed=1)
        features = any_frontend.features(waveform)
        assert features.shape == (patches, any_frontend.feature_size)
        assert np.isfinite(features).all()

        any_frontend.features(noise(15_600, seed=2) * np.float32(1e6))
        assert any_frontend.features(waveform).tobytes() == features.tobytes()

        last = (patches - 1) * 15_360
        alone = any_frontend.features(waveform[last : last + 15_600])
        assert alone.tobytes() == features[-1].tobytes()

    def test_from_threads_at_once(self, any_frontend: Frontend) -> None:
        waveforms = [noise(15_360 * (seed + 1) + 240, seed=seed) for seed in range(3)]
        expected = [any_frontend.features(waveform).tobytes() for waveform in waveforms]
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda each: any_frontend.features(each).tobytes(), waveforms))
        assert found == expected


class TestBuild:
    def test_by_name(self, graph: Path) -> None:
        assert isinstance(build_frontend("logmel"), LogMelFrontend)
        assert isinstance(build_frontend(str(graph)), OnnxFrontend)

    @pytest.mark.parametrize("name", ["logmel", "opensmile", "mean.onnx"])
    def test_a_precision_that_only_vggish_has(self, name: str) -> None:
        with pytest.raises(FrontendError, match=f"'{name}' has no precision int16: only vggish"):
            build_frontend(name, precision="int16")

    def test_a_precision_of_a_later_version(self, tmp_path: Path) -> None:
        identity = {**LogMelFrontend().identity(), "precision": "int2"}
        with pytest.raises(FrontendError, match="precision 'int2', unknown here"):
            load_frontend(identity, tmp_path)

    @pytest.mark.parametrize("name", ["", "mfcc", "logmel.onnxx", "../logmel"])
    def test_an_unknown_name(self, name: str) -> None:
        with pytest.raises(FrontendError, match=f"unknown frontend '{name}': use logmel, vggish"):
            build_frontend(name)
