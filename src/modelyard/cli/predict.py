"""`modelyard predict`, and the first answer that a run ends with."""

import base64
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

from rich.console import Console

from modelyard.artifacts import read_json, write_atomic
from modelyard.errors import ModelyardError, ServiceUnavailable
from modelyard.params import check_name
from modelyard.settings import Settings

_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".wav": "audio/wav",
    ".csv": "text/csv",
    ".txt": "text/plain",
}
_REMEDY = (
    'Send PNG or JPEG (.png, .jpg, .jpeg), .wav, .txt, rows as .csv or as JSON: {"rows": [...]}.'
)
_MAX_BODY = 16 * 2**20  # bytes; modelyard.serving.http has it, too heavy to import for one number


def predict_command(file: Path | None, name: str, shown: str) -> None:
    """Send a picture, a sound, a text or rows to the live model and print its answer.

    ``shown`` is the file's path as it was given, for messages.
    """
    settings, console = Settings(), Console(soft_wrap=True)
    if file is None:
        _show(console, ask(settings, name, _example(settings, name)))
    else:
        console.print_json(json.dumps(ask(settings, name, file, shown)))


def ask(settings: Settings, name: str, file: Path, shown: str | None = None) -> dict[str, Any]:
    """The answer of the live model to the contents of ``file``.

    Raises:
        ServiceUnavailable: the model server is not up.
        ModelyardError: the file is of no kind that a model takes, or the server refuses the
            request; the message is its own.
    """
    shown = shown or str(file)
    check_name(name)
    address = settings.address("serving")
    if not address:
        raise ServiceUnavailable("no model server is known", "`modelyard up` starts one.")
    if not file.is_file():
        raise ModelyardError(f"there is no file {shown}", _REMEDY)
    body = file.read_bytes()
    kind = _content_type(file, body, shown)
    try:
        return _post(f"{address}/predict/{name}", body, kind, _own_key(settings))
    except urllib.error.HTTPError as error:
        raise ModelyardError(f"the model server refuses {shown}: {_reason(error)}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise _no_answer(address, error, shown, len(body)) from None


def _content_type(file: Path, body: bytes, shown: str) -> str:
    """What the body is by the file's name; a name that says nothing must hold JSON."""
    suffix = file.suffix.lower()
    if suffix in _TYPES:
        return _TYPES[suffix]
    if suffix != ".json" and not body.lstrip().startswith(b"{"):
        raise ModelyardError(
            f"{shown} is neither a picture, a sound, a text nor rows by its name and contents",
            _REMEDY,
        )
    return "application/json"


def _own_key(settings: Settings) -> str:
    try:
        return settings.own_api_key.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def _post(url: str, body: bytes, kind: str, key: str) -> dict[str, Any]:
    """The JSON answer; ``user:password@`` of the address goes into a header."""
    parts = urllib.parse.urlsplit(url)
    account, _, host = parts.netloc.rpartition("@")
    headers = {"content-type": kind} | ({"x-api-key": key} if key else {})
    if account:
        token = base64.b64encode(urllib.parse.unquote_to_bytes(account)).decode()
        headers["authorization"] = f"Basic {token}"
    request = urllib.request.Request(  # noqa: S310 - the address is our own setting
        parts._replace(netloc=host).geturl(), body, headers
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.load(answer)


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return json.load(error)["error"]
    except (ValueError, TypeError, KeyError, OSError, HTTPException):
        return error.reason


def _no_answer(address: str, error: Exception, shown: str, size: int) -> ModelyardError:
    """What a failed exchange means: closed while sending, away, or no model server."""
    address = _masked(address)
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    closed = isinstance(reason, BrokenPipeError | ConnectionResetError | ConnectionAbortedError)
    if closed and size > _MAX_BODY:
        return ModelyardError(
            f"the model server at {address} closed the connection while {shown} was sent, "
            f"probably because its {size / 2**20:.0f} MB are over the limit of a request "
            f"({_MAX_BODY >> 20} MB)",
            "Send a smaller picture, or fewer rows at a time.",
        )
    if isinstance(reason, ValueError | HTTPException) and not closed:
        return ServiceUnavailable(
            f"{address} does not answer as a model server does",
            "`modelyard status` shows the services; MODELYARD_SERVING_URL, where set, names it.",
        )
    return ServiceUnavailable(
        f"the model server at {address} does not answer: {reason}", "`modelyard up` starts it."
    )


def _masked(address: str | None) -> str:
    """The address without the name and password that it may hold."""
    return re.sub("//[^/]*@", "//***@", address or "")


def show_first_answer(console: Console, settings: Settings, name: str) -> None:
    """Print the addresses, a request to paste, and its answer."""
    prefect, mlflow = map(_masked, map(settings.address, ("prefect", "mlflow")))
    serving = _masked(settings.address("serving"))
    console.print()
    console.print(f"  Prefect  {prefect.removesuffix('/api')}", highlight=False)
    console.print(f"  MLflow   {mlflow}/#/models/{name}", highlight=False)
    if not serving:
        return
    console.print(f"  model    {serving}/v2/models/{name}", highlight=False)
    try:
        example = _example(settings, name)
    except ModelyardError as error:
        console.print(f"  {error.message}", highlight=False)
        return
    kind = _TYPES.get(example.suffix, "application/json")
    console.print()
    console.print(
        f"curl -s {serving}/predict/{name} -H 'content-type: {kind}' --data-binary @{example}",
        highlight=False,
    )
    _show(console, ask(settings, name, example))


def _show(console: Console, answer: dict[str, Any]) -> None:
    said = _in_words(answer["predictions"][0])
    console.print(
        f"  → {said}, by {answer['model']} version {answer['version']}",
        highlight=False,
        markup=False,
    )


def _in_words(answer: dict[str, Any]) -> str:
    """One prediction, of any task."""
    if "prediction" in answer:
        return f"{answer['prediction']:.6g}"
    if "labels" in answer:
        named = [f"{label!r} ({answer['probabilities'][label]:.3f})" for label in answer["labels"]]
        return ", ".join(named) or "none of the labels"
    return f"{answer['label']!r} with probability {answer['probability']:.3f}"


def _example(settings: Settings, name: str) -> Path:
    """The live package's example as a file: a PNG for an image model, else the JSON body."""
    folder = settings.serving / name
    try:
        live = read_json(folder / "live.json")
    except FileNotFoundError:
        raise ModelyardError(
            f"no version of {name} is live",
            "`modelyard run` makes one; `modelyard status` shows what is.",
        ) from None
    source = folder / live["path"] / "input_example.json"
    (row,) = read_json(source)["rows"][:1]
    if list(row) != ["image"]:
        return source
    target = settings.state_dir / "examples" / f"{name}.png"
    write_atomic(target, _png(row["image"]))
    return target


def _png(image: Any) -> bytes:
    import io

    import numpy as np
    from PIL import Image

    if isinstance(image, str):
        return base64.b64decode(image)
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image, dtype=np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()
