"""``python -m modelyard.serving``: the server; on SIGTERM it ends what it has begun."""

import argparse
import ctypes
import os
import socket
import ssl
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from modelyard import logs
from modelyard.errors import WorkspaceError
from modelyard.serving.app import App
from modelyard.serving.connection import Connection
from modelyard.serving.endings import log_access
from modelyard.serving.keys import KeyFile
from modelyard.serving.traces import Traces, are_wanted
from modelyard.serving.workers import Workers, end_with_parent, listen

_M_ARENA_MAX = -8  # of malloc.h


class _Server(uvicorn.Server):
    """Tells the application that it is stopping, so that it is no longer ready while it drains."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        app = self.config.app
        assert isinstance(app, App)
        app.drain()
        super().handle_exit(sig, frame)


def main() -> None:
    """Parse the arguments and serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m modelyard.serving", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the serving folder")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1, help="processes on this port")
    parser.add_argument("--descriptor", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--index", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument(
        "--keys", type=Path, help="of `modelyard key`; without the file everybody may ask"
    )
    parser.add_argument("--certificate", type=Path, help="PEM; the server then speaks TLS")
    parser.add_argument("--private-key", type=Path, help="PEM, mode 0600, of the certificate")
    parser.add_argument("--log-format", choices=logs.FORMATS, default=logs.default_format())
    parser.add_argument("--access-log", action="store_true", help="a line for each request")
    parser.add_argument(
        "--traces",
        metavar="URL",
        help="an OpenTelemetry collector (OTLP over HTTP, as http://127.0.0.1:4318); by default "
        "the environment's OTEL_EXPORTER_OTLP_ENDPOINT",
    )
    args = parser.parse_args()
    if not 0 <= args.port < 65536:
        parser.error(f"--port is {args.port}; expected is 0 to 65535")
    logs.configure(args.log_format)
    folder: Path = args.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        keys = keys_for(args.host, args.keys)
        tls = tls_files(args.certificate, args.private_key)
    except WorkspaceError as error:
        raise SystemExit(str(error)) from None
    if args.workers > 1 and args.descriptor is None:
        raise SystemExit(_keep_workers(args.workers, args.host, args.port))
    end_with_parent()
    _save_memory()
    app = App(folder, f"worker-{args.index}-{os.getpid()}", keys=keys, over_tls=bool(tls))
    _tell(app, args.access_log, args.traces)
    config = uvicorn.Config(
        app,
        host=args.host,
        port=args.port,
        loop="uvloop",
        http=Connection,
        proxy_headers=False,
        timeout_keep_alive=75,
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        log_config=None,
        backlog=2048,
        timeout_graceful_shutdown=20,
        **tls,
    )
    server = _Server(config)
    shared = None if args.descriptor is None else [socket.socket(fileno=args.descriptor)]
    server.run(sockets=shared)
    if not server.started:
        raise SystemExit(3)


def _tell(app: App, access_log: bool, collector: str | None) -> None:
    """Let the application tell of its requests where that is wanted."""
    if access_log:
        app.endings.append(log_access)
    if are_wanted(collector):
        traces = Traces(collector)
        app.observers.append(traces.observe)
        app.endings.append(traces.end)
        app.closing.append(traces.close)


def _save_memory() -> None:
    """Let glibc keep one heap for all threads: one each would hold what others could use."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(_M_ARENA_MAX, 1)


def _keep_workers(number: int, host: str, port: int) -> int:
    try:
        listener = listen(host, port)
    except OSError as error:
        raise SystemExit(f"cannot listen on {host}:{port}: {error.strerror}") from None
    with listener:
        return Workers(number, sys.argv[1:], listener).run()


def keys_for(host: str, path: Path | None) -> KeyFile | None:
    """The callers' keys; beyond this machine nobody is answered without one.

    Raises:
        WorkspaceError: others can reach the server, and there is no file of keys.
    """
    local = host in ("localhost", "::1") or host.startswith("127.")
    if not local and path is None:
        raise WorkspaceError(
            f"others can reach {host}, and nobody needs a key there",
            "Give --keys, the file of `modelyard key add`.",
        )
    return KeyFile(path.absolute(), required=not local) if path else None


def tls_files(certificate: Path | None, private_key: Path | None) -> dict[str, Any]:
    """What uvicorn takes for TLS; nothing where it is not wanted.

    Raises:
        WorkspaceError: one of the two is missing or no pair with the other, or others may read the
            private key.
    """
    if certificate is None and private_key is None:
        return {}
    for name, path in (("--certificate", certificate), ("--private-key", private_key)):
        if path is None or not path.is_file():
            raise WorkspaceError(
                f"TLS needs {name}: {path or 'it is not given'}", "Give a PEM file for both."
            )
    assert private_key is not None
    if private_key.stat().st_mode & 0o077:
        raise WorkspaceError(
            f"{private_key} can be read by others than its owner", f"Run `chmod 600 {private_key}`."
        )
    assert certificate is not None
    try:
        # A key with a password would ask for it at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private_key, str)
    except (OSError, ValueError) as error:
        raise WorkspaceError(
            f"{certificate} and {private_key} are no certificate and its private key: {error}",
            "Give both as PEM, the key without a password.",
        ) from None
    return {"ssl_certfile": str(certificate), "ssl_keyfile": str(private_key)}


if __name__ == "__main__":
    main()
