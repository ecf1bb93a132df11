"""Sessions of ONNX Runtime, all opened with the same options."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

RUN_PATCHES = 16

_EXTERNAL_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
_SPINNING = "session.intra_op.allow_spinning"


class OnnxSession:
    """A graph with one input and one output that matter, ready to run from any thread.

    It runs patches in one fixed shape: ONNX Runtime rounds another number of them otherwise.
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
        """Run the graph on (P, 1, 96, 64); returns (P, F)."""
        answers = []
        for first in range(0, len(block), RUN_PATCHES):
            part = block[first : first + RUN_PATCHES]
            filled = np.zeros((RUN_PATCHES, *block.shape[1:]), np.float32)
            filled[: len(part)] = part
            answers.append(self._session.run([self._output], {self._input: filled})[0][: len(part)])
        return np.concatenate(answers)
