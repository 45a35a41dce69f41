"""Code, params and data of a proof against a repository in which DVC itself recorded them."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from modelyard.artifacts import Layout, canonical, read_json, write_json
from modelyard.data.raw import raw_sha256
from modelyard.errors import ModelyardError
from modelyard.package import Proof
from modelyard.registry.proof_code import check_code
from modelyard.registry.proof_data import (
    check_dataset,
    check_source,
    check_validation,
    dataset_digest,
)
from modelyard.registry.proof_git import DVC_LOCK, find_lock
from tests.integration.registry_project import make_project, params
from tests.unit.data.data_tables import contract, put_raw, table

PARAMS = {"data": {"sha256": params().data.sha256, "rate": "1e-3"}, "train": {"lr": 0.1}}
FILES = {
    "make.py": "print('make')\n",
    "custom/__init__.py": "",
    "custom/nested/model.py": "WIDTH = 3\n",
    "custom/notes.md": "not hashed\n",
    ".gitignore": "/data/\n/made/\n",
}
STAGES = {
    "fetch": {
        "cmd": "mkdir -p data/raw && echo 1 > data/raw/rows.csv",
        "deps": ["make.py"],
        "params": ["data.sha256", "data.rate"],
        "outs": ["data/raw"],
    },
    "ingest": {
        "cmd": "cp -r made data/dataset",
        "deps": ["data/raw", "make.py", "custom"],
        "params": ["train"],
        "outs": ["data/dataset"],
    },
}


def git(root: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *words]
    result = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    return result.stdout.strip()


def dvc(root: Path, *words: str) -> None:
    command = [sys.executable, "-m", "dvc", *words]
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    subprocess.run(command, cwd=root, check=True, capture_output=True, env=environment)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose snapshot is committed, and whose two stages DVC has run."""
    root = tmp_path_factory.mktemp("finished")
    git(root, "init", "-q")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMS).replace("'1e-3'", "1e-3"))
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    shutil.move(make_project(root / "project").dataset, root / "made")
    shutil.rmtree(root / "project")
    dvc(root, "init", "-q")
    (root / ".dvcignore").write_text("custom/*.md\n__pycache__\n")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "snapshot")
    dvc(root, "repro", "-q")
    return root


@pytest.fixture
def root(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "root", symlinks=True)


def proof_of(root: Path, commit: str = "HEAD") -> Proof:
    content = (root / DVC_LOCK).read_bytes()
    stages = yaml.safe_load(content)["stages"]
    dataset = read_json(Layout(root).dataset / "dataset.json")
    return Proof(
        run_id="run-1",
        snapshot_commit=git(root, "rev-parse", commit),
        snapshot_tree="",
        raw_md5=stages["fetch"]["outs"][0]["md5"],
        raw_sha256=dataset["source_sha256"],
        dataset_md5=stages["ingest"]["outs"][0]["md5"],
        dataset_digest=dataset["digest"],
        validation_digest=dataset["validation_digest"],
        params=PARAMS,
        lock_sha256="",
        dvc_lock_sha256=hashlib.sha256(content).hexdigest(),
        metrics={},
        parent=None,
        chosen="fp32",
        package_digest="",
    )


def test_what_dvc_recorded_is_the_snapshots(root: Path) -> None:
    assert check_code(root, proof_of(root)) == "2 files and 3 params that ran are the snapshot's"


@pytest.mark.parametrize(
    ("path", "text", "named"),
    [
        ("make.py", "print('other')\n", r"make\.py of the snapshot"),
        ("custom/nested/model.py", "WIDTH = 4\n", "custom of the snapshot"),
        ("custom/more.py", "", "custom of the snapshot"),
        ("params.yaml", "data: {sha256: x, rate: 1e-3}\ntrain: {lr: 0.1}\n", r"data\.sha256"),
        ("params.yaml", "train: {lr: 0.2}\n", r"data\.|train"),
    ],
)
def test_another_snapshot_than_what_ran_is_named(
    root: Path, path: str, text: str, named: str
) -> None:
    (root / path).write_text(text)
    git(root, "add", path)
    git(root, "commit", "-qm", "another")
    with pytest.raises(ModelyardError, match=named):
        check_code(root, proof_of(root))


def test_prose_that_dvc_ignores_may_differ(root: Path) -> None:
    (root / "custom/notes.md").write_text("other")
    git(root, "commit", "-qam", "prose")
    assert "are the snapshot's" in check_code(root, proof_of(root))


def test_a_file_that_changed_between_two_stages_is_named(root: Path) -> None:
    lock = yaml.safe_load((root / DVC_LOCK).read_text())
    next(dep for dep in lock["stages"]["ingest"]["deps"] if dep["path"] == "make.py")["md5"] = "0"
    (root / DVC_LOCK).write_text(yaml.safe_dump(lock))
    with pytest.raises(ModelyardError, match=r"make\.py was another one when stage ingest ran"):
        check_code(root, proof_of(root))


@pytest.mark.parametrize("refs", ["refs/modelyard/results", "refs/heads/runs"])
def test_an_older_version_is_checked_by_its_results(root: Path, refs: str) -> None:
    proof = proof_of(root)
    git(root, "add", DVC_LOCK)
    git(root, "commit", "-qm", "result")
    git(root, "update-ref", f"{refs}/run-1", "HEAD")
    lock = yaml.safe_load((root / DVC_LOCK).read_text())
    lock["stages"]["ingest"]["outs"][0]["md5"] = "0" * 32 + ".dir"
    (root / DVC_LOCK).write_text(yaml.safe_dump(lock))
    found = find_lock(root, proof)
    assert found is not None
    assert (found.place, found.own) == ("of the run's results", True)
    assert "are the snapshot's" in check_code(root, proof)
    git(root, "update-ref", "-d", f"{refs}/run-1")
    assert find_lock(root, proof) is None
    assert check_code(root, proof).startswith("not checked: the run's own dvc.lock")


def test_a_later_run_of_equal_data_is_no_witness_of_the_code(root: Path) -> None:
    proof = proof_of(root)
    (root / DVC_LOCK).write_bytes((root / DVC_LOCK).read_bytes() + b"# later\n")
    found = find_lock(root, proof)
    assert found is not None
    assert not found.own
    assert check_code(root, proof).startswith("not checked")


# ---- data


def test_the_source_is_what_the_params_ask_for(root: Path) -> None:
    proof = proof_of(root)
    assert "as data.sha256 asks" in check_source(root, proof)
    with pytest.raises(ModelyardError, match="the raw data's sha256"):
        check_source(root, replace(proof, raw_sha256="0" * 64))


def test_a_source_without_a_pin_is_computed_from_the_raw_data(root: Path) -> None:
    (root / "data/raw/more").mkdir()
    (root / "data/raw/more/rows.csv").write_text("2\n")
    found = raw_sha256(root / "data/raw")
    unpinned = replace(proof_of(root), params={"data": {"sha256": None}}, raw_sha256=found)
    assert "computed from the files in data/raw" in check_source(root, unpinned)
    (root / "data/raw/more/rows.csv").write_text("3\n")
    assert check_source(root, unpinned).startswith("not checked: data.sha256 names none")


def test_the_dataset_is_computed_again_here_and_in_the_cache(root: Path) -> None:
    proof = proof_of(root)
    assert "from the files in data/dataset" in check_dataset(root, proof)
    shutil.rmtree(root / "data/dataset")
    assert "from the files in the cache" in check_dataset(root, proof)
    (root / ".dvc/cache").rename(root / "shared")
    assert check_dataset(root, proof).startswith("not checked: the dataset is neither here nor")
    (root / ".dvc/config.local").write_text("[cache]\n    dir = ../shared\n")
    assert "from the files in the cache" in check_dataset(root, proof)


@pytest.mark.parametrize(
    ("name", "check", "named"),
    [
        ("test.parquet", check_dataset, "digest of the dataset in data/dataset"),
        ("preprocessing.json", check_dataset, "digest of the dataset in data/dataset"),
        ("validation.json", check_validation, "validation's digest of the dataset in data/dataset"),
    ],
)
def test_a_changed_file_of_the_dataset_is_found(
    root: Path, name: str, check: Callable[[Path, Proof], str], named: str
) -> None:
    proof = proof_of(root)
    path = root / "data/dataset" / name
    text = path.read_bytes()
    path.unlink()  # it may be a link into the cache
    path.write_bytes(text + b" " if name.endswith(".parquet") else b'{"success": 1}')
    with pytest.raises(ModelyardError, match=named):
        check(root, proof)
    path.unlink()
    with pytest.raises(ModelyardError, match=f"lacks {name}"):
        check(root, proof)


@pytest.mark.parametrize(
    ("field", "check"),
    [
        ("dataset_digest", check_dataset),
        ("validation_digest", check_validation),
        ("raw_sha256", check_dataset),
    ],
)
def test_a_proof_of_another_dataset_is_found(
    root: Path, field: str, check: Callable[[Path, Proof], str]
) -> None:
    proof = replace(proof_of(root), **{field: "0" * 64})
    with pytest.raises(ModelyardError, match=r"is [0-9a-f]{12}, not 000000000000"):
        check(root, proof)


def test_rows_that_did_not_pass_are_found_though_the_digest_fits(root: Path) -> None:
    path = root / "data/dataset/validation.json"
    path.unlink()  # it may be a link into the cache
    write_json(path, {"success": False})
    digest = hashlib.sha256(canonical({"success": False})).hexdigest()
    proof = replace(proof_of(root), validation_digest=digest)
    with pytest.raises(ModelyardError, match="did not pass their validation"):
        check_validation(root, proof)


def test_an_altered_object_of_the_cache_is_found(root: Path) -> None:
    proof = proof_of(root)
    md5 = proof.dataset_md5
    shutil.rmtree(root / "data/dataset")
    listing = root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    listing.chmod(0o644)
    content = listing.read_bytes()
    listing.write_bytes(content + b" ")
    with pytest.raises(ModelyardError, match="list of the dataset"):
        check_dataset(root, proof)
    listing.write_bytes(content)
    first = yaml.safe_load(content)[0]
    path = root / ".dvc/cache/files/md5" / first["md5"][:2] / first["md5"][2:]
    path.chmod(0o644)
    path.write_bytes(b"other")
    with pytest.raises(ModelyardError, match=f"{first['relpath']} of the dataset is altered"):
        check_dataset(root, proof)


def test_the_digest_is_computed_by_the_rule_of_ingest(tmp_path: Path) -> None:
    from modelyard.data.ingest import ingest

    layout = put_raw(tmp_path, table(60))
    dataset = ingest(layout, contract())
    files = {path.name: path for path in layout.dataset.iterdir()}
    assert dataset_digest(files) == dataset.digest
    tree = read_json(files["preprocessing.json"])
    write_json(files["preprocessing.json"], tree | {"more": 1})
    assert dataset_digest(files) != dataset.digest
