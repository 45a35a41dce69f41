"""KServe's SDK with a custom predictor, as its documents show it.

https://kserve.github.io/website/docs/model-serving/predictive-inference/frameworks/custom-predictor
"""
# pyright: reportMissingImports=false

import os
import sys
from typing import Any

from kserve import InferOutput, InferRequest, InferResponse, ModelServer
from kserve import Model as KServeModel
from onnx_model import Model


class Digits(KServeModel):
    """The model behind ``/v2/models/digits/infer``."""

    def __init__(self) -> None:
        super().__init__("digits")
        self.load()

    def load(self) -> bool:
        """Load the model."""
        self.model = Model(os.environ["PEER_MODEL"])
        self.ready = True
        return self.ready

    async def predict(self, payload: InferRequest, headers: Any = None, **_: Any) -> Any:  # noqa: ARG002
        """Probabilities [rows, classes]."""
        answers = self.model(payload.inputs[0].as_numpy())
        output = InferOutput("probabilities", list(answers.shape), "FP32")
        output.set_data_from_numpy(answers, binary_data=False)
        return InferResponse(
            response_id=payload.id or "0", model_name=self.name, infer_outputs=[output]
        )


if __name__ == "__main__":
    server = ModelServer(
        http_port=int(sys.argv[1]), workers=1, enable_grpc=False, enable_latency_logging=False
    )
    server.start([Digits()])
