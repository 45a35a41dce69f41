"""The same model for each peer: one session on one thread, as our server has it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort


class Model:
    """A picture in, probabilities out.

    Args:
        path: The ONNX file.
    """

    def __init__(self, path: str | Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.input = self._session.get_inputs()[0].name

    def __call__(self, pictures: Any) -> np.ndarray:
        """Probabilities [rows, classes] of pictures [rows, height, width], lists or an array."""
        values = np.asarray(pictures, dtype=np.uint8)
        return np.asarray(self._session.run(None, {self.input: values})[0])
