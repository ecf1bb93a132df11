"""M2E: what one uploaded recording costs, stage by stage.

The peer hears the same MP3 as VGGish's own users do: librosa decodes and resamples it, torchvggish
computes its log-mel patches. It ends there, so it is compared with our first two stages.
"""

from __future__ import annotations

import io
import warnings
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.logmel import torchvggish_patches
from bench.material import DEMO_TRACKS, home_settings, mp3
from bench.timing import Report, machine, medians_ms, require_close
from models.audio import SAMPLE_RATE_HZ, decode
from models.bundle import Bundle, BundleError
from service.live import LiveService
from service.retrieval import Limits

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import librosa

_LOUDNESS_DIFFERENCE = 0.02
_PATCH_DIFFERENCE = 1


def run(
    home: Path | None = None,
    *,
    duration_s: float = 30.0,
    rounds: int = 7,
    tracks: int = DEMO_TRACKS,
) -> Report:
    """Time every stage of ``POST /v1/search/emotions`` but HTTP.

    Raises:
        bench.timing.DisagreementError: librosa hears something else in the recording.
    """
    file = mp3(duration_s)
    with home_settings(home, tracks=tracks) as settings, closing(LiveService(settings)) as live:
        stages, emotions = _stages_ms(live, file, rounds)
        frontend = _frontend_name(live.searcher.bundle)
    recording = decode(file)
    _check_same_sound(recording.waveform, _librosa_waveform(file))
    peer = medians_ms(
        {
            "decode": lambda: _librosa_waveform(file),
            "log_mel": lambda: torchvggish_patches(recording.waveform),
        },
        rounds,
    )
    heard_ms = stages["decode_ms"] + stages["features_ms"]
    peer_ms = peer["decode"] + peer["log_mel"]
    return {
        "machine": machine(),
        "duration_s": duration_s,
        "mp3_bytes": len(file),
        "frontend": frontend,
        "emotions": emotions,
        **stages,
        "librosa_decode_ms": peer["decode"],
        "torchvggish_log_mel_ms": peer["log_mel"],
        "librosa_decode_over_decode": peer["decode"] / stages["decode_ms"],
        "peers_over_decode_and_features": peer_ms / heard_ms,
        "times_real_time": duration_s * 1_000 / stages["whole_ms"],
    }


def _stages_ms(live: LiveService, file: bytes, rounds: int) -> tuple[Report, int]:
    searcher = live.searcher
    bundle, frontend = searcher.bundle, searcher.bundle.frontend
    if frontend is None:
        raise BundleError("the home folder's model cannot hear recordings: train with --frontend")
    recording = decode(file)
    features = frontend.features(recording.waveform)
    encoded = bundle.encode_features(features, recording.duration_s)
    limits = Limits()
    times = medians_ms(
        {
            "decode_ms": lambda: decode(file),
            "features_ms": lambda: frontend.features(recording.waveform),
            "towers_ms": lambda: bundle.encode_features(features, recording.duration_s),
            "rank_ms": lambda: searcher.search_emotions(encoded, limits),
            "estimate_ms": lambda: searcher.estimate(
                encoded.encodings, encoded.starts_s, recording.duration_s
            ),
            "whole_ms": lambda: live.search_emotions(io.BytesIO(file), limits),
        },
        rounds,
    )
    return dict(times), len(searcher.emotions.emotions)


def _frontend_name(bundle: Bundle) -> str:
    return bundle.frontend.name if bundle.frontend else ""


def _librosa_waveform(file: bytes) -> NDArray[np.float32]:
    waveform: NDArray[np.float32] = librosa.load(io.BytesIO(file), sr=SAMPLE_RATE_HZ)[0]
    return waveform


def _check_same_sound(here: NDArray[np.float32], there: NDArray[np.float32]) -> None:
    """Two decoders place an MP3's edges differently, so only length and loudness are compared."""
    lengths = [len(waveform) / (0.96 * SAMPLE_RATE_HZ) for waveform in (here, there)]
    require_close("patches heard", lengths[0], lengths[1], _PATCH_DIFFERENCE)
    loudness = [float(np.sqrt(np.mean(waveform**2))) for waveform in (here, there)]
    require_close("loudness", loudness[0] / loudness[1], 1.0, _LOUDNESS_DIFFERENCE)
