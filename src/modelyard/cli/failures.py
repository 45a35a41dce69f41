"""One readable message for each error; the traceback only with ``--debug``."""

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from modelyard.errors import ModelyardError
from modelyard.settings import Settings

LOG = Path("logs/errors.log")
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 and the signal's number."""


def debugging() -> bool:
    """Whether ``--debug`` was given."""
    return "--debug" in sys.argv or "MODELYARD_DEBUG" in os.environ


@contextmanager
def explained() -> Iterator[None]:
    """End the process with a message and a status: 1 for an error, 130 for Ctrl-C."""
    from typer import Abort
    from typer._click.exceptions import ClickException  # typer carries its own click

    try:
        yield
    except ClickException as error:
        from typer import rich_utils

        rich_utils.rich_format_error(error)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, Abort):
        _interrupted()
    except SystemExit as end:
        if end.code == INTERRUPTED:  # how typer itself ends on Ctrl-C
            _interrupted()
        raise
    except Exception as error:
        if debugging():
            raise
        _print(*_explain(error))
        sys.exit(1)


def _explain(error: Exception) -> tuple[str, str]:
    """Message and remedy."""
    if isinstance(error, ModelyardError):
        return error.message, error.remedy
    if isinstance(error, OSError):
        return _from_os(error)
    note = _log(error)
    return (
        f"{type(error).__name__}: {error}",
        f"This is a defect of Modelyard or of a library. {note}`--debug` shows the traceback.",
    )


def _interrupted() -> NoReturn:
    _print("interrupted", "Nothing half-written counts: run again, it goes on where it stopped.")
    sys.exit(INTERRUPTED)


def _from_os(error: OSError) -> tuple[str, str]:
    place = error.filename or "a file"
    if error.errno == errno.ENOSPC:
        return (
            f"no space left on the disk ({place})",
            "Free some space and run again; nothing was half-written.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{place}: {error.strerror}", "Give this user the right to write there."
    return f"{place}: {error.strerror or error}", "`modelyard doctor` looks for common causes."


def _log(error: Exception) -> str:
    log = Settings().state_dir / LOG
    with suppress(OSError):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat()}\n")
            file.writelines(traceback.format_exception(error))
        log.chmod(0o600)
        return f"The traceback is in {log}; "
    return ""


def _print(message: str, remedy: str) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True)
    console.print(Text("error: ", style="bold red").append(message, style="default"))
    if remedy:
        console.print(Text("       ").append(remedy, style="cyan"))
