"""Log-mel patches as VGGish defines them, computed without a Python loop over frames.

Hershey et al., "CNN architectures for large-scale audio classification", ICASSP 2017: 16 kHz mono,
25 ms periodic Hann windows every 10 ms, magnitude of a 512-point FFT, 64 HTK mel bands from 125 to
7,500 Hz, log(mel + offset), cut into patches of 96 frames that do not overlap.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from models.audio import SAMPLE_RATE_HZ

FRAME_SAMPLES = 400
FRAME_HOP_SAMPLES = 160
FFT_SAMPLES = 512
PATCH_FRAMES = 96
MEL_BANDS = 64
MEL_LOW_HZ = 125.0
MEL_HIGH_HZ = 7_500.0
VGGISH_LOG_OFFSET = 0.01

_PATCH_SAMPLES = PATCH_FRAMES * FRAME_HOP_SAMPLES
_PATCHES_AT_ONCE = 16  # about 20 MB of spectra, which stay in the cache between FFT and mel


def log_mel_patches(
    waveform: NDArray[np.float32], log_offset: float = VGGISH_LOG_OFFSET
) -> NDArray[np.float32]:
    """Turn a waveform (samples,) at 16 kHz into log-mel patches (T, 96, 64), float32.

    T is 0 for fewer than 15,600 samples. A patch's values depend on its own samples only, to the
    last bit: each is computed by operations of one fixed shape, wherever it lies.
    """
    frames = 1 + (len(waveform) - FRAME_SAMPLES) // FRAME_HOP_SAMPLES
    patches = max(frames // PATCH_FRAMES, 0)
    log_mel = np.empty((patches, PATCH_FRAMES, MEL_BANDS), np.float32)
    hann, mel = _hann_window(), _mel_matrix()
    for first in range(0, patches, _PATCHES_AT_ONCE):
        count = min(_PATCHES_AT_ONCE, patches - first)
        begin = first * _PATCH_SAMPLES
        end = begin + (count * PATCH_FRAMES - 1) * FRAME_HOP_SAMPLES + FRAME_SAMPLES
        windows = np.lib.stride_tricks.sliding_window_view(waveform[begin:end], FRAME_SAMPLES)
        spectra = scipy.fft.rfft(windows[::FRAME_HOP_SAMPLES] * hann, FFT_SAMPLES, axis=1)
        magnitude = np.abs(spectra).astype(np.float32).reshape(count, PATCH_FRAMES, -1)
        # One product per patch, not per block: a block's size would change how BLAS rounds.
        np.matmul(magnitude, mel, out=log_mel[first : first + count])
    log_mel += np.float32(log_offset)
    return np.log(log_mel, out=log_mel)


@cache
def _hann_window() -> NDArray[np.float64]:
    # float64: in a float32 FFT the rounding of a loud band reaches a silent one, 1e-4 of its log.
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME_SAMPLES) / FRAME_SAMPLES)


def _hertz_to_mel(frequency_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1127.0 * np.log1p(frequency_hz / 700.0)


@cache
def _mel_matrix() -> NDArray[np.float32]:
    """Return the (257, 64) triangles, linear in mel as in HTK; the DC bin belongs to none."""
    bins_mel = _hertz_to_mel(np.linspace(0.0, SAMPLE_RATE_HZ / 2, FFT_SAMPLES // 2 + 1))[:, None]
    low_mel, high_mel = _hertz_to_mel(np.array([MEL_LOW_HZ, MEL_HIGH_HZ]))
    edges_mel = np.linspace(low_mel, high_mel, MEL_BANDS + 2)
    low, centre, high = edges_mel[:-2], edges_mel[1:-1], edges_mel[2:]
    triangles = np.minimum((bins_mel - low) / (centre - low), (high - bins_mel) / (high - centre))
    triangles[0] = 0.0
    weights: NDArray[np.float32] = np.maximum(triangles, 0.0).astype(np.float32)
    return weights
