"""The desk: panning, swell, room, equaliser, noise floor and a soft limiter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from training.synthesis.instruments import RATE_HZ, Samples
from training.synthesis.style import Style

_SWELL_DB = 5.0
# Headroom: with it a loud bar reaches the limiter and a quiet one stays well above the noise.
_MIX_DB = -3.0
_LIMIT_FROM = 0.6
_FADE_S = 0.25
_EQ_HZ = (100.0, 400.0, 1600.0, 6400.0)


def mix(
    buses: dict[str, Samples],
    arousal: NDArray[np.float64],
    style: Style,
    rng: np.random.Generator,
) -> Samples:
    """Mix mono buses, each (samples,), to stereo (samples, 2) within [-1, 1].

    ``arousal`` (any length) is spread over the piece: a unit of it is 6 dB, besides what the parts
    themselves do. There is no normalisation, as loudness is a cue.
    """
    dry = _pan(buses, style)
    wet = _room(dry, style, rng)
    wet *= _swell(arousal, wet.shape[1], style.gain_db)
    wet += _noise_floor(wet.shape[1], style.noise_dbfs, rng)
    _limit(wet)
    _fade(wet)
    return np.ascontiguousarray(wet.T)


def _pan(buses: dict[str, Samples], style: Style) -> Samples:
    """Constant-power panning, shape (2, samples)."""
    length = len(next(iter(buses.values())))
    stereo = np.zeros((2, length), dtype=np.float32)
    for part, bus in buses.items():
        angle = (style.pans[part] + 1) * np.pi / 4
        gain = 10 ** (style.levels_db[part] / 20)
        stereo[0] += bus * np.float32(gain * np.cos(angle))
        stereo[1] += bus * np.float32(gain * np.sin(angle))
    return stereo


def _room(dry: Samples, style: Style, rng: np.random.Generator) -> Samples:
    """Reverberation and equaliser, both at once in the frequency domain."""
    responses = _impulse_responses(style.reverberation_s, rng)
    length = dry.shape[1]
    size = fft.next_fast_len(length + responses.shape[1], real=True)
    spectra = fft.rfft(dry, size, axis=1)
    rooms = fft.rfft(responses, size, axis=1)
    send = (spectra[0] + spectra[1]) * np.float32(10 ** (style.reverberation_db / 20) / 2)
    rooms *= send
    spectra += rooms
    spectra *= _equaliser(style.eq_db, size)
    wet = fft.irfft(spectra, size, axis=1)[:, :length]
    return np.asarray(wet, dtype=np.float32)


def _impulse_responses(reverberation_s: float, rng: np.random.Generator) -> Samples:
    """Two decaying noises, whose treble dies first, after 15 ms of silence."""
    length = int(reverberation_s * RATE_HZ)
    time_s = np.arange(length) / RATE_HZ
    full = rng.standard_normal((2, length))
    dull = np.cumsum(full, axis=1)
    dull[:, 24:] -= dull[:, :-24].copy()
    fall = np.exp(-6.9 * time_s / reverberation_s)
    tail = full * fall**3 + dull / np.sqrt(24) * fall
    tail /= np.sqrt(np.sum(tail**2, axis=1, keepdims=True))
    silence = np.zeros((2, int(0.015 * RATE_HZ)))
    # The send is half the sum of two channels: twice unit energy makes up for it.
    return np.asarray(2.0 * np.concatenate([silence, tail], axis=1), dtype=np.float32)


def _equaliser(eq_db: NDArray[np.float64], size: int) -> Samples:
    hertz = fft.rfftfreq(size, 1 / RATE_HZ)
    octaves = np.log2(np.maximum(hertz, 1.0))
    gain_db = np.interp(octaves, np.log2(_EQ_HZ), eq_db)
    # Below hearing there is nothing to keep, and an offset would eat into the limiter's room.
    audible = 1 / (1 + (25.0 / np.maximum(hertz, 1e-3)) ** 4)
    return np.asarray(10 ** (gain_db / 20) * audible, dtype=np.float32)


def _swell(arousal: NDArray[np.float64], length: int, gain_db: float) -> Samples:
    coarse_s = np.linspace(0, len(arousal) - 1, length // 64 + 1)
    gain = 10 ** (
        (_SWELL_DB * np.interp(coarse_s, np.arange(len(arousal)), arousal) + _MIX_DB + gain_db) / 20
    )
    return np.repeat(gain, 64)[:length].astype(np.float32)


def _noise_floor(length: int, dbfs: float, rng: np.random.Generator) -> Samples:
    return rng.standard_normal((2, length), dtype=np.float32) * np.float32(10 ** (dbfs / 20))


def _limit(wet: Samples) -> None:
    """Bend what exceeds 0.6 of full scale towards it, in place; the rest passes untouched."""
    magnitude = np.abs(wet)
    loud = magnitude > _LIMIT_FROM
    room = 1 - _LIMIT_FROM
    bent = _LIMIT_FROM + room * np.tanh((magnitude[loud] - _LIMIT_FROM) / room)
    wet[loud] = np.copysign(bent, wet[loud])


def _fade(wet: Samples) -> None:
    length = int(_FADE_S * RATE_HZ)
    slope = np.linspace(0, 1, length, dtype=np.float32)
    wet[:, :length] *= slope
    wet[:, -length:] *= slope[::-1]
