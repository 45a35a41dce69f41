"""`modelyard rebuild`: a registered version is made again from its snapshot alone."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from modelyard.artifacts import Layout, read_json, write_json
from modelyard.errors import ModelyardError, PackageError, WorkspaceError
from modelyard.mlflow_api import MlflowApi
from modelyard.runs import rebuild as rebuild_module
from modelyard.runs.rebuild import Registered, rebuild
from modelyard.settings import Settings
from tests import project

pytestmark = [pytest.mark.server, pytest.mark.distributed]

NAME = "rebuilt"
PARTS = ["dataset", "weights", "reference.onnx", "model.onnx"]


@pytest.fixture(scope="module")
def registered(
    tmp_path_factory: pytest.TempPathFactory, repeated: Path, servers: dict[str, str]
) -> Path:
    """A clone whose finished stages are registered, as a version of its own model."""
    root = tmp_path_factory.mktemp("rebuild") / "clone"
    shutil.copytree(repeated, root, symlinks=True)
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["registry"]["name"] = NAME
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    assert "version 1 registered" in project.modelyard(root, "register", **servers).stdout
    return root


@pytest.fixture
def settings(
    registered: Path, servers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Settings:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", servers["MLFLOW_TRACKING_URI"])
    return Settings(state_dir=registered / ".modelyard")


def refs(root: Path) -> str:
    return project.call(root, "git", "for-each-ref").stdout


@pytest.mark.slow
def test_a_version_is_made_again_byte_for_byte(registered: Path, servers: dict[str, str]) -> None:
    """The working tree and the source have moved on since; the outputs of stages are gone."""
    before, status = refs(registered), project.call(registered, "git", "status", "--short").stdout
    source = registered / "samples" / "bands.csv"
    content = source.read_bytes()
    shutil.move(registered / "models", registered.parent / "models")
    source.write_bytes(content + b"\n")
    try:
        done = project.modelyard(registered, "rebuild", NAME, "1", check=False, **servers)
    finally:
        source.write_bytes(content)
        shutil.move(registered.parent / "models", registered / "models")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [(line[0], line[1]) for line in lines] == [("✓", part) for part in PARTS]
    assert "not checked" not in done.stdout
    assert refs(registered) == before
    assert project.call(registered, "git", "status", "--short").stdout == status
    assert not list((registered / ".modelyard" / "worktrees").iterdir())


def _other_dataset(made: Layout) -> None:
    path = made.dataset / "dataset.json"
    write_json(path, read_json(path) | {"digest": "0" * 64})


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()  # it may be a link
    path.write_bytes(content)


@pytest.fixture(scope="module")
def version(
    registered: Path, servers: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Registered:
    settings = Settings(
        state_dir=registered / ".modelyard",
        mlflow_tracking_uri=servers["MLFLOW_TRACKING_URI"],
    )
    return rebuild_module._download(settings, NAME, 1, tmp_path_factory.mktemp("v") / "package")


@pytest.mark.parametrize(
    ("change", "differs", "said"),
    [
        (_other_dataset, "dataset", "digest 000000000000, but [0-9a-f]{12} is registered"),
        (lambda made: _flip(made.trained / "model.safetensors"), "weights", "md5 .*, but "),
        (lambda made: _flip(made.package / "reference.onnx"), "reference.onnx", "sha256 .*, but "),
        (lambda made: _flip(made.package / "model.onnx"), "model.onnx", "sha256 .*, but "),
    ],
)
def test_the_part_that_differs_is_named(
    registered: Path,
    version: Registered,
    tmp_path: Path,
    change: Callable[[Layout], None],
    differs: str,
    said: str,
) -> None:
    """In place of a second run: the first one's results, one of them changed."""
    for part in ("data/dataset", "models"):
        shutil.copytree(registered / part, tmp_path / part)
    change(Layout(tmp_path))
    checks = list(rebuild_module._compare(registered, Layout(tmp_path), version))
    assert [(check.name, check.ok) for check in checks] == [
        (part, part != differs) for part in PARTS
    ]
    (broken,) = (check for check in checks if not check.ok)
    assert re.search(said, broken.detail)


def test_weights_that_are_nowhere_are_not_said_to_be_equal(
    registered: Path, version: Registered, tmp_path: Path
) -> None:
    for part in ("data/dataset", "models"):
        shutil.copytree(registered / part, tmp_path / part)
    weights = list(rebuild_module._compare(tmp_path, Layout(tmp_path), version))[1]
    assert weights.detail.startswith("not checked: the run's dvc.lock or its weights are not here")


def test_a_stage_that_fails_is_told_with_its_message(
    version: Registered, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(ModelyardError, match=r"could not be run again:\nthere is no params\.yaml"):
        rebuild_module._run_stages(tmp_path, settings, version.proof, tmp_path)


def test_what_cannot_be_rebuilt_says_why(
    registered: Path,
    version: Registered,
    settings: Settings,
    tmp_path: Path,
    servers: dict[str, str],
) -> None:
    with pytest.raises(ModelyardError, match="no version 9 of rebuilt"):
        rebuild(registered, settings, NAME, 9)
    project.call(tmp_path, "git", "clone", "-q", "--depth", "1", f"file://{registered}", "other")
    commit = version.proof.snapshot_commit
    with pytest.raises(WorkspaceError, match=f"git knows no commit by '{commit}'"):
        rebuild(tmp_path / "other", settings, NAME, 1)
    with MlflowApi(servers["MLFLOW_TRACKING_URI"]) as api:
        uri = api.version_uri(NAME, 1)
        proof = api.read_artifact(uri, "package/proof.json")
        api.upload_bytes(uri, "package/proof.json", proof.replace(b'"fp32"', b'"fp16"') + b" ")
        try:
            with pytest.raises(PackageError, match=r"proof\.json"):
                rebuild(registered, settings, NAME, 1)
        finally:
            api.upload_bytes(uri, "package/proof.json", proof)
