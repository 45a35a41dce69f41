"""`modelyard init`: from a source to a params file that runs."""

import re
import shutil
import unicodedata
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from rich.console import Console

from modelyard.artifacts import Layout, sha256_file, write_atomic
from modelyard.cli.expect import in_project, is_remote
from modelyard.errors import SourceError, WorkspaceError

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
    place, copied = _brought(source, here, root, force=force)
    try:
        proposal = propose(
            Layout(Path()), place, kind=kind, target=target, query=query, certain=True
        )
        text = recipe(proposal, name)
        parse(read_text(text))
    except BaseException:
        if copied is not None:
            _remove(copied)
            if not any(copied.parent.iterdir()):
                copied.parent.rmdir()
        raise
    write_atomic(path, text.encode())
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    if copied is not None:
        console.print(f"copied {source} to {place}", highlight=False, markup=False)
        if _size(copied) > _LARGE:
            console.print(
                "  it is large for git: a remote (s3://, https://) may be the better place for it",
                highlight=False,
            )
    console.print(f"wrote {shown}, for {proposal.num_rows} rows", highlight=False, markup=False)
    for line in _checklist(proposal):
        console.print(f"  - {line}", highlight=False, markup=False)
    run = "modelyard run" if replace else f"modelyard run --recipe {shown}"
    console.print(f"then: {run}", highlight=False, markup=False)


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


def _brought(source: str, here: Path, root: Path, *, force: bool) -> tuple[str, Path | None]:
    """The source as params.yaml names it; what lies outside of the project is copied into it.

    Raises:
        SourceError: there is no such file, another one of its name was copied before, or a link
            leads out of the folder.
    """
    if is_remote(source):
        return source, None
    path = Path(here, source).resolve()
    if path.is_relative_to(root.resolve()) or not path.exists():
        return in_project(source, here, root), None
    target = root / SOURCES / path.name
    if target.is_file() and path.is_file() and sha256_file(target) == sha256_file(path):
        return f"{SOURCES}/{path.name}", None
    if target.exists() and not force:
        raise SourceError(
            f"{SOURCES}/{path.name} is there already, and is another file than {source}",
            "Rename one of them, or give --force to overwrite it.",
        )
    if path.is_dir():
        _refuse_links_out(path, source)
    _remove(target)
    target.parent.mkdir(exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, target)
    else:
        shutil.copyfile(path, target)
    return f"{SOURCES}/{path.name}", target


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


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
