"""Batch scoring: what is asked of a row by itself, and what other jobs and calls leave in place."""

import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from modelyard.data.pii import KEY, Tokenizer
from modelyard.errors import WorkspaceError
from modelyard.runs.score.job import Job
from modelyard.runs.score.model import find_live
from modelyard.settings import Settings
from tests.integration import scored_project as given
from tests.unit.serving.table_packages import write_table_package

MAIL = {"name": "mail", "type": "string", "pii": True, "constraints": {"required": True}}
FIELDS = [*given.FIELDS[:-1], MAIL, given.FIELDS[-1]]
ACROSS: list[tuple[str, dict[str, Any]]] = [
    ("expect_column_values_to_be_unique", {"column": "status"}),
    ("expect_column_values_to_be_increasing", {"column": "age"}),
    ("expect_compound_columns_to_be_unique", {"column_list": ["status", "y"]}),
    ("expect_compound_columns_to_be_unique", {"column_list": ["status", "note"]}),
    ("expect_table_columns_to_match_set", {"column_set": ["age", "visits", "y"]}),
    ("expect_table_column_count_to_equal", {"value": 10}),
    ("expect_column_values_to_be_between", {"column": "age", "max_value": 100}),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Settings]:
    """A model with personal data in its schema, and expectations of every sort."""
    root = tmp_path_factory.mktemp("alone") / "project"
    expectations = [{"type": kind, "kwargs": kwargs} for kind, kwargs in ACROSS]
    schema = {"fields": FIELDS, "rest": "refuse"}
    return root, given.make_project(root, expectations=expectations, schema=schema)


def test_nothing_is_asked_of_rows_together(made: tuple[Path, Settings]) -> None:
    root, settings = made
    ages = ["50", "40", "101", "40"]
    given.write_rows(root / "rows.csv", [[age, *given.ROW[1:]] for age in ages])
    scored = given.score(root, settings, "rows.csv", "alone")
    assert scored.rows == {"read": 4, "scored": 3, "rejected": 1}
    assert scored.unmet == ()
    (refused,) = pq.read_table(root / "alone/quarantine.parquet").to_pylist()
    assert (refused["row"], refused["column"]) == (2, "age")


def test_personal_data_that_no_model_takes_are_not_read(made: tuple[Path, Settings]) -> None:
    root, settings = made
    rows = [[*given.ROW, ""], [*given.ROW, "ann@mail.example"]]
    given.write_rows(root / "mails.csv", rows, [*given.HEADER, "mail"])
    scored = given.score(root, settings, "mails.csv", "mails")
    assert scored.rows == {"read": 2, "scored": 2, "rejected": 0}
    assert not (settings.state_dir / KEY).exists()


@pytest.fixture
def featured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Settings]:
    """A version whose features are made of a column and of a token."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "custom"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", list(sys.path))
    given.git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "custom").mkdir()
    (tmp_path / "custom/__init__.py").touch()
    (tmp_path / "custom/alone.py").write_text(
        "def make(frame):\n"
        "    known = frame['mail'].str.len() > 20\n"
        "    return frame.assign(double=frame['age'] * 2, married=known)\n"
    )
    (tmp_path / ".gitignore").write_text(".modelyard\n")
    made = {"column": "double", "max_value": 100}
    settings = given.make_project(
        tmp_path,
        features="custom.alone:make",
        schema={"fields": FIELDS, "rest": "refuse"},
        expectations=[
            {"type": "expect_column_values_to_be_between", "kwargs": made},
            {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "y"}},
        ],
    )
    given.git(tmp_path, "add", "-A")
    given.git(tmp_path, "commit", "-qm", "start")
    params = find_live(settings, "visits").proof.params
    commit = given.git(tmp_path, "rev-parse", "HEAD")
    given.place_live(settings, write_table_package, params, commit)
    return tmp_path, settings


def test_expectations_on_features_hold_and_tokens_are_those_of_training(
    featured: tuple[Path, Settings],
) -> None:
    root, settings = featured
    rows = [[age, *given.ROW[1:], "1", "ann@mail.example"] for age in ("31.5", "60")]
    given.write_rows(root / "rows.csv", rows, [*given.HEADER, "id", "mail"])
    key = settings.state_dir / KEY
    with pytest.raises(WorkspaceError, match=r"pii\.key, is not there") as refused:
        given.score(root, settings, "rows.csv")
    assert "Restore it" in refused.value.remedy
    assert not key.exists()
    Tokenizer.open(settings.state_dir)
    scored = given.score(root, settings, "rows.csv")
    assert scored.rows == {"read": 2, "scored": 1, "rejected": 1}
    (item,) = pq.read_table(root / "out/quarantine.parquet").to_pylist()
    assert (item["row"], item["column"], item["value"]) == (1, "double", "120.0")


def test_a_job_leaves_what_another_output_has_half_done(made: tuple[Path, Settings]) -> None:
    root, settings = made
    given.write_rows(root / "few.csv", given.numbered(3))
    own, other = (root / f".2024{month}.0123456789ab.partial" for month in ("", ".05"))
    for folder in (own, other):
        (folder / "blocks").mkdir(parents=True)
    given.score(root, settings, "few.csv", "2024")
    assert not own.exists()
    assert (other / "blocks").is_dir()


def test_a_former_result_that_a_kill_took_away_comes_back(
    made: tuple[Path, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, settings = made
    output = root / "kept"
    given.write_rows(root / "kept.csv", given.numbered(3))
    given.score(root, settings, "kept.csv", "kept")
    before = given.files(output)
    given.write_rows(root / "kept.csv", given.numbered(4))
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if path.name == "out" and target == output.resolve():
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            given.score(root, settings, "kept.csv", "kept")
    assert not output.exists()
    with Job(root, settings, find_live(settings, given.NAME), "kept.csv", output).held():
        assert given.files(output) == before
    assert given.score(root, settings, "kept.csv", "kept").rows["read"] == 4
    assert not list(root.glob(".kept*"))
