"""Frontends: a waveform becomes one feature vector per 0.96 s patch.

A frontend sees one recording at a time and works through it in blocks of a fixed shape, so that
the same samples give the same bits whatever else is being processed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from importlib import metadata
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from models import vggish
from models.audio import SAMPLE_RATE_HZ
from models.checksum import file_sha256
from models.logmel import MEL_BANDS, PATCH_FRAMES, VGGISH_LOG_OFFSET, log_mel_patches
from models.opensmile_columns import DEAM_COLUMNS, OPENSMILE_COLUMNS, at_common_level

_BLOCK_PATCHES = 16
_EXTERNAL_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"


class FrontendError(RuntimeError):
    """A frontend that cannot be built from what was given; the text says what to do."""


class Frontend(Protocol):
    """What turns waveforms into features, and says exactly which one it is."""

    @property
    def name(self) -> str:
        """``logmel``, ``vggish``, ``onnx`` or ``opensmile``."""

    @property
    def feature_size(self) -> int:
        """F."""

    @property
    def sample_rate_hz(self) -> int:
        """What the waveform's rate must be."""

    def features(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn (samples,) mono into (T, F) float32, T ≥ 1 from 0.975 s on."""

    def identity(self) -> dict[str, str | int | float]:
        """Return what a bundle's manifest records: equal identities give equal features."""

    def save(self, folder: Path) -> list[str]:
        """Write the files that :func:`load_frontend` needs beside a bundle; return their names."""


class LogMelFrontend:
    """Mean and spread of each of the 64 log-mel bands within a patch: F = 128, no weights."""

    name = "logmel"
    feature_size = 2 * MEL_BANDS
    sample_rate_hz = SAMPLE_RATE_HZ

    def features(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`Frontend`; columns 0-63 are means, 64-127 standard deviations."""
        patches = log_mel_patches(waveform)
        return np.concatenate([patches.mean(axis=1), patches.std(axis=1)], axis=1)

    def identity(self) -> dict[str, str | int | float]:
        """See :class:`Frontend`."""
        return {"name": self.name, "feature_size": self.feature_size, "version": 1}

    def save(self, folder: Path) -> list[str]:  # noqa: ARG002
        """See :class:`Frontend`: there is nothing to write."""
        return []


class VGGishFrontend:
    """VGGish (Hershey et al. 2017) with its official weights, no PCA, no quantisation: F = 128."""

    name = "vggish"
    feature_size = 128
    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, weights: Path | None = None) -> None:
        """Load the weights from a safetensors file, by default the official ones."""
        path = weights if weights is not None else vggish.official_weights()
        self._network = vggish.load_network(path)
        self._sha256 = file_sha256(path)

    def features(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`Frontend`."""
        patches = log_mel_patches(waveform, VGGISH_LOG_OFFSET)

        def run(block: NDArray[np.float32]) -> NDArray[np.float32]:
            with torch.inference_mode():
                output: NDArray[np.float32] = self._network(torch.from_numpy(block)).numpy()
            return output

        return _in_blocks(patches, run, self.feature_size)

    def identity(self) -> dict[str, str | int | float]:
        """See :class:`Frontend`."""
        return {"name": self.name, "feature_size": self.feature_size, "sha256": self._sha256}

    def save(self, folder: Path) -> list[str]:  # noqa: ARG002
        """See :class:`Frontend`: the official weights stay in the cache, named by their hash."""
        return []


class OnnxFrontend:
    """Any ONNX graph from log-mel patches [N, 1, 96, 64] to [N, F], run by ONNX Runtime.

    A JSON file of the same stem beside the graph gives its ``log_offset``; it may name the
    ``input``, the ``output`` and the model.
    """

    name = "onnx"
    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, graph: Path) -> None:
        """Open the graph and try it on one patch.

        Raises:
            FrontendError: the graph or its JSON is missing, unusable or of another shape.
        """
        self._graph = graph
        self._settings = _onnx_settings(graph)
        self._log_offset = float(self._settings["log_offset"])
        options = onnxruntime.SessionOptions()
        # Weights in files beside the graph would not travel with a bundle: nowhere to find them.
        options.add_session_config_entry(_EXTERNAL_WEIGHTS_FOLDER, str(graph))
        try:
            self._session = onnxruntime.InferenceSession(
                graph.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
            self._input = str(self._settings.get("input", self._session.get_inputs()[0].name))
            self._output = str(self._settings.get("output", self._session.get_outputs()[0].name))
        except Exception as error:
            raise FrontendError(f"{graph} is no ONNX graph that can be run: {error}") from error
        probe = np.zeros((_BLOCK_PATCHES, 1, PATCH_FRAMES, MEL_BANDS), np.float32)
        try:
            answer = self._run(probe)
        except Exception as error:
            raise FrontendError(
                f"{graph} does not take log-mel patches [N, 1, 96, 64] as '{self._input}': {error}"
            ) from error
        if answer.ndim != 2 or len(answer) != _BLOCK_PATCHES:
            raise FrontendError(f"{graph} answers {answer.shape} where [N, F] was expected")
        self.feature_size = int(answer.shape[1])

    def features(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`Frontend`."""
        return _in_blocks(log_mel_patches(waveform, self._log_offset), self._run, self.feature_size)

    def identity(self) -> dict[str, str | int | float]:
        """See :class:`Frontend`."""
        return {
            "name": self.name,
            "feature_size": self.feature_size,
            "model": str(self._settings.get("name", self._graph.stem)),
            "log_offset": self._log_offset,
            "sha256": file_sha256(self._graph),
        }

    def save(self, folder: Path) -> list[str]:
        """See :class:`Frontend`: the graph and its JSON, so that the bundle stands alone."""
        shutil.copyfile(self._graph, folder / "frontend.onnx")
        settings = json.dumps(self._settings, indent=2, sort_keys=True)
        (folder / "frontend.json").write_text(settings + "\n")
        return ["frontend.onnx", "frontend.json"]

    def _run(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        answer: NDArray[np.float32] = self._session.run([self._output], {self._input: block})[0]
        return answer


class OpensmileFrontend:
    """openSMILE's descriptors as in DEAM's table of features; needs the extra ``opensmile``.

    Columns are :data:`models.opensmile_columns.OPENSMILE_COLUMNS`: F = 100, at one level for the
    whole recording.
    """

    name = "opensmile"
    feature_size = len(OPENSMILE_COLUMNS)

    def __init__(self) -> None:
        """Look for openSMILE.

        Raises:
            FrontendError: the package is not installed.
        """
        try:
            from models.opensmile_descriptors import DESCRIPTOR_RATE_HZ, PatchDescriptors
        except ModuleNotFoundError as error:
            raise FrontendError(
                "the frontend 'opensmile' needs the package opensmile, which is not installed: "
                "pip install 'circumplex[opensmile]' (a separate choice, since its licence allows "
                "research and personal use only)"
            ) from error
        self.sample_rate_hz = DESCRIPTOR_RATE_HZ
        self._describe = PatchDescriptors(DEAM_COLUMNS)

    def features(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`Frontend`."""
        return at_common_level(self._describe(waveform))

    def identity(self) -> dict[str, str | int | float]:
        """See :class:`Frontend`."""
        return {
            "name": self.name,
            "feature_size": self.feature_size,
            "version": 1,
            "columns_sha256": hashlib.sha256("\n".join(OPENSMILE_COLUMNS).encode()).hexdigest(),
            "sample_rate_hz": self.sample_rate_hz,
            "opensmile": metadata.version("opensmile"),
        }

    def save(self, folder: Path) -> list[str]:  # noqa: ARG002
        """See :class:`Frontend`: there is nothing to write."""
        return []


def build_frontend(name: str, weights: Path | None = None) -> Frontend:
    """Build the frontend a user names, or that of an ``.onnx`` file by its path.

    Raises:
        FrontendError: there is no such frontend, or what it needs is not installed.
        models.vggish.WeightsError: VGGish's weights cannot be had.
    """
    if name == "logmel":
        return LogMelFrontend()
    if name == "vggish":
        return VGGishFrontend(vggish.official_weights(weights))
    if name == "opensmile":
        return OpensmileFrontend()
    if name.endswith(".onnx"):
        return OnnxFrontend(Path(name))
    raise FrontendError(
        f"unknown frontend '{name}': use logmel, vggish, opensmile or the path of a .onnx file"
    )


def load_frontend(identity: dict[str, str | int | float], folder: Path) -> Frontend:
    """Build the frontend that a bundle in ``folder`` was trained with.

    Raises:
        FrontendError: what is here is not what the bundle was trained with.
    """
    frontend = build_frontend(
        str(folder / "frontend.onnx") if identity["name"] == "onnx" else str(identity["name"])
    )
    if frontend.identity() != identity:
        raise FrontendError(
            f"the bundle was trained with the frontend {identity}, here is {frontend.identity()}: "
            "train again, or put the original weights in place"
        )
    return frontend


def _in_blocks(
    patches: NDArray[np.float32],
    run: _BlockFunction,
    feature_size: int,
) -> NDArray[np.float32]:
    """Run a network over (T, 96, 64) patches in zero-padded blocks of one fixed size."""
    features = np.empty((len(patches), feature_size), np.float32)
    for first in range(0, len(patches), _BLOCK_PATCHES):
        part = patches[first : first + _BLOCK_PATCHES]
        block = np.zeros((_BLOCK_PATCHES, 1, PATCH_FRAMES, MEL_BANDS), np.float32)
        block[: len(part), 0] = part
        features[first : first + len(part)] = run(block)[: len(part)]
    return features


class _BlockFunction(Protocol):
    def __call__(self, block: NDArray[np.float32], /) -> NDArray[np.float32]: ...


def _onnx_settings(graph: Path) -> dict[str, str | int | float]:
    beside = graph.with_suffix(".json")
    if not graph.is_file():
        raise FrontendError(f"{graph} does not exist: give the path of an ONNX graph")
    try:
        settings = json.loads(beside.read_text())
        offset = float(settings["log_offset"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FrontendError(
            f'{beside} must be a JSON file with the graph\'s log offset, {{"log_offset": 0.01}}'
        ) from error
    if not 0 < offset < 1:
        raise FrontendError(f"{beside}: log_offset is {offset}, expected a number in (0, 1)")
    return dict(settings)
