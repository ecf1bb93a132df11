"""VGGish in eight bits: the same layers on integers, for processors without a GPU.

Weights are rounded per output channel and activations by one range a layer, both fixed when the
graph is made, so that a patch's features never depend on its company; sums are exact integers.
Weights use seven of the eight bits: without VNNI, processors add two products in sixteen bits,
which more would overflow.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper

from models import vggish
from models.audio import SAMPLE_RATE_HZ
from models.logmel import VGGISH_LOG_OFFSET, log_mel_patches
from models.vggish_graph import (
    CONVOLUTIONS,
    DENSE,
    POOLED,
    load_tensors,
    model_of,
    pooling,
)

_WEIGHT_LEVELS = 63
_ACTIVATION_LEVELS = 255
_SOUND_S = 3.9


def int8_graph(weights: Path) -> onnx.ModelProto:
    """Build the network in int8: patches [16, 1, 96, 64] float32 → embedding [16, 128] float32."""
    tensors = load_tensors(weights)
    ranges = activation_ranges(weights)
    lowest, highest = math.log(VGGISH_LOG_OFFSET), ranges["patches"]
    scale = (highest - lowest) / _ACTIVATION_LEVELS
    constants: dict[str, NDArray[np.generic]] = {
        "patches.scale": np.array(scale, np.float32),
        "patches.zero": np.array(round(-lowest / scale), np.uint8),
        "zero": np.array(0, np.uint8),
    }
    nodes = [
        helper.make_node(
            "QuantizeLinear", ["patches", "patches.scale", "patches.zero"], ["patches.rounded"]
        )
    ]
    here, here_scale, here_zero = "patches.rounded", scale, "patches.zero"

    def round_layer(name: str, here_scale: float) -> list[str]:
        weight, weight_scale = _rounded(tensors[f"{name}.weight"])
        bias = np.rint(tensors[f"{name}.bias"] / (here_scale * weight_scale.astype(np.float64)))
        constants[f"{name}.weight"] = weight
        constants[f"{name}.weight.scale"] = weight_scale
        constants[f"{name}.weight.zero"] = np.zeros(len(weight), np.int8)
        constants[f"{name}.bias"] = bias.astype(np.int32)
        constants[f"{name}.from"] = np.array(here_scale, np.float32)
        if name in ranges:
            constants[f"{name}.to"] = np.array(ranges[name] / _ACTIVATION_LEVELS, np.float32)
        return [f"{name}.weight", f"{name}.weight.scale", f"{name}.weight.zero"]

    for place in CONVOLUTIONS:
        name = f"features.{place}"
        rounded = round_layer(name, here_scale)
        nodes.append(
            helper.make_node(
                "QLinearConv",
                [here, f"{name}.from", here_zero, *rounded, f"{name}.to", "zero", f"{name}.bias"],
                [name],  # what is below zero is cut off by the range: no ReLU
                kernel_shape=[3, 3],
                pads=[1, 1, 1, 1],
            )
        )
        here, here_scale, here_zero = name, ranges[name] / _ACTIVATION_LEVELS, "zero"
        if place in POOLED:
            nodes.append(pooling(here, f"{name}.pooled"))
            here = f"{name}.pooled"
    nodes += [
        helper.make_node("Transpose", [here], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Flatten", ["last"], ["flat"], axis=1),
    ]
    here = "flat"
    for place in DENSE:
        name = f"embeddings.{place}"
        rounded = round_layer(name, here_scale)
        last = place == DENSE[-1]
        inputs = [here, f"{name}.from", here_zero, *rounded, f"{name}.bias"]
        nodes.append(
            helper.make_node(
                "QGemm",
                inputs if last else [*inputs, f"{name}.to", "zero"],
                [f"{name}.sum" if last else name],
                domain="com.microsoft",
                transB=1,
            )
        )
        if not last:
            here_scale = ranges[name] / _ACTIVATION_LEVELS
        here = name
    nodes.append(helper.make_node("Relu", [f"{here}.sum"], [here]))
    return model_of(nodes, here, constants)


def _rounded(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round (outputs, ...) weights; returns them and each output's scale (outputs,)."""
    largest = np.abs(weight.reshape(len(weight), -1)).max(axis=1)
    scale = (np.maximum(largest, 1e-12) / _WEIGHT_LEVELS).astype(np.float32)
    shape = (-1,) + (1,) * (weight.ndim - 1)
    return np.rint(weight / scale.reshape(shape)).astype(np.int8), scale


@torch.inference_mode()
def activation_ranges(weights: Path) -> dict[str, float]:
    """Return how large each rounded layer's output gets on :func:`calibration_patches`, by name.

    Rounded up to two digits, so that no machine's own rounding shows in a graph.
    """
    network = vggish.load_network(weights)
    patches = calibration_patches()
    ranges = {"patches": _two_digits_up(float(patches.max()))}
    as_float = f"embeddings.{DENSE[-1]}"
    hidden = torch.from_numpy(patches)[:, None]
    for part, first in (("features", network.features), ("embeddings", network.embeddings)):
        assert isinstance(first, torch.nn.Sequential)
        if part == "embeddings":
            hidden = hidden.permute(0, 2, 3, 1).flatten(1)
        for place, layer in enumerate(first):
            hidden = layer(hidden)
            name = f"{part}.{place}"
            if not isinstance(layer, torch.nn.ReLU | torch.nn.MaxPool2d) and name != as_float:
                ranges[name] = _two_digits_up(float(hidden.max()))
    return ranges


def calibration_patches() -> NDArray[np.float32]:
    """Return (T, 96, 64) log-mel patches of made-up sounds: noises, chords, beats, a sweep.

    Made, not recorded, so that a graph depends on the weights alone.
    """
    rng = np.random.default_rng(0)
    time_s = np.arange(round(_SOUND_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    sounds = []
    for level in (0.02, 0.2, 0.7):
        spectrum = np.fft.rfft(rng.normal(size=len(time_s)))
        for tilt in (0.0, 0.5, 1.0):
            noise = np.fft.irfft(spectrum * np.arange(1, len(spectrum) + 1) ** -tilt, len(time_s))
            sounds.append(level * noise / np.abs(noise).max())
        chord = sum(
            np.sin(2 * np.pi * pitch_hz * overtone * time_s) / overtone
            for pitch_hz in rng.uniform(60, 1_000, 4)
            for overtone in range(1, 7)
        )
        sounds.append(level * chord / np.abs(chord).max())
        beat = np.exp(-20 * (time_s % 0.5))
        sounds.append(level * beat * sounds[-4] / np.abs(sounds[-4]).max())
        sounds.append(sounds[-1] + 0.5 * sounds[-2])
    sounds.append(0.5 * np.sin(2 * np.pi * 50 * time_s * (1 + 15 * time_s)))
    return np.concatenate([log_mel_patches(sound.astype(np.float32)) for sound in sounds])


def _two_digits_up(value: float) -> float:
    """Round a range up to two significant digits; what is never above zero gets a tiny one."""
    if value <= 0:
        return 1e-3
    digits = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / digits) * digits
