"""openSMILE's descriptors of a waveform, summarised per 0.96 s patch as DEAM's features are.

Descriptors: the 65 of the INTERSPEECH 2013 ComParE set (Schuller et al., "The INTERSPEECH 2013
computational paralinguistics challenge", Interspeech 2013), every 10 ms, by openSMILE (Eyben et
al., "Recent developments in openSMILE, the Munich open-source multimedia feature extractor", ACM
Multimedia 2013). Their functionals: DEAM's features (Aljanaki, Yang, Soleymani, "Developing a
benchmark for emotional analysis of music", PLoS ONE 2017) are their means and deviations in windows
of 1 s.

This module needs the package opensmile, which comes with the extra of that name.
"""

from __future__ import annotations

import numpy as np
import opensmile
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

DESCRIPTOR_RATE_HZ = 44_100
"""DEAM's rate. At 16 kHz many descriptors become other quantities: docs/opensmile.md."""

_HOP_SAMPLES = 441  # 10 ms
_PATCH_FRAMES = 96
_PATCH_SAMPLES = _PATCH_FRAMES * _HOP_SAMPLES
_LAST_FRAME_SAMPLES = 1_102  # 25 ms, so that there are as many patches as other frontends see
_DEVIATION_FRAMES = 100  # DEAM's deviations are taken in windows of 1 s
_MARGIN_FRAMES = (_DEVIATION_FRAMES - _PATCH_FRAMES) // 2

_BLOCK_PATCHES = 64
# Filters with memory (RASTA) and the smoother of the pitch settle within a second of sound.
_CONTEXT_SAMPLES = 100 * _HOP_SAMPLES
_FULL_SCALE = 32_768


class PatchDescriptors:
    """Turns waveforms at 44.1 kHz into chosen columns, one row per 0.96 s.

    A column is a descriptor's name with ``_amean`` for its mean over a patch, or with ``_stddev``
    for its standard deviation over the 1 s around the patch's middle. Safe to call from threads:
    each call runs an openSMILE of its own.
    """

    def __init__(self, columns: tuple[str, ...]) -> None:
        """Choose the columns.

        Raises:
            KeyError: openSMILE does not give one of them.
        """
        self._smile = opensmile.Smile(
            opensmile.FeatureSet.IS13, opensmile.FeatureLevel.LowLevelDescriptors
        )
        # DEAM's openSMILE prefixed the MFCCs with the spectrum that they are taken from.
        names = [name.replace("mfcc_", "pcm_fftMag_mfcc_", 1) for name in self._smile.feature_names]
        places = {f"{name}_amean": place for place, name in enumerate(names)}
        places |= {f"{name}_stddev": len(names) + place for place, name in enumerate(names)}
        self._places = [places[column] for column in columns]

    def __call__(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn (samples,) at 44.1 kHz into (T, F), T ≥ 1 from 42,997 samples (0.975 s) on.

        Long recordings are worked through in blocks that overlap by a second on either side, and
        where there is no sound on one side, the recording is mirrored: openSMILE's filters would
        answer to a sudden beginning for most of a second.
        """
        frames = 1 + (len(waveform) - _LAST_FRAME_SAMPLES) // _HOP_SAMPLES
        patches = max(frames // _PATCH_FRAMES, 0)
        values = np.empty((patches, len(self._places)), np.float32)
        for first in range(0, patches, _BLOCK_PATCHES):
            count = min(_BLOCK_PATCHES, patches - first)
            described = self._describe(
                _with_context(waveform, first * _PATCH_SAMPLES, (first + count) * _PATCH_SAMPLES)
            )
            values[first : first + count] = _summarise(described, count)[:, self._places]
        return values

    def _describe(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return openSMILE's descriptors (frames, 65) of samples at 44.1 kHz."""
        # openSMILE takes 16-bit integers, and the wrapper's conversion would let peaks wrap around.
        integers = np.clip(np.rint(samples * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1)
        answer: NDArray[np.float32] = self._smile(integers / _FULL_SCALE, DESCRIPTOR_RATE_HZ)[0]
        return answer.T


def _with_context(waveform: NDArray[np.float32], first: int, last: int) -> NDArray[np.float32]:
    begin, end = first - _CONTEXT_SAMPLES, last + _CONTEXT_SAMPLES
    sound = waveform[max(begin, 0) : end]
    missing = (max(-begin, 0), max(end - len(waveform), 0))
    return np.pad(sound, missing, mode="symmetric")


def _summarise(described: NDArray[np.float32], patches: int) -> NDArray[np.float32]:
    """Return means and deviations (patches, 130) of descriptors that begin with the context."""
    first = _CONTEXT_SAMPLES // _HOP_SAMPLES
    frames = described[first - _MARGIN_FRAMES :].astype(np.float64)
    windows = sliding_window_view(frames, _DEVIATION_FRAMES, axis=0)[::_PATCH_FRAMES][:patches]
    inner = windows[:, :, _MARGIN_FRAMES : _MARGIN_FRAMES + _PATCH_FRAMES]
    summary = np.concatenate([inner.mean(axis=2), windows.std(axis=2)], axis=1)
    return summary.astype(np.float32)
