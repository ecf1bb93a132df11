"""The frontend ``onnx``: any graph that a user hands over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.audio import SAMPLE_RATE_HZ
from models.checksum import file_sha256
from models.features import FrontendError, in_blocks
from models.logmel import MEL_BANDS, PATCH_FRAMES, log_mel_patches
from models.onnx_session import RUN_PATCHES, OnnxSession


class OnnxFrontend:
    """Any ONNX graph from log-mel patches [N, 1, 96, 64] to [N, F], run by ONNX Runtime.

    A JSON file of the same stem beside the graph gives its ``log_offset``; it may name the
    ``input``, the ``output`` and the model.
    """

    name = "onnx"
    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, graph: Path, *, threads: int = 0) -> None:
        """Open the graph and try it on one block; ``threads`` as of :class:`OnnxSession`.

        Raises:
            FrontendError: the graph or its JSON is missing, unusable or of another shape.
        """
        self._graph = graph
        # By this name a bundle knows the graph, whose file is called otherwise there.
        self._settings = {"name": graph.stem, **_onnx_settings(graph)}
        self._log_offset = float(self._settings["log_offset"])
        try:
            self._session = OnnxSession(
                graph,
                input_name=self._setting("input"),
                output_name=self._setting("output"),
                threads=threads,
            )
        except Exception as error:
            raise FrontendError(f"{graph} is no ONNX graph that can be run: {error}") from error
        probe = np.zeros((RUN_PATCHES, 1, PATCH_FRAMES, MEL_BANDS), np.float32)
        try:
            answer = self.run(probe)
        except Exception as error:
            raise FrontendError(
                f"{graph} does not take log-mel patches [N, 1, 96, 64] as "
                f"'{self._session.input_name}': {error}"
            ) from error
        if answer.ndim != 2 or len(answer) != RUN_PATCHES:
            raise FrontendError(f"{graph} answers {answer.shape} where [N, F] was expected")
        self.feature_size = int(answer.shape[1])

    def features(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`models.features.Frontend`."""
        return in_blocks(self, waveform)

    def patches(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`models.features.PatchFrontend`."""
        return log_mel_patches(waveform, self._log_offset)

    def run(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`models.features.PatchFrontend`."""
        return self._session(block)

    def identity(self) -> dict[str, str | int | float]:
        """See :class:`models.features.Frontend`."""
        return {
            "name": self.name,
            "feature_size": self.feature_size,
            "model": str(self._settings["name"]),
            "log_offset": self._log_offset,
            "sha256": file_sha256(self._graph),
        }

    def save(self, folder: Path) -> list[str]:
        """Write the graph and its JSON, so that the bundle stands alone."""
        shutil.copyfile(self._graph, folder / "frontend.onnx")
        settings = json.dumps(self._settings, indent=2, sort_keys=True)
        (folder / "frontend.json").write_text(settings + "\n")
        return ["frontend.onnx", "frontend.json"]

    def _setting(self, name: str) -> str | None:
        return str(self._settings[name]) if name in self._settings else None


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
