"""Bundles: whole or not at all, the same bits after a journey, and windows where they belong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models import bundle as bundle_module
from models.audio import Recording, decode
from models.bundle import (
    BUNDLE_FORMAT,
    MANIFEST_FILE,
    NAMES_FILE,
    REFERENCES_FILE,
    WEIGHTS_FILE,
    Bundle,
    BundleError,
    encode_sequences,
    load_bundle,
    save_bundle,
)
from models.calibration import DIRECTIONS
from models.curve import Curve
from models.encoders import Tower, TowerShape
from models.frontends import FrontendError, OnnxFrontend
from models.similarity import Encodings
from models.windows import window_starts_s
from tests.conftest import random_curve, tiny_bundle
from tests.models.graphs import band_means
from tests.models.sounds import noise, wav


def onnx_bundle(folder: Path, graph: Path) -> Bundle:
    """Build the tiny model over a tiny ONNX frontend, F = 64."""
    model = tiny_bundle()
    frontend = OnnxFrontend(band_means(graph))
    assert isinstance(model.manifest.music_tower, TowerShape)
    shape = replace(model.manifest.music_tower, feature_size=64)
    torch.manual_seed(1)
    manifest = replace(model.manifest, frontend=frontend.identity(), music_tower=shape)
    made = Bundle(
        manifest, Tower(shape), model.emotion, frontend, model.references, model.similarity
    )
    save_bundle(made, folder)
    return made


@pytest.fixture(scope="module")
def onnx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    onnx_bundle(folder / "bundle", folder / "mean.onnx")
    (folder / "mean.onnx").unlink()  # the bundle stands alone
    (folder / "mean.json").unlink()
    return folder / "bundle"


@pytest.fixture
def folder(onnx_folder: Path, tmp_path: Path) -> Path:
    """A bundle of one's own to damage."""
    shutil.copytree(onnx_folder, tmp_path / "bundle")
    return tmp_path / "bundle"


def recording(duration_s: float, seed: int = 0) -> Recording:
    return decode(wav(noise(round(16_000 * duration_s), seed=seed)))


def bits(encodings: Encodings) -> bytes:
    return b"".join(
        part.tobytes() for part in (encodings.embedding, encodings.mean, encodings.variance)
    )


class TestJourney:
    def test_everything_is_the_same_to_the_bit(self, tmp_path: Path) -> None:
        made = tiny_bundle()
        bundle_id = save_bundle(made, tmp_path / "model")
        loaded = load_bundle(tmp_path / "model")
        assert loaded.id == bundle_id
        assert loaded.manifest == made.manifest

        sound = recording(47.0)
        heard, again = made.encode_recording(sound), loaded.encode_recording(sound)
        assert bits(heard.encodings) == bits(again.encodings)
        assert (heard.starts_s, heard.ends_s) == (again.starts_s, again.ends_s)

        windows = random_curve(np.random.default_rng(9), 130).windows()
        assert bits(made.encode_curve_windows(windows)) == bits(
            loaded.encode_curve_windows(windows)
        )
        one = made.estimator.estimate(heard.encodings, heard.starts_s, 47.0)
        other = loaded.estimator.estimate(again.encodings, again.starts_s, 47.0)
        assert one.curve.values.tobytes() == other.curve.values.tobytes()
        assert one.sd.tobytes() == other.sd.tobytes()

        for item, reference in zip(made.references, loaded.references, strict=True):
            assert (item.id, item.label) == (reference.id, reference.label)
            assert np.array_equal(item.curve.values, reference.curve.values)
        scores = np.linspace(-2, 1, 20)
        for direction in DIRECTIONS:
            assert np.array_equal(
                made.similarity.similarity(scores, direction, 0.4),
                loaded.similarity.similarity(scores, direction, 0.4),
            )

    def test_towers_arrive_ready_to_serve(self, tiny_bundle_folder: Path) -> None:
        loaded = load_bundle(tiny_bundle_folder)
        assert not loaded.music.training
        assert not loaded.emotion.training

    def test_saving_again_gives_the_same_id(self, tmp_path: Path) -> None:
        first = save_bundle(tiny_bundle(), tmp_path / "one")
        second = save_bundle(tiny_bundle(), tmp_path / "two")
        third = save_bundle(load_bundle(tmp_path / "one"), tmp_path / "three")
        assert first == second == third
        assert len(first) == 64
        for name in (WEIGHTS_FILE, REFERENCES_FILE, NAMES_FILE, MANIFEST_FILE):
            contents = {(tmp_path / part / name).read_bytes() for part in ("one", "two", "three")}
            assert len(contents) == 1, name

    def test_another_model_has_another_id(self, tmp_path: Path) -> None:
        made = tiny_bundle()
        ids = {save_bundle(made, tmp_path / "one"), save_bundle(tiny_bundle(1), tmp_path / "two")}
        made.manifest = replace(made.manifest, weight=0.75)
        ids.add(save_bundle(made, tmp_path / "three"))
        with torch.no_grad():
            next(made.music.parameters()).add_(1e-6)
        ids.add(save_bundle(made, tmp_path / "four"))
        assert len(ids) == 4

    def test_an_onnx_frontend_travels_along(self, folder: Path, tmp_path: Path) -> None:
        moved = tmp_path / "elsewhere"
        folder.rename(moved)
        loaded = load_bundle(moved)
        assert isinstance(loaded.frontend, OnnxFrontend)
        encoded = loaded.encode_recording(recording(5.0))
        made = onnx_bundle(tmp_path / "again", tmp_path / "mean.onnx")
        assert bits(encoded.encodings) == bits(made.encode_recording(recording(5.0)).encodings)

    def test_a_label_may_be_in_any_script(self, tmp_path: Path) -> None:
        made = tiny_bundle()
        made.references[0] = replace(made.references[0], label="Köln – 悲しい 🎻\n\"'")
        save_bundle(made, tmp_path / "model")
        assert load_bundle(tmp_path / "model").references[0].label == "Köln – 悲しい 🎻\n\"'"

    def test_nothing_in_it_is_a_pickle(self, folder: Path) -> None:
        names = sorted(path.name for path in folder.iterdir())
        assert names == [
            "frontend.json",
            "frontend.onnx",
            "manifest.json",
            "references.json",
            "references.safetensors",
            "weights.safetensors",
        ]
        for path in folder.iterdir():
            start = path.read_bytes()[:4]
            assert not start.startswith((b"\x80", b"PK")), path.name

    def test_the_manifest_says_what_the_model_is(self, folder: Path) -> None:
        manifest = json.loads((folder / MANIFEST_FILE).read_text())
        assert manifest["format"] == BUNDLE_FORMAT
        assert manifest["recipe"] == "tiny"
        assert manifest["frontend"]["name"] == "onnx"
        assert manifest["windowing"]["window_s"] == 30.0
        assert {"weight", "margin", "divergence_scale", "corpus", "split", "seed", "metrics"} < set(
            manifest
        )
        assert set(manifest["files"]) == {path.name for path in folder.iterdir()} - {MANIFEST_FILE}


FILES = [WEIGHTS_FILE, REFERENCES_FILE, NAMES_FILE, MANIFEST_FILE, "frontend.onnx", "frontend.json"]


class TestDamage:
    @pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
    @pytest.mark.parametrize("name", FILES)
    def test_one_flipped_bit_is_refused(self, folder: Path, name: str, share: float) -> None:
        path = folder / name
        content = bytearray(path.read_bytes())
        content[int(len(content) * share)] ^= 1
        path.write_bytes(content)
        with pytest.raises(BundleError, match="circumplex train") as refused:
            load_bundle(folder)
        assert name in str(refused.value)

    def test_any_byte_of_the_manifest_counts(self, folder: Path) -> None:
        path = folder / MANIFEST_FILE
        original = path.read_bytes()
        fields = json.loads(original)
        for place in range(0, len(original) - 1, 7):
            content = bytearray(original)
            content[place] ^= 4
            path.write_bytes(content)
            try:
                same = json.loads(content) == fields
            except ValueError:
                same = False
            if not same:  # a changed space means nothing
                with pytest.raises(BundleError):
                    load_bundle(folder)

    @pytest.mark.parametrize("name", FILES)
    def test_a_missing_file_is_refused(self, folder: Path, name: str) -> None:
        (folder / name).unlink()
        with pytest.raises(BundleError, match="circumplex train") as refused:
            load_bundle(folder)
        assert name in str(refused.value)

    @pytest.mark.parametrize("name", FILES)
    def test_a_file_cut_short_is_refused(self, folder: Path, name: str) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(BundleError, match="circumplex train"):
            load_bundle(folder)

    @pytest.mark.parametrize(
        "content", [b"", b"{", b"[]", b"3", b"null", b"{}", b'{"id": 1, "files": 2}', b"\xff\xfe"]
    )
    def test_no_manifest_at_all(self, folder: Path, content: bytes) -> None:
        (folder / MANIFEST_FILE).write_bytes(content)
        with pytest.raises(BundleError, match=r"manifest\.json is damaged: train it again"):
            load_bundle(folder)

    @pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: None])
    def test_no_bundle(self, tmp_path: Path, make: Callable[[Path], None]) -> None:
        make(tmp_path / "model")
        with pytest.raises(BundleError, match="make one with `circumplex train`"):
            load_bundle(tmp_path / "model")


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest and sign it anew, as another version of the program would."""
    path = folder / MANIFEST_FILE
    fields = json.loads(path.read_text())
    del fields["id"]
    change(fields)
    path.write_text(json.dumps({"id": bundle_module._manifest_id(fields), **fields}))


class TestOtherVersions:
    def test_the_rewriting_itself_is_harmless(self, folder: Path) -> None:
        rewrite(folder, lambda fields: None)
        assert load_bundle(folder).manifest.recipe == "tiny"

    def test_another_format(self, folder: Path) -> None:
        rewrite(folder, lambda fields: fields.update(format=BUNDLE_FORMAT + 1))
        with pytest.raises(BundleError, match="another version of Circumplex") as refused:
            load_bundle(folder)
        assert "circumplex train" in str(refused.value)

    @pytest.mark.parametrize("key", ["window_s", "hop_s", "patch_s", "window_patches"])
    def test_another_windowing(self, folder: Path, key: str) -> None:
        rewrite(folder, lambda fields: fields["windowing"].update({key: 7.0}))
        with pytest.raises(BundleError, match="train it again with `circumplex train`"):
            load_bundle(folder)

    @pytest.mark.parametrize("key", ["format", "windowing", "music_tower", "estimate", "frontend"])
    def test_a_field_less(self, folder: Path, key: str) -> None:
        rewrite(folder, lambda fields: fields.pop(key))
        with pytest.raises(BundleError, match="circumplex train"):
            load_bundle(folder)

    def test_a_field_more(self, folder: Path) -> None:
        rewrite(folder, lambda fields: fields.update(novelty=1))
        with pytest.raises(BundleError, match="circumplex train"):
            load_bundle(folder)

    @pytest.mark.parametrize("name", ["../secret.txt", "/etc/hostname"])
    def test_files_outside_the_folder_are_not_read(self, folder: Path, name: str) -> None:
        (folder.parent / "secret.txt").write_text("secret")
        rewrite(folder, lambda fields: fields["files"].update({name: "0" * 64}))
        with pytest.raises(BundleError, match="circumplex train"):
            load_bundle(folder)

    @pytest.mark.parametrize("name", [WEIGHTS_FILE, REFERENCES_FILE, NAMES_FILE])
    def test_a_file_without_a_checksum_is_not_read(self, folder: Path, name: str) -> None:
        rewrite(folder, lambda fields: fields["files"].pop(name))
        with pytest.raises(BundleError, match="circumplex train"):
            load_bundle(folder)

    def test_another_frontend(self, folder: Path) -> None:
        rewrite(folder, lambda fields: fields["frontend"].update(log_offset=0.02))
        with pytest.raises(FrontendError, match="train again"):
            load_bundle(folder)


class TestSaving:
    def test_replaces_what_was_there(self, tmp_path: Path) -> None:
        target = tmp_path / "model"
        save_bundle(tiny_bundle(), target)
        (target / "stale.txt").write_text("from before")
        newer = save_bundle(tiny_bundle(1), target)
        assert load_bundle(target).id == newer
        assert not (target / "stale.txt").exists()
        assert [path.name for path in tmp_path.iterdir()] == ["model"]

    @pytest.mark.parametrize(
        "failing", ["save_tensors", "save_arrays", "file_sha256", "_manifest_id"]
    )
    def test_an_interruption_leaves_the_old_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
    ) -> None:
        target = tmp_path / "model"
        old = save_bundle(tiny_bundle(), target)

        def fail(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(bundle_module, failing, fail)
            with pytest.raises(KeyboardInterrupt):
                save_bundle(tiny_bundle(1), target)
        assert load_bundle(target).id == old
        new = save_bundle(tiny_bundle(1), target)
        assert load_bundle(target).id == new != old

    @pytest.mark.parametrize("failing", [0, 1])
    def test_an_interrupted_exchange_leaves_the_old_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
    ) -> None:
        target = tmp_path / "model"
        old = save_bundle(tiny_bundle(), target)
        rename, calls = Path.rename, []

        def interrupted(self: Path, new: Path) -> Path:
            calls.append(new)
            if len(calls) == failing + 1:
                raise KeyboardInterrupt
            return rename(self, new)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", interrupted)
            with pytest.raises(KeyboardInterrupt):
                save_bundle(tiny_bundle(1), target)
        assert len(calls) > failing
        assert load_bundle(target).id == old
        new = save_bundle(tiny_bundle(1), target)
        assert load_bundle(target).id == new
        assert [path.name for path in tmp_path.iterdir()] == ["model"]

    def test_makes_its_parents(self, tmp_path: Path) -> None:
        bundle_id = save_bundle(tiny_bundle(), tmp_path / "a" / "b" / "model")
        assert load_bundle(tmp_path / "a" / "b" / "model").id == bundle_id


@pytest.fixture(scope="module")
def model(tiny_bundle_folder: Path) -> Bundle:
    return load_bundle(tiny_bundle_folder)


class TestEncoding:
    @pytest.mark.parametrize("duration_s", [0.975, 10.0, 30.0, 30.5, 45.0, 61.7])
    def test_windows_and_their_ends(self, model: Bundle, duration_s: float) -> None:
        encoded = model.encode_recording(recording(duration_s))
        assert encoded.starts_s == window_starts_s(duration_s)
        assert encoded.ends_s[-1] == pytest.approx(duration_s)
        for start_s, end_s in zip(encoded.starts_s, encoded.ends_s, strict=True):
            assert end_s == pytest.approx(min(start_s + 30.0, duration_s))
        assert len(encoded.encodings) == len(encoded.starts_s)
        assert encoded.encodings.embedding.shape == (len(encoded.starts_s), 8)
        assert encoded.encodings.embedding.dtype == np.float32
        assert encoded.encodings.variance.min() >= 0.01

    def test_a_real_recording(self, model: Bundle, real_recording: Path) -> None:
        whole = decode(real_recording.read_bytes())
        encoded = model.encode_recording(whole)
        assert encoded.ends_s[-1] == pytest.approx(whole.duration_s)
        assert bits(encoded.encodings) == bits(model.encode_recording(whole).encodings)
        # The same half minute within a shorter recording is the same item.
        cut = Recording(whole.waveform[: 16_000 * 31], 31.0, 44_100, 2, "mp3")
        start = model.encode_recording(cut).encodings.take([0])
        assert bits(start) == bits(encoded.encodings.take([0]))

    def test_company_does_not_change_a_bit(self, model: Bundle) -> None:
        rng = np.random.default_rng(0)
        sequences = [rng.normal(size=(n, 128)).astype(np.float32) for n in (31, 4, 31, 1)]
        together = encode_sequences(model.music, sequences)
        for row, sequence in enumerate(sequences):
            assert bits(encode_sequences(model.music, [sequence])) == bits(together.take([row]))

    def test_a_model_of_features_cannot_hear(self, tmp_path: Path) -> None:
        made = tiny_bundle()
        made.manifest = replace(made.manifest, frontend=None)
        made.frontend = None
        save_bundle(made, tmp_path / "model")
        loaded = load_bundle(tmp_path / "model")
        with pytest.raises(BundleError, match="train with --frontend"):
            loaded.encode_recording(recording(5.0))
        features = np.zeros((40, 128), np.float32)
        assert len(loaded.encode_features(features, 38.4).encodings) == 2

    def test_a_point_and_its_window_are_one(self, model: Bundle) -> None:
        point = Curve.from_points([0.4], [-0.2]).windows()
        constant = Curve.constant(arousal=0.4, valence=-0.2).windows()
        assert bits(model.encode_curve_windows(point)) == bits(model.encode_curve_windows(constant))
