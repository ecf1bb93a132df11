"""From the bytes of an MP3 to its encoding by VGGish: ours, stage by stage, beside torchvggish.

The peer hears the same file as its users do: soundfile decodes it, torchvggish resamples it, cuts
it into log-mel patches and runs its network. Weights are random, of VGGish's shapes and of He's
scale: what they cost does not depend on what they are, and a network whose last layer still tells
its inputs apart shows by how much precisions differ.
"""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from bench.material import mp3, random_bundle
from bench.timing import Report, machine, medians_ms, require_close
from models import vggish
from models.audio import decode
from models.checksum import file_sha256
from models.features import BLOCK_PATCHES, block_of
from models.onnx_session import OnnxSession
from models.vggish_frontend import PRECISIONS, VGGishFrontend, kept_graph
from training.recipes import CIRCUMPLEX

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # resampy's use of pkg_resources
    from torchvggish import vggish_input
    from torchvggish.torchvggish import VGG, make_layers

_SHARE_OF_THE_LARGEST = 1e-4
_GEMM_SIZE = 1_536


def run(
    *,
    duration_s: float = 30.0,
    rounds: int = 7,
    threads: tuple[int, ...] = (1, 2),
    weights: Path | None = None,
) -> Report:
    """Time every stage in each precision, with so many threads, and the peer in turn with them.

    ``weights`` in place of random ones: a safetensors file of VGGish's tensors.

    Raises:
        bench.timing.DisagreementError: float32 features differ from torch's by more than 1e-4 of
            the largest.
    """
    file = mp3(duration_s)
    with nullcontext(weights) if weights is not None else random_weights() as path:
        network = vggish.load_network(path)
        return {
            "machine": machine(),
            "duration_s": duration_s,
            "mp3_bytes": len(file),
            "patches": len(vggish_input.waveform_to_examples(*_as_users_read(file), False)),
            "network_gflop_a_patch": _multiplications(network) * 2 / 1e9,
            "threads": {
                str(each): _with_threads(file, path, network, rounds, each) for each in threads
            },
        }


@contextmanager
def random_weights() -> Iterator[Path]:
    """Write weights of VGGish's shapes, and keep its graphs beside them for as long."""
    with TemporaryDirectory() as folder, _cache_in(folder):
        path = Path(folder) / "vggish-10086976.safetensors"
        write_random_weights(path, seed=0)
        yield path


def write_random_weights(path: Path, *, seed: int) -> None:
    """Write tensors of VGGish's shapes, 288 MB.

    He's initialisation, so that what the last layer gives still depends on what the first saw.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = {n: p.shape for n, p in VGG(make_layers(), False).named_parameters()}
    tensors = {}
    for name, shape in shapes.items():
        bound = math.sqrt(6 / math.prod(shape[1:])) if len(shape) > 1 else 0.1
        tensors[name] = torch.empty(shape).uniform_(-bound, bound, generator=generator)
    save_file(tensors, path)


@contextmanager
def _cache_in(folder: str) -> Iterator[None]:
    before = os.environ.get("CIRCUMPLEX_CACHE")
    os.environ["CIRCUMPLEX_CACHE"] = folder
    try:
        yield
    finally:
        del os.environ["CIRCUMPLEX_CACHE"]
        if before is not None:
            os.environ["CIRCUMPLEX_CACHE"] = before


def _with_threads(
    file: bytes, weights: Path, network: nn.Module, rounds: int, threads: int
) -> Report:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _measured(file, weights, network, rounds, threads)
    finally:
        torch.set_num_threads(before)


def _measured(file: bytes, weights: Path, network: nn.Module, rounds: int, threads: int) -> Report:
    frontends = {each: VGGishFrontend(weights, each, threads=threads) for each in PRECISIONS}
    exact = frontends["float32"]
    bundle = random_bundle(CIRCUMPLEX, references=20)
    recording = decode(file)
    patches = exact.patches(recording.waveform)
    blocks = [
        block_of([patches[first : first + BLOCK_PATCHES]])
        for first in range(0, len(patches), BLOCK_PATCHES)
    ]
    expected = _torch_features(network, patches)
    largest = float(np.abs(expected).max())
    features = exact.features(recording.waveform)
    require_close("features", features / largest, expected / largest, _SHARE_OF_THE_LARGEST)
    half = mp3(recording.duration_s / 2)
    square = torch.ones(_GEMM_SIZE, _GEMM_SIZE)

    onnx = OnnxSession(kept_graph(weights, file_sha256(weights)), threads=threads)

    def network_of(run: Callable[[NDArray[np.float32]], object]) -> Callable[[], object]:
        return lambda: [run(block) for block in blocks]

    def whole(frontend: VGGishFrontend) -> Callable[[], object]:
        return lambda: bundle.encode_features(
            frontend.features(decode(file).waveform), recording.duration_s
        )

    times = medians_ms(
        {
            "peer": lambda: _peer(network, file),
            "peer_network": lambda: _torch_features(network, patches),
            "decode": lambda: decode(file),
            "log_mel": lambda: exact.patches(recording.waveform),
            "towers": lambda: bundle.encode_features(features, recording.duration_s),
            "gemm": lambda: square @ square,
            "halves_in_turn": lambda: _halves(exact, half, overlapped=False),
            "halves_overlapped": lambda: _halves(exact, half, overlapped=True),
            "onnx_network": network_of(onnx),
            **{f"{name}_network": network_of(each.run) for name, each in frontends.items()},
            **{f"{name}_whole": whole(each) for name, each in frontends.items()},
        },
        rounds,
    )
    peak_gflop_per_s = 2 * _GEMM_SIZE**3 / times["gemm"] / 1e6
    gflop = 2 * _multiplications(network) * len(patches) / 1e9
    report: Report = {
        "device": exact.device,
        "decode_ms": times["decode"],
        "log_mel_ms": times["log_mel"],
        "towers_ms": times["towers"],
        "overlap_saves_ms": times["halves_in_turn"] - times["halves_overlapped"],
        "torchvggish_ms": times["peer"],
        "torchvggish_network_ms": times["peer_network"],
        "onnxruntime_network_ms": times["onnx_network"],
        "gemm_gflop_per_s": peak_gflop_per_s,
        "plain_network_at_gemm_speed_ms": gflop / peak_gflop_per_s * 1_000,
    }
    for name, frontend in frontends.items():
        found = frontend.features(recording.waveform)
        report[name] = {
            "network_ms": times[f"{name}_network"],
            "whole_ms": times[f"{name}_whole"],
            "torchvggish_over_here": times["peer"] / times[f"{name}_whole"],
            "network_share": times[f"{name}_network"] / times[f"{name}_whole"],
            "times_real_time": recording.duration_s * 1_000 / times[f"{name}_whole"],
            "largest_difference_over_largest": float(np.abs(found - expected).max()) / largest,
        }
    return report


def _halves(frontend: VGGishFrontend, half: bytes, *, overlapped: bool) -> None:
    """Hear a recording in two halves; ``overlapped``: decode the second beside the first's network.

    What a pipeline inside one recording would save, which is not worth one: see
    docs/decisions/0008-encoding.md.
    """
    first = decode(half).waveform
    if not overlapped:
        frontend.features(first)
        frontend.features(decode(half).waveform)
        return
    with ThreadPoolExecutor(1) as network:
        running = network.submit(frontend.features, first)
        second = decode(half).waveform
        running.result()
    frontend.features(second)


def _torch_features(network: nn.Module, patches: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        found: NDArray[np.float32] = network(torch.from_numpy(patches)[:, None]).numpy()
    return found


def _peer(network: nn.Module, file: bytes) -> object:
    with torch.inference_mode():
        return network(vggish_input.waveform_to_examples(*_as_users_read(file)))


def _as_users_read(file: bytes) -> tuple[NDArray[np.float64], int]:
    """Read a file as torchvggish.vggish_input.wavfile_to_examples does."""
    samples, rate_hz = soundfile.read(io.BytesIO(file), dtype="int16")
    return samples / 32_768.0, rate_hz


def _multiplications(network: nn.Module) -> int:
    """Count the products of the network's definition for one patch, 96 × 64."""
    products, height, width = 0, 96, 64
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            products += height * width * layer.weight.numel()
        elif isinstance(layer, nn.MaxPool2d):
            height, width = height // 2, width // 2
        elif isinstance(layer, nn.Linear):
            products += layer.weight.numel()
    return products
