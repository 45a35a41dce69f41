"""Batch scoring of pictures and texts: in a table, with and without a target, and as files."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from modelyard.params import parse
from modelyard.settings import Settings
from tests.integration import scored_project as given
from tests.unit.serving.table_packages import write_text_package
from tests.unit.serving.tiny_packages import SIZE, answer, write_package

IMAGES = np.random.default_rng(1).integers(0, 256, (5, SIZE, SIZE), dtype=np.uint8)
FIELDS: list[dict[str, Any]] = [
    {"name": "image", "type": "image", "height": SIZE, "width": SIZE, "channels": 1},
    {"name": "label", "type": "category", "constraints": {"required": True}},
]


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Settings]:
    tree = yaml.safe_load((given.ROOT / "params.yaml").read_text())
    tree["data"] |= {"source": "digits/{label}/*.png", "schema": {"fields": FIELDS}}
    tree["data"] |= {"sha256": None, "max_rejected": 0.5, "expectations": [], "quality": []}
    tree["registry"] = {"name": given.NAME}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    params = parse(tree).model_dump(mode="json", by_alias=True)
    settings = Settings(state_dir=tmp_path / ".modelyard")
    given.place_live(settings, lambda folder: write_package(folder, seed=1), params)
    return tmp_path, settings


def check(root: Path, settings: Settings, output: str, rows: list[int]) -> None:
    table = pq.read_table(root / output / "predictions")
    assert table.column("row").to_pylist() == rows
    (model,) = settings.serving.glob("*/versions/*/model.onnx")
    found = np.stack(table.column("probabilities").to_numpy())
    assert np.allclose(found, answer(model, IMAGES[: len(rows)]), atol=1e-6)


@pytest.mark.parametrize("columns", [SIZE * SIZE, SIZE * SIZE + 1])
def test_packed_pictures(made: tuple[Path, Settings], columns: int) -> None:
    root, settings = made
    packed = np.column_stack([IMAGES.reshape(5, -1), np.zeros(5, int)])[:, :columns].astype(object)
    bad = packed[:1].copy()
    bad[0, 3] = 256
    rows = np.vstack([packed, bad])
    text = "\n".join(",".join(map(str, row)) for row in rows.tolist())
    (root / "packed.csv").write_text(text + "\n")
    scored = given.score(root, settings, "packed.csv")
    assert scored.rows == {"read": 6, "scored": 5, "rejected": 1}
    check(root, settings, "out", [0, 1, 2, 3, 4])
    (refused,) = pq.read_table(root / "out/quarantine.parquet").to_pylist()
    assert (refused["row"], refused["column"]) == (5, "image[0,3]")


def test_files_of_pictures(made: tuple[Path, Settings]) -> None:
    root, settings = made
    (root / "new").mkdir()
    for index, image in enumerate(IMAGES):
        Image.fromarray(image).save(root / "new" / f"{index}.png")
    (root / "new" / "5.png").write_bytes(b"no picture")
    scored = given.score(root, settings, "new/*.png")
    assert scored.rows == {"read": 6, "scored": 5, "rejected": 1}
    check(root, settings, "out", [0, 1, 2, 3, 4])
    files = pq.read_table(root / "out/predictions").column("file").to_pylist()
    assert files == [f"{index}.png" for index in range(5)]
    (refused,) = pq.read_table(root / "out/quarantine.parquet").to_pylist()
    assert (refused["row"], refused["value"]) == (5, "5.png")


LINES = ["bad", "good", "nice", "good"]
TEXT: list[dict[str, Any]] = [
    {"name": "review", "type": "text", "constraints": {"required": True}},
    {"name": "label", "type": "category", "constraints": {"required": True}},
]


def make_texts(root: Path, source: str) -> Settings:
    tree = yaml.safe_load((given.ROOT / "params.yaml").read_text())
    tree["data"] |= {"kind": "text", "source": source, "schema": {"fields": TEXT}, "sha256": None}
    tree["data"] |= {"max_rejected": 0.5, "expectations": [], "quality": [], "dialect": {}}
    tree["registry"] = {"name": given.NAME}
    (root / "params.yaml").write_text(yaml.safe_dump(tree))
    params = parse(tree).model_dump(mode="json", by_alias=True)
    settings = Settings(state_dir=root / ".modelyard")
    given.place_live(settings, write_text_package, params)
    (root / "new/deep").mkdir(parents=True)
    for index, text in enumerate(LINES):
        (root / ("new/deep" if index else "new") / f"{index}.txt").write_text(text)
    (root / "new/a.txt").write_bytes(b"r\xf6d")
    cells = "".join(f'"{text}"\n' for text in LINES)
    (root / "table.csv").write_text(f"review\n{cells}")
    return settings


@pytest.mark.parametrize("source", ["mails/{label}/*.txt", "mails.csv"])
def test_texts_in_a_folder_and_in_a_table_get_the_same_answers(tmp_path: Path, source: str) -> None:
    settings = make_texts(tmp_path, source)
    scored = given.score(tmp_path, settings, "new", "folder")
    assert scored.rows == {"read": 5, "scored": 4, "rejected": 1}
    assert given.score(tmp_path, settings, "table.csv", "table").rows["scored"] == 4
    folder = pq.read_table(tmp_path / "folder/predictions")
    table = pq.read_table(tmp_path / "table/predictions")
    assert folder.column("file").to_pylist() == ["0.txt", *(f"deep/{n}.txt" for n in (1, 2, 3))]
    assert folder.column("row").to_pylist() == [0, 2, 3, 4]
    assert folder.column("probabilities") == table.column("probabilities")
    assert len(set(table.column("probabilities").combine_chunks().flatten().to_pylist())) == 6
    (refused,) = pq.read_table(tmp_path / "folder/quarantine.parquet").to_pylist()
    assert (refused["value"], refused["reason"]) == ("a.txt", "is not UTF-8 text")
