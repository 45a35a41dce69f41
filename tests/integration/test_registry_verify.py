"""`verify` computes each link of a version's proof again, and says which one does not hold."""

import hashlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelyard.artifacts import Layout, ModelVersion
from modelyard.errors import ModelyardError
from modelyard.mlflow_api import MlflowApi
from modelyard.package import Proof, ensure_key, sign_folder
from modelyard.params import Params, parse
from modelyard.registry import tags as names
from modelyard.registry.gate import gate
from modelyard.registry.record import record
from modelyard.registry.register import register
from modelyard.registry.runs import RunInfo
from modelyard.registry.verify import verify
from tests.integration.registry_project import make_project, params, run_info
from tests.mlflow_server import mlflow_server

pytestmark = pytest.mark.server

LOCK = b"numpy==2.4.6\n"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture
def api(url: str) -> Iterator[MlflowApi]:
    with MlflowApi(url) as client:
        yield client


@dataclass(frozen=True)
class Made:
    layout: Layout
    params: Params
    info: RunInfo
    trusted: Path
    version: ModelVersion


def git(root: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *words]
    result = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    return result.stdout.strip()


def dvc_lock(info: RunInfo) -> bytes:
    stages = {
        "fetch": {"outs": [{"path": "data/raw", "md5": info.raw_md5}]},
        "ingest": {"outs": [{"path": "data/dataset", "md5": info.dataset_md5}]},
    }
    return yaml.safe_dump({"schema": "2.0", "stages": stages}).encode()


def make(root: Path, name: str, api: MlflowApi) -> Made:
    layout = make_project(root)
    tree = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
    tree["registry"]["name"] = name
    (root / "params.yaml").write_text(yaml.safe_dump(tree))
    (root / "requirements.lock").write_bytes(LOCK)
    git(root, "init", "-q")
    git(root, "add", "params.yaml", "requirements.lock")
    git(root, "commit", "-qm", "snapshot")
    (root / "dvc.lock").write_bytes(dvc_lock(run_info()))
    info = run_info(
        snapshot_commit=git(root, "rev-parse", "HEAD"),
        snapshot_tree=git(root, "rev-parse", "HEAD^{tree}"),
        lock_sha256=hashlib.sha256(LOCK).hexdigest(),
        dvc_lock_sha256=hashlib.sha256(dvc_lock(run_info())).hexdigest(),
    )
    keys, trusted = root / "keys", root / "keys/trusted"
    settings = parse(tree)
    run = record(layout, settings, info, api)
    version = register(layout, settings, info, run, api, keys, trusted)
    gate(version, layout, settings.promote, api, keys, trusted, root.parents[1] / "measurements")
    return Made(layout, settings, info, trusted, version)


def failing(api: MlflowApi, made: Made, which: str = "challenger") -> dict[str, str]:
    checks = verify(api, made.version.name, which, made.layout.root, made.trusted)
    assert [check.name for check in checks][:3] == ["files", "signature", "verdict"]
    return {check.name: check.detail for check in checks if not check.ok}


def test_every_link_of_an_honest_version_holds(api: MlflowApi, tmp_path: Path) -> None:
    made = make(tmp_path, "honest", api)
    assert failing(api, made) == {}
    assert failing(api, made, "1") == {}
    checks = verify(api, "honest", "1", tmp_path, made.trusted)
    details = {check.name: check.detail for check in checks}
    assert list(details) == [
        *("files", "signature", "verdict", "proof", "metrics", "candidate", "snapshot"),
        *("params", "packages"),
        *("code", "source", "data", "dataset", "validation", "parent"),
    ]
    assert details["metrics"] == "as in evaluation.json of the package"
    assert details["candidate"] == "fp32 ships, of fp32"
    assert details["dataset"].endswith("computed from the files in data/dataset")
    (tmp_path / "dvc.lock").write_bytes(dvc_lock(made.info) + b"# later\n")
    assert failing(api, made) == {}
    (tmp_path / "dvc.lock").unlink()
    assert set(failing(api, made)) == {"data"}
    git(tmp_path, "branch", f"runs/{made.info.run_id}")
    git(tmp_path, "checkout", "-q", f"runs/{made.info.run_id}")
    (tmp_path / "dvc.lock").write_bytes(dvc_lock(made.info))
    git(tmp_path, "add", "dvc.lock")
    git(tmp_path, "commit", "-qm", "result")
    (tmp_path / "dvc.lock").unlink()
    assert failing(api, made) == {}


def test_a_changed_file_in_the_registry_is_named(api: MlflowApi, tmp_path: Path) -> None:
    made = make(tmp_path, "flipped", api)
    uri = api.version_uri("flipped", 1)
    content = bytearray(api.read_artifact(uri, "package/model.onnx"))
    content[-1] ^= 1
    api.upload_bytes(uri, "package/model.onnx", bytes(content))
    found = failing(api, made)
    assert set(found) == {"files", "signature", "verdict", "proof"}
    assert "model.onnx" in found["files"]
    assert "model.onnx" in found["signature"]


def test_an_altered_proof_or_another_signer_is_found(api: MlflowApi, tmp_path: Path) -> None:
    made = make(tmp_path, "forged", api)
    uri = api.version_uri("forged", 1)
    proof = api.read_artifact(uri, "package/proof.json")
    forged = proof.replace(made.info.snapshot_commit.encode(), b"--output=x".ljust(40, b"x"))
    api.upload_bytes(uri, "package/proof.json", forged)
    found = failing(api, made)
    assert set(found) == {"signature", "snapshot", "params", "packages", "code"}
    assert "is not a commit" in found["snapshot"]
    api.upload_bytes(uri, "package/proof.json", b"{}")
    assert "proof" in failing(api, made)
    api.upload_bytes(uri, "package/proof.json", proof)
    assert failing(api, made) == {}
    for path in made.trusted.iterdir():
        path.unlink()
    ensure_key(tmp_path / "other", made.trusted)
    assert set(failing(api, made)) == {"signature", "verdict"}


@pytest.fixture(scope="module")
def boast(url: str, tmp_path_factory: pytest.TempPathFactory) -> Made:
    with MlflowApi(url) as api:
        return make(tmp_path_factory.mktemp("boast"), "boast", api)


def _more_epochs(proof: Proof) -> dict[str, Any]:
    return proof.params | {"train": proof.params["train"] | {"epochs": 999}}


TAMPERED: list[tuple[str, Any, set[str], str]] = [
    ("package_digest", "0" * 64, {"proof"}, "the proof's package is 000000000000, not"),
    ("metrics", {"accuracy": {"value": 1.1}}, {"metrics"}, "the proof's accuracy"),
    ("chosen", "int8", {"candidate"}, "'int8' ships, but 'fp32' does"),
    ("snapshot_tree", "0" * 40, {"snapshot"}, "the snapshot's tree"),
    ("snapshot_commit", "0" * 40, {"snapshot", "params", "packages", "code"}, "000000"),
    ("params", _more_epochs, {"params"}, "train.epochs in params.yaml of the snapshot is not"),
    ("params", {"data": {}}, {"params", "source"}, "the proof's params are not possible"),
    ("lock_sha256", "0" * 64, {"packages"}, "requirements.lock of the snapshot"),
    ("raw_md5", "0" * 32, {"data"}, "names raw data 00000000"),
    ("raw_sha256", "0" * 64, {"source", "dataset"}, "the raw data's sha256"),
    ("dataset_md5", f"{'0' * 32}.dir", {"data"}, "and dataset 00000000"),
    ("validation_digest", "0" * 64, {"validation"}, "the validation's digest"),
    ("parent", "0" * 64, {"parent"}, "no version has the digest of its parent"),
]
ELSEWHERE = {
    "dataset_digest": "test_a_proof_of_another_dataset_is_found, with DVC's cache",
    "dvc_lock_sha256": "test_an_older_version_is_checked_by_its_results",
    "run_id": "a name: what lies under it is compared with the hashes",
}


def test_every_field_of_the_proof_is_tampered_with() -> None:
    assert {row[0] for row in TAMPERED} | ELSEWHERE.keys() == {item.name for item in fields(Proof)}


@pytest.mark.parametrize(("field", "value", "failed", "said"), TAMPERED)
def test_a_signed_proof_that_says_what_is_not_so_is_found(
    api: MlflowApi,
    boast: Made,
    tmp_path: Path,
    field: str,
    value: Any,
    failed: set[str],
    said: str,
) -> None:
    """Whoever holds a trusted key can sign any words; the links are computed all the same."""
    folder, uri = tmp_path / "copy", api.version_uri("boast", 1)
    api.download_version("boast", 1, folder, "package")
    honest = {file: (folder / file).read_bytes() for file in ("proof.json", "model.sig")}
    proof = Proof.read(folder)
    replace(proof, **{field: value(proof) if callable(value) else value}).write(folder)
    (folder / "model.sig").unlink()
    sign_folder(folder, ensure_key(boast.layout.root / "keys", boast.trusted))
    try:
        for file in honest:
            api.upload_bytes(uri, f"package/{file}", (folder / file).read_bytes())
        found = failing(api, boast)
    finally:
        for file, content in honest.items():
            api.upload_bytes(uri, f"package/{file}", content)
    assert set(found) == failed
    assert any(said in detail for detail in found.values()), found


def test_params_that_are_younger_than_the_proof_are_their_defaults(
    api: MlflowApi, tmp_path: Path
) -> None:
    """An update of Modelyard must not break the proofs of what was registered before it."""
    made = make(tmp_path, "older", api)
    folder, uri = tmp_path / "copy", api.version_uri("older", 1)
    api.download_version("older", 1, folder, "package")
    proof = Proof.read(folder)
    promote = {key: value for key, value in proof.params["promote"].items() if key == "budgets"}
    replace(proof, params=proof.params | {"promote": promote}).write(folder)
    tree = yaml.safe_load((tmp_path / "params.yaml").read_text())
    assert "approval_minutes" not in tree["promote"]
    (folder / "model.sig").unlink()
    sign_folder(folder, ensure_key(tmp_path / "keys", made.trusted))
    for file in ("proof.json", "model.sig"):
        api.upload_bytes(uri, f"package/{file}", (folder / file).read_bytes())
    assert failing(api, made) == {}


def test_another_history_is_found(api: MlflowApi, tmp_path: Path) -> None:
    made = make(tmp_path / "one", "moved", api)
    (tmp_path / "two").mkdir()
    git(tmp_path / "two", "init", "-q")
    checks = verify(api, "moved", "challenger", tmp_path / "two", made.trusted)
    failed = {check.name for check in checks if not check.ok}
    assert failed == {"snapshot", "params", "packages", "data"}
    details = {check.name: check.detail for check in checks if check.ok}
    assert details["code"].startswith("not checked")
    assert details["dataset"].startswith("not checked")


def test_a_missing_verdict_and_a_wrong_tag_are_found(api: MlflowApi, tmp_path: Path) -> None:
    made = make(tmp_path, "untagged", api)
    api.delete_version_tag("untagged", 1, names.VERDICT)
    api.set_version_tag("untagged", 1, names.WAS_LIVE, "true")
    found = failing(api, made)
    assert set(found) == {"verdict"}
    assert "has no signed verdict" in found["verdict"]
    api.set_version_tag("untagged", 1, names.DIGEST, "0" * 64)
    assert set(failing(api, made)) == {"files", "verdict"}


def test_a_name_that_is_none_is_said(api: MlflowApi, tmp_path: Path) -> None:
    for which in ("champion", "3"):
        with pytest.raises(ModelyardError, match=f"MLflow has no nobody@{which}"):
            verify(api, "nobody", which, tmp_path, tmp_path)
    assert params("x").registry.name == "x"
