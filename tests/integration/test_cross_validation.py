"""Cross-validation for real: judged on rows not learned from, and resumed where a kill cut it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelyard.artifacts import Dataset, Layout
from modelyard.errors import WorkspaceError
from modelyard.params import ModelParams
from modelyard.training.cross_validate import cross_validate
from modelyard.training.fold_data import LEARNED, keys_of, vocabulary_note, write_fold
from modelyard.training.folds import plan
from tests.integration.training_project import make_project, train_params
from tests.project import environment

pytestmark = pytest.mark.distributed

FOLDS = 2
TRAIN = train_params(epochs=12)
CODE = """
import sys
from pathlib import Path
from modelyard.artifacts import Layout
from modelyard.training.cross_validate import cross_validate
from tests.integration.test_cross_validation import FOLDS, MODEL, TRAIN
root = Path(sys.argv[1])
cross_validate(Layout(root), MODEL, TRAIN, FOLDS, root / "checkpoints")
"""
MODEL = ModelParams(factory="mlp", args={"hidden": [8]})
ROOT = Path(__file__).parents[2]


def make(root: Path, groups: Sequence[str] = (), **split: object) -> Layout:
    layout = make_project(root)
    path = layout.dataset / "dataset.json"
    tree = json.loads(path.read_text())
    tree |= {"split": split or {"type": "stratify", "column": "label"}, "prepare": {}, "clean": {}}
    tree["leakage"] = {"groups": groups}
    path.write_text(json.dumps(tree))
    return layout


def metrics(layout: Layout) -> bytes:
    return layout.metrics("cross_validate").read_bytes()


def test_a_killed_one_goes_on_and_ends_as_one_that_was_not(tmp_path: Path) -> None:
    layout = make(tmp_path / "whole")
    cross_validate(layout, MODEL, TRAIN, FOLDS, tmp_path / "checkpoints")
    tree = json.loads(metrics(layout))
    assert [fold["fold"] for fold in tree["folds"]] == [1, 2]
    assert sum(fold["rows"] for fold in tree["folds"]) == 121, "train and validation, no test"
    assert (tree["metric"], tree["by"]) == ("accuracy", "class")
    scores = [fold["score"] for fold in tree["folds"]]
    assert tree["mean"] == pytest.approx(np.mean(scores), abs=1e-6)
    assert tree["low"] <= tree["mean"] <= tree["high"] <= 1
    assert tree["mean"] > 0.5, "it learns: a third is chance"
    assert not list((tmp_path / "checkpoints").glob("*/dataset")), "the folds' rows are removed"
    killed = make(tmp_path / "killed")
    kill_after_one(killed)
    first = (killed.root / "checkpoints/fold-1/result.json").stat().st_mtime_ns
    cross_validate(killed, MODEL, TRAIN, FOLDS, killed.root / "checkpoints")
    assert metrics(killed) == metrics(layout)
    assert (killed.root / "checkpoints/fold-1/result.json").stat().st_mtime_ns == first, (
        "not done again"
    )


def kill_after_one(layout: Layout) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CODE, str(layout.root)], cwd=ROOT, env=environment(ROOT)
    ) as process:
        deadline = time.monotonic() + 90
        while not list((layout.root / "checkpoints/fold-2").glob("epoch-*")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert not layout.metrics("cross_validate").exists()


def test_no_folds_no_training(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    cross_validate(layout, MODEL, TRAIN, 0, tmp_path / "checkpoints")
    assert metrics(layout) == b'{\n  "folds": []\n}\n'
    assert not (tmp_path / "checkpoints").exists()


def test_a_fold_is_a_dataset_with_its_own_preprocessing(tmp_path: Path) -> None:
    dataset = Dataset.read(make(tmp_path).dataset)
    keys, note = keys_of(dataset)
    assert (keys.by, note) == ("class", "")
    part = plan(keys, FOLDS, 0.25, 0)[0]
    own = write_fold(dataset, part, "2" * 64, tmp_path / "fold")
    found = {
        name: pq.read_table(own.split(name), columns=["row"]).column(0).to_pylist()
        for name in own.rows
    }
    assert sorted(row for rows in found.values() for row in rows) == keys.rows.tolist()
    assert {name: len(rows) for name, rows in found.items()} == own.rows
    whole = (dataset.path / "preprocessing.json").read_text()
    assert (own.path / "preprocessing.json").read_text() != whole
    assert own.features == dataset.features


@pytest.mark.parametrize(
    ("split", "by", "said"),
    [
        ({"type": "hash", "columns": ["row"]}, "group", ""),
        ({"type": "datetime", "column": "row"}, "time", ""),
        ({"type": "group", "column": "patient"}, "class", "does not hold patient as values"),
        ({"type": "hash", "columns": []}, "class", "folds do not heed equal rows"),
        ({"type": "fixed", "column": "label"}, "class", ""),
    ],
)
def test_folds_follow_the_split(
    tmp_path: Path, split: dict[str, object], by: str, said: str
) -> None:
    keys, note = keys_of(Dataset.read(make(tmp_path, **split).dataset))
    assert keys.by == by
    assert said in note
    assert bool(said) == bool(note)


@pytest.mark.parametrize(
    ("split", "groups", "by", "said"),
    [
        ({"type": "stratify", "column": "label"}, ["site"], "group", ""),
        ({"type": "fixed", "column": "part"}, ["site", "day"], "group", "of day together"),
        ({"type": "stratify", "column": "label"}, ["patient"], "class", "not hold patient"),
        ({"type": "datetime", "column": "row"}, ["site"], "time", "of site together"),
        ({"type": "group", "column": "site"}, ["site"], "group", ""),
        ({"type": "hash", "columns": ["site", "row"]}, ["site"], "group", "of site together"),
    ],
)
def test_groups_that_must_not_be_shared_make_folds_or_are_noted(
    tmp_path: Path, split: dict[str, object], groups: list[str], by: str, said: str
) -> None:
    dataset = Dataset.read(make(tmp_path, groups, **split).dataset)
    for name in LEARNED:
        table = pq.read_table(dataset.split(name))
        sites = [row // 4 or None for row in range(len(table))]
        pq.write_table(table.append_column("site", pa.array(sites)), dataset.split(name))
    keys, note = keys_of(dataset)
    assert keys.by == by
    assert said in note
    assert bool(said) == bool(note)
    if by == "group" and split["type"] != "hash":
        # Rows of train and validation without a site are each alone; their sites are 1, 2, ...
        assert len(set(keys.values)) == 8 + len({row // 4 for row in range(4, 90)})


@pytest.mark.parametrize(
    ("kind", "source", "said"),
    [
        ("text", "package:words==1/list.txt", "tokens that the whole train split kept"),
        ("image", "package:words==1/list.txt", ""),
        ("text", None, ""),
    ],
)
def test_folds_say_that_they_choose_among_the_tokens_of_train(
    tmp_path: Path, kind: str, source: str | None, said: str
) -> None:
    layout = make(tmp_path)
    path = layout.dataset / "dataset.json"
    tree = json.loads(path.read_text())
    listed = source and {"source": source, "sha256": "0" * 64}
    tree |= {"features": [{"name": "review", "type": kind}]}
    tree |= {"prepare": {"text": {"vocabulary": listed}}}
    path.write_text(json.dumps(tree))
    note = vocabulary_note(Dataset.read(layout.dataset))
    assert said in note
    assert bool(said) == bool(note)


def test_a_dataset_that_does_not_say_how_it_was_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"dataset\.json has no split"):
        keys_of(Dataset.read(make_project(tmp_path).dataset))
