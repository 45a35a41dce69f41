"""Ray Serve, as its quickstart has it; ``PEER_BATCH`` switches its batching on.

https://docs.ray.io/en/latest/serve/getting_started.html, .../advanced-guides/dyn-req-batch.html
"""
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

import os
import signal
import sys
from typing import Any

import ray
from onnx_model import Model
from ray import serve
from starlette.requests import Request

BATCH = "PEER_BATCH" in os.environ


@serve.deployment(num_replicas=1, max_ongoing_requests=100, ray_actor_options={"num_cpus": 0.1})
class Digits:
    """The model behind ``/``."""

    def __init__(self, path: str) -> None:
        self.model = Model(path)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Probabilities [1, classes] of the one picture of a request."""
        image = (await request.json())["image"]
        answer = await self.batched(image[0]) if BATCH else self.model(image)[0].tolist()
        return {"probabilities": [answer]}

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.002)
    async def batched(self, images: list[Any]) -> list[Any]:
        """Probabilities [rows, classes] of the pictures of many requests."""
        return self.model(images).tolist()


if __name__ == "__main__":
    ray.init(
        num_cpus=1,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=sys.argv[2],
        object_store_memory=100 * 1024 * 1024,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Digits.bind(os.environ["PEER_MODEL"]))
    try:
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
    finally:
        ray.shutdown()
