"""MLServer with a custom runtime, as its documents show it.

https://mlserver.readthedocs.io/en/latest/user-guide/custom.html
"""
# pyright: reportMissingImports=false

import os

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from onnx_model import Model


class Digits(MLModel):
    """The model behind ``/v2/models/digits/infer``."""

    async def load(self) -> bool:
        """Load the model."""
        self.model = Model(os.environ["PEER_MODEL"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Probabilities [rows, classes]."""
        answers = self.model(NumpyCodec.decode_input(payload.inputs[0]))
        output = NumpyCodec.encode_output("probabilities", answers)
        return InferenceResponse(model_name=self.name, outputs=[output])
