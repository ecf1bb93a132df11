"""Winograd's convolution against the definition, in float64."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

from models.winograd import convolution


def by_graph(
    images: NDArray[np.float32],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    *,
    pooled: bool,
    order: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Convolve (N, C, H, W), whose pixels are handed over in ``order``."""
    items, channels, height, width = images.shape
    pixels = images.transpose(0, 2, 3, 1).reshape(-1, channels)
    order = np.arange(len(pixels)) if order is None else order
    rows = np.argsort(order).reshape(items, height, width)
    nodes, constants, behind = convolution("conv", "pixels", rows, weight, bias, pooled=pooled)
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, list(pixels.shape))],
        [helper.make_tensor_value_info("conv", TensorProto.FLOAT, [behind.size, len(weight)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found: NDArray[np.float32] = session.run(None, {"pixels": pixels[order]})[0]
    return found[behind].transpose(0, 3, 1, 2)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize(
    ("items", "inputs", "outputs", "height", "width"),
    [(1, 1, 1, 4, 4), (3, 5, 7, 8, 12), (2, 16, 8, 12, 4)],
)
def test_equals_the_definition(
    items: int, inputs: int, outputs: int, height: int, width: int, pooled: bool
) -> None:
    rng = np.random.default_rng(items)
    images = rng.normal(size=(items, inputs, height, width)).astype(np.float32)
    weight = rng.normal(size=(outputs, inputs, 3, 3)).astype(np.float32)
    bias = rng.normal(size=outputs).astype(np.float32)
    tensors = [torch.from_numpy(each).double() for each in (images, weight, bias)]
    exact = functional.relu(functional.conv2d(tensors[0], tensors[1], tensors[2], padding=1))
    expected = (functional.max_pool2d(exact, 2) if pooled else exact).numpy()
    found = by_graph(images, weight, bias, pooled=pooled)
    assert found.shape == expected.shape
    assert expected.max() > 1
    assert np.abs(found - expected).max() < 2e-5 * expected.max()


def test_the_order_of_the_pixels_is_free() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 4, 8, 8)).astype(np.float32)
    weight, bias = rng.normal(size=(3, 4, 3, 3)).astype(np.float32), np.zeros(3, np.float32)
    shuffled = by_graph(images, weight, bias, pooled=True, order=rng.permutation(2 * 8 * 8))
    assert shuffled.tobytes() == by_graph(images, weight, bias, pooled=True).tobytes()
