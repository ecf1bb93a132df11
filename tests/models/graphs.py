"""Tiny ONNX graphs: what a user might hand over as a frontend, right and wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

IR_VERSION = 10


def band_means(path: Path, *, factor: float = 1.0, offset: float = 0.001) -> Path:
    """Write a graph that gives ``factor`` times each band's mean over a patch, F = 64."""
    nodes = [
        helper.make_node("ReduceMean", ["patches", "axes"], ["means"], keepdims=0),
        helper.make_node("Mul", ["means", "factor"], ["embedding"]),
    ]
    return write(
        path,
        nodes,
        inputs=[("patches", ["N", 1, 96, 64])],
        output=("embedding", ["N", 64]),
        constants={"axes": np.array([1, 2]), "factor": np.array(factor, np.float32)},
        settings={"log_offset": offset, "input": "patches", "output": "embedding", "name": "mean"},
    )


def write(
    path: Path,
    nodes: list[onnx.NodeProto],
    *,
    inputs: list[tuple[str, list[str | int]]],
    output: tuple[str, list[str | int] | None],
    constants: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] | None = None,
    settings: dict[str, str | float] | None = None,
) -> Path:
    """Write a graph and the JSON file beside it."""
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = IR_VERSION
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(model.SerializeToString())
    path.with_suffix(".json").write_text(json.dumps(settings or {"log_offset": 0.01}))
    return path
