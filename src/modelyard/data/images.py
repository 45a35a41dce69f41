"""Pictures as pixels of one size: PNG, JPEG, BMP, GIF and WebP, decoded once.

In this order: turned as EXIF says; 16 bits cut to the upper 8; transparent parts laid over white;
palettes and CMYK to RGB; grey or colour as ``channels`` asks (grey by the luma of ITU-R BT.601);
then to ``height`` x ``width`` by ``fit``. Resizing is Pillow's bilinear filter over all the pixels
that a new one covers.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Protocol

import numpy as np

from modelyard.data.decoded import Decoded, Undecodable

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
FIGURES: tuple[str, ...] = (
    "bytes",
    "format",
    "original_height",
    "original_width",
    "original_channels",
)
MAX_PIXELS = 64_000_000
"""A picture that says to have more is refused before it is decoded."""

_ANIMATED = ("PNG", "GIF", "WEBP")
_ORIENTATION = 0x0112


class Wanted(Protocol):
    """How a picture must be; a field of the contract is one."""

    @property
    def height(self) -> int | None:
        """In pixels."""
        ...

    @property
    def width(self) -> int | None:
        """In pixels."""
        ...

    @property
    def channels(self) -> int | None:
        """1 is grey, 3 is colour."""
        ...

    @property
    def fit(self) -> str:
        """What is done with a picture of another size: refuse, stretch, pad or crop."""
        ...


def decode_image(
    file: BinaryIO, size: int, wanted: Wanted, out: np.ndarray, max_pixels: int = MAX_PIXELS
) -> Decoded:
    """Decode an open file of ``size`` bytes into ``out`` uint8 [height x width x channels].

    Raises:
        Undecodable: it is no picture, damaged, cut off, animated, too large, or of another size
            than wanted and ``fit`` is ``refuse``.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file, formats=FORMATS) as image:
            _refuse_unwanted(image, wanted, max_pixels)
            image.load()
            shape = (image.height, image.width, len(image.getbands()))
            figures = dict(zip(FIGURES, (size, image.format, *shape), strict=True))
            notes: list[str] = []
            turned = _turn(image, notes)
            fitted = _fit(_to_channels(turned, wanted, notes), wanted, notes)
    except Undecodable:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Undecodable(f"has more than {max_pixels:,} pixels") from None
    except UnidentifiedImageError:
        raise Undecodable("is no PNG, JPEG, BMP, GIF or WebP picture") from None
    except Exception as error:
        # Pillow's decoders raise whatever a damaged file leads them to.
        raise Undecodable(f"cannot be decoded: {error}") from error
    out[:] = np.asarray(fitted).reshape(-1)
    return Decoded(figures, tuple(notes))


@contextmanager
def picture_warnings() -> Iterator[None]:
    """Let Pillow refuse what it warns of as a decompression bomb; its other warnings are not shown.

    Filters of warnings belong to the process: enter it once, around the threads that decode.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _refuse_unwanted(image: "Image", wanted: Wanted, max_pixels: int) -> None:
    """Judge by the header alone, before the pixels are decoded."""
    if image.width * image.height > max_pixels:
        raise Undecodable(
            f"has {image.height} x {image.width} pixels, more than {max_pixels:,} in all"
        )
    if image.format in _ANIMATED and getattr(image, "is_animated", False):
        raise Undecodable("is animated: it holds several pictures")
    # It may yet be turned as EXIF says.
    if wanted.fit == "refuse" and {*image.size} != {wanted.width, wanted.height}:
        raise _of_another_size(image, wanted)


def _turn(image: "Image", notes: list[str]) -> "Image":
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    try:
        turn = turns.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        # Damaged EXIF data raise anything, and say nothing about the picture.
        notes.append("damaged EXIF data ignored")
        turn = None
    if turn is None:
        return image
    notes.append("turned as EXIF says")
    return image.transpose(turn)


def _to_channels(image: "Image", wanted: Wanted, notes: list[str]) -> "Image":
    from PIL import Image

    if image.mode.startswith("I;16"):
        notes.append("16 bits a pixel cut to 8")
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getextrema()[3][0] < 255:  # pyright: ignore - one pair for each of four bands
            notes.append("transparent parts laid over white")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    if image.mode == "CMYK":
        notes.append("CMYK converted to RGB")
    mode = "L" if wanted.channels == 1 else "RGB"
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"):
        raise Undecodable(f"has pixels of the kind {image.mode}, which are not read")
    return image if image.mode == mode else image.convert(mode)


def _fit(image: "Image", wanted: Wanted, notes: list[str]) -> "Image":
    """The picture in ``height`` x ``width``.

    ``pad`` keeps its shape and puts black around it, ``crop`` cuts its middle, both centred.
    """
    from PIL import Image

    assert wanted.width is not None
    assert wanted.height is not None
    size, (width, height) = (wanted.width, wanted.height), image.size
    if image.size == size:
        return image
    if wanted.fit == "refuse":
        raise _of_another_size(image, wanted)
    notes.append(f"resized ({wanted.fit})")
    box = (0.0, 0.0, float(width), float(height))
    target = size
    if wanted.fit == "crop":
        inner = min(width, height * size[0] / size[1]), min(height, width * size[1] / size[0])
        left, top = (width - inner[0]) / 2, (height - inner[1]) / 2
        box = (left, top, left + inner[0], top + inner[1])
    elif wanted.fit == "pad":
        scale = min(size[0] / width, size[1] / height)
        target = max(1, round(width * scale)), max(1, round(height * scale))
    resized = image.resize(target, Image.Resampling.BILINEAR, box=box)
    if target == size:
        return resized
    canvas = Image.new(image.mode, size)
    canvas.paste(resized, ((size[0] - target[0]) // 2, (size[1] - target[1]) // 2))
    return canvas


def _of_another_size(image: "Image", wanted: Wanted) -> Undecodable:
    return Undecodable(
        f"is {image.height} x {image.width} pixels, not {wanted.height} x {wanted.width} "
        "(fit: refuse)"
    )
