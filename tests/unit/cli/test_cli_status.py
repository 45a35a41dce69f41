"""What `modelyard status` says of the serving folder."""

from pathlib import Path

import pytest

from modelyard.artifacts import write_json
from modelyard.cli.services import live_models
from modelyard.settings import Settings


def test_status_names_what_is_live_and_what_is_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    assert live_models(settings) == ["live: no model yet"]
    digest = "ab" * 32
    write_json(settings.serving / "m/live.json", {"name": "m", "version": 1, "digest": digest})
    write_json(settings.serving / "m/canary.json", {"version": 3, "percent": 12.5})
    write_json(settings.serving / "m/shadow.json", {"version": 2})
    assert live_models(settings) == [
        "live: m version 1, digest abababababab",
        "canary: version 3, 12.5 % of its callers",
        "shadow: version 2, unseen",
    ]
