"""``GET /predict/NAME?age=33&status=good``: one small row in the address, for what may be cached.

An address is read strictly: what another reader might take for something else is refused.
"""

import re
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np

from modelyard.package.scalars import TEXTS, expected, from_text
from modelyard.serving.failures import RequestError
from modelyard.serving.http import (
    JSON,
    NOT_EMBEDDED,
    NOT_STORED,
    Request,
    Response,
    cached_page,
)
from modelyard.serving.model import Model
from modelyard.serving.rows import parse_rows
from modelyard.serving.tensors import short

MAX_QUERY = 4096
"""Bytes behind the ``?``."""
_REPLACED = frozenset((*JSON, *NOT_STORED))
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def parse_query(query: bytes, model: Model) -> dict[str, np.ndarray]:
    """The one row that an address holds.

    Args:
        query: What stands behind the ``?``: ``name=value`` with ``&`` between, percent-encoded
            UTF-8. A value that is missing is left out.
        model: Says which inputs there are; each takes one value.

    Returns:
        Input name -> array [1].

    Raises:
        RequestError: 400, naming what is wrong; 405, the model takes what no address holds; 414,
            the query is longer than ``MAX_QUERY``.
    """
    kinds = {tensor.name: tensor.type for tensor in model.inputs if tensor.is_scalar}
    for tensor in model.inputs:
        if not tensor.is_scalar:
            what = tensor.type or "list"
            raise RequestError(
                405,
                f"input {tensor.name!r} of {model.name} is no single value ({what}), so that no "
                f"address can hold it; send it by POST /predict/{model.name}",
                ((b"allow", b"POST"),),
            )
    if len(query) > MAX_QUERY:
        raise RequestError(
            414,
            f"the query has {len(query)} bytes, {MAX_QUERY} at most are taken; send the row by "
            f"POST /predict/{model.name}",
        )
    row: dict[str, Any] = {}
    for part in query.split(b"&"):
        if not part:
            continue
        name, value = (_decode(text) for text in part.partition(b"=")[::2])
        if name in row:
            raise RequestError(400, f"the query names {name[:40]!r} twice")
        row[name] = _value(name, value, kinds.get(name, "text"))
    if not row:
        raise RequestError(
            400,
            "the query is empty; name the inputs, as ?NAME=VALUE&NAME=VALUE; they are "
            f"{list(kinds)[:8]}",
        )
    try:
        return parse_rows({"rows": [row]}, model.inputs)
    except RequestError as error:
        error.message = error.message.replace("rows[0].", "", 1).replace("rows[0]", "the query", 1)
        raise


def cacheable(request: Request, response: Response) -> Response:
    """An answer that its caller's own cache may keep, and asks of by ETag: 304 while it holds.

    The body names the version, so that another version's answer has another ETag.
    """
    named = tuple(item for item in response.headers if item not in _REPLACED)
    return cached_page(request, response.body, (*named, *NOT_EMBEDDED), b"private, no-cache")


def _decode(text: bytes) -> str:
    if _BAD_ESCAPE.search(text):
        raise RequestError(400, "a % in the query is not followed by two hex digits; write it %25")
    try:
        return unquote_to_bytes(text.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise RequestError(400, "the query is not percent-encoded UTF-8") from None


def _value(name: str, value: str, kind: str) -> Any:
    """A value as JSON would give it."""
    if not value and kind not in TEXTS:
        raise RequestError(
            400,
            f"{name[:40]} is empty; expected is {expected(kind)}; leave it out where it is missing",
        )
    try:
        return from_text(kind, value)
    except ValueError as error:
        raise RequestError(400, f"{name[:40]} is {short(value)}; expected is {error}") from None
