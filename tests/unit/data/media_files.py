"""Tiny pictures and sounds and their contracts, for the tests of files as rows."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from modelyard.data.contract import Checked
from modelyard.data.media import read_media
from modelyard.params import DataParams

RATE = 8000
_SPLIT = {"column": "label", "probabilities": [0.6, 0.2, 0.2]}


def image_params(
    height: int = 4, width: int = 4, channels: int = 1, fit: str = "refuse", **changes: Any
) -> DataParams:
    """The contract of ``images/{label}/*`` with pictures of that size."""
    size = {"height": height, "width": width, "channels": channels, "fit": fit}
    fields = [{"name": "picture", "type": "image", **size}, {"name": "label", "type": "string"}]
    return _params("image", "images/{label}/*", fields, changes)


def audio_params(seconds: float = 0.1, rate: int = RATE, **changes: Any) -> DataParams:
    """The contract of ``sounds/{label}_{take}.wav`` with sounds of that rate and length."""
    fields = [
        {"name": "sound", "type": "audio", "sample_rate": rate, "seconds": seconds},
        {"name": "label", "type": "string"},
        {"name": "take", "type": "integer"},
    ]
    return _params("audio", "sounds/{label}_{take}.wav", fields, changes)


def _params(kind: str, source: str, fields: list[Any], changes: dict[str, Any]) -> DataParams:
    tree = {
        "kind": kind,
        "source": source,
        "sha256": None,
        "schema": {"fields": fields},
        "target": "label",
        "split": _SPLIT,
    }
    return DataParams.model_validate(tree | changes)


def picture(pixels: Any, kind: str = "PNG", **options: Any) -> bytes:
    """An encoded picture of a Pillow image or an array."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels))
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Random pixels, uint8 of ``shape``."""
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def wav(samples: np.ndarray, rate: int = RATE, code: int = 1, bits: int = 16) -> bytes:
    """A WAV file of samples [N] or [N, channels], whose dtype is what is stored."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    return riff(samples.tobytes(), rate=rate, code=code, bits=bits, channels=channels)


def riff(
    data: bytes,
    rate: int = RATE,
    code: int = 1,
    bits: int = 16,
    channels: int = 1,
    more: bytes = b"",
) -> bytes:
    """A WAV file of the bytes ``data``, with chunks ``more`` before them."""
    width = channels * bits // 8
    layout = struct.pack("<HHIIHH", code, channels, rate, rate * width, width, bits)
    chunks = b"fmt " + struct.pack("<I", len(layout)) + layout + more
    chunks += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def tone(num: int, hz: float = 440, rate: int = RATE) -> np.ndarray:
    """A sine of half of full scale, int16 [num]."""
    return np.rint(16384 * np.sin(2 * np.pi * hz * np.arange(num) / rate)).astype(np.int16)


def read(folder: Path, files: dict[str, bytes], params: DataParams) -> Checked:
    """Put files into ``folder`` and read them."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return read_media(folder, params)


def reasons(checked: Checked) -> dict[str, str]:
    """Why each file was refused, by its name."""
    return {item.value: item.reason for item in checked.rejections}
