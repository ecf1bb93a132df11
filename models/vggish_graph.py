"""VGGish as an ONNX graph, built layer by layer from its weights.

The same weights give the same bytes: no tracing, no names that a version of torch would choose.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors import safe_open

from models import vggish, winograd
from models.features import BLOCK_PATCHES
from models.logmel import MEL_BANDS, PATCH_FRAMES

CONVOLUTIONS = (0, 3, 6, 8, 11, 13)
"""Places of the convolutions in torchvggish's ``features``."""
POOLED = frozenset({0, 3, 8, 13})
"""Those of them that a pooling follows."""
DENSE = (0, 2, 4)
"""Places of the fully connected layers in torchvggish's ``embeddings``."""

_PLAIN = (0, 3)

Tensors = Mapping[str, NDArray[np.float32]]


def load_tensors(weights: Path) -> Tensors:
    """Read VGGish's tensors.

    Raises:
        models.vggish.WeightsError: the file's tensors are not those of VGGish.
    """
    vggish.load_network(weights)  # refuses a file of anything else
    with safe_open(weights, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def float32_graph(weights: Path) -> onnx.ModelProto:
    """Build the network in float32: patches [16, 1, 96, 64] → embedding [16, 128].

    The first two convolutions are as fast plainly; the other four, nine tenths of the network's
    multiplications, go by :mod:`models.winograd`.
    """
    tensors = load_tensors(weights)
    constants: winograd.Constants = {}
    nodes, here = [], "patches"
    for place in _PLAIN:
        name = f"features.{place}"
        nodes += _plain_convolution(name, here)
        here = f"{name}.pooled"
        constants |= {key: tensors[key] for key in (f"{name}.weight", f"{name}.bias")}
    pixels = np.arange(BLOCK_PATCHES * 24 * 16).reshape(BLOCK_PATCHES, 24, 16)
    nodes += [
        helper.make_node("Transpose", [here], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["last", "last.shape"], ["pixels"]),
    ]
    constants["last.shape"] = np.array([pixels.size, 128])
    here = "pixels"
    for place in CONVOLUTIONS[len(_PLAIN) :]:
        name = f"features.{place}"
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        more, needed, pixels = winograd.convolution(
            name, here, pixels, weight, bias, pooled=place in POOLED
        )
        nodes += more
        constants |= needed
        here = name
    nodes += [
        helper.make_node("Gather", [here, "in_order"], ["ordered"], axis=0),
        helper.make_node("Reshape", ["ordered", "flat.shape"], ["flat"]),
    ]
    constants["in_order"] = pixels.ravel()  # channels last, as the next weights were trained
    constants["flat.shape"] = np.array([BLOCK_PATCHES, -1])
    here = "flat"
    for place in DENSE:
        name = f"embeddings.{place}"
        inputs = [here, f"{name}.weight", f"{name}.bias"]
        nodes += [
            helper.make_node("Gemm", inputs, [f"{name}.sum"], transB=1),
            helper.make_node("Relu", [f"{name}.sum"], [name]),
        ]
        constants |= {key: tensors[key] for key in inputs[1:]}
        here = name
    return model_of(nodes, here, constants)


def _plain_convolution(name: str, source: str) -> list[onnx.NodeProto]:
    inputs = [source, f"{name}.weight", f"{name}.bias"]
    return [
        helper.make_node("Conv", inputs, [f"{name}.sum"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", [f"{name}.sum"], [name]),
        pooling(name, f"{name}.pooled"),
    ]


def pooling(source: str, target: str) -> onnx.NodeProto:
    """Return the maximum over 2 × 2."""
    return helper.make_node("MaxPool", [source], [target], kernel_shape=[2, 2], strides=[2, 2])


def model_of(
    nodes: list[onnx.NodeProto], output: str, constants: Mapping[str, NDArray[np.generic]]
) -> onnx.ModelProto:
    """Close a graph from ``patches`` [16, 1, 96, 64] to ``output`` [16, 128]."""
    patches = [BLOCK_PATCHES, 1, PATCH_FRAMES, MEL_BANDS]
    graph = helper.make_graph(
        nodes,
        "vggish",
        [helper.make_tensor_value_info("patches", TensorProto.FLOAT, patches)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [BLOCK_PATCHES, 128])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 10
    return model
