"""The log-mel spectrogram against the formulas, computed another way."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_files import tone
from scipy.signal.windows import hann

from modelyard.data.spectrogram import FLOOR, Spectrogram
from modelyard.errors import ParamsError
from modelyard.params import Field
from modelyard.params.prepare import Audio


def of(rate: int = 8000, seconds: float = 0.5, **audio: Any) -> Spectrogram:
    field = Field.model_validate(
        {"name": "sound", "type": "audio", "sample_rate": rate, "seconds": seconds}
    )
    return Spectrogram.of_contract(field, Audio.model_validate(audio))


def htk_bands(spectrogram: Spectrogram, hz: np.ndarray) -> np.ndarray:
    """Triangular filters as the HTK Book 3.4 section 5.4 has them, one value at a time."""

    def mel(frequency: float) -> float:
        return 1127 * np.log(1 + frequency / 700)

    low, high = mel(spectrogram.low_hz), mel(spectrogram.high_hz)
    step = (high - low) / (spectrogram.mels + 1)
    bands = np.zeros((len(hz), spectrogram.mels))
    for band in range(spectrogram.mels):
        left, centre, right = (700 * np.expm1((low + (band + k) * step) / 1127) for k in range(3))
        for index, frequency in enumerate(hz):
            if left < frequency <= centre:
                bands[index, band] = (frequency - left) / (centre - left)
            elif centre < frequency < right:
                bands[index, band] = (right - frequency) / (right - centre)
    return bands


@settings(max_examples=15, deadline=None)
@given(
    rate=st.sampled_from([8000, 11_025, 16_000]),
    window_ms=st.sampled_from([20, 25, 32]),
    hop_ms=st.sampled_from([5, 10, 12.5]),
    mels=st.integers(8, 40),
    seed=st.integers(0, 99),
)
def test_equals_a_fourier_transform_and_the_bands_of_htk(
    rate: int, window_ms: float, hop_ms: float, mels: int, seed: int
) -> None:
    spectrogram = of(rate, 0.3, window_ms=window_ms, hop_ms=hop_ms, mels=mels)
    sound = np.random.default_rng(seed).integers(-9000, 9000, (2, spectrogram.samples))
    sound = sound.astype(np.int16)
    found = spectrogram.transform(sound)
    size = 2 * (spectrogram.num_bins - 1)
    window = hann(spectrogram.window, sym=False)
    bands = htk_bands(spectrogram, np.fft.rfftfreq(size, 1 / rate))
    for row, wave in enumerate(sound / 32768.0):
        for frame in range(0, spectrogram.frames, 7):
            start = frame * spectrogram.hop
            part = wave[start : start + spectrogram.window] * window
            power = np.abs(np.fft.rfft(part, size)) ** 2
            expected = np.log(power @ bands + FLOOR)
            assert np.abs(found[row, :, frame] - expected).max() < 2e-3
    assert found.shape == (2, mels, spectrogram.frames)
    assert found.dtype == np.float32


@pytest.mark.parametrize("hz", [200, 1000, 3000])
def test_a_tone_is_loudest_in_its_band(hz: int) -> None:
    spectrogram = of()
    mean = spectrogram.transform(tone(4000, hz)[np.newaxis])[0].mean(axis=1)
    centre = spectrogram.mel_matrix()[:, mean.argmax()].argmax() * 8000 / 256
    assert abs(centre - hz) < 60 + hz * 0.05


def test_silence_is_the_floor_and_rows_do_not_depend_on_their_neighbours() -> None:
    spectrogram = of()
    sounds = np.random.default_rng(0).integers(-99, 99, (150, spectrogram.samples)).astype(np.int16)
    sounds[3] = 0
    together = spectrogram.transform(sounds)
    assert np.allclose(together[3], np.log(FLOOR))
    for row in (0, 3, 149):
        assert (spectrogram.transform(sounds[row : row + 1])[0] == together[row]).all()
    assert spectrogram.transform(sounds[:0]).shape == (0, 40, spectrogram.frames)


def test_a_feature_of_the_dataset_describes_it() -> None:
    spectrogram = of(16_000, 1.0, mels=32, high_hz=7000)
    feature = spectrogram.as_feature("sound")
    assert feature == {
        "name": "sound",
        "type": "audio",
        "sample_rate": 16_000,
        "samples": 16_000,
        "mels": 32,
        "frames": 98,
        "window": 400,
        "hop": 160,
        "low_hz": 20.0,
        "high_hz": 7000.0,
    }
    assert Spectrogram.of_feature(feature) == spectrogram


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        ({"seconds": 0.01}, "a window of 200 samples is longer than a sound of 80"),
        ({"high_hz": 4001}, "20 to 4001 Hz is no range"),
        ({"low_hz": 500, "high_hz": 400}, "500 to 400 Hz is no range"),
        ({"mels": 200}, "of 200 holds no frequency"),
    ],
)
def test_what_cannot_be_computed_is_refused(audio: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError) as caught:
        of(**audio)
    assert message in caught.value.message
    assert caught.value.remedy
