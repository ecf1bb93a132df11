"""By how much the answers of VGGish in int16 are those of float32.

Every window of real recordings asks for the ten nearest of all the others, in each precision, by
the definition. Without the official weights neither network nor tower has learned anything: their
features tell recordings apart by little, which makes neighbours closer to each other, and harder
to keep in order, than a trained model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bench.encode import random_weights
from bench.timing import Report, machine
from models.audio import decode
from models.bundle import encode_sequences
from models.encoders import Tower
from models.similarity import Encodings, composite_similarity
from models.vggish_frontend import VGGishFrontend
from models.windows import window_patches, window_starts_s
from training.recipes import CMER_CL

_NEAREST = 10


def run(paths: Sequence[Path], *, weights: Path | None = None) -> Report:
    """Hear recordings in both precisions, and compare what is nearest to each window."""
    if weights is None:
        with random_weights() as path:
            return run(paths, weights=path)
    exact, reduced = VGGishFrontend(weights), VGGishFrontend(weights, "int16")
    windows: dict[str, list[NDArray[np.float32]]] = {"float32": [], "int16": []}
    heard = []
    for path in paths:
        recording = decode(path.read_bytes())
        features = {each.precision: each.features(recording.waveform) for each in (exact, reduced)}
        heard.append(features["float32"])
        for precision, sequence in features.items():
            windows[precision] += [
                window_patches(sequence, start_s)
                for start_s in window_starts_s(recording.duration_s)
            ]
    tower = _random_tower(np.concatenate(heard))
    encodings = {name: encode_sequences(tower, each) for name, each in windows.items()}
    nearest = {name: _nearest(each) for name, each in encodings.items()}
    shared = [len({*a} & {*b}) for a, b in zip(nearest["float32"], nearest["int16"], strict=True)]
    return {
        "machine": machine(),
        "recordings": len(paths),
        "windows": len(windows["int16"]),
        "top_10_agreement": float(np.mean(shared)) / _NEAREST,
        "first_agreement": float(np.mean(nearest["float32"][:, 0] == nearest["int16"][:, 0])),
    }


def _random_tower(features: NDArray[np.float32]) -> Tower:
    torch.manual_seed(0)
    tower = Tower(CMER_CL.music_shape("mlp", features.shape[1])).eval()
    mean, scale = features.mean(axis=0), features.std(axis=0)
    tower.standardise_by(torch.from_numpy(mean), torch.from_numpy(scale))
    return tower


def _nearest(encodings: Encodings) -> NDArray[np.int64]:
    """Return (W, 10): the windows nearest to each, without itself."""
    scores = composite_similarity(encodings, encodings, weight=0.5, divergence_scale=1.0)
    np.fill_diagonal(scores, -np.inf)
    order: NDArray[np.int64] = np.argsort(-scores, axis=1, kind="stable")[:, :_NEAREST]
    return order
