"""LitServe, as its quickstart has it; ``PEER_BATCH`` switches its batching on.

https://lightning.ai/docs/litserve/home/get-started, .../features/batching
"""
# pyright: reportMissingImports=false

import os
import sys
from typing import Any

import litserve as ls
from onnx_model import Model

BATCH = "PEER_BATCH" in os.environ


class Digits(ls.LitAPI):
    """The model behind ``/predict``."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - the interface of LitServe
        """Load the model."""
        self.model = Model(os.environ["PEER_MODEL"])

    def decode_request(self, request: dict[str, Any]) -> Any:
        """The one picture of a request."""
        return request["image"][0]

    def predict(self, x: Any) -> Any:
        """Probabilities of a batch of pictures, or of one."""
        return self.model(x if BATCH else [x])

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Probabilities [1, classes]."""
        return {"probabilities": output.reshape(1, -1).tolist()}


if __name__ == "__main__":
    batching = {"max_batch_size": 64, "batch_timeout": 0.002} if BATCH else {}
    server = ls.LitServer(Digits(**batching), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
    )
