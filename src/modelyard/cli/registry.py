"""`modelyard register`, `promote`, `rollback`, `verify`."""

from pathlib import Path

from rich.console import Console

from modelyard.settings import Settings


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


def promote_command(name: str, version: int) -> None:
    """Make a version champion and wait until it is live."""
    from modelyard.params import load
    from modelyard.runs.promotion import wish

    console = Console(soft_wrap=True)
    with console.status(f"{name} version {version}: waiting until it is live"):
        aliases = wish(Path(), Settings(), load(), name, version)
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


def verify_command(target: str) -> None:
    """Print each link of the proof; fail when one is broken."""
    from modelyard.registry.verify import verify
    from modelyard.runs.publish import connect

    console, settings = Console(soft_wrap=True), Settings()
    name, _, which = target.replace("/", "@").partition("@")
    with connect(settings) as api:
        checks = verify(api, name, which or "live", Path(), settings.trusted)
    for check in checks:
        mark = "[green]✓[/green]" if check.ok else "[red]✗[/red]"
        console.print(f"{mark} [bold]{check.name:<12}[/bold] {check.detail}", highlight=False)
    if not all(check.ok for check in checks):
        raise SystemExit(1)
