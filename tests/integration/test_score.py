"""Batch scoring: what is answered, what is refused, what a kill leaves, what is not repeated."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from modelyard.errors import DataRejected, PackageError, SourceError, WorkspaceError
from modelyard.runs.score import blocks
from modelyard.runs.score.job import Job
from modelyard.runs.score.model import find_live, find_version
from modelyard.settings import Settings
from tests.integration import scored_project as given
from tests.project import call, environment
from tests.unit.serving.table_packages import write_table_package

ROOT = Path(__file__).parents[2]
CODE = """
import sys
from pathlib import Path
from modelyard.runs.score import blocks
from modelyard.settings import Settings
from tests.integration import scored_project as given
blocks.ROWS["tabular"] = 500
root = Path(sys.argv[1])
given.score(root, Settings(state_dir=root / ".modelyard"), "rows.csv", "cut")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Settings]:
    root = tmp_path_factory.mktemp("scored") / "project"
    return root, given.make_project(root)


def test_rows_are_answered_and_refused_one_by_one(made: tuple[Path, Settings]) -> None:
    root, settings = made
    missing = ["", "2", "", "", "", "", ""]
    rows = [
        given.ROW,
        ["31.5", "two", *given.ROW[2:]],
        missing,
        ["-1", *given.ROW[1:]],
        ["0", "2", "false", *given.ROW[3:5], "unheard of", ""],
    ]
    given.write_rows(root / "rows.csv", rows)
    scored = given.score(root, settings, "rows.csv")
    assert scored.rows == {"read": 5, "scored": 3, "rejected": 2}
    assert (scored.name, scored.version, scored.is_new) == ("visits", 3, True)
    table = pq.read_table(root / "out/predictions/part-00000.parquet")
    assert table.column("row").to_pylist() == [0, 2, 4]
    sums = np.array([given.total(), -1 + 2 - 1 - 1 - 1 + 1 + 1, 0 + 2 + 0 + 10 + 100 + 5 + 1])
    answers = np.stack(table.column("probabilities").to_numpy())
    assert np.allclose(answers, given.expected(sums), atol=1e-5)
    labels = np.array(["low", "high"])[answers.argmax(axis=1)]
    assert table.column("label").to_pylist() == labels.tolist()
    about = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert about["modelyard.model"] == "visits"
    assert about["modelyard.version"] == "3"
    assert about["modelyard.digest"] == find_live(settings, "visits").digest
    assert about["modelyard.input_sha256"] == scored.input_sha256
    assert json.loads(about["modelyard.labels"]) == ["low", "high"]
    refused = pq.read_table(root / "out/quarantine.parquet").to_pylist()
    assert [(item["row"], item["column"], item["value"]) for item in refused] == [
        (1, "visits", "two"),
        (3, "age", "-1"),
    ]
    assert given.manifest(root / "out")["reasons"] == [
        "1 x age: is below the minimum 0",
        "1 x visits: is not an integer",
    ]
    assert scored.unmet == (), "bounds on the whole set are not asked of rows to be scored"


def test_the_same_again_changes_nothing(made: tuple[Path, Settings]) -> None:
    root, settings = made
    given.write_rows(root / "rows.csv", [given.ROW])
    first = given.score(root, settings, "rows.csv", "again")
    before = (root / "again").stat().st_ino
    assert given.score(root, settings, "rows.csv", "again").is_new is False
    assert (root / "again").stat().st_ino == before
    given.write_rows(root / "rows.csv", [given.ROW, given.ROW])
    second = given.score(root, settings, "rows.csv", "again")
    assert second.is_new
    assert second.input_sha256 != first.input_sha256
    assert not list(root.glob(".again*")), "nothing is left beside the result"


@pytest.mark.parametrize("form", ["csv.gz", "parquet", "two files", "with the target"])
def test_all_forms_give_the_same_predictions(made: tuple[Path, Settings], form: str) -> None:
    root, settings = made
    rows = given.numbered(20)
    plain = given.write_rows(root / "plain" / "rows.csv", rows)
    given.score(root, settings, "plain/rows.csv", "plain-out")
    folder, source = root / form.replace(" ", "-"), f"{form.replace(' ', '-')}/*"
    folder.mkdir()
    if form == "csv.gz":
        (folder / "rows.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    elif form == "parquet":
        text = {name: pa.string() for name in ("married", "seen")}
        options = pa_csv.ConvertOptions(column_types=text)
        pq.write_table(pa_csv.read_csv(plain, convert_options=options), folder / "rows.parquet")
    elif form == "two files":
        given.write_rows(folder / "a.csv", rows[:12])
        given.write_rows(folder / "b.csv", rows[12:])
    else:
        header = ["y", "id", *given.HEADER]
        given.write_rows(folder / "rows.csv", [["", "x", *row] for row in rows], header)
    scored = given.score(root, settings, source, f"{folder.name}-out")
    assert scored.rows == {"read": 20, "scored": 20, "rejected": 0}
    expected = pq.read_table(root / "plain-out/predictions")
    found = pq.read_table(root / f"{folder.name}-out/predictions")
    assert found.num_rows == 20
    assert found.to_pydict() == expected.to_pydict()


def test_ragged_rows_keep_the_places_of_the_others(
    made: tuple[Path, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, settings = made
    monkeypatch.setitem(blocks.ROWS, "tabular", 2)
    rows = given.numbered(9)
    rows[1] = rows[1][:3]
    rows[5] = [*rows[5], "more"]
    rows[7][0] = "old"
    given.write_rows(root / "ragged.csv", rows)
    scored = given.score(root, settings, "ragged.csv", "ragged")
    assert scored.rows == {"read": 9, "scored": 6, "rejected": 3}
    found = pq.read_table(root / "ragged/predictions")
    assert found.column("row").to_pylist() == [0, 2, 3, 4, 6, 8]
    refused = pq.read_table(root / "ragged/quarantine.parquet").column("row").to_pylist()
    assert refused == [1, 5, 7]
    whole = np.stack(found.column("probabilities").to_numpy())
    ages = np.array([0, 2, 3, 4, 6, 8]) - 31.5
    assert np.allclose(whole, given.expected(ages + given.total()), atol=1e-5)


def test_too_many_refused_rows_give_no_result(made: tuple[Path, Settings]) -> None:
    root, settings = made
    bad = ["x", *given.ROW[1:]]
    given.write_rows(root / "bad.csv", [given.ROW, bad, bad])
    with pytest.raises(DataRejected, match=r"2 of 3 rows of bad\.csv break") as refused:
        given.score(root, settings, "bad.csv", "bad")
    assert "2 x age: is not a number" in refused.value.message
    kept = settings.state_dir / "scores/rejected/bad.parquet"
    assert str(kept) in refused.value.remedy
    assert pq.read_table(kept).num_rows == 2
    assert not list(root.glob("*bad*/")), "no result, and nothing half-written"
    assert not list(root.glob(".bad*"))


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (["age", *given.HEADER[1:]], "Age"),
        ([*given.HEADER[:-1], "more"], "note"),
        ([*given.HEADER, "more"], "more"),
    ],
)
def test_other_columns_are_refused(
    made: tuple[Path, Settings], header: list[str], said: str
) -> None:
    root, settings = made
    row = [*given.ROW, "1"][: len(header)]
    given.write_rows(root / "other.csv", [row], header)
    with pytest.raises(SourceError, match=said):
        given.score(root, settings, "other.csv", "other")
    assert not list(root.glob("*other")) + list(root.glob(".other*"))


def test_a_source_outside_the_project_and_a_missing_one(
    made: tuple[Path, Settings], tmp_path: Path
) -> None:
    root, settings = made
    path = given.write_rows(tmp_path / "elsewhere.csv", [given.ROW])
    assert given.score(root, settings, str(path), "elsewhere").rows["scored"] == 1
    assert given.manifest(root / "elsewhere")["source"] == str(path)
    with pytest.raises(SourceError, match=r"^missing\.csv: there is no such file"):
        given.score(root, settings, "missing.csv", "missing")


def test_what_is_no_result_is_not_replaced(made: tuple[Path, Settings]) -> None:
    root, settings = made
    (root / "mine").mkdir()
    (root / "mine/notes.txt").write_text("mine")
    given.write_rows(root / "rows.csv", [given.ROW])
    with pytest.raises(WorkspaceError, match="is no result of scoring"):
        given.score(root, settings, "rows.csv", "mine")
    job = Job(root, settings, find_live(settings, "visits"), "rows.csv", root / "held")
    again = Job(root, settings, find_live(settings, "visits"), "rows.csv", root / "held")
    with job.held(), pytest.raises(WorkspaceError, match="another process writes"), again.held():
        pass


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_other_tasks(tmp_path: Path, task: str) -> None:
    settings = given.make_project(
        tmp_path,
        task,
        **(
            {"target": ["y", "z"], "schema": {"fields": labelled()}}
            if task == "multi-label"
            else {}
        ),
    )
    given.write_rows(tmp_path / "rows.csv", [given.ROW, ["", "-200", *given.ROW[2:]]])
    given.score(tmp_path, settings, "rows.csv")
    table = pq.read_table(tmp_path / "out/predictions/part-00000.parquet")
    low = -1 - 200 + 1 + 10 + 100 + 2 + 3
    if task == "regression":
        assert table.column_names == ["row", "prediction"]
        assert table.column("prediction").to_pylist() == pytest.approx([given.total(), low])
    else:
        assert table.column("labels").to_pylist() == [["low", "high"], []]


def labelled() -> list[dict[str, object]]:
    fields = [item for item in given.FIELDS if item["name"] != "y"]
    return [*fields, {"name": "y", "type": "boolean"}, {"name": "z", "type": "boolean"}]


def test_a_killed_one_goes_on_and_ends_with_the_same_bytes(
    made: tuple[Path, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, settings = made
    monkeypatch.setitem(blocks.ROWS, "tabular", 500)
    rows = given.numbered(4_000)
    rows[777][1] = "none"
    rows[3000] = rows[3000][:2]
    given.write_rows(root / "rows.csv", rows)
    given.score(root, settings, "rows.csv", "whole")
    finished = kill_in_the_middle(root)
    names = [path.name for path in finished]
    assert 0 < len(names) < 8
    (partial,) = root.glob(".cut.*.partial")
    before = {name: (partial / "blocks" / name).stat().st_mtime_ns for name in names}
    written: list[str] = []
    write = Job._write

    def watch(job: Job, folder: Path, number: int, *rest: object) -> None:
        written.append(f"{number:05d}.json")
        write(job, folder, number, *rest)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Job, "_write", watch)
    scored = given.score(root, settings, "rows.csv", "cut")
    assert not set(written) & set(before), "finished parts are kept"
    assert len(written) + len(names) == 8
    assert given.files(root / "cut") == given.files(root / "whole")
    assert scored.rows == {"read": 4_000, "scored": 3_998, "rejected": 2}
    assert not list(root.glob(".cut.*"))


def kill_in_the_middle(root: Path) -> list[Path]:
    with subprocess.Popen(
        [sys.executable, "-c", CODE, str(root)], cwd=ROOT, env=environment(ROOT)
    ) as process:
        deadline = time.monotonic() + 60
        while len(found := list(root.glob(".cut.*.partial/blocks/*.json"))) < 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (root / "cut").exists()
    return sorted(root.glob(".cut.*.partial/blocks/*.json")) or found


def test_a_package_that_is_not_what_it_was_scores_nothing(tmp_path: Path) -> None:
    settings = given.make_project(tmp_path)
    live = find_live(settings, "visits")
    assert find_version(settings, "visits", 3) == live, "a version that is here needs no MLflow"
    (live.folder / "labels.json").write_text('["low", "higher"]')
    with pytest.raises(PackageError, match=r"labels\.json"):
        find_live(settings, "visits")
    with pytest.raises(PackageError, match="nothing is live as others"):
        find_live(settings, "others")


def test_features_are_made_by_the_code_of_the_version_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "custom"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", list(sys.path))
    given.git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "custom").mkdir()
    (tmp_path / "custom/__init__.py").touch()
    (tmp_path / "custom/scored.py").write_text(
        "def older(frame):\n    return frame.assign(age=frame['age'] + frame['id'].str.len())\n"
    )
    (tmp_path / ".gitignore").write_text(".modelyard\n")
    settings = given.make_project(tmp_path, features="custom.scored:older")
    given.git(tmp_path, "add", "-A")
    given.git(tmp_path, "commit", "-qm", "start")
    params = find_live(settings, "visits").proof.params
    commit = given.git(tmp_path, "rev-parse", "HEAD")
    given.place_live(settings, write_table_package, params, commit)
    header = [*given.HEADER, "id"]
    given.write_rows(tmp_path / "rows.csv", [[*given.ROW, "abcde"]], header)
    given.score(tmp_path, settings, "rows.csv")
    answer = (
        pq.read_table(tmp_path / "out/predictions/part-00000.parquet")
        .column("probabilities")
        .to_numpy()
    )
    assert np.allclose(np.stack(answer), given.expected(np.array([given.total() + 5])), atol=1e-5)
    (tmp_path / "custom/scored.py").write_text("def older(frame):\n    return frame\n")
    with pytest.raises(WorkspaceError, match="custom/ is not as it was"):
        given.score(tmp_path, settings, "rows.csv")


@pytest.mark.server
def test_the_command_scores_by_what_is_live_with_mlflow_away(
    tmp_path: Path, servers: dict[str, str]
) -> None:
    given.make_project(tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    given.write_rows(tmp_path / "rows" / "november.csv", [given.ROW, ["?", *given.ROW[1:]]])
    code = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    away = {
        "PREFECT_API_URL": servers["PREFECT_API_URL"],
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    }
    words = [sys.executable, "-m", "modelyard.cli", "score", "november.csv", "--no-up"]
    printed = call(tmp_path / "rows", *words, PYTHONPATH=code, **away).stdout
    assert "visits version 3, live" in printed
    assert "2 read, 1 scored, 1 rejected" in printed
    assert "data/scores/quarantine.parquet" in printed
    assert pq.read_table(tmp_path / "data/scores/predictions").num_rows == 1
