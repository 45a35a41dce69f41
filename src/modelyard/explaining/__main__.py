"""``python -m modelyard.explaining``: answers why, one question after the other.

It listens on a socket that its owner alone may use, and ends by itself: when nobody asked for a
while, and with the process that holds the other end of its standard input.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import threading
from pathlib import Path

from modelyard import logs
from modelyard.explaining.service import Service, lock


def main() -> None:
    """Parse the arguments and answer until idle, alone or told to stop."""
    parser = argparse.ArgumentParser(prog="python -m modelyard.explaining", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the serving folder")
    parser.add_argument("--socket", type=Path, required=True, help="where to listen")
    parser.add_argument("--idle-s", type=float, default=600.0, help="ends after as long")
    args = parser.parse_args()
    logs.configure(logs.default_format())
    # What answers callers comes first on a machine that has too little.
    os.nice(5)
    os.umask(0o077)
    held = lock(args.socket.with_suffix(".lock"))
    if held is None:
        return  # another one listens here
    with held:
        asyncio.run(_serve(args.folder.absolute(), args.socket, args.idle_s))
        logging.shutdown()
        # What still computes has nobody to tell; to take torch apart takes a second.
        os._exit(0)


async def _serve(folder: Path, socket: Path, idle_s: float) -> None:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    def await_parent() -> None:
        with contextlib.suppress(OSError):
            # Not sys.stdin: its lock would be held when the interpreter ends.
            while os.read(0, 1):
                pass
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            loop.call_soon_threadsafe(stopping.set)

    threading.Thread(target=await_parent, daemon=True).start()
    await Service(folder, idle_s).run(socket, stopping)


if __name__ == "__main__":
    main()
