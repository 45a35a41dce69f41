"""Servers to compare with: what a careful person writes in FastAPI, and the least that is possible.

``python benchmarks/reference_servers.py fastapi|limit --model FILE --port PORT``
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import uvicorn


def session_of(model: Path) -> ort.InferenceSession:
    """The model on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def fastapi(model: Path) -> Any:
    """A validated JSON body, and raw bytes; inference in FastAPI's threads."""
    from fastapi import FastAPI, Request
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import Response
    from pydantic import BaseModel

    session, app = session_of(model), FastAPI()
    (given,) = session.get_inputs()
    shape = [-1, *given.shape[1:]]

    class Rows(BaseModel):
        image: list[list[list[int]]]

    @app.post("/json")
    def predict(rows: Rows) -> dict[str, Any]:
        values = np.array(rows.image, dtype=np.uint8)
        probabilities = np.asarray(session.run(None, {given.name: values})[0])
        return {"probabilities": probabilities.tolist()}

    @app.post("/binary")
    async def predict_binary(request: Request) -> Response:
        values = np.frombuffer(await request.body(), dtype=np.uint8).reshape(shape)
        probabilities = await run_in_threadpool(session.run, None, {given.name: values})
        return Response(
            np.asarray(probabilities[0]).tobytes(), media_type="application/octet-stream"
        )

    return app


def limit(model: Path) -> Any:
    """A bare ASGI echo with one call of the model; nothing is parsed, checked or batched."""
    session = session_of(model)
    (given,) = session.get_inputs()
    values = np.zeros([1, *given.shape[1:]], np.uint8)
    headers = [(b"content-type", b"application/json")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        session.run(None, {given.name: values})
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [*headers, length]})
        await send({"type": "http.response.body", "body": body})

    return app


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["fastapi", "limit"])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    app = {"fastapi": fastapi, "limit": limit}[arguments.kind](arguments.model)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=arguments.port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_config=None,
    )


if __name__ == "__main__":
    main()
