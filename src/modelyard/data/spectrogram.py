"""The log-mel spectrogram of a sound, as products of matrices that an ONNX graph can repeat.

A sound of S samples is cut into overlapping frames; each is weighed by a Hann window, taken apart
into frequencies (a discrete Fourier transform, padded with zeros to a power of two), and its power
is gathered in triangular bands that are equally wide on the mel scale, 2595 log10(1 + f / 700)
(O'Shaughnessy 1987; the form that HTK and torchaudio use). No frame reaches beyond the sound.
"""

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from modelyard.errors import ParamsError
from modelyard.params import Field
from modelyard.params.prepare import Audio

FLOOR = 1e-5
"""Added to the power before the logarithm: about that of a tone of one step of 16 bits."""

_FULL_SCALE = 32768.0
_BLOCK_ROWS = 64


@dataclass(frozen=True)
class Spectrogram:
    """How sounds of ``samples`` samples at ``sample_rate`` Hz become ``mels`` x ``frames`` values.

    ``window`` and ``hop`` are in samples, ``low_hz`` and ``high_hz`` bound the bands.
    """

    sample_rate: int
    samples: int
    mels: int
    window: int
    hop: int
    low_hz: float
    high_hz: float

    @classmethod
    def of_contract(cls, sound: Field, audio: Audio) -> Self:
        """The spectrogram that ``data.prepare.audio`` asks for, of the schema's audio field.

        Raises:
            ParamsError: it cannot be computed for sounds of this rate and length.
        """
        assert sound.sample_rate is not None
        rate = sound.sample_rate
        found = cls(
            sample_rate=rate,
            samples=num_samples(sound),
            mels=audio.mels,
            window=max(1, round(audio.window_ms * rate / 1000)),
            hop=max(1, round(audio.hop_ms * rate / 1000)),
            low_hz=float(audio.low_hz),
            high_hz=float(rate / 2 if audio.high_hz is None else audio.high_hz),
        )
        found._refuse_impossible()
        return found

    @classmethod
    def of_feature(cls, feature: dict[str, Any]) -> Self:
        """The spectrogram that an entry of dataset.json's ``features`` describes."""
        return cls(**{name: feature[name] for name in cls.__dataclass_fields__})

    def as_feature(self, name: str) -> dict[str, Any]:
        """The entry of dataset.json's ``features`` for the audio field called ``name``."""
        return {"name": name, "type": "audio", **asdict(self), "frames": self.frames}

    @property
    def frames(self) -> int:
        """How many frames fit into a sound."""
        return 1 + (self.samples - self.window) // self.hop

    @property
    def num_bins(self) -> int:
        """How many frequencies a frame is taken apart into."""
        return _power_of_two(self.window) // 2 + 1

    def basis(self) -> np.ndarray:
        """What a frame of int16 samples is multiplied by, float32 [window, 2 x bins].

        The cosines, then the sines, with the Hann window and the scale to -1..1 in them.
        """
        size = _power_of_two(self.window)
        times = np.arange(self.window)[:, np.newaxis]
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * times / self.window)
        angles = 2 * np.pi * times * np.arange(self.num_bins) / size
        weights = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) * hann / _FULL_SCALE
        return weights.astype(np.float32)

    def mel_matrix(self) -> np.ndarray:
        """What the power of each frequency is multiplied by, float32 [bins, mels].

        Each band is a triangle over three neighbouring points of the mel scale, of height 1.
        """
        points = _to_hz(np.linspace(_to_mel(self.low_hz), _to_mel(self.high_hz), self.mels + 2))
        hz = np.arange(self.num_bins)[:, np.newaxis] * self.sample_rate / _power_of_two(self.window)
        rising = (hz - points[:-2]) / (points[1:-1] - points[:-2])
        falling = (points[2:] - hz) / (points[2:] - points[1:-1])
        return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)

    def transform(self, sound: np.ndarray) -> np.ndarray:
        """The log-mel spectrograms of sounds.

        Args:
            sound: int16 [N, samples].

        Returns:
            float32 [N, mels, frames], ``log(power in the band + FLOOR)``.
        """
        assert sound.dtype == np.int16, sound.dtype
        basis, bands = self.basis(), self.mel_matrix()
        result = np.empty((len(sound), self.mels, self.frames), np.float32)
        for start in range(0, len(sound), _BLOCK_ROWS):
            block = sound[start : start + _BLOCK_ROWS].astype(np.float32)
            frame_nfw = np.lib.stride_tricks.sliding_window_view(block, self.window, axis=1)
            parts = np.ascontiguousarray(frame_nfw[:, :: self.hop]) @ basis
            parts *= parts
            power_nfb = parts[..., : self.num_bins] + parts[..., self.num_bins :]
            mel_nfm = np.log(power_nfb @ bands + np.float32(FLOOR))
            result[start : start + _BLOCK_ROWS] = mel_nfm.transpose(0, 2, 1)
        return result

    def _refuse_impossible(self) -> None:
        if self.window > self.samples:
            raise ParamsError(
                f"data.prepare.audio.window_ms: a window of {self.window} samples is longer than "
                f"a sound of {self.samples}",
                "Shorten the window, or raise the field's seconds.",
            )
        if self.high_hz > self.sample_rate / 2 or self.low_hz >= self.high_hz:
            raise ParamsError(
                f"data.prepare.audio: {self.low_hz:g} to {self.high_hz:g} Hz is no range of "
                f"frequencies at {self.sample_rate} samples a second",
                f"Set low_hz < high_hz <= {self.sample_rate / 2:g}.",
            )
        empty = np.flatnonzero(self.mel_matrix().sum(axis=0) == 0)
        if len(empty):
            raise ParamsError(
                f"data.prepare.audio.mels: band {empty[0]} of {self.mels} holds no frequency; "
                f"a window of {self.window} samples tells {self.num_bins} apart",
                "Set fewer mels, or a longer window_ms.",
            )


def num_samples(sound: Field) -> int:
    """How many samples each sound of an audio field has when it is stored."""
    assert sound.seconds is not None
    assert sound.sample_rate is not None
    return max(1, round(sound.seconds * sound.sample_rate))


def _power_of_two(window: int) -> int:
    return 1 << (window - 1).bit_length()


def _to_mel(hz: float | np.ndarray) -> Any:
    return 2595 * np.log10(1 + np.asarray(hz) / 700)


def _to_hz(mel: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (mel / 2595) - 1)
