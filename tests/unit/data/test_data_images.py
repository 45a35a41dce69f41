"""Pictures as files: each kind becomes the stated pixels, or is refused with the stated reason."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from media_files import image_params, noise, picture, read, reasons
from PIL import Image

from modelyard.data.contract import Checked
from modelyard.data.manifest import build_manifest, columns_of
from modelyard.data.media import describe, payload_columns, read_media
from modelyard.data.validation import validate
from modelyard.errors import DataRejected, ParamsError, SourceError

GREY = noise(4, 4)
COLOUR = noise(4, 4, 3)
PNG = picture(GREY)


def only(folder: Path, content: bytes, **changes: Any) -> Checked:
    """The result of reading one file."""
    return read(folder, {"a/x": content}, image_params(**changes))


def pixels(checked: Checked) -> np.ndarray:
    assert not checked.rejections
    return checked.payload[0]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "WEBP"])
def test_a_picture_without_loss_keeps_its_pixels(tmp_path: Path, kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    stored = np.repeat(GREY[..., np.newaxis], 3, axis=2) if kind == "WEBP" else GREY
    checked = only(tmp_path, picture(stored, kind, **options))
    assert checked.payload.dtype == np.uint8
    assert pixels(checked).tolist() == GREY.ravel().tolist()
    assert checked.figures["format"].tolist() == [kind]
    colour = only(tmp_path, picture(COLOUR), channels=3)
    assert pixels(colour).tolist() == COLOUR.ravel().tolist()


def test_jpeg_is_close(tmp_path: Path) -> None:
    smooth = np.arange(256, dtype=np.uint8).reshape(16, 16)
    checked = only(tmp_path, picture(smooth, "JPEG", quality=95), height=16, width=16)
    assert np.abs(pixels(checked).astype(int) - smooth.ravel()).max() < 8


def cut(content: bytes, num: int) -> bytes:
    return content[:-num]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


def animated(kind: str) -> bytes:
    first, *more = (Image.fromarray(noise(16, 16, 3, seed=seed)) for seed in range(3))
    return picture(first, kind, save_all=True, append_images=more)


def bomb(height: int, width: int) -> bytes:
    """A PNG of a hundred bytes that says to have that many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


NO_PICTURE = "is no PNG, JPEG, BMP, GIF or WebP picture"
REFUSED = {
    "empty": (b"", "is empty"),
    "text": (b"<html>not found</html>", NO_PICTURE),
    "tiff": (picture(GREY, "TIFF"), NO_PICTURE),
    "header.png": (PNG[:20], "cannot be decoded"),
    "cut.png": (cut(picture(noise(16, 16)), 40), "cannot be decoded: image file is truncated"),
    "cut.jpg": (cut(picture(noise(16, 16), "JPEG"), 40), "cannot be decoded: image file is trunc"),
    "cut.bmp": (
        cut(picture(noise(16, 16), "BMP"), 8),
        "cannot be decoded: image file is truncated",
    ),
    "cut.gif": (cut(picture(noise(16, 16), "GIF"), 40), "cannot be decoded: image file is trunc"),
    "cut.webp": (cut(picture(noise(16, 16, 3), "WEBP"), 20), "cannot be decoded"),
    "flipped.png": (flipped(picture(noise(16, 16))), "cannot be decoded: broken data stream"),
    "animated.gif": (animated("GIF"), "is animated"),
    "animated.png": (animated("PNG"), "is animated"),
    "animated.webp": (animated("WEBP"), "is animated"),
    "bomb.png": (bomb(9000, 9000), "has 9000 x 9000 pixels, more than 64,000,000 in all"),
    "warned.png": (bomb(9500, 9500), "has more than 64,000,000 pixels"),
    "huge.png": (bomb(60_000, 60_000), "has more than 64,000,000 pixels"),
    "large.png": (picture(noise(4, 5)), "is 4 x 5 pixels, not 16 x 16 (fit: refuse)"),
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Checked:
    """All bad files, and one good one between them."""
    files = {f"bad/{name}": content for name, (content, _) in REFUSED.items()}
    folder = tmp_path_factory.mktemp("refused")
    good = {"good/größe_画像.png": picture(noise(16, 16))}
    return read(folder, files | good, image_params(height=16, width=16, max_rejected=1.0))


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_picture_of_the_contract_is_refused(refused: Checked, name: str) -> None:
    assert reasons(refused)[f"bad/{name}"].startswith(REFUSED[name][1])


def test_its_neighbours_are_read_whatever_their_names(refused: Checked) -> None:
    assert refused.figures["path"].tolist() == ["good/größe_画像.png"]
    assert refused.payload.tolist() == [noise(16, 16).ravel().tolist()]
    assert refused.scalars["label"].array.tolist() == ["good"]
    assert (refused.num_read, refused.rows.tolist()) == (len(REFUSED) + 1, [len(REFUSED)])
    assert {item.column for item in refused.rejections} == {"picture"}
    assert "/" not in "".join(item.reason for item in refused.rejections)


def test_sixteen_bits_are_cut_to_the_upper_eight(tmp_path: Path) -> None:
    deep = GREY.astype(np.uint16) * 256 + 255
    checked = only(tmp_path, picture(deep))
    assert pixels(checked).tolist() == GREY.ravel().tolist()
    assert checked.counts == {"16 bits a pixel cut to 8": 1}


def test_transparent_parts_lie_over_white(tmp_path: Path) -> None:
    layers = np.dstack([COLOUR, np.full((4, 4), 255, np.uint8)])
    layers[0, 0, 3] = 0
    checked = only(tmp_path, picture(layers), channels=3)
    assert pixels(checked)[:3].tolist() == [255, 255, 255]
    assert pixels(checked)[3:].tolist() == COLOUR.ravel()[3:].tolist()
    assert checked.counts == {"transparent parts laid over white": 1}


def test_a_palette_gives_its_colours_and_cmyk_is_converted_and_counted(tmp_path: Path) -> None:
    few = (COLOUR // 128 * 255).astype(np.uint8)
    palette = Image.fromarray(few).convert("P", palette=Image.Palette.ADAPTIVE)
    assert pixels(only(tmp_path, picture(palette), channels=3)).tolist() == few.ravel().tolist()
    red = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    checked = only(tmp_path, picture(red, "JPEG", quality=100), channels=3)
    assert pixels(checked)[0] > 250
    assert pixels(checked)[1] < 5
    assert checked.counts == {"CMYK converted to RGB": 1}
    assert checked.figures["original_channels"].tolist() == [4]


def test_colour_becomes_grey_by_its_luma(tmp_path: Path) -> None:
    weights = np.array([299, 587, 114]) / 1000
    found = pixels(only(tmp_path, picture(COLOUR)))
    assert np.abs(found - (COLOUR @ weights).ravel()).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_exif_says(tmp_path: Path, orientation: int) -> None:
    """The same scene, as each camera position stores it."""
    scene = np.full((8, 16), 255, np.uint8)
    scene[:4, :8] = 0
    stored = {
        1: scene,
        2: scene[:, ::-1],
        3: scene[::-1, ::-1],
        4: scene[::-1],
        5: scene.T,
        6: scene[:, ::-1].T,
        7: scene[::-1, ::-1].T,
        8: scene[::-1].T,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = picture(np.ascontiguousarray(stored), "PNG", exif=exif)
    checked = only(tmp_path, content, height=8, width=16)
    assert pixels(checked).tolist() == scene.ravel().tolist()
    assert checked.counts == ({} if orientation == 1 else {"turned as EXIF says": 1})


def test_damaged_exif_is_ignored(tmp_path: Path) -> None:
    exif = b"Exif\x00\x00MM\x00*\xff\xff\xff\xff"
    smooth = np.full((16, 16), 90, np.uint8)
    checked = only(tmp_path, picture(smooth, "JPEG", exif=exif), height=16, width=16)
    assert pixels(checked).tolist() == [90] * 256


WIDE = np.repeat(np.array([[10, 10, 200, 200, 90, 90, 90, 90]], np.uint8), 4, axis=0)


@pytest.mark.parametrize(
    ("fit", "row"),
    [("stretch", [10, 200, 90, 90]), ("crop", [200, 200, 90, 90]), ("pad", [10, 200, 90, 90])],
)
def test_other_sizes_are_fitted_as_declared(tmp_path: Path, fit: str, row: list[int]) -> None:
    """A picture of 4 x 8 in 4 x 4: pressed together, its middle, or with black above and below."""
    checked = only(tmp_path, picture(WIDE), fit=fit)
    found = pixels(checked).reshape(4, 4)
    assert np.abs(found[1].astype(int) - row).max() <= (0 if fit == "crop" else 40)
    black = [index for index in range(4) if not found[index].any()]
    assert black == ([0, 3] if fit == "pad" else [])
    assert checked.counts == {f"resized ({fit})": 1}
    assert (checked.figures["original_height"][0], checked.figures["original_width"][0]) == (4, 8)


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (90, 1), (3, 5), (70, 30)])
def test_any_size_fits_and_a_plain_picture_stays_plain(
    tmp_path: Path, fit: str, shape: tuple[int, int]
) -> None:
    plain = np.full((*shape, 3), 77, np.uint8)
    checked = only(tmp_path, picture(plain), height=6, width=9, channels=3, fit=fit)
    assert set(pixels(checked).tolist()) <= ({0, 77} if fit == "pad" else {77})
    assert 77 in pixels(checked)


def test_paths_give_fields_and_rows_follow_the_paths(tmp_path: Path) -> None:
    files = {
        f"{label}/{index}.png": picture(noise(4, 4, seed=index))
        for label in "ba"
        for index in range(3)
    }
    files |= {"a/deeper/1.png": PNG, ".hidden": b"", "_SUCCESS": b""}
    checked = read(tmp_path, files, image_params())
    assert checked.figures["path"].tolist() == sorted(files)[2:5] + sorted(files)[6:]
    assert checked.rows.tolist() == [0, 1, 2, 4, 5, 6]
    assert checked.scalars["label"].array.tolist() == list("aaabbb")
    (item,) = checked.rejections
    assert (item.row, item.value, item.reason) == (
        3,
        "a/deeper/1.png",
        "does not match {label}/*",
    )


def test_a_name_that_is_no_text_and_a_broken_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / b"caf\xe9.png".decode("utf-8", "surrogateescape")).write_bytes(PNG)
    (tmp_path / "a/link.png").symlink_to(tmp_path / "nowhere")
    checked = read(tmp_path, {"a/x.png": PNG}, image_params())
    assert reasons(checked) == {
        "a/caf\\udce9.png": "has a name that is not UTF-8 text",
        "a/link.png": "is no regular file",
    }
    assert len(checked.rows) == 1


@pytest.mark.parametrize(
    ("source", "changes", "error", "message"),
    [
        ("images/{label}/{who}_*.png", {}, ParamsError, "the placeholder {who} is no field"),
        ("images/{who}/*.png", {}, ParamsError, "has no placeholder {label}"),
        ("images/{label}/*.png", {"rest": "drop"}, SourceError, "there is no file"),
        ("images", {}, SourceError, "there are 0 files, and nothing in their paths gives a field"),
    ],
)
def test_a_source_that_does_not_fit_the_schema_is_refused(
    tmp_path: Path, source: str, changes: dict[str, str], error: type[Exception], message: str
) -> None:
    section = image_params().model_dump(by_alias=True, exclude_none=True)["schema"] | changes
    with pytest.raises(error) as caught:
        read_media(tmp_path, image_params(source=source, schema=section))
    assert message in str(caught.value)


def test_repeated_pictures_are_kept_dropped_or_stop_the_run(tmp_path: Path) -> None:
    """Repeated is the decoded picture with its target, not the bytes of a file."""
    files = {"a/1.png": PNG, "a/2.bmp": picture(GREY, "BMP"), "b/1.png": PNG}
    assert len(read(tmp_path, files, image_params()).rows) == 3
    checked = read_media(tmp_path, image_params(clean={"duplicates": "drop"}))
    assert checked.figures["path"].tolist() == ["a/1.png", "b/1.png"]
    (item,) = checked.rejections
    assert (item.row, item.reason, item.allowed) == (1, "repeats row 0", True)
    with pytest.raises(DataRejected, match="1 rows repeat earlier ones, row 1 repeats row 0"):
        read_media(tmp_path, image_params(clean={"duplicates": "fail"}))


def test_the_manifest_passes_the_suite_and_shows_the_file(tmp_path: Path) -> None:
    files = {f"{'ab'[i % 2]}/{i}.png": picture(noise(4, 4, seed=i)) for i in range(6)}
    expectation = {
        "type": "expect_column_values_to_be_in_set",
        "kwargs": {"column": "format", "value_set": ["PNG"]},
    }
    params = image_params(expectations=[expectation])
    checked = read(tmp_path, files | {"a/6.png": picture(GREY, "BMP")}, params)
    manifest = build_manifest(checked, params)
    assert list(manifest.columns) == columns_of(params)
    assert manifest["path"].tolist()[0] == "a/0.png"
    validation = validate(manifest, params)
    assert not validation.failed
    assert [(item.row, item.column) for item in validation.rejections] == [(3, "format")]


def test_the_dataset_holds_the_pixels_and_says_their_size(tmp_path: Path) -> None:
    params = image_params(channels=3)
    checked = read(tmp_path, {"a/1": picture(COLOUR)}, params)
    column = payload_columns(checked.payload, params)["picture"]
    assert (column.type, column.to_pylist()) == (
        pa.list_(pa.uint8(), 48),
        [COLOUR.ravel().tolist()],
    )
    assert describe(params) == {
        "name": "picture",
        "type": "image",
        "height": 4,
        "width": 4,
        "channels": 3,
        "fit": "refuse",
    }


@pytest.mark.parametrize("plain", [True, False])
def test_a_parquet_table_may_hold_encoded_pictures(tmp_path: Path, plain: bool) -> None:
    contents = [PNG, None, b"no picture", picture(COLOUR)]
    column = contents if plain else [{"bytes": item, "path": "x"} for item in contents]
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"picture": column, "label": list("abab"), "more": [1, 2, 3, 4]}), path)
    section = image_params().model_dump(by_alias=True, exclude_none=True)["schema"]
    params = image_params(source="t.parquet", schema=section | {"rest": "drop"})
    checked = read_media(tmp_path, params)
    assert checked.rows.tolist() == [0, 3]
    assert checked.payload[0].tolist() == GREY.ravel().tolist()
    assert [item.reason for item in checked.rejections] == ["is missing", NO_PICTURE]
    with pytest.raises(SourceError, match="the column 'more' is no field"):
        read_media(tmp_path, image_params(source="t.parquet"))


def test_threads_change_nothing(tmp_path: Path) -> None:
    files = {f"a/{i}.png": picture(noise(9, 7, seed=i)) for i in range(100)}
    first = read(tmp_path, files, image_params(fit="pad"))
    again = read_media(tmp_path, image_params(fit="pad"))
    assert first.payload.tobytes() == again.payload.tobytes()
    for index in (0, 50, 99):
        alone = read(
            tmp_path / "alone",
            {"a/x.png": files[first.figures["path"][index]]},
            image_params(fit="pad"),
        )
        assert alone.payload[0].tolist() == first.payload[index].tolist()


def test_personal_data_in_paths_are_not_shown(tmp_path: Path) -> None:
    section = image_params().model_dump(by_alias=True, exclude_none=True)["schema"]
    who = {"name": "who", "type": "string", "pii": True, "constraints": {"maxLength": 4}}
    section["fields"] = [*section["fields"], who]
    params = image_params(source="images/{label}/{who}_*.png", schema=section)
    names = ["a/anna_1.png", "a/barbara_1.png", "a/cleo_x_1.png", "a/dora.png", "a/emil_1.png"]
    checked = read(tmp_path, dict.fromkeys(names, PNG) | {"a/emil_1.png": b""}, params)
    assert [(item.row, item.column, item.value, item.reason) for item in checked.rejections] == [
        (1, "who", "(pii)", "is longer than 4 characters"),
        (2, "(row)", "(pii)", "can be read in two ways by {label}/{who}_*.png"),
        (3, "(row)", "(pii)", "does not match {label}/{who}_*.png"),
        (4, "picture", "(pii)", "is empty"),
    ]
    assert checked.figures["path"].tolist() == ["(pii)"]
    assert checked.scalars["who"].array.tolist() == ["anna"]


def test_fields_of_every_type_pass_the_suite_also_where_they_are_missing(tmp_path: Path) -> None:
    fields = [
        *image_params().model_dump(by_alias=True, exclude_none=True)["schema"]["fields"],
        {"name": "count", "type": "integer", "constraints": {"minimum": 0, "enum": [1, 2]}},
        {"name": "flag", "type": "boolean", "constraints": {"enum": ["yes", "no"]}},
        {"name": "day", "type": "date", "constraints": {"minimum": "2020-01-01"}},
        {"name": "who", "type": "string", "pii": True, "constraints": {"pattern": "[a-z]+"}},
        {"name": "code", "type": "category", "constraints": {"pattern": "x+", "maxLength": 3}},
    ]
    params = image_params(
        source="images/{label}/{count}_{flag}_{day}_{who}_{code}.png",
        schema={"fields": fields, "missingValues": ["-"]},
        quality=[{"metric": "nullValues", "column": "count", "mustBeLessThan": 2}],
    )
    full = ["a/1_yes_2020-01-01_ann_x.png", "b/2_no_2021-02-03_bob_xx.png"]
    for names in (full, [*full, "c/-_-_-_-_-.png"]):
        files = {name: picture(noise(4, 4, seed=i)) for i, name in enumerate(names)}
        checked = read(tmp_path / str(len(names)), files, params)
        manifest = build_manifest(checked, params)
        assert (len(manifest), checked.rejections) == (len(names), ())
        assert manifest["who"].tolist()[:2] == ["(pii) 0", "(pii) 1"]
        assert manifest["count"].notna().tolist() == [True, True, False][: len(names)]
        validation = validate(manifest, params)
        assert [str(verdict) for verdict in validation.failed] == []
