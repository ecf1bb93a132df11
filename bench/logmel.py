"""Log-mel patches: ours against torchvggish's, on the same 16 kHz waveform."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.material import tones
from bench.timing import Report, machine, medians_ms, require_close
from models.audio import SAMPLE_RATE_HZ
from models.logmel import log_mel_patches

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # resampy's use of pkg_resources
    from torchvggish import vggish_input

LARGEST_DIFFERENCE = 1e-4


def run(*, durations_s: Sequence[float] = (30.0, 300.0), rounds: int = 7) -> Report:
    """Compare speed where the patches agree.

    Raises:
        bench.timing.DisagreementError: they differ by more than 1e-4.
    """
    return {
        "machine": machine(),
        "recordings": [_one(duration_s, rounds) for duration_s in durations_s],
    }


def torchvggish_patches(waveform: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return torchvggish's log-mel patches (T, 96, 64) of a waveform at 16 kHz."""
    patches: NDArray[np.float64] = vggish_input.waveform_to_examples(
        waveform, SAMPLE_RATE_HZ, return_tensor=False
    )
    return patches


def _one(duration_s: float, rounds: int) -> Report:
    waveform = tones(duration_s, SAMPLE_RATE_HZ).mean(axis=1)
    difference = require_close(
        "log-mel patches",
        log_mel_patches(waveform),
        torchvggish_patches(waveform),
        LARGEST_DIFFERENCE,
    )
    times = medians_ms(
        {
            "here": lambda: log_mel_patches(waveform),
            "torchvggish": lambda: torchvggish_patches(waveform),
        },
        rounds,
    )
    return {
        "duration_s": duration_s,
        "largest_difference": difference,
        "here_ms": times["here"],
        "torchvggish_ms": times["torchvggish"],
        "torchvggish_over_here": times["torchvggish"] / times["here"],
        "here_times_real_time": duration_s * 1_000 / times["here"],
        "torchvggish_times_real_time": duration_s * 1_000 / times["torchvggish"],
    }
