"""`modelyard register`, `gate`, `promote`, `rollback`, `log`, `verify`, `rebuild`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from modelyard.settings import Settings

if TYPE_CHECKING:
    from modelyard.registry.verify import Check

_COLUMNS = ("when (UTC)", "from", "to", "outcome", "path", "by", "load", "digest", "why")


def register_command() -> None:
    """Register the finished stages of this folder, and judge the version."""
    from modelyard.params import load
    from modelyard.runs import snapshot
    from modelyard.runs.promotion import judge
    from modelyard.runs.publish import publish
    from modelyard.runs.run import held

    console, settings, params = Console(soft_wrap=True), Settings(), load()
    root = Path().resolve()
    with held(root):
        taken = snapshot.take(root, snapshot.new_run_id())
        version, created = publish(root, settings, params, taken, None)
    state = "registered" if created else "is registered already"
    console.print(f"{version.name} version {version.version} {state}, digest {version.digest[:12]}")
    verdict = judge(Path(), settings, params, version)
    console.print(
        f"gate: {'passed' if verdict.passed else 'not passed'}: {verdict.reason}", highlight=False
    )
    if verdict.passed:
        console.print(f"`modelyard promote {version.version}` makes it champion")


def gate_command(name: str, version: int) -> None:
    """Judge a version, print the figures and why; fail where it does not pass."""
    from modelyard.params import load
    from modelyard.runs.promotion import judge_number

    console = Console(soft_wrap=True)
    with console.status(f"{name} version {version}: judged on the test rows"):
        verdict = judge_number(Path(), Settings(), load(), name, version)
    against = verdict.champion_version
    lines = [
        ("against", f"version {against}" if against else "nothing: it would be the first"),
        (verdict.metric, f"{verdict.score:.4f}, at least {verdict.score_low:.4f}"),
        ("test rows", f"{verdict.rows:,}"),
        ("latency", f"{verdict.latency_ms:.3f} ms a row"),
        ("size", f"{verdict.size_mb:.3f} MB"),
    ]
    if verdict.difference is not None:
        low, high = verdict.difference_low, verdict.difference_high
        found = f"{verdict.difference:+.4f}, {low:+.4f} to {high:+.4f}, margin {verdict.margin:g}"
        lines.insert(1, ("difference", found))
    for label, value in lines:
        console.print(f"  [dim]{label:<12}[/dim] {value}", highlight=False)
    state = "[green]✓ passed[/green]" if verdict.passed else "[red]✗ not passed[/red]"
    console.print(f"{state}: {escape(verdict.reason)}", highlight=False)
    if not verdict.passed:
        raise SystemExit(1)


def promote_command(name: str, version: int) -> None:
    """Make a version champion and wait until it is live."""
    from modelyard.params import load
    from modelyard.runs.promotion import canary_words, wish

    console, settings = Console(soft_wrap=True), Settings()
    with console.status(f"{name} version {version}: waiting until it is live"):
        aliases = wish(Path(), settings, load(), name, version)
    if "live" not in aliases and (words := canary_words(settings, name, version)):
        console.print(f"{name} version {version} {words}", highlight=False)
        return
    console.print(f"{name} version {version} is live ({', '.join(aliases)})")


def rollback_command(name: str, reason: str) -> None:
    """Serve the version before the live one."""
    from modelyard.follower.rollback import rollback

    settings = Settings()
    result = rollback(settings.serving, name, reason, settings.state_dir)
    Console(soft_wrap=True).print(
        f"{name}: version {result.to_version} serves again (was {result.from_version});"
        " the registry follows when it is up",
        highlight=False,
    )


def log_command(name: str, verify: bool, as_json: bool) -> None:
    """Print a model's entries of the audit trail, and whether the chain of all holds.

    With ``verify`` a broken chain is an exit status of 1.
    """
    from modelyard.follower import audit

    console, state = Console(soft_wrap=True), Settings().state_dir
    trail = audit.read(state)
    entries = [entry for entry in trail.entries if entry.get("name") == name]
    if as_json:
        chain = {
            "holds": trail.holds,
            "num_entries": len(trail.entries),
            "last": {"seq": trail.head.seq, "hash": trail.head.hash},
            "problems": trail.problems,
            "remarks": trail.remarks,
        }
        sys.stdout.write(json.dumps({"entries": entries, "chain": chain}, indent=2) + "\n")
    else:
        _show_entries(console, name, entries)
        for text in trail.remarks:
            console.print(f"[yellow]![/yellow] {escape(text)}", highlight=False)
        for text in trail.problems:
            console.print(f"[red]✗[/red] {escape(text)}", highlight=False)
        said = "the chain holds" if trail.holds else "the chain is broken"
        mark = "[green]✓[/green]" if trail.holds else "[red]✗[/red]"
        last = f", the last is {trail.head.hash[:16]}" if trail.head.seq else ""
        text = f"{mark} {said}: {len(trail.entries)} entries in {state / audit.FILE}{last}"
        console.print(text, highlight=False)
    if verify and not trail.holds:
        raise SystemExit(1)


def _show_entries(console: Console, name: str, entries: list[dict[str, Any]]) -> None:
    if not entries:
        console.print(f"no promotion of {name} yet", highlight=False)
        return
    rows = [_COLUMNS, *(_row(entry) for entry in entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        console.print("  ".join(cells).rstrip(), markup=False, highlight=False)


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    return (
        entry["at"][:19].replace("T", " "),
        str(entry["from"] or "-"),
        *(str(entry[key]) for key in ("to", "outcome", "path", "by")),
        f"{entry['load_ms']:.0f} ms" if entry["load_ms"] else "",
        entry["digest"][:8],
        entry["reason"] or entry["verdict"],
    )


def verify_command(target: str) -> None:
    """Print each link of the proof; fail when one is broken."""
    from modelyard.params import check_name
    from modelyard.registry.verify import verify
    from modelyard.runs.publish import connect

    console, settings = Console(soft_wrap=True), Settings()
    name, _, which = target.replace("/", "@").partition("@")
    check_name(name)
    with connect(settings) as api:
        checks = verify(api, name, which or "live", Path(), settings.trusted)
    _show_checks(console, checks)


def rebuild_command(name: str, version: int) -> None:
    """Make a version again and print whether each part is the same; fail when one differs."""
    from modelyard.runs.rebuild import rebuild

    console = Console(soft_wrap=True)
    with console.status(f"{name} version {version}: its snapshot runs again"):
        checks = rebuild(Path(), Settings(), name, version)
    _show_checks(console, checks)


def _show_checks(console: Console, checks: list["Check"]) -> None:
    width = max(12, *(len(check.name) for check in checks))
    for check in checks:
        mark = "[green]✓[/green]" if check.ok else "[red]✗[/red]"
        detail = escape(check.detail)
        console.print(f"{mark} [bold]{check.name:<{width}}[/bold] {detail}", highlight=False)
    if not all(check.ok for check in checks):
        raise SystemExit(1)
