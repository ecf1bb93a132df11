"""Sessions of ONNX Runtime, all opened with the same options."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.features import BLOCK_PATCHES

_EXTERNAL_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
_SPINNING = "session.intra_op.allow_spinning"


class OnnxSession:
    """A graph with one input and one output that matter, ready to run from any thread.

    It runs blocks of one fixed shape: ONNX Runtime rounds a block of another size otherwise.
    """

    def __init__(
        self,
        graph: Path,
        *,
        input_name: str | None = None,
        output_name: str | None = None,
        threads: int = 0,
    ) -> None:
        """Open ``graph``; ``threads`` are those that one run uses, 0 for one a core.

        Raises whatever ONNX Runtime raises where it cannot use the graph.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Weights in files beside the graph would not travel with a bundle: nowhere to find them.
        options.add_session_config_entry(_EXTERNAL_WEIGHTS_FOLDER, str(graph))
        # Threads that wait in a spin take the cores from the decoding of the next recording.
        options.add_session_config_entry(_SPINNING, "0")
        self._session = onnxruntime.InferenceSession(
            graph.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        self._input = input_name or self._session.get_inputs()[0].name
        self._output = output_name or self._session.get_outputs()[0].name

    @property
    def input_name(self) -> str:
        """What the graph calls its input."""
        return self._input

    def __call__(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the graph on (P, 1, 96, 64), P ≤ 16; returns (P, F)."""
        filled = np.zeros((BLOCK_PATCHES, *block.shape[1:]), np.float32)
        filled[: len(block)] = block
        answer: NDArray[np.float32] = self._session.run([self._output], {self._input: filled})[0]
        return answer[: len(block)]
