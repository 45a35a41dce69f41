"""Databases made once an installation: a new one of Prefect costs 8 s, a copy nothing.

A seed is what a service left in its folder after its first start, kept beside the installed
packages under the name and version of the package that made it. It holds tables and built-in rows,
nothing of any project. Without a seed (or with one of another version, which is never used) a
service builds its database itself.
"""

import contextlib
import shutil
import sqlite3
import sys
from importlib.metadata import version
from pathlib import Path

from modelyard.services.specs import Seed


def folder(seed: Seed) -> Path:
    """Where the seed of the installed version of ``seed.package`` lies, or would lie."""
    return Path(sys.prefix) / "share/modelyard/seeds" / f"{seed.package}-{version(seed.package)}"


def plant(seed: Seed, into: Path) -> bool:
    """Copy the seed into a service's folder unless it has a database; returns whether it did."""
    source = folder(seed)
    if (into / seed.files[0]).exists() or not source.is_dir():
        return False
    # The database last: it is what marks a folder as planted.
    for name in reversed(seed.files):
        temporary = into / f".{name}.seed"
        shutil.copyfile(source / name, temporary)
        temporary.chmod(0o600)
        temporary.replace(into / name)
    return True


def keep(seed: Seed, made: Path) -> Path:
    """Make a seed of what a stopped service left in ``made``; returns the seed's folder."""
    target = folder(seed)
    temporary = target.with_name(f".{target.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name in seed.files:
        if name.endswith(".db"):
            # The last connection that closes writes the journal back into the database file.
            with contextlib.closing(sqlite3.connect(made / name)) as database:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copyfile(made / name, temporary / name)
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)
    return target
