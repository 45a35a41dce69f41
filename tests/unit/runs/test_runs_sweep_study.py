"""A study under way: who may run it, what it takes up again, and when it is another one."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from modelyard.errors import WorkspaceError
from modelyard.runs.sweep.best import SweepFailed, choose
from modelyard.runs.sweep.report import markdown, table, write_report
from modelyard.runs.sweep.study import Study
from modelyard.settings import Settings
from tests.conftest import copy_project

FILE = {
    "name": "tried",
    "method": "grid",
    "pruner": {"name": "median", "warmup": 0, "startup": 1},
    "params": {"train.optimizer.lr": [0.1, 0.01, 0.001]},
}
ROWS = "of the first"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("swept") / "clone")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def open_study(root: Path, state: Path, **changes: Any) -> Study:
    path = root / "sweeps" / "tried.yaml"
    path.write_text(yaml.safe_dump(FILE | changes))
    return Study(root, path, Settings(state_dir=state))


def ended(score: float, rows: str = ROWS) -> dict[str, Any]:
    measured = {"validation_score": score, "validation_loss": 1 - score}
    return {"metrics": measured, "epochs": [{"epoch": 1, **measured}], "rows": rows}


def epoch(number: int, score: float) -> dict[str, Any]:
    return {"epoch": number, "validation_score": score, "validation_loss": 1 - score}


def test_what_a_kill_left_is_taken_up_first(root: Path, state: Path) -> None:
    study = open_study(root, state)
    with study.under_way():
        first, second = study.ask(), study.ask()
        assert first is not None
        assert second is not None
        study.add_epoch(0, epoch(1, 0.4))
        study.finish(1, ended(0.7))
    again = open_study(root, state)
    with again.under_way():
        taken, third = again.ask(), again.ask()
        assert taken is not None
        assert (taken.number, taken.params) == (0, first.params)
        assert taken.epochs == (epoch(1, 0.4),)
        assert third is not None
        assert third.number == 2
        again.finish(0, ended(0.8))
        again.fail(2, "the loss is nan")
        assert again.ask() is None
    assert choose(again).number == 0
    states = [(row["number"], row["state"]) for row in table(again)]
    assert states == [(0, "done"), (1, "done"), (2, "failed")]
    assert "| 0 | 0.8000 | 0.1 | 1 | done |" in markdown(again)
    write_report(again)
    page = (again.folder / "report.html").read_text()
    assert "the loss is nan" in page
    assert "0.8000" in page


def test_a_second_process_is_refused(root: Path, state: Path) -> None:
    study, other = open_study(root, state), open_study(root, state)
    refused = pytest.raises(WorkspaceError, match="under way in another process")
    with study.under_way(), refused, other.under_way():
        pass


def test_trials_judged_on_other_rows_do_not_compare(root: Path, state: Path) -> None:
    study = open_study(root, state)
    with study.under_way():
        study.ask()
        study.ask()
        study.finish(0, ended(0.7))
        assert study.finish(1, ended(0.9, "others")).state == "failed"
    best = choose(study)
    assert best.number == 0
    assert "not those of trial 0" in study.trials[1].reason


def test_without_a_finished_trial_nothing_is_chosen(root: Path, state: Path) -> None:
    study = open_study(root, state)
    with study.under_way():
        study.ask()
        study.fail(0, "the loss is nan in epoch 1")
    with pytest.raises(SweepFailed, match=r"none of 1 trials .* the loss is nan in epoch 1"):
        choose(study)
    write_report(study)


def test_a_trial_in_its_last_epoch_is_not_given_up(root: Path, state: Path) -> None:
    epochs = yaml.safe_load((root / "params.yaml").read_text())["train"]["epochs"]
    study = open_study(root, state)
    with study.under_way():
        study.ask()
        study.add_epoch(0, epoch(1, 0.9))
        study.finish(0, ended(0.9) | {"epochs": [epoch(n, 0.9) for n in range(1, epochs + 1)]})
        study.ask()
        assert study.add_epoch(1, epoch(1, 0.1))
        assert not study.add_epoch(1, epoch(epochs, 0.1))
        assert study.give_up(1).state == "pruned"
        assert f"after epoch {epochs}" in study.trials[1].reason


def test_a_change_of_what_trials_hang_from_is_another_sweep(root: Path, state: Path) -> None:
    key = open_study(root, state).key
    assert open_study(root, state, parallel=3).key == key
    assert open_study(root, state, seed=1).key != key
    (root / "README.md").write_text("other words")
    assert open_study(root, state).key == key
    params = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(params.replace("margin: 0.02", "margin: 0.03"))
    assert open_study(root, state).key == key, "no trial reads the section promote"
    (root / "params.yaml").write_text(params.replace("batch_size: 64", "batch_size: 32"))
    assert open_study(root, state).key != key
    (root / "params.yaml").write_text(params)
    code = root / "src/modelyard/training/loop.py"
    text = code.read_text()
    code.write_text(text + "# changed\n")
    assert open_study(root, state).key != key
    code.write_text(text)
    assert open_study(root, state).key == key
