"""Bundles: one trained model on disk, whole and checked, or not loaded at all.

A bundle is a folder: ``manifest.json``, ``weights.safetensors`` (both towers),
``references.safetensors`` (reference curves, their encodings, calibration pairs),
``references.json`` (their names), and the frontend's files where it has any. The manifest holds
everything else that a prediction depends on and the SHA-256 of every file; the bundle's ``id`` is
the SHA-256 of the manifest itself. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors

from models.audio import SAMPLE_RATE_HZ, Recording
from models.calibration import DIRECTIONS, Direction, PairSample, SimilarityCalibration
from models.checksum import file_sha256
from models.committee import AnyShape, AnyTower, build_tower, tower_shape
from models.curve import CURVE_RATE_HZ, Curve, CurveWindow
from models.estimate import EstimateCalibration, Estimator
from models.frontends import Frontend, load_frontend
from models.similarity import Encodings
from models.windows import (
    PATCH_S,
    WINDOW_HOP_S,
    WINDOW_PATCHES,
    WINDOW_S,
    window_patches,
    window_starts_s,
)

BUNDLE_FORMAT = 2
MANIFEST_FILE = "manifest.json"
WEIGHTS_FILE = "weights.safetensors"
REFERENCES_FILE = "references.safetensors"
NAMES_FILE = "references.json"

WINDOWING: dict[str, float] = {
    "window_s": WINDOW_S,
    "hop_s": WINDOW_HOP_S,
    "patch_s": PATCH_S,
    "window_patches": WINDOW_PATCHES,
    "curve_rate_hz": CURVE_RATE_HZ,
}


class BundleError(RuntimeError):
    """A bundle that must not be used; the text says why and what to run."""


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` says. ``frontend`` is None for a model that hears only features."""

    recipe: str
    corpus: str
    seed: int
    weight: float
    margin: float
    divergence_scale: float
    frontend: dict[str, str | int | float] | None
    music_tower: AnyShape
    emotion_tower: AnyShape
    estimate: EstimateCalibration
    split: dict[str, int]
    training: dict[str, Any]
    metrics: dict[str, Any]
    windowing: dict[str, float] = field(default_factory=lambda: dict(WINDOWING))
    format: int = BUNDLE_FORMAT


@dataclass(frozen=True, eq=False)
class ReferenceCurve:
    """A training curve that travels with the model."""

    id: str
    label: str
    curve: Curve


@dataclass(frozen=True, eq=False)
class EncodedRecording:
    """A recording's windows: W starts and ends in seconds, and their W encodings (float32)."""

    starts_s: list[float]
    ends_s: list[float]
    encodings: Encodings


class Bundle:
    """A trained model, ready to encode both modalities and to read emotions off scores."""

    def __init__(
        self,
        manifest: Manifest,
        music: AnyTower,
        emotion: AnyTower,
        frontend: Frontend | None,
        references: list[ReferenceCurve],
        pairs: SimilarityCalibration,
        reference_encodings: Encodings | None = None,
        bundle_id: str = "",
    ) -> None:
        self.id = bundle_id
        self.manifest = manifest
        self.music = music.eval()
        self.emotion = emotion.eval()
        self.frontend = frontend
        self.references = references
        self.similarity = pairs
        windows = [window for item in references for window in item.curve.windows()]
        if reference_encodings is None:
            reference_encodings = self.encode_curve_windows(windows)
        self.estimator = Estimator(
            reference_encodings,
            np.stack([window.curve.values for window in windows]),
            manifest.estimate,
            manifest.divergence_scale,
        )

    @property
    def hearing_rate_hz(self) -> int:
        """The rate that recordings must be decoded to for :meth:`encode_recording`."""
        return SAMPLE_RATE_HZ if self.frontend is None else self.frontend.sample_rate_hz

    def encode_recording(self, recording: Recording) -> EncodedRecording:
        """Encode a recording window by window, through the frontend and the music tower.

        Raises:
            BundleError: the model was trained on precomputed features and has no frontend.
            ValueError: the recording was decoded to another rate than :attr:`hearing_rate_hz`.
        """
        if self.frontend is None:
            raise BundleError(
                "this bundle was trained on precomputed features and has no frontend: it cannot "
                "hear recordings; train with --frontend"
            )
        if recording.waveform_rate_hz != self.hearing_rate_hz:
            raise ValueError(
                f"a waveform at {recording.waveform_rate_hz} Hz, where the frontend hears "
                f"{self.hearing_rate_hz} Hz"
            )
        features = self.frontend.features(recording.waveform)
        return self.encode_features(features, recording.duration_s)

    def encode_features(self, features: NDArray[np.float32], duration_s: float) -> EncodedRecording:
        """Encode a recording of ``duration_s`` from its feature sequence (T, F)."""
        starts_s = window_starts_s(duration_s)
        windows = [window_patches(features, start_s) for start_s in starts_s]
        ends_s = [min(start_s + WINDOW_S, duration_s) for start_s in starts_s]
        return EncodedRecording(starts_s, ends_s, encode_sequences(self.music, windows))

    def encode_curve_windows(self, windows: list[CurveWindow]) -> Encodings:
        """Encode windows of curves through the emotion tower."""
        return encode_sequences(
            self.emotion, [window.curve.values.astype(np.float32) for window in windows]
        )


@torch.inference_mode()
def encode_sequences(tower: AnyTower, sequences: list[NDArray[np.float32]]) -> Encodings:
    """Encode sequences (T, F) one by one, so that company never changes an encoding's bits."""
    device = next(tower.parameters()).device
    rows = []
    for sequence in sequences:
        features = torch.from_numpy(np.ascontiguousarray(sequence))[None].to(device)
        encoded = tower(features, torch.tensor([len(sequence)], device=device))
        rows.append(Encodings(*(part.cpu().numpy() for part in encoded)))
    return Encodings.stack(rows)


def save_bundle(bundle: Bundle, folder: Path) -> str:
    """Write a bundle, replacing ``folder`` only once it is complete; returns its id."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tensors = {f"music.{k}": v.contiguous() for k, v in bundle.music.state_dict().items()}
    tensors |= {f"emotion.{k}": v.contiguous() for k, v in bundle.emotion.state_dict().items()}
    save_tensors({k: v.cpu() for k, v in tensors.items()}, partial / WEIGHTS_FILE)
    save_arrays(_reference_arrays(bundle), partial / REFERENCES_FILE)
    names = [{"id": item.id, "label": item.label} for item in bundle.references]
    (partial / NAMES_FILE).write_text(json.dumps(names, ensure_ascii=False, indent=1) + "\n")
    files = [WEIGHTS_FILE, REFERENCES_FILE, NAMES_FILE]
    if bundle.frontend is not None:
        files += bundle.frontend.save(partial)

    fields = asdict(bundle.manifest)
    fields["files"] = {name: file_sha256(partial / name) for name in files}
    bundle_id = _manifest_id(fields)
    text = json.dumps({"id": bundle_id, **fields}, indent=2, sort_keys=True)
    (partial / MANIFEST_FILE).write_text(text + "\n")
    _exchange(folder, partial)
    return bundle_id


def load_bundle(folder: Path, *, threads: int = 0) -> Bundle:
    """Load a bundle after checking every byte of it.

    ``threads`` are those that its frontend's network uses at once on a processor, 0 for one a core;
    features are the same bits with any number.

    Raises:
        BundleError: a file is missing or altered, or this version of the code cannot use it.
        models.frontends.FrontendError: the frontend here is not the one of the training.
        models.vggish.WeightsError: VGGish's weights cannot be had.
    """
    fields = _verified_manifest(folder)
    try:
        manifest = _manifest_of(fields)
        music, emotion = _load_towers(manifest, folder)
        references, pairs, encodings = _load_references(folder)
    except (KeyError, TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise BundleError(_other_version(folder, fields)) from error
    return Bundle(
        manifest,
        music,
        emotion,
        load_frontend(manifest.frontend, folder, threads=threads) if manifest.frontend else None,
        references,
        SimilarityCalibration(pairs, manifest.divergence_scale),
        encodings,
        fields["id"],
    )


def _manifest_of(fields: dict[str, Any]) -> Manifest:
    described = {name: value for name, value in fields.items() if name not in ("id", "files")}
    return Manifest(
        **{
            **described,
            "music_tower": tower_shape(fields["music_tower"]),
            "emotion_tower": tower_shape(fields["emotion_tower"]),
            "estimate": EstimateCalibration.from_json(fields["estimate"]),
        }
    )


def _load_towers(manifest: Manifest, folder: Path) -> tuple[AnyTower, AnyTower]:
    music, emotion = build_tower(manifest.music_tower), build_tower(manifest.emotion_tower)
    tensors = load_tensors(folder / WEIGHTS_FILE)
    for name, tower in (("music.", music), ("emotion.", emotion)):
        tower.load_state_dict(
            {k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)}
        )
    return music, emotion


def _load_references(
    folder: Path,
) -> tuple[list[ReferenceCurve], dict[Direction, PairSample], Encodings]:
    arrays = load_arrays(folder / REFERENCES_FILE)
    names = json.loads((folder / NAMES_FILE).read_text())
    values = np.split(arrays["curve_values"], np.cumsum(arrays["curve_steps"])[:-1])
    references = [
        ReferenceCurve(item["id"], item["label"], Curve(curve))
        for item, curve in zip(names, values, strict=True)
    ]
    pairs = {
        direction: PairSample(arrays[f"{direction}.true"], arrays[f"{direction}.unrelated"])
        for direction in DIRECTIONS
    }
    return references, pairs, Encodings(arrays["embedding"], arrays["mean"], arrays["variance"])


def _exchange(folder: Path, complete: Path) -> None:
    """Put ``complete`` in the place of ``folder``, which stays whole until then."""
    outgoing = folder.with_name(folder.name + ".outgoing")
    shutil.rmtree(outgoing, ignore_errors=True)
    if folder.exists():
        folder.rename(outgoing)
    try:
        complete.rename(folder)
    except BaseException:
        if outgoing.exists():
            outgoing.rename(folder)
        raise
    shutil.rmtree(outgoing, ignore_errors=True)


def _reference_arrays(bundle: Bundle) -> dict[str, NDArray[Any]]:
    encodings = bundle.estimator.references
    arrays: dict[str, NDArray[Any]] = {
        "curve_values": np.concatenate([item.curve.values for item in bundle.references]),
        "curve_steps": np.array([len(item.curve.values) for item in bundle.references]),
        "embedding": encodings.embedding,
        "mean": encodings.mean,
        "variance": encodings.variance,
    }
    for direction, sample in bundle.similarity.samples.items():
        arrays[f"{direction}.true"] = sample.true
        arrays[f"{direction}.unrelated"] = sample.unrelated
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _verified_manifest(folder: Path) -> dict[str, Any]:
    retrain = "train it again with `circumplex train`, or restore it from a copy"
    try:
        fields: dict[str, Any] = json.loads((folder / MANIFEST_FILE).read_text())
        expected_id, files = fields["id"], dict(fields["files"])
    except OSError as error:
        raise BundleError(
            f"{folder} is no bundle (no {MANIFEST_FILE}): make one with `circumplex train`"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{folder / MANIFEST_FILE} is damaged: {retrain}") from error
    if _manifest_id({k: v for k, v in fields.items() if k != "id"}) != expected_id:
        raise BundleError(f"{folder / MANIFEST_FILE} does not match its own checksum: {retrain}")
    for name in (WEIGHTS_FILE, REFERENCES_FILE, NAMES_FILE, *files):
        path = folder / name
        if not path.is_file() or file_sha256(path) != files.get(name):
            raise BundleError(f"{path} is missing or does not match its checksum: {retrain}")
    if fields.get("format") != BUNDLE_FORMAT or fields.get("windowing") != WINDOWING:
        raise BundleError(_other_version(folder, fields))
    return fields


def _other_version(folder: Path, fields: dict[str, Any]) -> str:
    return (
        f"{folder} was made for another version of Circumplex (format {fields.get('format')}, "
        f"here {BUNDLE_FORMAT}): train it again with `circumplex train`"
    )


def _manifest_id(fields: dict[str, Any]) -> str:
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
