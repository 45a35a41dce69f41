"""The record of who moved an alias, and the secrets of a server with accounts."""

import threading
from pathlib import Path

import pytest

from modelyard.errors import WorkspaceError
from modelyard.services import mlflow_auth, planning, specs
from modelyard.services.mlflow_auth import _read_or_make, is_wanted
from modelyard.services.mlflow_moves import NUM_TOLD, Move, MoveLog
from modelyard.settings import Settings

ROOT = Path(__file__).parents[3]


@pytest.fixture
def log(tmp_path: Path) -> MoveLog:
    return MoveLog(tmp_path / "moves.db")


def move(version: int, name: str = "digits", alias: str = "champion") -> Move:
    return Move("2026-11-23T10:00:00.000+00:00", "ada", "set", name, alias, version)


def test_the_newest_moves_of_an_alias_come_first(log: MoveLog, tmp_path: Path) -> None:
    copy = Move("2026-11-23T10:00:00.000+00:00", "eve", "copy", "digits", "", 9, "models:/a/1")
    with log.recording() as note:
        for version in range(NUM_TOLD + 5):
            note(move(version))
        note(move(1, alias="live"))
        note(move(1, name="other"))
        note(copy)
    again = MoveLog(tmp_path / "moves.db").moves("digits", "champion")
    assert again == [copy, *(move(version) for version in range(NUM_TOLD + 4, 5, -1))]
    assert (tmp_path / "moves.db").stat().st_mode & 0o077 == 0


def test_what_failed_is_not_recorded(log: MoveLog) -> None:
    def fail() -> None:
        with log.recording() as note:
            note(move(1))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert log.moves("digits", "champion") == []


def test_a_reader_waits_for_a_move_that_is_under_way(log: MoveLog) -> None:
    told: list[list[Move]] = []
    reader = threading.Thread(target=lambda: told.append(log.moves("digits", "champion")))
    with log.recording() as note:
        reader.start()
        reader.join(timeout=0.2)
        assert reader.is_alive()
        note(move(2))
    reader.join(timeout=10)
    assert told == [[move(2)]]


def test_a_server_that_asked_for_accounts_goes_on_asking(tmp_path: Path) -> None:
    assert not is_wanted(tmp_path, None)
    assert is_wanted(tmp_path, True)
    (tmp_path / mlflow_auth.DATABASE).touch()
    assert is_wanted(tmp_path, None)
    assert not is_wanted(tmp_path, False)


def test_a_secret_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "mlflow-admin"
    assert _read_or_make(file, "first") == ("first", True)
    assert _read_or_make(file, "second") == ("first", False)
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    with pytest.raises(WorkspaceError, match="can be read by others"):
        _read_or_make(file, "third")


def test_the_follower_alone_is_given_the_file_of_its_account(tmp_path: Path) -> None:
    def environments(**given: object) -> dict[str, dict[str, str]]:
        settings = Settings(state_dir=tmp_path).model_copy(
            update={"mlflow_port": 0, "prefect_port": 0, "serving_port": 0, **given}
        )
        plans = planning.plan(settings, ROOT, specs.load(ROOT), {}, {})
        return {name: plan.env for name, plan in plans.items()}

    name = "MODELYARD_MLFLOW_ACCOUNT_FILE"
    open_to_all = environments()
    assert open_to_all["mlflow"]["MODELYARD_MLFLOW_AUTH"] == "false"
    assert open_to_all["follower"][name] == ""
    asking = environments(mlflow_auth=True)
    assert asking["mlflow"]["MODELYARD_MLFLOW_AUTH"] == "true"
    assert asking["follower"][name] == str(tmp_path / "keys/mlflow-follower")
    assert [service for service, env in asking.items() if name in env] == ["follower"]
    elsewhere = environments(mlflow_auth=True, mlflow_tracking_uri="http://127.0.0.1:9")
    assert elsewhere["follower"][name] == ""
