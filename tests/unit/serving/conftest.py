"""An application to call without a socket."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelyard.serving.app import App


class Client:
    """Calls an App in an event loop that both share."""

    def __init__(self, app: App, loop: asyncio.AbstractEventLoop) -> None:
        self.app = app
        self.loop = loop
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)  # pyright: ignore
        self._client = httpx.AsyncClient(transport=transport, base_url="http://test")

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.loop.run_until_complete(self._client.request(method, path, **options))

    def scan(self) -> None:
        """Look at the folder once and wait until what it names is loaded."""

        async def scan() -> None:
            for _ in range(2):
                self.app.watcher.scan()
                await asyncio.gather(*self.app.watcher._loading.values())

        self.loop.run_until_complete(scan())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "serving"


@pytest.fixture
def client(folder: Path) -> Iterator[Client]:
    loop = asyncio.new_event_loop()
    yield Client(App(folder, "worker-0", max_body=100_000), loop)
    loop.close()
