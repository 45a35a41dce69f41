"""`modelyard predict`, and the first answer that a run ends with."""

import base64
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from rich.console import Console

from modelyard.artifacts import read_json, write_atomic
from modelyard.errors import ModelyardError, ServiceUnavailable
from modelyard.settings import Settings

_PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


def predict_command(file: Path | None, name: str) -> None:
    """Send a picture or a JSON body to the live model and print its answer."""
    settings, console = Settings(), Console(soft_wrap=True)
    path = file or _example(settings, name)
    answer = ask(settings, name, path)
    console.print_json(json.dumps(answer)) if file else _show(console, answer)


def ask(settings: Settings, name: str, file: Path) -> dict[str, Any]:
    """The answer of the live model to the contents of ``file``.

    Raises:
        ServiceUnavailable: the model server is not up.
        ModelyardError: it refuses the request; the message is its own.
    """
    address = settings.address("serving")
    if not address:
        raise ServiceUnavailable("no model server is known", "`modelyard up` starts one.")
    if not file.is_file():
        raise ModelyardError(f"there is no file {file}", "Name a picture or a JSON file.")
    kind = _PICTURES.get(file.suffix.lower(), "application/json")
    request = urllib.request.Request(  # noqa: S310 - the address is our own setting
        f"{address}/predict/{name}", file.read_bytes(), {"content-type": kind}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)
    except urllib.error.HTTPError as error:
        try:
            reason = json.load(error).get("error", error.reason)
        except ValueError:
            reason = error.reason
        raise ModelyardError(f"the model server refuses {file}: {reason}") from None
    except urllib.error.URLError as error:
        raise ServiceUnavailable(
            f"the model server at {address} does not answer: {error.reason}",
            "`modelyard up` starts it.",
        ) from None


def show_first_answer(console: Console, settings: Settings, name: str) -> None:
    """Print the addresses, a request to paste, and its answer."""
    prefect, mlflow = settings.address("prefect"), settings.address("mlflow")
    serving = settings.address("serving")
    console.print()
    console.print(f"  Prefect  {(prefect or '').removesuffix('/api')}", highlight=False)
    console.print(f"  MLflow   {mlflow}/#/models/{name}", highlight=False)
    if serving is None:
        return
    console.print(f"  model    {serving}/v2/models/{name}", highlight=False)
    try:
        example = _example(settings, name)
    except ModelyardError as error:
        console.print(f"  {error.message}", highlight=False)
        return
    kind = _PICTURES.get(example.suffix, "application/json")
    console.print()
    console.print(
        f"curl -s {serving}/predict/{name} -H 'content-type: {kind}' --data-binary @{example}",
        highlight=False,
    )
    _show(console, ask(settings, name, example))


def _show(console: Console, answer: dict[str, Any]) -> None:
    best = answer["predictions"][0]
    console.print(
        f"  → {best['label']!r} with probability {best['probability']:.3f},"
        f" by {answer['model']} version {answer['version']}",
        highlight=False,
    )


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
