"""The tempo of a recording, by librosa's onset strength and tempo prior.

The strength of onsets is correlated with itself over the whole recording; of the lags at which it
repeats, librosa's log-normal prior around 120 BPM chooses one (Ellis, "Beat tracking by dynamic
programming", 2007). What repeats at one tempo also repeats at half and often at double of it, so
that the answer may be an octave off: of a slow piece the double, of a fast one the half.
"""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from models.audio import SAMPLE_RATE_HZ

SLOWEST_BPM = 30.0
FASTEST_BPM = 300.0

_HOP_SAMPLES = 160  # 10 ms: a lag of 50 hops at 120 BPM, refined between hops
_FFT_SAMPLES = 1_024
_FLUX_LAG = 2  # spectra of 64 ms, 10 ms apart, overlap: neighbours differ little at an onset
_HOPS_PER_S = SAMPLE_RATE_HZ / _HOP_SAMPLES
_BLOCK_HOPS = 6_000  # a minute: an hour's spectra at once would be a gigabyte
_SHORTEST_S = 6.0
_SMALLEST_SPREAD_DB = 0.1  # a steady tone has 0.002, quiet orchestral music 0.7
_WEAKEST_REPEAT = 0.1


def load_librosa() -> None:
    """Import librosa, which takes a second: once, before threads ask for it at the same time."""
    import librosa.feature
    import librosa.onset  # noqa: F401


def tempo_bpm(waveform: NDArray[np.float32], rate_hz: int) -> float | None:
    """Return the tempo of a mono waveform (samples,) in beats a minute, None where it has none.

    None also where it is shorter than 6 s. An octave error is possible, see above.
    """
    if len(waveform) < _SHORTEST_S * rate_hz:
        return None
    if rate_hz != SAMPLE_RATE_HZ:
        waveform = soxr.resample(waveform, rate_hz, SAMPLE_RATE_HZ)
    strength_db = _onset_strength(waveform)
    if strength_db.std() < _SMALLEST_SPREAD_DB:
        return None
    repeats = _repeats(strength_db)
    lag = _chosen_lag(repeats)
    if lag is None or repeats[lag] < _WEAKEST_REPEAT:
        return None
    return 60 * _HOPS_PER_S / (lag + _peak_offset(repeats[lag - 1 : lag + 2]))


def _onset_strength(waveform: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return by how many dB the spectrum rises at each hop (hops,), computed a minute at a time."""
    import librosa.onset

    step = _BLOCK_HOPS * _HOP_SAMPLES
    parts = [
        librosa.onset.onset_strength(
            y=waveform[first : first + step],
            sr=SAMPLE_RATE_HZ,
            n_fft=_FFT_SAMPLES,
            hop_length=_HOP_SAMPLES,
            lag=_FLUX_LAG,
        )[: len(waveform[first : first + step]) // _HOP_SAMPLES]
        for first in range(0, len(waveform) - _FFT_SAMPLES, step)
    ]
    return np.concatenate(parts).astype(np.float64)


def _repeats(strength: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlate the strength with itself: (lags,) from 0 to the slowest beat's, 1 at lag 0.

    ``strength`` must not be constant.
    """
    import librosa

    lags = int(60 * _HOPS_PER_S / SLOWEST_BPM) + 2
    deviation = strength - strength.mean()
    found = librosa.autocorrelate(deviation, max_size=lags)
    found = found / (len(deviation) - np.arange(len(found)))
    correlation: NDArray[np.float64] = found / found[0]
    return correlation


def _chosen_lag(repeats: NDArray[np.float64]) -> int | None:
    """Return the lag of the likeliest beat among the peaks, None where there is none."""
    import librosa.feature

    is_peak = np.zeros(len(repeats), bool)
    is_peak[1:-1] = (repeats[1:-1] > repeats[:-2]) & (repeats[1:-1] >= repeats[2:])
    peaks = np.where(is_peak, np.maximum(repeats, 0.0), 0.0)
    if not peaks.any():
        return None
    bpm = librosa.feature.tempo(
        tg=peaks[:, None], sr=SAMPLE_RATE_HZ, hop_length=_HOP_SAMPLES, max_tempo=FASTEST_BPM
    )
    return round(60 * _HOPS_PER_S / float(bpm[0]))


def _peak_offset(around: NDArray[np.float64]) -> float:
    """Return where the parabola through three neighbours has its top, from the middle one."""
    before, middle, behind = around
    curvature = before - 2 * middle + behind
    return float(0.5 * (before - behind) / curvature) if curvature < 0 else 0.0
