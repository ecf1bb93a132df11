"""VGGish as an ONNX graph, built layer by layer from its weights.

The same weights give the same bytes: no tracing, no names that a version of torch would choose.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

from models import vggish
from models.logmel import MEL_BANDS, PATCH_FRAMES
from models.onnx_session import RUN_PATCHES
from models.vggish_network import CONVOLUTIONS, DENSE, FIRST, POOLED


def graph(weights: Path) -> onnx.ModelProto:
    """Build the network: patches [16, 1, 96, 64] → embedding [16, 128].

    Raises:
        models.vggish.WeightsError: the file's tensors are not those of VGGish.
    """
    tensors = vggish.load_tensors(weights)
    nodes, here = [], "patches"
    for name in (FIRST, *CONVOLUTIONS):
        nodes += _convolution(name, here, pooled=name == FIRST or name in POOLED)
        here = nodes[-1].output[0]
    nodes += [
        helper.make_node("Transpose", [here], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Flatten", ["last"], ["flat"], axis=1),
    ]
    here = "flat"
    for name in DENSE:
        inputs = [here, f"{name}.weight", f"{name}.bias"]
        nodes += [
            helper.make_node("Gemm", inputs, [f"{name}.sum"], transB=1),
            helper.make_node("Relu", [f"{name}.sum"], [name]),
        ]
        here = name
    patches = [RUN_PATCHES, 1, PATCH_FRAMES, MEL_BANDS]
    proto = helper.make_graph(
        nodes,
        "vggish",
        [helper.make_tensor_value_info("patches", TensorProto.FLOAT, patches)],
        [helper.make_tensor_value_info(here, TensorProto.FLOAT, [RUN_PATCHES, 128])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    return model


def _convolution(name: str, source: str, *, pooled: bool) -> list[onnx.NodeProto]:
    inputs = [source, f"{name}.weight", f"{name}.bias"]
    nodes = [
        helper.make_node("Conv", inputs, [f"{name}.sum"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", [f"{name}.sum"], [name]),
    ]
    if pooled:
        side = [2, 2]
        pooling = helper.make_node(
            "MaxPool", [name], [f"{name}.pooled"], kernel_shape=side, strides=side
        )
        nodes.append(pooling)
    return nodes
