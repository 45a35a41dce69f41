"""`modelyard init`: from a source to a params file that runs."""

import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from rich.console import Console

from modelyard.artifacts import Layout, sha256_file, write_atomic
from modelyard.cli.expect import in_project
from modelyard.data.outputs import remove
from modelyard.data.source import is_address
from modelyard.errors import SourceError, WorkspaceError
from modelyard.runs.git import git

if TYPE_CHECKING:
    from modelyard.data.suggest import Proposal

SOURCES = "source"
"""Where a source from outside of the project is copied to."""
_LARGE = 100 << 20


def init_command(  # noqa: PLR0913 - what the command takes
    source: str,
    here: Path,
    *,
    kind: str | None,
    target: str | None,
    query: str | None,
    name: str | None,
    output: Path | None,
    replace: bool,
    force: bool,
) -> None:
    """Write a params file for a source and say what to look at and how to run it.

    Raises:
        SourceError: the source cannot be had or read.
        ParamsError: nothing says what to learn, or the name is none.
        WorkspaceError: the file is there already.
    """
    from modelyard.data.suggest import propose, recipe
    from modelyard.params import check_name, load, parse
    from modelyard.params.tree import read_text

    console, root = Console(soft_wrap=True), Path.cwd()
    name = check_name(name or _name_of(source))
    if not replace and name == load(root).registry.name:
        raise WorkspaceError(
            f"params.yaml registers its model as {name!r}; another dataset needs another name",
            "Give --name, or --replace to make this dataset the project's own.",
        )
    path = _output(root, here, output, name, replace=replace, force=force)
    with _brought(source, here, root, force=force) as (place, copied):
        layout = Layout(copied or Path())
        proposal = propose(layout, place, kind=kind, target=target, query=query, certain=True)
        text = recipe(proposal, name)
        parse(read_text(text))
        write_atomic(path, text.encode())
        if copied is not None:
            remove(root / place)
            (copied / place).rename(root / place)
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    lines = [f"copied {source} to {place}"] if copied is not None else []
    lines += _of_git(root, place, proposal)
    lines += [f"wrote {shown}, for {proposal.num_rows} rows"]
    lines += [f"  - {line}" for line in _checklist(proposal)]
    lines += ["then: modelyard run" + ("" if replace else f" --recipe {shown}")]
    for line in lines:
        console.print(line, highlight=False, markup=False)


def _output(
    root: Path, here: Path, output: Path | None, name: str, *, replace: bool, force: bool
) -> Path:
    """Where the params file goes.

    Raises:
        WorkspaceError: two places are named, or something is there and may not be overwritten.
    """
    if replace and output is not None:
        raise WorkspaceError(
            "--output and --replace name two files", "Give one: --replace is params.yaml."
        )
    if replace:
        return root / "params.yaml"
    path = here / output if output is not None else root / "recipes" / f"{name}.yaml"
    if path.exists() and not force:
        raise WorkspaceError(
            f"{output or path.relative_to(root)} is there already",
            "Give --force to overwrite it, or another --name or --output.",
        )
    return path


@contextmanager
def _brought(
    source: str, here: Path, root: Path, *, force: bool
) -> Iterator[tuple[str, Path | None]]:
    """The source as params.yaml names it, and the folder in which a copy has that name.

    Only what lies outside of the project is copied. The folder is beside the copy's place, and is
    removed at the end.

    Raises:
        SourceError: there is no such file, another one of its name was copied before, or a link
            leads out of the folder.
    """
    path = Path(here, source).resolve()
    if is_address(source) or path.is_relative_to(root.resolve()) or not path.exists():
        yield in_project(source, here, root), None
        return
    target = root / SOURCES / path.name
    if target.is_file() and path.is_file() and sha256_file(target) == sha256_file(path):
        yield f"{SOURCES}/{path.name}", None
        return
    if target.exists() and not force:
        raise SourceError(
            f"{SOURCES}/{path.name} is there already, and is another file than {source}",
            "Rename one of them, or give --force to overwrite it.",
        )
    if path.is_dir():
        _refuse_links_out(path, source)
    target.parent.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=".init-"))
    (folder / ".gitignore").write_text("*\n")
    copy = folder / SOURCES / path.name
    copy.parent.mkdir()
    try:
        if path.is_dir():
            shutil.copytree(path, copy)
        else:
            shutil.copyfile(path, copy)
        yield f"{SOURCES}/{path.name}", folder
    finally:
        shutil.rmtree(folder)
        if not any(target.parent.iterdir()):
            target.parent.rmdir()


def _refuse_links_out(folder: Path, source: str) -> None:
    """A copy would hold what such a link leads to.

    Raises:
        SourceError: a link in the folder leads out of it, or to nothing.
    """
    for path in sorted(folder.rglob("*")):
        place = path.resolve()
        if path.is_symlink() and not (place.exists() and place.is_relative_to(folder)):
            raise SourceError(
                f"{Path(source) / path.relative_to(folder)} is a link out of the folder, or to "
                "nothing",
                "Remove it, or put the file in its place.",
            )


def _name_of(source: str) -> str:
    """A model's name by the source's: its last part that is no pattern, without its endings."""
    plain = [part for part in PurePosixPath(source.partition("?")[0]).parts if part.strip("*.")]
    plain = [part for part in plain if not set(part) & set("{}*")] or ["model"]
    stem = plain[-1].partition(".")[0] or plain[-1]
    ascii_stem = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_-]+", "-", ascii_stem).strip("-_")[:63] or "model"


def _checklist(proposal: "Proposal") -> list[str]:
    """What a person should look at before the first run."""
    tree = proposal.tree
    fields = tree["schema"]["fields"]
    lines = [f"target {tree['target']}, task {tree['task']}, split {tree['split']['type']}"]
    for what, key in (
        ("personal, tokenized and not learned from", "pii"),
        ("sensitive", "sensitive"),
    ):
        found = [field["name"] for field in fields if field.get(key)]
        lines += [f"{what}: {', '.join(found)}"] if found else []
    unused = [f["name"] for f in fields if f.get("use") is False and not f.get("pii")]
    lines += [f"not learned from: {', '.join(unused)}"] if unused else []
    if repeated := proposal.notes.get("clean"):
        lines.append(f"{repeated}: they are left out (clean.duplicates)")
    if refused := proposal.notes.get("max_rejected"):
        lines.append(f"max_rejected is {tree['max_rejected']}: {refused}")
    for name in proposal.doubtful:
        lines.append(f"read as words: {name}: {proposal.notes[f'schema.fields.{name}']}")
    return [*lines, "every bound (minimum, maximum, enum) is a guess: edit what you know better"]


def _is_personal(proposal: "Proposal") -> bool:
    return any(field.get("pii") for field in proposal.tree["schema"]["fields"])


def _of_git(root: Path, place: str, proposal: "Proposal") -> list[str]:
    """Have git ignore a copy with personal data; what there is to say of git and the copy."""
    path = root / place
    if not place.startswith(f"{SOURCES}/") or not path.exists():
        return []
    if _is_personal(proposal):
        _ignore(root, place)
        lines = [f"  it holds personal data: .gitignore leaves {place} out of git"]
        if _is_tracked(root, place):
            lines += [f'  git has it all the same: `git rm -r --cached "{place}"` takes it out']
        return lines
    if _size(path) > _LARGE:
        return ["  it is large for git: a remote (s3://, https://) may be the better place for it"]
    return []


def _is_tracked(root: Path, place: str) -> bool:
    try:
        return bool(git(root, "--literal-pathspecs", "ls-files", "--", place))
    except WorkspaceError:  # no repository
        return False


def _ignore(root: Path, place: str) -> None:
    """Have git ignore a path from ``root``, once."""
    path = root / ".gitignore"
    before = path.read_text() if path.exists() else ""
    line = "/" + re.sub(r"([\\*?\[]|\s$)", r"\\\1", place)
    if line not in before.splitlines():
        end = "" if before.endswith("\n") or not before else "\n"
        write_atomic(path, f"{before}{end}{line}\n".encode())


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
