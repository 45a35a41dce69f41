"""`modelyard expect suggest`: a data contract proposed from a source."""

from pathlib import Path

from modelyard.artifacts import Layout
from modelyard.data.source import is_address
from modelyard.errors import SourceError


def suggest_command(
    source: str, here: Path, kind: str | None, target: str | None, query: str | None
) -> None:
    """Print the ``data`` section that would read a source, as YAML to edit.

    ``here`` is where the command was given: paths count from there.
    """
    import typer

    from modelyard.data.suggest import data_yaml, propose

    place = in_project(source, here, Path.cwd())
    proposal = propose(Layout(Path()), place, kind=kind, target=target, query=query)
    typer.echo(data_yaml(proposal), nl=False)


def in_project(source: str, here: Path, root: Path) -> str:
    """A source as params.yaml names it: a path from the project's folder, anything else as it is.

    Raises:
        SourceError: the path leads out of the project.
    """
    if is_address(source):
        return source
    path = Path(here, source)
    # Not resolved: a link in the project is for fetch to judge.
    normal = Path(*_parts(path))
    if not normal.is_relative_to(root):
        raise SourceError(
            f"{source} lies outside of the project",
            f"`modelyard init {source}` copies it into the project, so that every clone has it.",
        )
    return normal.relative_to(root).as_posix()


def _parts(path: Path) -> list[str]:
    """The parts of an absolute path, each ``..`` applied."""
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts[1:] = parts[1:-1]
        else:
            parts.append(part)
    return parts
