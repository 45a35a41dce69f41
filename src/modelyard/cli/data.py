"""`modelyard data`: dataset versions listed, shown, compared and brought back."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    name="data",
    help="Dataset versions: what they hold, how they differ, who learned from them.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Id = Annotated[str, typer.Argument(help="The first characters of its id.")]
_MISSING = "not in the cache"


@app.command("list")
def list_versions() -> None:
    """List the dataset versions, oldest first, with the runs and model versions that used each.

    Example: `modelyard data list`
    """
    from rich.markup import escape
    from rich.table import Table

    from modelyard.cli.runs import wide_console
    from modelyard.runs import versions as found
    from modelyard.settings import Settings

    root, console = Path(), wide_console()
    versions = found.all_versions(root)
    if not versions:
        console.print("no dataset version yet: `modelyard run` or `dvc repro ingest` makes one")
        return
    users, reason = found.users_or_reason(Settings())
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("id", "made (UTC)", "by run", "kind", "rows", "source", "models"):
        table.add_column(name, overflow="fold", no_wrap=name not in ("source", "models"))
    for version in versions:
        tree = found.dataset_tree(root, version)
        table.add_row(
            f"[bold]{version.short}[/bold]",
            f"{version.made:%Y-%m-%d %H:%M}",
            version.runs[0] if version.runs else "-",
            str(version.contract.get("kind", "?")),
            f"{sum(tree['rows'].values()):,}" if tree else _MISSING,
            escape(str(version.contract.get("source", "?"))),
            ", ".join(users.get(version.md5, [])) or ("?" if reason else "-"),
        )
    console.print(table)
    if reason:
        console.print(f"[dim]models unknown: {escape(reason)}[/dim]", highlight=False)


@app.command()
def show(version: Id) -> None:
    """Show a version: schema, rows by split, classes, missing values, what was refused and why.

    Example: `modelyard data show 3f2a9c11`
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from modelyard.runs import versions as found
    from modelyard.runs.describe import describe
    from modelyard.settings import Settings

    root, console = Path(), Console(soft_wrap=True, highlight=False)
    chosen = found.find(found.all_versions(root), version)
    about = describe(root, chosen)
    users, reason = found.users_or_reason(Settings())
    models = ", ".join(users.get(chosen.md5, [])) or "none"
    rows = [
        ("version", chosen.md5.removesuffix(".dir")),
        ("made", f"{chosen.made:%Y-%m-%d %H:%M:%S} UTC"),
        ("runs", ", ".join(chosen.runs) or "none that ended"),
        ("models", f"unknown: {reason}" if reason else models),
        ("source", str(chosen.contract["source"])),
        ("kind, task", f"{about.kind}, {about.task}"),
        ("rows", "; ".join(f"{num:,} {split}" for split, num in about.rows.items())),
        ("rejected", f"{about.num_rejected:,}"),
        *(("", f"{num:,} x {reason}") for reason, num in about.rejected[:10]),
    ]
    _print_pairs(console, rows)
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("column", "type", "missing"):
        table.add_column(name, overflow="fold")
    for column in about.columns:
        table.add_row(escape(column.name), column.type, f"{column.missing:.1%}")
    console.print("\n", table)
    if about.classes:
        console.print("\n[dim]classes (train, validation, test)[/dim]")
        _print_pairs(console, [(name, _shares(counts)) for name, counts in about.classes])


@app.command()
def diff(old: Id, new: Id) -> None:
    """Compare two versions: rows, schema, contract, classes, and the drift of every column.

    Example: `modelyard data diff 3f2a9c11 8b01d7e4`
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from modelyard.runs import versions as found
    from modelyard.runs.describe import difference

    root, console = Path(), Console(soft_wrap=True, highlight=False)
    versions = found.all_versions(root)
    result = difference(root, found.find(versions, old), found.find(versions, new))
    for name, (before, after) in result.rows.items():
        console.print(f"{name:<11}{before:>12,} → {after:,}")
    for title, lines in (("schema", result.schema), ("contract", result.contract)):
        console.print(f"[bold]{title}[/bold]" + ("" if lines else ": no change"))
        for line in lines:
            console.print(f"  {escape(line)}")
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("column", "PSI", "KS", "p (KS)", "chi²", "p (chi²)", "drift"):
        table.add_column(name, overflow="fold")
    for item in result.drift:
        ks = ("-", "-") if item.ks is None else (f"{item.ks:.3f}", f"{item.ks_p:.2g}")
        table.add_row(
            escape(item.column),
            f"{item.psi:.3f}",
            *ks,
            f"{item.chi2:.1f}",
            f"{item.chi2_p:.2g}",
            item.verdict,
        )
    console.print(table)
    counts = Counter(item.verdict for item in result.drift)
    console.print("; ".join(f"{num} {verdict}" for verdict, num in counts.items()))


@app.command()
def checkout(version: Id) -> None:
    """Bring a version back into this folder: data/raw, data/dataset, its lock entries and contract.

    Example: `modelyard data checkout 3f2a9c11`
    """
    from rich.console import Console

    from modelyard.runs.restore import checkout as restore
    from modelyard.runs.versions import all_versions, find

    root, console = Path(), Console(soft_wrap=True, highlight=False)
    chosen = find(all_versions(root), version)
    changed = restore(root, chosen)
    console.print(f"dataset version {chosen.short} is in data/raw and data/dataset")
    if changed:
        console.print(f"since then {', '.join(changed)} changed: a run makes the dataset again")
    if chosen.contract["sha256"] is None:
        console.print("its source is not pinned: a run fetches what that holds now")
    console.print(f"[dim]`modelyard run --data {chosen.short}` learns from it as it is[/dim]")


def _print_pairs(console: "Console", pairs: list[tuple[str, Any]]) -> None:
    from rich.markup import escape

    width = max(len(label) for label, _ in pairs)
    for label, value in pairs:
        console.print(f"  [dim]{escape(label):<{width}}[/dim]  {escape(str(value))}")


def _shares(counts: tuple[int, ...]) -> str:
    return ", ".join(f"{num:,}" for num in counts)
