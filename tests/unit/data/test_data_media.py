"""Files of pictures and sounds through ingest: a dataset version, the same each time, or none."""

from pathlib import Path

import numpy as np
import pytest
from data_tables import outputs
from media_files import RATE, audio_params, image_params, noise, picture, tone, wav

from modelyard.artifacts import SPLITS, Dataset, Layout, read_json
from modelyard.data.columns import iterate_features, read_split
from modelyard.data.ingest import ingest
from modelyard.data.spectrogram import Spectrogram
from modelyard.errors import DataRejected
from modelyard.params import DataParams

SPEAKERS = 10


def put(layout: Layout, files: dict[str, bytes]) -> Layout:
    for name, content in files.items():
        path = layout.raw / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return layout


def sounds() -> dict[str, bytes]:
    """Two words by each of ten speakers, half of them at another rate, and one broken file."""
    files = {}
    for speaker in range(SPEAKERS):
        rate = RATE * (1 + speaker % 2)
        for word, hz in (("high", 1500), ("low", 300)):
            sound = tone(rate // 10, hz + 10 * speaker, rate)
            files[f"{word}_s{speaker}_1.wav"] = wav(sound, rate=rate)
    return files | {"low_s9_2.wav": b"RIFF"}


def speaker_params() -> DataParams:
    fields = audio_params().model_dump(by_alias=True, exclude_none=True)["schema"]["fields"]
    speaker = {"name": "speaker", "type": "string", "sensitive": True}
    return audio_params(
        source="sounds/{label}_{speaker}_{take}.wav",
        schema={"fields": [*fields, speaker]},
        max_rejected=0.1,
        split={"type": "group", "column": "speaker", "probabilities": [0.6, 0.2, 0.2]},
        leakage={"groups": ["speaker"]},
    )


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """The sounds, ingested."""
    layout = put(Layout(tmp_path_factory.mktemp("spoken")), sounds())
    ingest(layout, speaker_params())
    return layout


def test_sounds_become_a_dataset_divided_by_their_speakers(spoken: Layout) -> None:
    dataset = Dataset.read(spoken.dataset)
    spectrogram = Spectrogram.of_feature(dataset.features[0])
    speakers: dict[str, set[str]] = {}
    for name in SPLITS:
        columns = read_split(dataset, name)
        sound = columns.features["sound"]
        assert (sound.dtype, sound.shape) == (np.int16, (dataset.rows[name], RATE // 10))
        (batch,) = iterate_features(dataset.split(name), dataset.features)
        assert (batch["sound"] == spectrogram.transform(sound)).all()
        loudest = batch["sound"].mean(axis=2).argmax(axis=1)
        assert [dataset.labels[target] for target in columns.targets] == [
            "high" if band > 20 else "low" for band in loudest
        ]
        speakers[name] = set(columns.sensitive["speaker"])
    assert sum(map(len, speakers.values())) == len(set.union(*speakers.values())) == SPEAKERS
    assert sum(dataset.rows.values()) == 2 * SPEAKERS


def test_what_was_converted_is_counted_in_metrics_and_report(spoken: Layout) -> None:
    metrics = read_json(spoken.metrics("ingest"))
    assert metrics["converted"] == {"resampled from 16000 Hz": SPEAKERS}
    assert (metrics["rows"]["read"], metrics["rows"]["rejected"]) == (2 * SPEAKERS + 1, 1)
    html = spoken.data_report.read_text(encoding="utf-8")
    for part in ("resampled from 16000 Hz", "low_s9_2.wav", "is no WAV, FLAC or Ogg Vorbis file"):
        assert part in html


def test_again_and_elsewhere_it_is_the_same_bytes(spoken: Layout, tmp_path: Path) -> None:
    elsewhere = put(Layout(tmp_path / "another/place"), sounds())
    ingest(elsewhere, speaker_params())
    assert outputs(elsewhere) == outputs(spoken)


FOLDERS = {"type": "fixed", "column": "part", "probabilities": [0.8, 0.1, 0.1]}


def folder_params() -> DataParams:
    fields = image_params().model_dump(by_alias=True, exclude_none=True)["schema"]["fields"]
    part = {"name": "part", "type": "string"}
    return image_params(
        source="images/{part}/{label}/*.png", schema={"fields": [*fields, part]}, split=FOLDERS
    )


def images() -> dict[str, bytes]:
    return {
        f"{part}/{'ab'[index % 2]}/{index}.png": picture(noise(4, 4, seed=index))
        for part, indices in (("train", range(20)), ("test", range(20, 26)))
        for index in indices
    }


def test_folders_may_name_the_split_and_validation_is_carved_out_of_train(tmp_path: Path) -> None:
    layout = put(Layout(tmp_path), images())
    dataset = ingest(layout, folder_params())
    assert dataset.rows == {"train": 18, "validation": 2, "test": 6}
    # Rows follow the paths: those of test come first.
    assert read_split(dataset, "test").rows.tolist() == list(range(6))
    pixels = read_split(dataset, "test").features["picture"]
    assert pixels[0].tolist() == noise(4, 4, seed=20).tolist()


def test_a_picture_in_two_splits_stops_the_run_and_leaves_nothing(tmp_path: Path) -> None:
    files = images() | {"test/a/copy.png": picture(noise(4, 4, seed=2))}
    layout = put(Layout(tmp_path), files)
    with pytest.raises(DataRejected, match="picture"):
        ingest(layout, folder_params())
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["raw"]
    assert not layout.metrics("ingest").exists()


def test_too_many_bad_files_stop_the_run_and_are_named(tmp_path: Path) -> None:
    layout = put(Layout(tmp_path), images() | {"test/b/bad.png": b"<html>"})
    with pytest.raises(DataRejected) as caught:
        ingest(layout, folder_params())
    assert "1 of 27 rows break the contract" in caught.value.message
    assert "test/b/bad.png" in caught.value.message
    assert not layout.dataset.exists()
