"""How long the prediction log is kept, and how much of it; the oldest goes first."""

import logging
import os
import time
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from modelyard.serving.folder import NAME
from modelyard.serving.log_spool import FOLDER, SPOOL, is_closed
from modelyard.serving.serve_settings import read_settings

_logger = logging.getLogger(__name__)
_MB = 1_000_000
_TEMPORARY_S = 3600.0


class _File(NamedTuple):
    """``until`` is when its last row can have been written, seconds since 1970."""

    until: float
    path: Path
    size: int


def log_folders(root: Path) -> list[Path]:
    """The models' folders that hold a prediction log."""
    with suppress(FileNotFoundError), os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if NAME.fullmatch(entry.name))
        return [root / name for name in names if (root / name / FOLDER).is_dir()]
    return []


def expire_all(root: Path) -> None:
    """Delete what ``serve.log`` of each model no longer keeps, by its defaults where it is off."""
    for model in log_folders(root):
        settings = read_settings(model)
        try:
            expire(model, settings.log_days, settings.log_mb, time.time())
        except OSError as error:
            _logger.error("old predictions of %s cannot be deleted: %s", model.name, error)


def expire(model: Path, days: float, max_mb: float, now: float) -> None:
    """Delete files older than ``days``, and then the oldest until ``max_mb`` are left.

    Raises:
        OSError: a file cannot be deleted.
    """
    files = sorted(_files(model / FOLDER))
    total = sum(file.size for file in files)
    for file in files:
        if file.until >= now - days * 86400 and total <= max_mb * _MB:
            break
        if file.path.suffix != ".parquet" and not _delete_closed(file.path):
            continue
        file.path.unlink(missing_ok=True)
        total -= file.size
        with suppress(OSError):
            file.path.parent.rmdir()


def _files(folder: Path) -> list[_File]:
    found: list[_File] = []
    for path in [*folder.glob("*/*.parquet"), *folder.glob(f"{SPOOL}/*.jsonl")]:
        with suppress(FileNotFoundError):
            status = path.stat()
            until = min(status.st_mtime, _end_of(path.parent.name))
            found.append(_File(until, path, status.st_size))
    for path in folder.glob("*/*.tmp"):
        # Of a process that was killed while it wrote.
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - _TEMPORARY_S:
                path.unlink()
    return found


def _end_of(day: str) -> float:
    try:
        end = date.fromisoformat(day) + timedelta(days=1)
    except ValueError:
        return float("inf")
    return datetime(end.year, end.month, end.day, tzinfo=UTC).timestamp()


def _delete_closed(path: Path) -> bool:
    """Whether a spool file may go: nobody writes it."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return is_closed(descriptor)
    finally:
        os.close(descriptor)
