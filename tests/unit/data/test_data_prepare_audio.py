"""Sound: spectrograms of ingest, of raw sounds and of the served graph are the same features."""

from pathlib import Path

import numpy as np
import pytest
from prepared_rows import by_graph, fit, write_split

from modelyard.data.columns import iterate_features
from modelyard.data.preprocessing import Preprocessing
from modelyard.data.spectrogram import Spectrogram

SPECTROGRAM = Spectrogram(8000, 1000, 12, window=200, hop=80, low_hz=20, high_hz=4000)
FEATURES = [SPECTROGRAM.as_feature("clip")]


def sounds(rows: int, seed: int = 0) -> np.ndarray:
    """Noise, tones, silence and clipping, int16 [rows, 1000]."""
    generator = np.random.default_rng(seed)
    times = np.arange(1000) / 8000
    tones = np.sin(2 * np.pi * generator.uniform(50, 3900, (rows, 1)) * times)
    noise = generator.normal(0, 1, (rows, 1000)) * generator.uniform(0, 0.5, (rows, 1))
    loud = generator.uniform(0, 40000, (rows, 1))
    loud[0] = 0
    return np.clip((tones + noise) * loud, -32768, 32767).astype(np.int16)


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audio") / "train.parquet"
    return write_split(path, FEATURES, {"clip": sounds(30)})


def test_all_ways_agree(train: Path, tmp_path: Path) -> None:
    preprocessing = fit(train, FEATURES)
    assert preprocessing.input_shape == (1, 12, SPECTROGRAM.frames)
    preprocessing.write(tmp_path / "preprocessing.json")
    assert Preprocessing.read(tmp_path / "preprocessing.json") == preprocessing
    (stored,) = iterate_features(train, FEATURES)
    assert stored["clip"].dtype == np.float32
    from_sounds = preprocessing.transform({"clip": sounds(30)})
    np.testing.assert_array_equal(preprocessing.transform(stored), from_sounds)
    for columns in ({"clip": sounds(30)}, {"clip": sounds(7, seed=1)}):
        tensor = preprocessing.transform(columns)
        np.testing.assert_allclose(by_graph(preprocessing, columns), tensor, atol=2e-4)


def test_each_band_of_train_becomes_centred_with_unit_deviation(train: Path) -> None:
    tensor = fit(train, FEATURES).transform({"clip": sounds(30)}).astype(np.float64)
    assert np.abs(tensor.mean(axis=(0, 1, 3))).max() < 1e-4
    assert np.abs(tensor.std(axis=(0, 1, 3)) - 1).max() < 1e-4


def test_silence_is_not_stretched(tmp_path: Path) -> None:
    silence = np.zeros((3, 1000), np.int16)
    path = write_split(tmp_path / "train.parquet", FEATURES, {"clip": silence})
    assert np.abs(fit(path, FEATURES).transform({"clip": silence})).max() < 1e-5
