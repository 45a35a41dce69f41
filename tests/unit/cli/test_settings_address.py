"""settings.address: the local services' record, whole or not."""

import json
from pathlib import Path

import pytest

from modelyard.errors import WorkspaceError
from modelyard.services import records
from modelyard.settings import Settings


def settings_with(content: bytes, folder: Path) -> Settings:
    (folder / "services.json").write_bytes(content)
    return Settings.model_validate({"state_dir": folder})


@pytest.fixture(autouse=True)
def _no_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "MODELYARD_SERVING_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"mlflow": 3}',
        b'{"mlflow": null}',
        b'{"mlflow": {"url": 5}}',
        b"[" * 100_000,
    ],
)
def test_a_record_that_is_none_is_named_with_the_remedy(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"services\.json is not a record") as caught:
        settings_with(content, tmp_path).address("mlflow")
    assert "remove that file" in caught.value.remedy


def test_the_remedy_is_that_of_the_services(tmp_path: Path) -> None:
    settings = settings_with(b"{", tmp_path)
    with pytest.raises(WorkspaceError) as by_settings:
        settings.address("mlflow")
    with pytest.raises(WorkspaceError) as by_records:
        records.read(settings.services_file)
    assert str(by_settings.value) == str(by_records.value)


def test_the_address_is_read_where_it_is_recorded(tmp_path: Path) -> None:
    entries = {"mlflow": {"url": "http://h:1"}, "prefect": {"url": "http://h:2"}, "follower": {}}
    settings = settings_with(json.dumps(entries).encode(), tmp_path)
    assert settings.address("mlflow") == "http://h:1"
    assert settings.address("prefect") == "http://h:2/api"
    assert settings.address("serving") is None


def test_without_a_record_no_address_is_known(tmp_path: Path) -> None:
    assert Settings.model_validate({"state_dir": tmp_path}).address("mlflow") is None
