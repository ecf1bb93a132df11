"""The frontend ``vggish``: its network on a GPU where there is one, else on the processor."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models import tile_assembly, vggish
from models.audio import SAMPLE_RATE_HZ
from models.cache import cache_folder
from models.checksum import file_sha256
from models.features import FrontendError, in_blocks
from models.logmel import VGGISH_LOG_OFFSET, log_mel_patches
from models.onnx_session import OnnxSession
from models.products import Precision
from models.vggish import ParityError
from models.vggish_network import Network

PRECISIONS: tuple[Precision, ...] = ("float32", "int16")

ROUNDING_VERSION = 1
"""Of how int16 rounds; another makes other features."""

_GRAPH_VERSION = 2
_TOLERANCES: dict[Precision, float] = {"float32": 1e-4, "int16": 1e-2}

_Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]

logger = logging.getLogger(__name__)


class VGGishFrontend:
    """VGGish (Hershey et al. 2017) with its official weights, no PCA, no quantisation: F = 128.

    ``device`` says where it runs: ``cpu`` or ``cuda``.
    """

    name = "vggish"
    feature_size = 128
    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(
        self, weights: Path | None = None, precision: Precision = "float32", *, threads: int = 0
    ) -> None:
        """Load the weights from a safetensors file, by default the official ones.

        ``threads`` are those that one block uses on a processor, 0 for one a core.

        Raises:
            FrontendError: the network gives wrong features on this machine.
            models.vggish.WeightsError: the weights cannot be had or are none.
        """
        path = weights if weights is not None else vggish.official_weights()
        self.precision = precision
        self._sha256 = file_sha256(path)
        self._network, self.device = _network(path, self._sha256, precision, threads)

    def features(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`models.features.Frontend`."""
        return in_blocks(self, waveform)

    def patches(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`models.features.PatchFrontend`."""
        return log_mel_patches(waveform, VGGISH_LOG_OFFSET)

    def run(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`models.features.PatchFrontend`."""
        return self._network(block)

    def identity(self) -> dict[str, str | int | float]:
        """Return the weights' hash, and the precision where it is a reduced one.

        The version of its rounding stands beside a reduced precision; in float32 every way of
        running the network is the same network to 1e-4.
        """
        identity: dict[str, str | int | float] = {
            "name": self.name,
            "feature_size": self.feature_size,
            "sha256": self._sha256,
        }
        if self.precision == "float32":
            return identity
        return {**identity, "precision": self.precision, "rounding_version": ROUNDING_VERSION}

    def save(self, folder: Path) -> list[str]:  # noqa: ARG002
        """Write nothing: the official weights stay in the cache, named by their hash."""
        return []


def kept_graph(weights: Path, sha256: str) -> Path:
    """Return the cached ONNX graph of these weights, made on first use and compared with torch.

    Raises:
        models.vggish.ParityError: ONNX Runtime gives other features with it than torch.
        models.vggish.WeightsError: the file's tensors are not those of VGGish.
    """
    from models.vggish_graph import graph

    kept = cache_folder() / f"vggish-{sha256[:16]}-v{_GRAPH_VERSION}.onnx"
    if kept.exists():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(f".{os.getpid()}.partial")  # two processes may be at it
    try:
        partial.write_bytes(graph(weights).SerializeToString(deterministic=True))
        vggish.require_parity(OnnxSession(partial), weights, _TOLERANCES["float32"])
        return partial.replace(kept)
    finally:
        partial.unlink(missing_ok=True)


def _network(
    weights: Path, sha256: str, precision: Precision, threads: int
) -> tuple[_Network, str]:
    """Return what runs a block, and where it does."""
    if precision == "float32" and torch.cuda.is_available():
        try:
            return _on_cuda(weights), "cuda"
        except (RuntimeError, AssertionError, ParityError) as error:  # torch asserts its CUDA
            logger.warning("VGGish runs on the processor, not on the GPU: %s", error)
    try:
        if precision == "float32" and not tile_assembly.AVAILABLE:
            return _by_onnx(kept_graph(weights, sha256), threads), "cpu"
        network = Network(vggish.load_tensors(weights), precision, threads=threads)
        vggish.require_parity(network, weights, _TOLERANCES[precision])
    except ParityError as error:
        raise FrontendError(f"{error}: please report this machine") from error
    return network, "cpu"


def _by_onnx(graph: Path, threads: int) -> _Network:
    try:
        return OnnxSession(graph, threads=threads)
    except Exception as error:
        raise FrontendError(f"{graph} cannot be run: remove it to make it again") from error


def _on_cuda(weights: Path) -> _Network:
    """Return the network on the GPU, once a block has shown that it computes there what it should.

    Raises:
        RuntimeError: the GPU cannot be used.
        ParityError: it gives other features.
    """
    network = vggish.load_network(weights).to("cuda")

    @torch.inference_mode()
    def run(block: NDArray[np.float32]) -> NDArray[np.float32]:
        # TF32 rounds factors to ten bits; an algorithm chosen by timing may differ between runs.
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            features: NDArray[np.float32] = (
                network(torch.from_numpy(block).to("cuda")).cpu().numpy()
            )
        return features

    vggish.require_parity(run, weights, _TOLERANCES["float32"])
    return run
