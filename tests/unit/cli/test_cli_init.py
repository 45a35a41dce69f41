"""init and expect suggest: what is written, what is copied, and what is refused before that."""

import subprocess
from pathlib import Path

import pytest
import yaml

from modelyard.artifacts import sha256_file
from modelyard.params import parse
from tests.unit.cli.conftest import Invoke

ROWS = "".join(f"{index % 50},{'ab'[index % 2]}\n" for index in range(100))
TABLE = f"x,kind\n{ROWS}"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "My Loans.csv"
    path.write_text(TABLE)
    return path


def test_a_file_from_elsewhere_becomes_a_recipe(
    invoke: Invoke, project: Path, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke("init", "../My Loans.csv", cwd=project) == 0
    said = capsys.readouterr().out
    assert "copied ../My Loans.csv to source/My Loans.csv" in said
    assert "- 50 rows equal an earlier one: they are left out (clean.duplicates)" in said
    assert said.splitlines()[-1] == "then: modelyard run --recipe recipes/my-loans.yaml"
    text = (project / "recipes/my-loans.yaml").read_text()
    params = parse(yaml.safe_load(text))
    assert params.data.source == "source/My Loans.csv"
    assert params.data.sha256 == sha256_file(outside)
    assert params.registry.name == "my-loans"
    assert "target: kind  # the last column: a guess" in text
    assert invoke("init", "../My Loans.csv", cwd=project) == 1
    assert "recipes/my-loans.yaml is there already" in capsys.readouterr().err
    assert invoke("init", "../My Loans.csv", "--force", cwd=project) == 0
    assert "copied" not in capsys.readouterr().out


def test_paths_count_from_where_the_command_is_given(
    invoke: Invoke, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "deep/t.csv").write_text(TABLE)
    words = ["init", "../t.csv", "--name", "small", "--output", "mine.yaml", "--target", "x"]
    assert invoke(*words, cwd=project / "deep/er") == 0
    tree = yaml.safe_load((project / "deep/er/mine.yaml").read_text())
    assert tree["data"]["source"] == "deep/t.csv"
    assert tree["data"]["task"] == "regression"
    assert not (project / "source").exists()
    assert invoke("expect", "suggest", "t.csv", cwd=project / "deep") == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed[printed.index("data:") :])["data"]["target"] == "kind"


def test_replace_writes_the_project_s_own_params(invoke: Invoke, project: Path) -> None:
    (project / "t.csv").write_text(TABLE)
    before = (project / "params.yaml").read_text()
    assert invoke("init", "t.csv", "--replace", "--output", "x.yaml", cwd=project) == 1
    assert (project / "params.yaml").read_text() == before
    assert invoke("init", "t.csv", "--replace", cwd=project) == 0
    assert yaml.safe_load((project / "params.yaml").read_text())["data"]["source"] == "t.csv"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["init", "gone.csv"], "there is no such file"),
        (["init", "../gone.csv"], "lies outside of the project"),
        (["init", "t.csv", "--name", "A b"], "'A b' is no name of a model"),
        (["init", "t.csv", "--name", "digits"], "params.yaml registers its model as 'digits'"),
        (["init", "t.csv", "--target", "z"], "there is no column 'z'"),
        (["init", "two.csv"], "nothing in the source says which column is the target"),
        (["init", "t.csv", "--kind", "image"], "is a table without pixels, not image"),
        (["expect", "suggest", "../t.csv"], "lies outside of the project"),
        (["expect", "suggest", "ftp://host/t.csv"], "ftp: sources are not supported"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    words: list[str],
    message: str,
    invoke: Invoke,
    project: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (project / "t.csv").write_text(TABLE)
    (project / "two.csv").write_text(
        f"a,b\n{''.join(f'{i},{i * 7}.5' + chr(10) for i in range(50))}"
    )
    before = sorted(project.rglob("*"))
    assert invoke(*words, cwd=project) == 1
    assert message in capsys.readouterr().err
    assert sorted(project.rglob("*")) == before


def test_a_copy_goes_when_nothing_comes_of_it(
    invoke: Invoke, project: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.csv").write_text("a\n1\n")
    assert invoke("init", "../bad.csv", cwd=project) == 1
    assert not (project / "source/bad.csv").exists()
    (project / "source").mkdir(exist_ok=True)
    (project / "source/bad.csv").write_text("other")
    assert invoke("init", "../bad.csv", cwd=project) == 1
    assert (project / "source/bad.csv").read_text() == "other"
    assert invoke("init", "../bad.csv", "--force", cwd=project) == 1
    assert (project / "source/bad.csv").read_text() == "other", "what was there stays"
    assert [path.name for path in (project / "source").iterdir()] == ["bad.csv"]
    (tmp_path / "bad.csv").write_text(TABLE)
    assert invoke("init", "../bad.csv", "--force", cwd=project) == 0
    assert (project / "source/bad.csv").read_text() == TABLE
    assert [path.name for path in (project / "source").iterdir()] == ["bad.csv"]


def test_git_ignores_a_copy_with_personal_data(
    invoke: Invoke, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(
        f"p{index}@mail.example,{index % 50},{'ab'[index % 2]}\n" for index in range(100)
    )
    (tmp_path / "people [1].csv").write_text(f"mail,x,kind\n{rows}")
    (project / ".gitignore").write_text("/data/")
    for _ in range(2):
        assert invoke("init", "../people [1].csv", "--force", cwd=project) == 0
        assert ".gitignore leaves source/people [1].csv out of git" in capsys.readouterr().out
    assert (project / ".gitignore").read_text() == "/data/\n/source/people \\[1].csv\n"
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    ignored = ["git", "check-ignore", "-q", "source/people [1].csv"]
    assert subprocess.run(ignored, cwd=project, check=False).returncode == 0
    subprocess.run(["git", "add", "-f", "source"], cwd=project, check=True)
    assert invoke("init", "../people [1].csv", "--force", cwd=project) == 0
    assert '`git rm -r --cached "source/people [1].csv"`' in capsys.readouterr().out


def test_a_folder_with_a_link_out_of_it_is_not_copied(
    invoke: Invoke, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "texts"
    for index in range(20):
        place = folder / "ab"[index % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{index}.txt").write_text(f"some words {index}")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "a/in.txt").symlink_to(folder / "b/1.txt")
    (folder / "b/out.txt").symlink_to("../../secret.txt")
    assert invoke("init", "../texts", cwd=project) == 1
    assert "../texts/b/out.txt is a link out of the folder" in capsys.readouterr().err
    assert not (project / "source").exists()
    assert not (project / "recipes/texts.yaml").exists()
    (folder / "b/out.txt").unlink()
    assert invoke("init", "../texts", cwd=project) == 0
    assert not (project / "source/texts/a/in.txt").is_symlink()


def test_what_is_refused_or_doubtful_is_said(
    invoke: Invoke, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f'"{index},5",{index % 7},{"ab"[index % 2]}\n' for index in range(100)]
    (project / "t.csv").write_text(f"x,z,kind\n{''.join(rows)}1\n2\n")
    assert invoke("init", "t.csv", "--name", "t", cwd=project) == 0
    said = capsys.readouterr().out
    assert "rows equal an earlier one" not in said
    assert "- max_rejected is 0.04: 2 rows are refused now, 2 as ragged" in said
    assert "- read as words: x: numbers with a decimal comma: give it type: number and " in said
