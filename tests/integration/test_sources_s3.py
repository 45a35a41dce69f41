"""A real S3 server as the source: a prefix comes whole, as it stood at one moment, or not."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from modelyard.artifacts import Layout
from modelyard.data import source_s3
from modelyard.data.fetch import fetch
from modelyard.data.raw import raw_sha256
from modelyard.errors import ServiceUnavailable, SourceError
from modelyard.params import DataParams, load
from modelyard.runs.pin import look, source_state
from tests.integration.s3_server import KEYS, client

pytestmark = [pytest.mark.slow, pytest.mark.server]

PROJECT = Path(__file__).parents[2]
FILES = {"cat/1.png": b"cat 1", "cat/2.png": b"cat 2", "dog/1.png": b"d" * 3_000_000}


@pytest.fixture
def bucket(s3: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket of the test's own with a few objects below ``animals/``."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    name = f"source-{abs(hash(request.node.name)) % 10**9}"
    client(s3).create_bucket(Bucket=name)
    hidden = {"cat/.hidden.png": b"no", "_SUCCESS": b""}
    for key, content in (FILES | hidden).items():
        put(s3, name, f"animals/{key}", content)
    put(s3, name, "animals-2/cat/3.png", b"of another prefix")
    return name


def put(s3: str, bucket: str, key: str, content: bytes) -> None:
    client(s3).put_object(Bucket=bucket, Key=key, Body=content)


def contract(source: str, **changes: Any) -> DataParams:
    return load(PROJECT).data.model_copy(update={"source": source, "sha256": None} | changes)


def files(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_a_prefix_a_pattern_and_an_object(s3: str, bucket: str, tmp_path: Path) -> None:
    layout, place = Layout(tmp_path), f"s3://{bucket}"
    for path in ("animals", "animals/", "animals/*/*.png", "animals/{label}/*.png"):
        assert files(fetch(layout, contract(f"{place}/{path}")).path) == FILES
    raw = fetch(layout, contract(f"{place}/animals/cat/1.png"))
    assert files(raw.path) == {"1.png": b"cat 1"}
    nothing, none = f"nothing lies under {place}", "holds no file"
    wrong = {"animals/cow": nothing, "animal": nothing, "animals/{label}/*.jpg": none}
    for path, message in wrong.items():
        with pytest.raises(SourceError, match=message):
            fetch(layout, contract(f"{place}/{path}"))
    assert files(layout.raw) == {"1.png": b"cat 1"}


def test_only_what_is_new_is_downloaded(
    s3: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, params = Layout(tmp_path), contract(f"s3://{bucket}/animals")
    shutil.copy2(PROJECT / "dvc.yaml", tmp_path)
    asked: list[str] = []
    download = source_s3._download

    def counted(client: Any, bucket: str, wanted: source_s3.StoredObject, entry: Path) -> None:
        asked.append(wanted.key)
        download(client, bucket, wanted, entry)

    monkeypatch.setattr(source_s3, "_download", counted)
    first = fetch(layout, params).sha256
    state = source_state(tmp_path, params)
    assert sorted(asked) == [f"animals/{key}" for key in sorted(FILES)]
    assert (fetch(layout, params).sha256, len(asked)) == (first, 3)
    put(s3, bucket, "animals/cat/2.png", b"another")
    assert source_state(tmp_path, params) != state
    assert look(tmp_path, params).outdated
    assert fetch(layout, params).sha256 != first
    assert asked[3:] == ["animals/cat/2.png"]
    pinned = contract(f"s3://{bucket}/animals", sha256=first)
    with pytest.raises(SourceError, match=f"but data.sha256 names {first}"):
        fetch(layout, pinned)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("written", r"animals/cat/2\.png (was written|changed or went away) while"),
        ("added", r"animals/cat/9\.png was written while"),
        ("removed", r"animals/cat/2\.png (went away|changed or went away) while"),
    ],
)
def test_a_prefix_that_changes_while_it_is_read_stops(
    s3: str,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    expected: str,
) -> None:
    layout, params = Layout(tmp_path), contract(f"s3://{bucket}/animals")
    fetch(layout, contract(f"s3://{bucket}/animals/cat/1.png"))
    before, download, server = raw_sha256(layout.raw), source_s3._download, client(s3)

    def change_then_download(*arguments: Any) -> None:
        key = "animals/cat/9.png" if change == "added" else "animals/cat/2.png"
        if change == "removed":
            server.delete_object(Bucket=bucket, Key=key)
        else:
            server.put_object(Bucket=bucket, Key=key, Body=b"of now")
        download(*arguments)

    monkeypatch.setattr(source_s3, "_download", change_then_download)
    with pytest.raises(SourceError, match=expected):
        fetch(layout, params)
    assert raw_sha256(layout.raw) == before
    assert [path.name for path in layout.raw.parent.iterdir()] == ["raw"]
    kept = tmp_path / ".modelyard/downloads/s3"
    assert not [path for path in kept.iterdir() if path.name.startswith(".")]


def test_what_the_server_refuses_is_explained(
    s3: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceError, match="there is no such bucket"):
        fetch(Layout(tmp_path), contract("s3://no-such-bucket/animals"))
    params = contract(f"s3://{bucket}/animals")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret-word")
    with pytest.raises(ServiceUnavailable, match="answers SignatureDoesNotMatch") as caught:
        fetch(Layout(tmp_path), params)
    assert "another-secret-word" not in str(caught.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ServiceUnavailable, match="Could not connect"):
        fetch(Layout(tmp_path), params)
    assert not (tmp_path / "data/raw").exists()
