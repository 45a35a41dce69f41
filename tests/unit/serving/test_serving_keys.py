"""Keys: nothing in the file opens a door, and what is wrong with a key or its file refuses."""

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.cli.api_keys import add_command
from modelyard.errors import ParamsError, WorkspaceError
from modelyard.serving import keys
from modelyard.serving.failures import RequestError
from modelyard.serving.guard import Guard, refuse_model
from modelyard.serving.keys import KeyFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / keys.FILE


def looked_again(file: KeyFile) -> KeyFile:
    """As if a second had gone by."""
    file._looked = -keys.LOOK_EVERY_S
    return file


def asked(guard: Guard, path: str = "/predict", **headers: str) -> keys.ApiKey | None:
    given = {name.replace("_", "-").encode(): text.encode() for name, text in headers.items()}
    return guard.check(path, given)


def test_a_key_is_shown_once_and_only_its_hash_is_kept(path: Path) -> None:
    text, key = keys.add(path, "shop", ("digits",), rate=5, days=30)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
    assert all(file.stat().st_mode & 0o077 == 0 for file in path.parent.iterdir())
    content = path.read_text()
    assert text.split("_", 2)[2] not in content
    assert text not in content
    assert KeyFile(path).find(text) == key == keys.read(path)[key.id]
    assert key.opens("digits")
    assert not key.opens("credit")


@given(wrong=st.text(max_size=60))
def test_no_other_text_is_a_key(tmp_path_factory: pytest.TempPathFactory, wrong: str) -> None:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    text, _ = keys.add(path, "shop", ("*",), None, None)
    file = KeyFile(path)
    assert file.find(wrong) is None
    assert file.find(text + wrong) is None or not wrong
    assert file.find(text[:-1] + ("A" if text[-1] != "A" else "B")) is None


def test_without_a_file_nobody_needs_a_key_unless_it_is_required(path: Path) -> None:
    assert asked(Guard(KeyFile(path))) is None
    with pytest.raises(RequestError) as caught:
        asked(Guard(KeyFile(path, required=True)))
    assert caught.value.status == 401


def test_a_file_that_vanishes_or_is_damaged_opens_nothing(path: Path) -> None:
    text, _ = keys.add(path, "shop", ("*",), None, None)
    file = KeyFile(path)
    assert file.find(text)
    for spoil in (path.unlink, lambda: path.write_text("{"), lambda: path.chmod(0o644)):
        spoil()
        with pytest.raises(RequestError, match="send a key"):
            asked(Guard(looked_again(file)), authorization=f"Bearer {text}")


@pytest.mark.parametrize(
    "wrong", [{"expires": "tomorrow"}, {"expires": "2199-01-01"}, {"rate": "5"}, {"rate": 0}]
)
def test_a_file_with_an_impossible_key_opens_nothing(path: Path, wrong: dict[str, object]) -> None:
    text, _ = keys.add(path, "shop", ("*",), None, None)
    tree = json.loads(path.read_text())
    tree["keys"][0] |= wrong
    path.write_text(json.dumps(tree))
    assert KeyFile(path).find(text) is None
    with pytest.raises(WorkspaceError, match="damaged"):
        keys.read(path)


def test_a_place_where_no_file_can_be_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file where the folder should be")
    assert KeyFile(tmp_path / "keys" / "api-keys.json").keys() == {}


@pytest.mark.parametrize(("owner", "rate"), [(" ", None), ("shop", float("inf"))])
def test_a_key_without_an_owner_or_with_an_endless_rate_is_not_made(
    owner: str, rate: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_STATE_DIR", str(tmp_path))
    with pytest.raises(ParamsError, match=r"owner|--rate"):
        add_command(owner, "*", rate, None)
    assert not (tmp_path / keys.FILE).exists()


def test_a_key_that_is_taken_back_or_over_is_refused(path: Path) -> None:
    text, key = keys.add(path, "shop", ("*",), None, None)
    other, _ = keys.add(path, "bank", ("*",), None, 1)
    file = KeyFile(path)
    assert file.find(other)
    keys.remove(path, key.id)
    assert looked_again(file).find(text) is None
    tree = json.loads(path.read_text())
    tree["keys"][0]["expires"] = "2020-01-01T00:00:00+00:00"
    path.write_text(json.dumps(tree))
    assert looked_again(file).find(other) is None
    with pytest.raises(WorkspaceError, match="there is no key 'feedbeef'"):
        keys.remove(path, "feedbeef")


def test_keys_made_at_once_are_all_kept(path: Path) -> None:
    threads = [
        threading.Thread(target=keys.add, args=(path, f"caller {number}", ("*",), None, None))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.owner for key in keys.read(path).values()} == {f"caller {n}" for n in range(8)}


def test_who_may_ask_what(path: Path) -> None:
    text, key = keys.add(path, "shop", ("digits",), None, None)
    guard = Guard(KeyFile(path))
    assert asked(guard, authorization=f"Bearer {text}") == key
    assert asked(guard, authorization=f"bearer  {text} ") == key
    assert asked(guard, x_api_key=text) == key
    for headers in ({}, {"authorization": f"Basic {text}"}, {"x_api_key": "my_0_x"}):
        with pytest.raises(RequestError) as caught:
            asked(guard, **headers)
        assert caught.value.status == 401
        assert dict(caught.value.headers)[b"www-authenticate"] == b"Bearer"
    for path in ("/v2/health/ready", "/models/digits"):
        assert asked(guard, path) is None
    for path in ("/", "/models/digits/form", "/v2/models/digits", "/metrics", "/openapi.json"):
        with pytest.raises(RequestError):
            asked(guard, path)
    refuse_model(key, "digits")
    refuse_model(None, "credit")
    with pytest.raises(RequestError, match="not for model 'credit'"):
        refuse_model(key, "credit")


def test_a_key_asks_no_more_often_than_it_may(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("modelyard.serving.guard.time.monotonic", lambda: now[0])
    text, _ = keys.add(path, "shop", ("*",), 2, None)
    other, _ = keys.add(path, "bank", ("*",), 0.1, None)
    guard = Guard(KeyFile(path))
    for _ in range(2):
        asked(guard, x_api_key=text)
    with pytest.raises(RequestError, match="2 times a second") as caught:
        asked(guard, x_api_key=text)
    assert caught.value.status == 429
    assert dict(caught.value.headers)[b"retry-after"] == b"1"
    asked(guard, x_api_key=other)
    with pytest.raises(RequestError) as caught:
        asked(guard, x_api_key=other)
    assert dict(caught.value.headers)[b"retry-after"] == b"10"
    now[0] += 0.5
    asked(guard, x_api_key=text)
    with pytest.raises(RequestError):
        asked(guard, x_api_key=text)
