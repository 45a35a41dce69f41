"""``python -m modelyard.serving``: one server process; on SIGTERM it ends what it has begun."""

import argparse
import logging
import os
from pathlib import Path
from types import FrameType

import uvicorn

from modelyard.serving.app import App


class _Server(uvicorn.Server):
    """Tells the application that it is stopping, so that it is no longer ready while it drains."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        app = self.config.app
        assert isinstance(app, App)
        app.draining = True
        super().handle_exit(sig, frame)


def main() -> None:
    """Parse the arguments and serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m modelyard.serving", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the serving folder")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(message)s")
    folder: Path = args.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    config = uvicorn.Config(
        App(folder, worker=f"worker-0-{os.getpid()}"),
        host=args.host,
        port=args.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        log_config=None,
        backlog=2048,
        timeout_graceful_shutdown=20,
    )
    server = _Server(config)
    server.run()
    if not server.started:
        raise SystemExit(3)


if __name__ == "__main__":
    main()
