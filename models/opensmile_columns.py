"""The columns of DEAM's table of features that openSMILE gives for any recording.

Names are the table's (Aljanaki, Yang, Soleymani, "Developing a benchmark for emotional analysis of
music", PLoS ONE 2017). Of its 167 columns :data:`DEAM_COLUMNS` are the means of all 65 descriptors
and the deviations that the table has of them; the rest are means of slopes, nearly zero and about
where a song begins and ends.

How loud a file is says who mastered it, so that all is brought to one level:
:data:`OPENSMILE_COLUMNS` are what remains. What was measured: docs/opensmile.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_VOICE = (
    "F0final_sma",
    "voicingFinalUnclipped_sma",
    "jitterLocal_sma",
    "jitterDDP_sma",
    "shimmerLocal_sma",
    "logHNR_sma",
)
_LOUDNESS = ("audspec_lengthL1norm_sma", "audspecRasta_lengthL1norm_sma", "pcm_RMSenergy_sma")
_RASTA = tuple(f"audSpec_Rfilt_sma[{band}]" for band in range(26))
_ROLL_OFFS = tuple(f"pcm_fftMag_spectralRollOff{percent}.0_sma" for percent in (25, 50, 75, 90))
_SPECTRUM = (
    "pcm_zcr_sma",
    "pcm_fftMag_fband250-650_sma",
    "pcm_fftMag_fband1000-4000_sma",
    "pcm_fftMag_spectralFlux_sma",
    "pcm_fftMag_spectralCentroid_sma",
    "pcm_fftMag_spectralEntropy_sma",
    "pcm_fftMag_spectralVariance_sma",
    "pcm_fftMag_spectralSkewness_sma",
    "pcm_fftMag_spectralKurtosis_sma",
    "pcm_fftMag_spectralSlope_sma",
    "pcm_fftMag_psySharpness_sma",
)
_HARMONICITY = ("pcm_fftMag_spectralHarmonicity_sma",)
_CEPSTRUM = tuple(f"pcm_fftMag_mfcc_sma[{number}]" for number in range(1, 15))

_MEANS = _VOICE + _LOUDNESS + _SPECTRUM + _ROLL_OFFS + _HARMONICITY + _RASTA + _CEPSTRUM
_DEVIATIONS = _VOICE + _LOUDNESS + _SPECTRUM + _RASTA[:2] + _CEPSTRUM

DEAM_COLUMNS = (
    *(f"{name}_amean" for name in _MEANS),
    *(f"{name}_stddev" for name in _DEVIATIONS),
)
_LEVEL = "pcm_RMSenergy_sma_amean"
OPENSMILE_COLUMNS = tuple(column for column in DEAM_COLUMNS if column != _LEVEL)

_POWERS_OF_AMPLITUDE = {
    "RMSenergy": 1.0,
    "spectralFlux": 1.0,
    "fband": 2.0,
    "spectralSlope": 2.0,
    "spectralHarmonicity": 2.0,
    "audspec_length": 0.66,
}
_COMMON_LEVEL = 0.1
_SMALLEST_LEVEL = 1 / 32_768  # one step of the 16 bits that openSMILE takes


def at_common_level(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring a recording's values to what they would be at a mean RMS energy of 0.1.

    Takes (T, 101) :data:`DEAM_COLUMNS`, one row a patch or one a song, and returns (T, 100)
    :data:`OPENSMILE_COLUMNS`. Exact, since those of the descriptors that follow the amplitude
    follow a power of it.
    """
    level = values[:, DEAM_COLUMNS.index(_LEVEL)].sum(dtype=np.float64) / max(len(values), 1)
    gain = _COMMON_LEVEL / max(level, _SMALLEST_LEVEL)
    kept = [DEAM_COLUMNS.index(column) for column in OPENSMILE_COLUMNS]
    scaled: NDArray[np.float32] = (values * gain**_POWERS)[:, kept].astype(np.float32)
    return scaled


def _power(column: str) -> float:
    return next((power for part, power in _POWERS_OF_AMPLITUDE.items() if part in column), 0.0)


_POWERS = np.array([_power(column) for column in DEAM_COLUMNS])
