"""Pages for people, and the API's description: every model can be tried in a browser.

A page is one file without an outside address; what it shows it asks of the API as any caller does.
"""

import html
import secrets
from functools import cache
from importlib.resources import files
from string import Template

from modelyard.serving.forms import form
from modelyard.serving.http import (
    NOT_EMBEDDED,
    NOT_STORED,
    Headers,
    Request,
    Response,
    cached_page,
    dump,
)
from modelyard.serving.openapi import describe_api
from modelyard.serving.table import ModelTable

_HTML: Headers = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    *NOT_EMBEDDED,
)


class Pages:
    """Handlers of the pages.

    Args:
        table: Whose models they show.
    """

    def __init__(self, table: ModelTable) -> None:
        self._table = table
        self._described: tuple[object, bytes] = None, b""
        """Name, version and digest of the models in the description, and itself."""

    async def index(self, _: Request) -> Response:
        """The list of models."""
        return _page("Models")

    async def model(self, _: Request, name: str) -> Response:
        """The form of a model."""
        served = self._table.find(name)
        return _page(served.model.name, served.headers)

    async def form(self, request: Request, name: str) -> Response:
        """What the form of a model holds."""
        served = self._table.find(name)
        return cached_page(request, dump(form(served.model)), served.headers)

    async def openapi(self, request: Request) -> Response:
        """The API as OpenAPI, for the live models."""
        live = [entry.live.model for entry in self._table.entries.values()]
        digests = tuple((model.name, model.version, model.digest) for model in live)
        if self._described[0] != digests:
            self._described = digests, dump(describe_api(live))
        return cached_page(request, self._described[1])


def _page(title: str, headers: Headers = ()) -> Response:
    nonce = secrets.token_urlsafe(16)
    page, script = _files()
    body = page.substitute(title=html.escape(title), nonce=nonce, script=script)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
        "connect-src 'self'; img-src blob: data:; media-src blob:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
    guard: Headers = ((b"content-security-policy", policy.encode()),)
    return Response(200, body.encode(), (*_HTML, *NOT_STORED, *guard, *headers))


@cache
def _files() -> tuple[Template, str]:
    folder = files("modelyard.serving")
    page = folder.joinpath("page.html").read_text(encoding="utf-8")
    return Template(page), folder.joinpath("page.js").read_text(encoding="utf-8")
