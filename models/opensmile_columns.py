"""The columns of DEAM's table of features that openSMILE gives for any recording.

Names are the table's (Aljanaki, Yang, Soleymani, "Developing a benchmark for emotional analysis of
music", PLoS ONE 2017). Of its 167 columns these are the means of all 65 descriptors and the
deviations that the table has of them; the rest are means of slopes, nearly zero and about where a
song begins and ends. What was measured: docs/opensmile.md.
"""

from __future__ import annotations

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

OPENSMILE_COLUMNS = (
    *(f"{name}_amean" for name in _MEANS),
    *(f"{name}_stddev" for name in _DEVIATIONS),
)
