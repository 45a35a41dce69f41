"""Sounds as int16 samples of one rate and length, decoded once.

WAV files are read here, FLAC and Ogg Vorbis ones by libsndfile.

In this order: the middle ``seconds`` of a longer sound; its channels averaged; resampled by a
polyphase low-pass filter (``scipy.signal.resample_poly``, a Kaiser window); zeros on both sides of
a shorter one. Only the chunk headers and the samples that are kept are read.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache
from math import gcd
from typing import Any, BinaryIO

import numpy as np

from modelyard.data.decoded import Decoded, Undecodable
from modelyard.params import Field

FIGURES: tuple[str, ...] = (
    "bytes",
    "format",
    "original_rate",
    "original_channels",
    "original_seconds",
)

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_UNKNOWN_SIZE = 0xFFFFFFFF
_FULL_SCALE = 32768.0
_PACKED = (b"OggS", b"fLaC")
_RATES = range(1000, 192_001)
_MAX_CHANNELS = 8


@dataclass(frozen=True)
class Wave:
    """Where a WAV file's samples lie: ``num_frames`` samples of each channel from ``start``.

    ``packing`` names the encoding of a file of another kind.
    """

    is_float: bool
    bits: int
    rate: int
    channels: int
    start: int
    num_frames: int
    packing: str = ""

    @property
    def format(self) -> str:
        """The encoding, in words."""
        if self.packing:
            return self.packing
        return f"{'float' if self.is_float else 'PCM'} {self.bits} bit"


def decode_audio(file: BinaryIO, size: int, field: Field, out: np.ndarray) -> Decoded:
    """Decode an open file of ``size`` bytes into ``out`` int16 [samples].

    Raises:
        Undecodable: it is no WAV, FLAC or Ogg Vorbis file, cut off, holds no samples, NaN or
            infinity, or is a WAV file of another encoding than PCM of 8, 16, 24 or 32 bits or
            floats of 32 or 64.
    """
    assert field.sample_rate is not None
    assert field.seconds is not None
    packed = _is_packed(file)
    wave = _read_packed_header(file) if packed else read_header(file, size)
    notes: list[str] = []
    wanted = round(field.seconds * wave.rate)
    first = max(0, (wave.num_frames - wanted) // 2)
    num = min(wave.num_frames, max(1, wanted))
    if wave.num_frames > wanted:
        notes.append("cut to the middle")
    samples = _read_packed(file, first, num) if packed else _read(file, wave, first, num)
    sound = samples.mean(axis=1)
    if wave.channels > 1:
        notes.append(f"mixed from {wave.channels} channels")
    if wave.rate != field.sample_rate:
        notes.append(f"resampled from {wave.rate} Hz")
        sound = _resample(sound, wave.rate, field.sample_rate)
    scaled = np.rint(sound * _FULL_SCALE)
    if np.abs(sound).max() > 1:
        notes.append("clipped to full scale")
    if len(scaled) < len(out):
        notes.append("padded with silence")
    if not scaled.any():
        notes.append("silent")
    _place(np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1), out)
    seconds = wave.num_frames / wave.rate
    values = (size, wave.format, wave.rate, wave.channels, seconds)
    return Decoded(dict(zip(FIGURES, values, strict=True)), tuple(notes))


def read_header(file: BinaryIO, size: int) -> Wave:
    """Find the samples of a WAV file of ``size`` bytes (RIFF, Microsoft and IBM 1991).

    A data chunk of unknown size, as a program writes it that cannot go back, reaches to the end.

    Raises:
        Undecodable: see ``decode_audio``.
    """
    start = file.read(12)
    if len(start) < 12 or start[:4] != b"RIFF" or start[8:] != b"WAVE":
        raise Undecodable("is no WAV, FLAC or Ogg Vorbis file")
    layout: tuple[bool, int, int, int] | None = None
    while True:
        header = file.read(8)
        if len(header) < 8:
            raise Undecodable("holds no samples" if layout else "is cut off in its header")
        kind, length = struct.unpack("<4sI", header)
        if kind == b"data":
            break
        content = file.read(length) if kind == b"fmt " and length <= 4096 else None
        if content is not None:
            layout = _layout(content)
        else:
            file.seek(length, 1)
        file.seek(length % 2, 1)
    if layout is None:
        raise Undecodable("does not say how its samples are encoded")
    is_float, bits, rate, channels = layout
    begin = file.tell()
    there = size - begin
    if length != _UNKNOWN_SIZE and length > there:
        raise Undecodable(f"is cut off: {there} of {length} bytes of sound are there")
    used = there if length == _UNKNOWN_SIZE else length
    num = used // (channels * bits // 8)
    if num == 0:
        raise Undecodable("holds no samples")
    return Wave(is_float, bits, rate, channels, begin, num)


def _is_packed(file: BinaryIO) -> bool:
    magic = file.read(4)
    file.seek(0)
    return magic in _PACKED


def _read_packed_header(file: BinaryIO) -> Wave:
    """The same of a FLAC or Ogg file; nothing is decoded yet."""
    import soundfile

    try:
        with soundfile.SoundFile(file) as sound:
            rate, channels, num = sound.samplerate, sound.channels, sound.frames
            packing = sound.format if sound.format == "FLAC" else f"{sound.format} {sound.subtype}"
    except soundfile.LibsndfileError as error:
        raise Undecodable(f"cannot be decoded: {error.error_string}") from None
    if rate not in _RATES or not 1 <= channels <= _MAX_CHANNELS:
        raise Undecodable(f"says to have {channels} channels at {rate} Hz")
    if num == 0:
        raise Undecodable("holds no samples")
    return Wave(True, 32, rate, channels, 0, num, packing.title())


def _read_packed(file: BinaryIO, first: int, num: int) -> np.ndarray:
    """``num`` samples from ``first``, float64 [num, channels], full scale from -1 to 1."""
    import soundfile

    file.seek(0)
    try:
        with soundfile.SoundFile(file) as sound:
            sound.seek(first)
            samples = sound.read(num, dtype="float64", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise Undecodable(f"cannot be decoded: {error.error_string}") from None
    if len(samples) < num:
        raise Undecodable(f"is cut off: {len(samples)} of {num} samples are there")
    if not np.isfinite(samples).all():
        raise Undecodable("holds NaN or infinity")
    return samples


def _layout(content: bytes) -> tuple[bool, int, int, int]:
    """Whether samples are floats, bits, rate and channels, of a format chunk."""
    if len(content) < 16:
        raise Undecodable("is cut off in its header")
    code, channels, rate, _, _, bits = struct.unpack("<HHIIHH", content[:16])
    if code == _EXTENSIBLE and len(content) >= 26:
        (code,) = struct.unpack("<H", content[24:26])
    known = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
    if bits not in known.get(code, ()):
        raise Undecodable(
            f"is encoded as format {code} with {bits} bits; PCM of 8, 16, 24 or 32 bits "
            "and floats of 32 or 64 are read"
        )
    if rate not in _RATES or not 1 <= channels <= _MAX_CHANNELS:
        raise Undecodable(f"says to have {channels} channels at {rate} Hz")
    return code == _FLOAT, bits, rate, channels


def _read(file: BinaryIO, wave: Wave, first: int, num: int) -> np.ndarray:
    """``num`` samples from ``first``, float64 [num, channels], full scale from -1 to 1."""
    width = wave.bits // 8 * wave.channels
    file.seek(wave.start + first * width)
    content = file.read(num * width)
    if wave.is_float:
        sound = np.frombuffer(content, f"<f{wave.bits // 8}").astype(np.float64)
        if not np.isfinite(sound).all():
            raise Undecodable("holds NaN or infinity")
    elif wave.bits == 8:
        sound = np.frombuffer(content, np.uint8) / 128.0 - 1.0
    elif wave.bits == 24:
        wide = np.zeros((num * wave.channels, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
        sound = wide.view("<i4").ravel() / 2.0**31
    else:
        sound = np.frombuffer(content, f"<i{wave.bits // 8}") / 2.0 ** (wave.bits - 1)
    return sound.reshape(num, wave.channels)


def _resample(sound: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    from scipy.signal import resample_poly

    common = gcd(rate, wanted)
    up, down = wanted // common, rate // common
    return resample_poly(sound, up, down, window=_low_pass(max(up, down)))


@lru_cache(maxsize=16)
def _low_pass(largest: int) -> np.ndarray:
    """The filter that ``resample_poly`` designs by itself for each call, which takes most of it."""
    from scipy.signal import firwin

    window: Any = ("kaiser", 5.0)
    return np.asarray(firwin(20 * largest + 1, 1 / largest, window=window))


def _place(sound: np.ndarray, out: np.ndarray) -> None:
    """Put a sound into the middle of ``out``, silence on both sides; cut it where it is longer."""
    cut = max(0, (len(sound) - len(out)) // 2)
    kept = sound[cut : cut + len(out)]
    before = (len(out) - len(kept)) // 2
    out[:] = 0
    out[before : before + len(kept)] = kept
