"""A file behind http or https as a source: streamed, and resumed where the connection drops."""

import logging
import netrc
import os
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from modelyard.data.outputs import check_space
from modelyard.data.source import HttpSource
from modelyard.errors import ServiceUnavailable, SourceError, WorkspaceError

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

ATTEMPTS = 5
"""In a row without a byte received."""
PAUSE = 0.5
"""Seconds before the second attempt; doubled for each further one."""
_REDIRECTS = 10
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_SHOWN = 256 << 20


class _Dropped(Exception):  # noqa: N818 - it is what happened
    """Something that another attempt may mend."""


def bring_http(source: HttpSource, folder: Path) -> None:
    """Write the file to ``folder``.

    Sends the name and password that the user's netrc file has for the host, to that host alone.

    Raises:
        SourceError: the server refuses, or redirects to another scheme.
        ServiceUnavailable: it is away, or breaks off again and again.
        WorkspaceError: there is not enough space.
    """
    import httpx

    target = folder / source.name
    target.touch()
    failures, validator = 0, ""
    timeout = httpx.Timeout(30.0)
    with httpx.Client(timeout=timeout, follow_redirects=False) as client:
        while True:
            before = target.stat().st_size
            try:
                with closing(_answer(client, source, before, validator)) as response:
                    validator = _validator(response)
                    _write(response, target, source)
                return
            except (httpx.TransportError, _Dropped) as error:
                failures = 1 if target.stat().st_size > before else failures + 1
                if failures >= ATTEMPTS:
                    raise ServiceUnavailable(
                        f"{_place(source.url)} was given up after {ATTEMPTS} attempts, "
                        f"{target.stat().st_size:,} bytes received: "
                        f"{error or type(error).__name__}",
                        "Check the address and the connection, then run again.",
                    ) from None
                log.info("fetch: %s: %s; trying again", _place(source.url), error)
                time.sleep(PAUSE * 2 ** (failures - 1))


def _answer(
    client: "httpx.Client", source: HttpSource, start: int, validator: str
) -> "httpx.Response":
    """The open response with the file from byte ``start`` on (206) or from its beginning (200)."""
    url = source.url
    headers = {"Accept-Encoding": "identity"}
    if start and validator:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    for _ in range(_REDIRECTS):
        request = client.build_request("GET", url, headers=headers)
        response = client.send(request, auth=_login(url), stream=True)
        if response.status_code == 200 or (start and response.status_code == 206):
            return response
        response.close()
        if response.status_code in _PASSING:
            raise _Dropped(f"status {response.status_code}")
        if not response.has_redirect_location:
            raise SourceError(
                f"{_place(source.url)} answers with status {response.status_code} "
                f"({response.reason_phrase})",
                "Check data.source. Where it asks for a login, put it into ~/.netrc, mode 0600."
                if response.status_code in (401, 403)
                else "Check data.source.",
            )
        url = _followed(url, response.headers["location"])
    raise SourceError(f"{_place(source.url)} redirects in a circle", "Check data.source.")


def _followed(url: str, location: str) -> str:
    before, after = urlsplit(url), urlsplit(urljoin(url, location))
    if after.scheme not in (before.scheme, "https") or not after.hostname:
        raise SourceError(
            f"{_place(url)} redirects to a {after.scheme or 'nameless'}: address",
            "That is not followed. Name the final address in data.source, if you trust it.",
        )
    if after.username is not None:
        raise SourceError(
            f"{_place(url)} redirects to an address with a login in it", "That is not followed."
        )
    return after.geturl()


def _write(response: "httpx.Response", target: Path, source: HttpSource) -> None:
    """Append a part, or write the whole anew; what came of a broken answer stays."""
    whole = response.status_code == 200
    start = 0 if whole else target.stat().st_size
    if not whole and not response.headers.get("content-range", "").startswith(f"bytes {start}-"):
        target.write_bytes(b"")
        raise _Dropped("the server sent another part than was asked for")
    declared = response.headers.get("content-length", "")
    length = int(declared) if declared.isdigit() else None
    check_space(target.parent, length or 0, _place(source.url))
    received = 0
    with target.open("wb" if whole else "ab") as file:
        for block in response.iter_raw():
            file.write(block)
            received += len(block)
            if received // _SHOWN > (received - len(block)) // _SHOWN:
                log.info("fetch: %s: %.0f MB", source.name, (start + received) / 1e6)
    if length is not None and received < length:
        raise _Dropped(f"the connection ended after {start + received:,} bytes")


def _validator(response: "httpx.Response") -> str:
    """What tells the server which content a part is asked of; a weak ETag may not do so."""
    tag = response.headers.get("etag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("last-modified", "")


def _login(url: str) -> tuple[str, str] | None:
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    if not path.is_file():
        return None
    try:
        found = netrc.netrc(str(path)).authenticators(urlsplit(url).hostname or "")
    except netrc.NetrcParseError as error:
        # Its own message quotes the word that it stumbled over, which may be a password.
        raise WorkspaceError(
            f"{path} cannot be read: line {error.lineno}", "Mend that line."
        ) from None
    if found is None:
        return None
    if path.stat().st_mode & 0o077:
        raise WorkspaceError(
            f"{path} holds passwords and can be read by others than its owner",
            f"Run `chmod 600 {path}`.",
        )
    return found[0], found[2] or ""


def _place(url: str) -> str:
    """The address without its query, which may be anybody's secret."""
    address = urlsplit(url)
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"
