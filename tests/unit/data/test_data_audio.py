"""Sounds as files: each encoding, rate and length becomes the stated samples, or is refused."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_files import RATE, audio_params, read, reasons, riff, tone, wav
from scipy.io import wavfile

from modelyard.data.audio import decode_audio
from modelyard.data.contract import Checked
from modelyard.data.decoded import Undecodable
from modelyard.data.decoding import decode_all
from modelyard.data.manifest import build_manifest, columns_of
from modelyard.data.media import payload_columns, read_media
from modelyard.data.spectrogram import Spectrogram
from modelyard.data.validation import validate
from modelyard.errors import SourceError
from modelyard.params import Field

NUM = 800
TONE = tone(NUM)


def only(folder: Path, content: bytes, **changes: Any) -> Checked:
    """The result of reading one file."""
    return read(folder, {"a_1.wav": content}, audio_params(**changes))


def samples(checked: Checked) -> np.ndarray:
    assert not checked.rejections
    return checked.payload[0]


def test_sixteen_bits_are_kept_as_they_are(tmp_path: Path) -> None:
    edges = np.concatenate([TONE[: NUM - 2], np.array([-32768, 32767], np.int16)])
    checked = only(tmp_path, wav(edges))
    assert checked.payload.dtype == np.int16
    assert samples(checked).tolist() == edges.tolist()
    assert checked.counts == {}
    assert checked.scalars["take"].array.tolist() == [1]


def three_bytes(values: np.ndarray) -> bytes:
    return b"".join(int(value).to_bytes(3, "little", signed=True) for value in values.tolist())


ENCODED = {
    "PCM 8 bit": (riff((TONE // 256 + 128).astype(np.uint8).tobytes(), bits=8), 256),
    "PCM 24 bit": (riff(three_bytes(TONE.astype(np.int32) * 256), bits=24), 0),
    "PCM 32 bit": (wav(TONE.astype(np.int32) * 65536, bits=32), 0),
    "float 32 bit": (wav((TONE / 32768).astype(np.float32), code=3, bits=32), 0),
    "float 64 bit": (wav(TONE / 32768, code=3, bits=64), 0),
}


@pytest.mark.parametrize("form", ENCODED)
def test_every_encoding_gives_the_same_sound(tmp_path: Path, form: str) -> None:
    content, error = ENCODED[form]
    checked = only(tmp_path, content)
    assert np.abs(samples(checked).astype(int) - TONE).max() <= error
    assert checked.figures["format"].tolist() == [form]


@settings(max_examples=25, deadline=None)
@given(
    dtype=st.sampled_from(["uint8", "int16", "int32", "float32"]),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 3)),
    seed=st.integers(0, 99),
)
def test_reads_what_scipy_writes(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, shape: tuple[int, int], seed: int
) -> None:
    path = tmp_path_factory.mktemp("scipy") / "a.wav"
    sound = np.random.default_rng(seed).uniform(-1, 1, shape)
    scale, shift = {"uint8": (127, 128), "int16": (32767, 0), "int32": (2**31 - 1, 0)}.get(
        dtype, (1, 0)
    )
    wavfile.write(path, RATE, (sound * scale + shift).astype(dtype))
    params = audio_params(seconds=shape[0] / RATE)
    out = np.empty((1, shape[0]), np.int16)
    (found,) = decode_all([path], params.media, out)
    assert not isinstance(found, str)
    assert np.abs(out[0] / 32768 - sound.mean(axis=1)).max() < 0.02


def test_extensible_headers_other_chunks_and_unknown_sizes_are_read(tmp_path: Path) -> None:
    more = b"LIST" + struct.pack("<I", 5) + b"INFO!" + b"\0"
    assert samples(only(tmp_path, riff(TONE.tobytes(), more=more))).tolist() == TONE.tolist()
    plain = wav(TONE)
    streamed = plain[:40] + b"\xff\xff\xff\xff" + plain[44:]
    assert samples(only(tmp_path, streamed)).tolist() == TONE.tolist()
    layout = plain[20:36]
    wide = struct.pack("<H", 0xFFFE) + layout[2:] + struct.pack("<HHIH", 22, 16, 4, 1) + bytes(14)
    head = plain[:12] + b"fmt " + struct.pack("<I", len(wide)) + wide
    assert samples(only(tmp_path, head + plain[36:])).tolist() == TONE.tolist()


def test_channels_are_averaged_and_counted(tmp_path: Path) -> None:
    both = np.stack([TONE, np.zeros(NUM, np.int16)], axis=1)
    checked = only(tmp_path, wav(both))
    assert samples(checked).tolist() == np.rint(TONE / 2).tolist()
    assert checked.counts == {"mixed from 2 channels": 1}
    assert checked.figures["original_channels"].tolist() == [2]


@pytest.mark.parametrize("rate", [4000, 11_025, 16_000, 44_100])
def test_other_rates_are_resampled_and_counted(tmp_path: Path, rate: int) -> None:
    """A tone below both limits stays that tone."""
    checked = only(tmp_path, wav(tone(rate // 10, rate=rate), rate=rate))
    middle = slice(100, 700)
    assert np.abs(samples(checked)[middle].astype(int) - TONE[middle]).max() < 200
    assert checked.counts[f"resampled from {rate} Hz"] == 1
    assert checked.figures["original_rate"].tolist() == [rate]


def test_what_the_rate_cannot_hold_is_filtered_out(tmp_path: Path) -> None:
    checked = only(tmp_path, wav(tone(4410, hz=9000, rate=44_100), rate=44_100))
    assert np.abs(samples(checked)[100:700]).max() < 200


def test_shorter_sounds_are_centred_in_silence_and_longer_ones_cut_to_their_middle(
    tmp_path: Path,
) -> None:
    short = only(tmp_path, wav(TONE[1:101]))
    assert samples(short).tolist() == [0] * 350 + TONE[1:101].tolist() + [0] * 350
    assert short.counts == {"padded with silence": 1}
    long = only(tmp_path, wav(tone(1000)))
    assert samples(long).tolist() == tone(1000)[100:900].tolist()
    assert long.counts == {"cut to the middle": 1}
    assert long.figures["original_seconds"].tolist() == [0.125]


def test_a_float_beyond_full_scale_is_clipped_and_silence_counted(tmp_path: Path) -> None:
    loud = np.linspace(-2, 2, NUM).astype(np.float32)
    checked = only(tmp_path, wav(loud, code=3, bits=32))
    assert (samples(checked).min(), samples(checked).max()) == (-32768, 32767)
    assert checked.counts == {"clipped to full scale": 1}
    silent = only(tmp_path, wav(np.zeros(NUM, np.int16)))
    assert silent.counts == {"silent": 1}
    assert len(silent.rows) == 1


GOOD = wav(TONE)
REFUSED = {
    "empty": (b"", "is empty"),
    "text": (b"<html>not found</html>", "is no WAV, FLAC or Ogg Vorbis file"),
    "header": (GOOD[:30], "is cut off in its header"),
    "cut": (GOOD[:-100], "is cut off: 1500 of 1600 bytes of sound are there"),
    "no-data": (GOOD[:36], "holds no samples"),
    "no-samples": (wav(TONE[:0]), "holds no samples"),
    "half-a-sample": (riff(b"\0"), "holds no samples"),
    "no-format": (GOOD[:12] + GOOD[36:], "does not say how its samples are encoded"),
    "mu-law": (riff(bytes(800), code=7, bits=8), "is encoded as format 7 with 8 bits"),
    "12-bits": (riff(bytes(800), bits=12), "is encoded as format 1 with 12 bits"),
    "nan": (wav(np.full(9, np.nan, np.float32), code=3, bits=32), "holds NaN or infinity"),
    "inf": (wav(np.full(9, -np.inf), code=3, bits=64), "holds NaN or infinity"),
    "rate": (wav(TONE, rate=0), "says to have 1 channels at 0 Hz"),
    "channels": (riff(bytes(800), channels=0), "says to have 0 channels"),
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Checked:
    """All bad files, and one good one."""
    files = {f"{name}_1.wav": content for name, (content, _) in REFUSED.items()}
    folder = tmp_path_factory.mktemp("refused")
    return read(folder, files | {"ähm_2.wav": GOOD, "zwei_drei.wav": GOOD}, audio_params())


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_sound_of_the_contract_is_refused(refused: Checked, name: str) -> None:
    assert reasons(refused)[f"{name}_1.wav"].startswith(REFUSED[name][1])


def test_its_neighbours_are_read_and_values_in_names_are_checked(refused: Checked) -> None:
    assert refused.figures["path"].tolist() == ["ähm_2.wav"]
    assert refused.payload.tolist() == [TONE.tolist()]
    (item,) = (item for item in refused.rejections if item.column == "take")
    assert (item.value, item.reason) == ("drei", "is not an integer")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 60), st.binary(min_size=1, max_size=4), st.integers(0, 70))
def test_any_damage_is_read_or_refused(position: int, change: bytes, cut: int) -> None:
    content = bytearray(wav(TONE[:8]))
    content[position : position + len(change)] = change
    out = np.full((1, 8), 7, np.int16)
    (found,) = decode_all([bytes(content[: len(content) - cut])], audio_params(8 / RATE).media, out)
    assert not isinstance(found, str) or found


def test_the_manifest_passes_the_suite_and_shows_the_file(tmp_path: Path) -> None:
    expectation = {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "rms", "min_value": 0.01},
    }
    params = audio_params(expectations=[expectation])
    files = {f"{'ab'[i % 2]}_{i}.wav": wav(tone(NUM, hz=300 + i)) for i in range(4)}
    checked = read(tmp_path, files | {"c_9.wav": wav(np.zeros(NUM, np.int16))}, params)
    manifest = build_manifest(checked, params)
    assert list(manifest.columns) == columns_of(params)
    assert np.allclose(manifest["rms"][:4], 0.5 / np.sqrt(2), rtol=1e-2)
    assert np.allclose(manifest["peak"][:4], 0.5, rtol=1e-2)
    validation = validate(manifest, params)
    assert not validation.failed
    assert [(item.row, item.column) for item in validation.rejections] == [(4, "rms")]


def test_the_dataset_holds_the_samples_and_their_spectrogram(tmp_path: Path) -> None:
    params = audio_params()
    checked = read(tmp_path, {"a_1.wav": GOOD, "b_2.wav": wav(TONE[::-1].copy())}, params)
    columns = payload_columns(checked.payload, params)
    spectrogram = Spectrogram.of_contract(params.media, params.prepare.audio)
    assert columns["sound"].type == pa.list_(pa.int16(), NUM)
    assert columns["sound"].to_pylist() == checked.payload.tolist()
    values = spectrogram.transform(checked.payload).reshape(2, -1)
    assert columns["sound.mel"].type == pa.list_(pa.float32(), 40 * spectrogram.frames)
    assert columns["sound.mel"].to_pylist() == values.tolist()


def test_a_parquet_table_may_hold_sounds_and_delimited_text_may_not(tmp_path: Path) -> None:
    table = pa.table(
        {"sound": [{"bytes": GOOD}, {"bytes": b"x"}], "label": ["a", "b"], "take": [1, 2]}
    )
    pq.write_table(table, tmp_path / "t.parquet")
    checked = read_media(tmp_path, audio_params(source="t.parquet"))
    assert checked.payload.tolist() == [TONE.tolist()]
    assert [item.reason for item in checked.rejections] == ["is no WAV, FLAC or Ogg Vorbis file"]
    (tmp_path / "t.parquet").rename(tmp_path / "t.csv")
    with pytest.raises(SourceError, match="sounds are not read from delimited text"):
        read_media(tmp_path, audio_params(source="t.csv"))


@pytest.mark.parametrize(("container", "coding"), [("FLAC", "PCM_16"), ("OGG", "VORBIS")])
def test_packed_sounds_are_decoded(container: str, coding: str) -> None:
    import soundfile

    field = Field(name="sound", type="audio", sample_rate=8000, seconds=0.5)
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    file = io.BytesIO()
    soundfile.write(file, np.stack([tone, tone], 1), 8000, format=container, subtype=coding)
    size, out = file.tell(), np.empty(4000, np.int16)
    file.seek(0)
    decoded = decode_audio(file, size, field, out)
    assert decoded.notes == ("cut to the middle", "mixed from 2 channels")
    assert decoded.figures["original_seconds"] == pytest.approx(1.0)
    expected = np.rint(tone[2000:6000] * 32768)
    assert np.corrcoef(out, expected)[0, 1] > 0.999
    for content in (file.getvalue()[: size // 3], file.getvalue()[:4] + b"x" * 100):
        with pytest.raises(Undecodable, match=r"cut off|cannot be decoded"):
            decode_audio(io.BytesIO(content), len(content), field, out)
