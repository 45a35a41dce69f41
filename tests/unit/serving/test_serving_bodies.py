"""A picture that is sent becomes the pixels that ingest made of the same file."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from modelyard.data.decoding import decode_all, empty_payload
from modelyard.package.reader import TensorSpec
from modelyard.params import Field
from modelyard.serving.bodies import parse_image
from modelyard.serving.failures import RequestError
from modelyard.serving.tensors import Tensor

HEIGHT, WIDTH = 6, 9


def sent(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def taken(channels: int, fit: str) -> tuple[Tensor]:
    shape = (-1, HEIGHT, WIDTH) + ((3,) if channels == 3 else ())
    return (Tensor(**vars(TensorSpec("image", "uint8", shape, "image", fit=fit))),)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    mode=st.sampled_from(["L", "RGB", "RGBA", "CMYK", "P"]),
    channels=st.sampled_from([1, 3]),
    fit=st.sampled_from(["stretch", "pad", "crop"]),
    turned=st.integers(1, 8),
)
def test_the_server_decodes_as_ingest_does(
    tmp_path: Path, size: tuple[int, int], mode: str, channels: int, fit: str, turned: int
) -> None:
    noise = np.random.default_rng(size).integers(0, 256, (*size[::-1], 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = turned
    kind = "JPEG" if mode in ("L", "RGB", "CMYK") else "PNG"
    body = sent(Image.fromarray(noise).convert(mode), kind, exif=exif)
    field = Field.model_validate(
        {
            "name": "image",
            "type": "image",
            "height": HEIGHT,
            "width": WIDTH,
            "channels": channels,
            "fit": fit,
        }
    )
    ingested = empty_payload(1, field)
    (found,) = decode_all([body], field, ingested)
    assert not isinstance(found, str)
    served = parse_image(body, taken(channels, fit))["image"]
    assert served.reshape(1, -1).tolist() == ingested.tolist()


@pytest.mark.parametrize(
    ("size", "turned", "fits"), [((9, 6), 1, True), ((6, 9), 6, True), ((6, 9), 1, False)]
)
def test_a_size_is_compared_after_the_picture_is_turned(
    size: tuple[int, int], turned: int, fits: bool
) -> None:
    exif = Image.Exif()
    exif[0x0112] = turned
    body = sent(Image.new("L", size, 7), "PNG", exif=exif)
    if fits:
        assert parse_image(body, taken(1, "refuse"))["image"].tolist() == [[[7] * WIDTH] * HEIGHT]
    else:
        with pytest.raises(RequestError, match="9 x 6 pixels, not 6 x 9"):
            parse_image(body, taken(1, "refuse"))


def test_a_picture_of_too_many_pixels_is_refused_whatever_the_fit() -> None:
    body = sent(Image.new("1", (5000, 5000)), "PNG")
    with pytest.raises(RequestError, match="5000 x 5000 pixels, more than 16,777,216"):
        parse_image(body, taken(1, "stretch"))
