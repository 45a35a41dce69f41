"""Bodies of ``/predict``: rows as JSON, or one picture."""

import io
import re
import warnings
from typing import Any

import numpy as np
import orjson
from PIL import Image

from modelyard.serving.failures import RequestError
from modelyard.serving.tensors import MAX_ROWS, Tensor, check_rows, rows_shape

_MODES = {"1", "L", "LA", "P", "RGB", "RGBA"}


def parse_json(body: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        RequestError: 400, the body is not JSON or not an object.
    """
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # Only the part before the position: the rest may quote the body.
        reason = re.split(r": line|, at", str(error))[0]
        raise RequestError(400, f"the body is not JSON: {reason}") from None
    if type(tree) is not dict:
        raise RequestError(400, 'the body must be a JSON object, as {"rows": [...]}')
    return tree


def parse_rows(tree: dict[str, Any], inputs: tuple[Tensor, ...]) -> dict[str, np.ndarray]:
    """Rows to one array an input.

    Args:
        tree: ``{"rows": [{name: value, ...}, ...]}`` with every input in every row.
        inputs: What the model takes.

    Returns:
        Input name -> array [rows, ...].

    Raises:
        RequestError: 400, or 413 where there are more than ``MAX_ROWS`` rows.
    """
    rows = tree.get("rows")
    if type(rows) is not list or not rows:
        raise RequestError(400, f'"rows" must be a list of 1 to {MAX_ROWS} objects')
    check_rows(len(rows))
    if len(tree) > 1:
        extra = next(key for key in tree if key != "rows")
        raise RequestError(400, f'unknown key {extra[:40]!r}; a body holds "rows" alone')
    names = {tensor.name for tensor in inputs}
    for index, row in enumerate(rows):
        if type(row) is not dict or row.keys() != names:
            found = f"keys {sorted(row)[:8]}" if type(row) is dict else "no object"
            raise RequestError(400, f"rows[{index}] has {found}; needed are {sorted(names)}")
    arrays: dict[str, np.ndarray] = {}
    for tensor in inputs:
        shape = rows_shape(tensor, rows[0][tensor.name])
        if 0 in shape:
            raise RequestError(400, f"rows[0].{tensor.name} is empty or lacks an axis")
        packed = [
            tensor.pack(row[tensor.name], shape, f"rows[{index}].{tensor.name}")
            for index, row in enumerate(rows)
        ]
        arrays[tensor.name] = packed[0][None] if len(packed) == 1 else np.stack(packed)
    return arrays


def parse_image(body: bytes, inputs: tuple[Tensor, ...]) -> dict[str, np.ndarray]:
    """One PNG or JPEG to a batch of one row, converted to the model's grey or colour mode.

    The size is compared before any pixel is decoded, so that a picture cannot claim more memory
    than the model takes.

    Raises:
        RequestError: 400, the picture is broken or has another size; 415, the model takes no
            picture.
    """
    tensor = inputs[0]
    if len(inputs) != 1 or not tensor.is_image:
        raise RequestError(415, "this model takes no picture; send application/json")
    height, width = tensor.shape[1:3]
    mode = "L" if len(tensor.shape) == 3 else "RGB"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(body), formats=("PNG", "JPEG"))
            fits = height in (-1, image.height) and width in (-1, image.width)
            if not fits or image.width * image.height > 4096 * 4096:
                wanted = " x ".join("any" if size < 0 else str(size) for size in (width, height))
                raise RequestError(
                    400,
                    f"the picture has {image.width} x {image.height} pixels, the model takes "
                    f"{wanted} (width x height); scale it first",
                )
            if image.mode not in _MODES:
                raise RequestError(
                    400, f"the picture has mode {image.mode}; send 8-bit grey or RGB"
                )
            return {tensor.name: np.asarray(image.convert(mode), dtype=np.uint8)[None]}
    except RequestError:
        raise
    except Exception:  # the decoder's errors for broken files are of many classes
        raise RequestError(400, "the body is not a whole PNG or JPEG picture") from None
