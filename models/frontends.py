"""The frontends by name: a waveform becomes one feature vector per 0.96 s patch."""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import vggish
from models.audio import SAMPLE_RATE_HZ
from models.features import Frontend, FrontendError, PatchFrontend
from models.logmel import MEL_BANDS, log_mel_patches
from models.onnx_frontend import OnnxFrontend
from models.opensmile_columns import DEAM_COLUMNS, OPENSMILE_COLUMNS, at_common_level
from models.products import Precision
from models.vggish_frontend import PRECISIONS, VGGishFrontend

__all__ = [
    "PRECISIONS",
    "Frontend",
    "FrontendError",
    "LogMelFrontend",
    "OnnxFrontend",
    "OpensmileFrontend",
    "PatchFrontend",
    "Precision",
    "VGGishFrontend",
    "build_frontend",
    "load_frontend",
]


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


def build_frontend(
    name: str, weights: Path | None = None, precision: Precision = "float32", *, threads: int = 0
) -> Frontend:
    """Build the frontend a user names, or that of an ``.onnx`` file by its path.

    ``threads`` are those that one block of a network uses on a processor, 0 for one a core.

    Raises:
        FrontendError: there is no such frontend, what it needs is not installed, or it has no such
            ``precision``.
        models.vggish.WeightsError: VGGish's weights cannot be had.
    """
    if precision != "float32" and name != "vggish":
        raise FrontendError(f"the frontend '{name}' has no precision {precision}: only vggish has")
    if name == "logmel":
        return LogMelFrontend()
    if name == "vggish":
        return VGGishFrontend(vggish.official_weights(weights), precision, threads=threads)
    if name == "opensmile":
        return OpensmileFrontend()
    if name.endswith(".onnx"):
        return OnnxFrontend(Path(name), threads=threads)
    raise FrontendError(
        f"unknown frontend '{name}': use logmel, vggish, opensmile or the path of a .onnx file"
    )


def load_frontend(
    identity: dict[str, str | int | float], folder: Path, *, threads: int = 0
) -> Frontend:
    """Build the frontend that a bundle in ``folder`` was trained with; ``threads`` as above.

    Raises:
        FrontendError: what is here is not what the bundle was trained with.
    """
    name = str(folder / "frontend.onnx") if identity["name"] == "onnx" else str(identity["name"])
    precision = identity.get("precision", "float32")
    known = next((each for each in PRECISIONS if each == precision), None)
    if known is None:
        raise FrontendError(
            f"the bundle was trained with the precision '{precision}', unknown here"
        )
    frontend = build_frontend(name, precision=known, threads=threads)
    if frontend.identity() != identity:
        raise FrontendError(
            f"the bundle was trained with the frontend {identity}, here is {frontend.identity()}: "
            "train again, or put the original weights in place"
        )
    return frontend
