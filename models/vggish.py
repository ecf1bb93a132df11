"""VGGish's official weights: fetched once, checked, and kept without pickle.

The network is torchvggish's class; its own loader adds PCA and quantisation, which we do not use.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from models.cache import cache_folder
from models.checksum import file_sha256
from models.logmel import MEL_BANDS, PATCH_FRAMES
from models.progress import Progress

if TYPE_CHECKING:
    from torch import nn

VGGISH_FILE = "vggish-10086976.pth"
VGGISH_URL = f"https://github.com/harritaylor/torchvggish/releases/download/v0.1/{VGGISH_FILE}"
VGGISH_SHA256_PREFIX = "10086976"
_BLOCK_BYTES = 1 << 20
_COMPARED_PATCHES = 3


class WeightsError(RuntimeError):
    """VGGish's weights are missing or are not the official ones; the text says what to do."""


class ParityError(RuntimeError):
    """A way of running the network gives other features than torch's network on a processor."""


def official_weights(path: Path | None = None) -> Path:
    """Return a safetensors file with the official weights, fetching them on first use.

    ``path`` names a ``vggish-10086976.pth`` obtained by other means, for machines without
    internet. Whatever its origin, the file's SHA-256 must begin as its official name says.

    Raises:
        WeightsError: the download failed, the checksum differs, or it holds more than tensors.
    """
    kept = cache_folder() / "vggish-10086976.safetensors"
    if path is None and kept.exists():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    source = path if path is not None else _download(kept.parent / VGGISH_FILE)
    if not source.is_file():
        raise WeightsError(f"{source} does not exist: give the official {VGGISH_FILE}")
    found = file_sha256(source)
    if not found.startswith(VGGISH_SHA256_PREFIX):
        raise WeightsError(
            f"{source} has SHA-256 {found[:16]}…, which does not begin with "
            f"{VGGISH_SHA256_PREFIX}: it is not the official {VGGISH_FILE}"
        )
    partial = kept.with_suffix(".partial")
    try:
        save_file(torch.load(source, map_location="cpu", weights_only=True), partial)
    except (UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        # Eight digits of a checksum keep no forger out.
        raise WeightsError(f"{source} holds something other than tensors") from error
    partial.replace(kept)
    return kept


def load_network(weights: Path) -> nn.Module:
    """Build torchvggish's network, without its post-processing, from a safetensors file.

    Raises:
        WeightsError: the file's tensors are not those of VGGish.
    """
    from torchvggish.torchvggish import VGG, make_layers

    with torch.device("meta"):  # 72 million random numbers would be drawn for nothing
        network: nn.Module = VGG(make_layers(), False)
    try:
        network.load_state_dict(load_file(weights), assign=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise WeightsError(
            f"{weights} does not hold VGGish's tensors: remove it to fetch them again"
        ) from error
    return network.eval()


def load_tensors(weights: Path) -> dict[str, NDArray[np.float32]]:
    """Read VGGish's tensors, by their names in torchvggish's network.

    Raises:
        WeightsError: the file's tensors are not those of VGGish.
    """
    network = load_network(weights)  # refuses a file of anything else
    return {name: tensor.detach().numpy() for name, tensor in network.named_parameters()}


def require_parity(
    run: Callable[[NDArray[np.float32]], NDArray[np.float32]], weights: Path, tolerance: float
) -> float:
    """Return by how much ``run``'s features of patches differ, as a share of the largest feature.

    Raises:
        ParityError: it is more than ``tolerance``.
        WeightsError: the file's tensors are not those of VGGish.
    """
    rng = np.random.default_rng(0)
    shape = (_COMPARED_PATCHES, 1, PATCH_FRAMES, MEL_BANDS)
    block = rng.uniform(-4.6, 3.0, shape).astype(np.float32)
    with torch.inference_mode():
        expected = load_network(weights)(torch.from_numpy(block)).numpy()
    difference = float(np.abs(run(block) - expected).max() / np.abs(expected).max())
    if not difference <= tolerance:
        raise ParityError(
            f"VGGish differs here from torch's network by {difference:.2g} of the largest "
            f"feature, where {tolerance:g} is allowed"
        )
    return difference


def _download(target: Path) -> Path:
    partial = target.with_suffix(".partial")
    try:
        with urllib.request.urlopen(VGGISH_URL, timeout=30) as reply, partial.open("wb") as file:
            total_bytes = int(reply.headers.get("Content-Length", 0))
            with Progress(f"fetching {VGGISH_FILE}", total_bytes, "B") as progress:
                while block := reply.read(_BLOCK_BYTES):
                    file.write(block)
                    progress.advance(len(block))
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        partial.unlink(missing_ok=True)
        raise WeightsError(
            f"{VGGISH_FILE} could not be fetched from {VGGISH_URL} ({error}): "
            "fetch it elsewhere and pass --weights PATH to `circumplex train`, or copy "
            f"{target.parent} from a machine that has it"
        ) from error
    return partial.replace(target)
