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

from models import vggish
from models.logmel import MEL_BANDS, PATCH_FRAMES

CONVOLUTIONS = (0, 3, 6, 8, 11, 13)
"""Places of the convolutions in torchvggish's ``features``."""
POOLED = frozenset({0, 3, 8, 13})
"""Those of them that a pooling follows."""
DENSE = (0, 2, 4)
"""Places of the fully connected layers in torchvggish's ``embeddings``."""

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
    """Build the network in float32: patches [N, 1, 96, 64] → embedding [N, 128]."""
    tensors = load_tensors(weights)
    nodes, here = [], "patches"
    for place in CONVOLUTIONS:
        name = f"features.{place}"
        nodes += [
            helper.make_node(
                "Conv",
                [here, f"{name}.weight", f"{name}.bias"],
                [f"{name}.sum"],
                kernel_shape=[3, 3],
                pads=[1, 1, 1, 1],
            ),
            helper.make_node("Relu", [f"{name}.sum"], [name]),
        ]
        here = name
        if place in POOLED:
            nodes.append(pooling(here, f"{name}.pooled"))
            here = f"{name}.pooled"
    nodes += flattening(here, "flat")
    here = "flat"
    for place in DENSE:
        name = f"embeddings.{place}"
        inputs = [here, f"{name}.weight", f"{name}.bias"]
        nodes += [
            helper.make_node("Gemm", inputs, [f"{name}.sum"], transB=1),
            helper.make_node("Relu", [f"{name}.sum"], [name]),
        ]
        here = name
    return model_of(nodes, here, tensors)


def pooling(source: str, target: str) -> onnx.NodeProto:
    """Return the maximum over 2 × 2."""
    return helper.make_node("MaxPool", [source], [target], kernel_shape=[2, 2], strides=[2, 2])


def flattening(source: str, target: str) -> list[onnx.NodeProto]:
    """Flatten [N, C, H, W] with the channels last, as the weights were trained."""
    return [
        helper.make_node("Transpose", [source], [f"{target}.last"], perm=[0, 2, 3, 1]),
        helper.make_node("Flatten", [f"{target}.last"], [target], axis=1),
    ]


def model_of(
    nodes: list[onnx.NodeProto], output: str, constants: Mapping[str, NDArray[np.generic]]
) -> onnx.ModelProto:
    """Close a graph from ``patches`` [N, 1, 96, 64] to ``output`` [N, 128]."""
    patches: list[str | int | None] = ["N", 1, PATCH_FRAMES, MEL_BANDS]
    graph = helper.make_graph(
        nodes,
        "vggish",
        [helper.make_tensor_value_info("patches", TensorProto.FLOAT, patches)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", 128])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 10
    return model
