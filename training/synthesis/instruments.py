"""Instruments: two wavetable oscillators a tone, with envelopes; and struck bars as sine partials.

A tone is a body and an edge, two oscillators slightly apart in pitch; the edge is the brighter one
and may die away sooner, as the upper partials of a plucked string do. Every table is cut off below
the Nyquist frequency, so nothing aliases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from training.synthesis.notes import Note

RATE_HZ = 24_000

Samples = NDArray[np.float32]

_TABLE_BITS = 12
_TABLE_SIZE = 1 << _TABLE_BITS
_PHASE_SHIFT = np.uint32(32 - _TABLE_BITS)
_BRIGHTNESS_LEVELS = 12
_MOST_HARMONICS = 64
_LOWEST_HZ = 27.5
_LONGEST_TONE_S = 10.0
_VIBRATO_HZ = 5.3


@dataclass(frozen=True)
class Instrument:
    """How an instrument sounds.

    ``dark`` and ``bright`` are the exponents with which its harmonics fall at brightness 0 and 1,
    ``even`` the strength of the even harmonics, ``formant_hz`` a resonance of its body (0: none).
    ``decay_s`` is the time constant of the tone and ``edge_decay_s`` that of its upper partials
    (infinite for bowed and blown tones); ``vibrato_cents`` the depth of its vibrato.
    """

    name: str
    dark: float
    bright: float
    even: float = 1.0
    formant_hz: float = 0.0
    attack_s: float = 0.01
    decay_s: float = np.inf
    edge_decay_s: float = np.inf
    release_s: float = 0.08
    detune_cents: float = 3.0
    vibrato_cents: float = 0.0


LEADS = (
    Instrument("flute", 3.4, 1.9, attack_s=0.05, release_s=0.09, vibrato_cents=9),
    Instrument("clarinet", 2.4, 1.25, even=0.12, attack_s=0.03, vibrato_cents=3),
    Instrument("violin", 2.0, 1.0, formant_hz=1100, attack_s=0.06, release_s=0.1, vibrato_cents=14),
    Instrument("oboe", 1.9, 1.0, formant_hz=1300, attack_s=0.03, vibrato_cents=7),
    Instrument("electric piano", 3.0, 1.5, decay_s=0.9, edge_decay_s=0.25, release_s=0.1),
    Instrument("guitar", 2.2, 1.15, decay_s=0.7, edge_decay_s=0.18, release_s=0.08),
    Instrument("synthesiser", 2.2, 1.1, even=0.7, attack_s=0.015, detune_cents=9, vibrato_cents=4),
)
PADS = (
    Instrument("strings", 2.2, 1.2, attack_s=0.18, release_s=0.3, detune_cents=7),
    Instrument("choir", 2.4, 1.3, formant_hz=650, attack_s=0.2, release_s=0.35, detune_cents=8),
    Instrument("organ", 2.6, 1.4, even=0.5, attack_s=0.03, release_s=0.1, detune_cents=2),
    Instrument("warm pad", 2.8, 1.4, attack_s=0.15, release_s=0.4, detune_cents=10),
)
COMPS = (
    Instrument("piano", 2.6, 1.3, attack_s=0.003, decay_s=1.0, edge_decay_s=0.3, release_s=0.12),
    Instrument("harp", 2.8, 1.5, attack_s=0.003, decay_s=0.8, edge_decay_s=0.15, release_s=0.2),
    Instrument("nylon guitar", 2.4, 1.3, attack_s=0.002, decay_s=0.55, edge_decay_s=0.12),
    Instrument("clavinet", 1.9, 1.0, even=0.8, attack_s=0.002, decay_s=0.5, edge_decay_s=0.2),
    Instrument("marimba", 3.6, 2.2, even=0.2, attack_s=0.002, decay_s=0.3, edge_decay_s=0.06),
)
BASSES = (
    Instrument("double bass", 2.4, 1.4, attack_s=0.008, decay_s=0.9, edge_decay_s=0.2),
    Instrument("bass guitar", 2.0, 1.1, attack_s=0.004, decay_s=1.4, edge_decay_s=0.35),
    Instrument("synth bass", 1.9, 1.0, even=0.6, attack_s=0.004, edge_decay_s=0.3),
)
DRONES = (
    Instrument("low strings", 1.7, 1.1, attack_s=0.12, release_s=0.25, detune_cents=9),
    Instrument("bass reed", 1.6, 1.0, even=0.4, attack_s=0.08, release_s=0.2, detune_cents=7),
    Instrument("dark brass", 1.8, 1.1, formant_hz=500, attack_s=0.1, release_s=0.2, detune_cents=6),
)


@dataclass(frozen=True)
class StruckBar:
    """A metal or wooden bar: frequency ratios, levels (dB) and decay times (s) of its partials."""

    name: str
    ratios: tuple[float, ...]
    levels_db: tuple[float, ...]
    decays_s: tuple[float, ...]


BELLS = (
    StruckBar("glockenspiel", (1, 2.756, 5.404), (0, -9, -16), (0.6, 0.25, 0.1)),
    StruckBar("vibraphone", (1, 3.98, 9.2), (0, -12, -24), (0.9, 0.3, 0.08)),
    StruckBar("celesta", (1, 2, 4.1), (0, -10, -18), (0.5, 0.3, 0.12)),
    StruckBar("music box", (1, 2.99, 6.2), (0, -7, -15), (0.4, 0.2, 0.08)),
)


def play(instrument: Instrument, notes: Sequence[Note], samples: int) -> Samples:
    """Play notes on an instrument: mono, shape (samples,), each tone about 0.1 RMS at 0 dB."""
    bus = np.zeros(samples, dtype=np.float32)
    body_envelope = _decay(instrument.decay_s)
    edge_envelope = _decay(instrument.edge_decay_s)
    vibrato = _vibrato(instrument.vibrato_cents)
    for note in notes:
        start = max(round(note.start_s * RATE_HZ), 0)
        sounding_s = min(note.duration_s + instrument.release_s, _LONGEST_TONE_S)
        length = min(round(sounding_s * RATE_HZ), samples - start)
        if length < 2:
            continue
        hertz = 440.0 * 2 ** ((note.pitch - 69) / 12)
        spread = 2 ** ((instrument.detune_cents + note.detune_cents) / 2400)
        swing = vibrato[:length] if instrument.vibrato_cents else None
        body = _oscillate(instrument, note.brightness * 0.6, hertz / spread, length, swing)
        edge = _oscillate(instrument, note.brightness, hertz * spread, length, swing)
        tone = body + edge * edge_envelope[:length]
        tone *= body_envelope[:length]
        _shape_ends(tone, instrument.attack_s, instrument.release_s)
        tone *= np.float32(0.07 * 10 ** (note.level_db / 20))
        bus[start : start + length] += tone
    return bus


def strike(bar: StruckBar, notes: Sequence[Note], samples: int) -> Samples:
    """Strike notes on bars: mono, shape (samples,), peaks of about 0.15 at 0 dB."""
    bus = np.zeros(samples, dtype=np.float32)
    strokes: dict[float, Samples] = {}
    for note in notes:
        if note.pitch not in strokes:
            strokes[note.pitch] = _stroke(bar, 440.0 * 2 ** ((note.pitch - 69) / 12))
        start = max(round(note.start_s * RATE_HZ), 0)
        stroke = strokes[note.pitch][: max(samples - start, 0)]
        bus[start : start + len(stroke)] += stroke * np.float32(10 ** (note.level_db / 20))
    return bus


def _stroke(bar: StruckBar, hertz: float) -> Samples:
    time_s = np.arange(int(2.5 * max(bar.decays_s) * RATE_HZ)) / RATE_HZ
    stroke = np.zeros(len(time_s))
    for ratio, level_db, decay_s in zip(bar.ratios, bar.levels_db, bar.decays_s, strict=True):
        if hertz * ratio < 0.45 * RATE_HZ:
            partial = np.sin(2 * np.pi * hertz * ratio * time_s) * np.exp(-time_s / decay_s)
            stroke += 10 ** (level_db / 20) * partial
    tone = (0.15 * stroke).astype(np.float32)
    _shape_ends(tone, 0.001, 0.05)
    return tone


def _oscillate(
    instrument: Instrument,
    brightness: float,
    hertz: float,
    length: int,
    vibrato: NDArray[np.float64] | None,
) -> Samples:
    level = round(min(max(brightness, 0.0), 1.0) * (_BRIGHTNESS_LEVELS - 1))
    octave = max(int(np.log2(hertz / _LOWEST_HZ)), 0)
    # Phases are 32-bit integers: they wrap for nothing, and their top bits are the table index.
    step = hertz / RATE_HZ * 2**32
    phase = np.arange(length, dtype=np.uint32) * np.uint32(step)
    if vibrato is not None:
        phase += (vibrato * step).astype(np.int64).astype(np.uint32)
    return _wavetable(instrument, level, octave).take(phase >> _PHASE_SHIFT)


@lru_cache(maxsize=4096)
def _wavetable(instrument: Instrument, level: int, octave: int) -> Samples:
    """One period, RMS 1, of the harmonics that stay below Nyquist in the whole octave."""
    highest_hz = _LOWEST_HZ * 2.0 ** (octave + 1)
    count = int(np.clip(0.45 * RATE_HZ / highest_hz, 1, _MOST_HARMONICS))
    harmonic = np.arange(1, count + 1)
    exponent = instrument.dark + (instrument.bright - instrument.dark) * level / (
        _BRIGHTNESS_LEVELS - 1
    )
    strength = harmonic**-exponent
    strength[1::2] *= instrument.even
    if instrument.formant_hz:
        away = np.log2(harmonic * highest_hz / np.sqrt(2) / instrument.formant_hz)
        strength *= 1 + 2.5 * np.exp(-((away / 0.6) ** 2))
    # Schroeder's phases keep the crest of the period low.
    phases = -np.pi * harmonic * (harmonic - 1) / count
    spectrum = np.zeros(_TABLE_SIZE // 2 + 1, dtype=np.complex128)
    spectrum[1 : count + 1] = strength * np.exp(1j * phases)
    period = np.fft.irfft(spectrum)
    return np.asarray(period / np.sqrt(np.mean(period**2)), dtype=np.float32)


@lru_cache(maxsize=64)
def _decay(time_constant_s: float) -> Samples:
    time_s = np.arange(int(_LONGEST_TONE_S * RATE_HZ)) / RATE_HZ
    return np.exp(-time_s / time_constant_s).astype(np.float32)


@lru_cache(maxsize=16)
def _vibrato(cents: float) -> NDArray[np.float64]:
    """Lead of the phase, in samples, that a vibrato growing in over 0.4 s brings about."""
    time_s = np.arange(int(_LONGEST_TONE_S * RATE_HZ)) / RATE_HZ
    depth = (2 ** (cents / 1200) - 1) / (2 * np.pi * _VIBRATO_HZ) * RATE_HZ
    grown = np.clip((time_s - 0.15) / 0.4, 0, 1)
    return np.asarray(depth * grown * np.sin(2 * np.pi * _VIBRATO_HZ * time_s), dtype=np.float64)


@lru_cache(maxsize=64)
def _slope(length: int) -> Samples:
    slope = 0.5 - 0.5 * np.cos(np.pi * np.arange(length) / length)
    return np.asarray(slope, dtype=np.float32)


def _shape_ends(tone: Samples, attack_s: float, release_s: float) -> None:
    """Fade a tone in and out in place."""
    attack = min(int(attack_s * RATE_HZ), len(tone) // 2)
    release = min(int(release_s * RATE_HZ), len(tone) // 2)
    if attack:
        tone[:attack] *= _slope(attack)
    if release:
        tone[-release:] *= _slope(release)[::-1]
