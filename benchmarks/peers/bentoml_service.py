"""BentoML, as its quickstart has it; ``PEER_BATCH`` switches its adaptive batching on.

https://docs.bentoml.com/en/latest/get-started/hello-world.html, .../adaptive-batching.html
"""
# pyright: reportMissingImports=false

import os
from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import DType
from onnx_model import Model

BATCH = "PEER_BATCH" in os.environ
Pictures = Annotated[np.ndarray, DType("uint8")]


@bentoml.service(workers=1)
class Digits:
    """The model behind ``/predict``."""

    def __init__(self) -> None:
        self.model = Model(os.environ["PEER_MODEL"])

    @bentoml.api(batchable=BATCH, max_batch_size=64, max_latency_ms=1000)
    def predict(self, image: Pictures) -> np.ndarray:
        """Probabilities [rows, classes]."""
        return self.model(image)
