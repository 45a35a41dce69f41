"""A scoring under way: fetched rows, finished blocks, and the folder that appears at the end.

Beside the output lies, until it is there, a folder named by what the result depends on (input,
package, contract). Each finished block is in it, whole; so a job that is killed goes on with the
first one that is not, and ends with the same bytes.
"""

import fcntl
import hashlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.artifacts import Layout, canonical, read_json, write_atomic, write_json
from modelyard.data.fetch import fetch
from modelyard.data.outputs import disk_errors
from modelyard.data.source import is_address
from modelyard.errors import DataRejected, SourceError, WorkspaceError
from modelyard.runs.score.answers import answer, to_table
from modelyard.runs.score.blocks import ROWS, Block, Source
from modelyard.runs.score.contract import check_custom_code, contract_of
from modelyard.runs.score.model import Version
from modelyard.runs.score.result import (
    MANIFEST,
    QUARANTINE,
    Scored,
    read_scored,
    write_parts,
    write_quarantine,
    write_table,
)
from modelyard.serving import model as serving
from modelyard.settings import Settings

REJECTED = Path("scores/rejected")
"""Below the state folder: the refused rows of jobs that gave no result."""
_FORMAT = 2


@dataclass(frozen=True)
class _Fetched(Layout):
    """A layout whose raw folder is the job's."""

    folder: Path

    @property
    def raw(self) -> Path:
        return self.folder


class Job:
    """Rows of ``source`` through ``version`` into the folder ``output``.

    Not a data class: Prefect walks through those when they are a task's argument.
    """

    def __init__(
        self, root: Path, settings: Settings, version: Version, source: str, output: Path
    ) -> None:
        self._settings = settings
        self._version = version
        self._output = output.resolve()
        self._base, located = _place(root, source)
        self.source = located if self._base == root.resolve() else f"{self._base}{located}"
        package = serving.PackageReader.open(version.folder)
        self._contract = contract_of(
            version.params.data,
            package.schema.inputs,
            located,
            root.resolve(),
            settings.state_dir.resolve(),
        )
        check_custom_code(self._contract, version.proof.snapshot_commit)
        self._input = ""
        self._folder = Path()
        self._rows = Counter[str]()
        self._unmet = Counter[str]()
        self._read: Source | None = None
        self.found: Scored | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the right to write the output; a former result that a kill took away comes back.

        Raises:
            WorkspaceError: another process writes it, or what is there is no result of scoring.
        """
        if self._output.exists() and not (self._output / MANIFEST).is_file():
            raise WorkspaceError(
                f"{self._output} is there, and is no result of scoring", "Give another --output."
            )
        name = hashlib.sha256(str(self._output).encode()).hexdigest()[:12]
        lock = self._settings.state_dir / "scores" / f"{name}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise WorkspaceError(
                    f"another process writes {self._output}", "Wait for it, or give another output."
                ) from None
            self._restore()
            yield

    def fetch(self) -> str:
        """Bring the rows here; gives their sha256. What an earlier call left is found by it.

        Raises:
            SourceError: the source cannot be had.
        """
        incoming = self._sibling("fetched")
        params = self._contract.params
        with disk_errors(self._output):
            layout = _Fetched(self._base, incoming)
            raw = fetch(layout, params, self._settings.state_dir.resolve())
            self._input = raw.sha256
            key = self._key()
            self._folder = self._sibling(f"{key[:12]}.partial")
            if _known(self._output) == key:
                self.found = read_scored(self._output, is_new=False)
            for other in self._partials():
                if other != self._folder or self.found:
                    shutil.rmtree(other)
            if self.found or (self._folder / "raw").exists():
                shutil.rmtree(incoming)
            else:
                self._folder.mkdir(parents=True, exist_ok=True)
                incoming.rename(self._folder / "raw")
        return self._input

    def predict(self, progress: Callable[[int], None] = lambda _: None) -> int:
        """Score the blocks that are not done; gives how many there are.

        Args:
            progress: Called with the rows read so far.

        Raises:
            SourceError: the source is not as the contract says.
            PackageError: the model does not load or answers other than recorded.
        """
        if self.found:
            return 0
        version = self._version
        model = serving.load(version.folder, version.name, version.version, version.digest)
        blocks = self._folder / "blocks"
        blocks.mkdir(exist_ok=True)
        source = Source(self._folder / "raw", self._contract)
        number = -1
        try:
            for number, block in enumerate(source.blocks(lambda number: _is_done(blocks, number))):
                if block is not None:
                    with disk_errors(self._output):
                        self._write(blocks, number, block, model)
                told = read_json(blocks / f"{number:05d}.json")
                self._rows.update(told["rows"])
                self._unmet.update(told["unmet"])
                progress(self._rows["read"])
        except SourceError:
            shutil.rmtree(self._folder)  # it would be refused again
            raise
        self._read = source
        self._rows.update(read=len(source.ragged), rejected=len(source.ragged))
        return number + 1

    def publish(self) -> Scored:
        """Put the result in its place by a rename; a former one is moved aside just before.

        A kill between the two leaves no output until the next call, which puts the former back.

        Raises:
            DataRejected: more rows break the contract than ``data.max_rejected``; nothing is there.
        """
        if self.found:
            return self.found
        assert self._read is not None
        result = self._folder / "out"
        shutil.rmtree(result, ignore_errors=True)
        result.mkdir()
        with disk_errors(self._output):
            reasons = write_quarantine(self._folder / "blocks", result / QUARANTINE, self._read)
            self._refuse_too_many(result, reasons)
            parts = write_parts(self._folder / "blocks", result, self._read)
            write_json(result / MANIFEST, self._manifest(parts, reasons))
            self._output.parent.mkdir(parents=True, exist_ok=True)
            former = self._sibling("former")
            shutil.rmtree(former, ignore_errors=True)
            if self._output.exists():
                self._output.rename(former)
            result.rename(self._output)
            shutil.rmtree(former, ignore_errors=True)
            shutil.rmtree(self._folder)
        return read_scored(self._output, is_new=True)

    def _restore(self) -> None:
        """Put back the former result where a kill came before the new one; else remove it."""
        former = self._sibling("former")
        if not former.exists():
            return
        if self._output.exists():
            shutil.rmtree(former)
        else:
            former.rename(self._output)

    def _partials(self) -> list[Path]:
        """The folders of jobs of this output, and of no other whose name begins alike."""
        name = re.compile(rf"\.{re.escape(self._output.name)}\.[0-9a-f]{{12}}\.partial")
        return [path for path in self._output.parent.iterdir() if name.fullmatch(path.name)]

    def _write(self, blocks: Path, number: int, block: Block, model: serving.Model) -> None:
        """Write a block's files; the last one says that it is done."""
        table = to_table(model, block.rows, answer(model, block.inputs), self._about())
        write_table(blocks / f"{number:05d}.parquet", table)
        write_table(blocks / f"{number:05d}.refused.parquet", block.refused)
        rows = {"read": block.num_read, "scored": len(block.rows), "rejected": block.num_refused}
        write_json(blocks / f"{number:05d}.json", {"rows": rows, "unmet": sorted(block.unmet)})

    def _refuse_too_many(self, result: Path, reasons: list[str]) -> None:
        read, rejected = self._rows["read"], self._rows["rejected"]
        most = self._contract.params.max_rejected
        if rejected <= most * read and rejected < read:
            return
        kept = self._settings.state_dir / REJECTED / f"{self._output.name}.parquet"
        write_atomic(kept, (result / QUARANTINE).read_bytes())
        shutil.rmtree(self._folder)
        lines = "\n".join(f"  {line}" for line in reasons)
        raise DataRejected(
            f"{rejected} of {read} rows of {self.source} break the contract of "
            f"{self._version.name} version {self._version.version} ({rejected / read:.2%}), more "
            f"than its data.max_rejected {most:.2%}:\n{lines}",
            f"Mend the source; each row and reason: {kept}",
        )

    def _manifest(self, parts: list[dict[str, Any]], reasons: list[str]) -> dict[str, Any]:
        blocks, unmet = len(parts), sorted(self._unmet.items())
        return {
            "format": _FORMAT,
            "key": self._key(),
            "model": self._version.name,
            "version": self._version.version,
            "digest": self._version.digest,
            "source": self.source,
            "input_sha256": self._input,
            "rows": {name: self._rows[name] for name in ("read", "scored", "rejected")},
            "reasons": reasons,
            "unmet": [f"in {count} of {blocks} parts: {line}" for line, count in unmet],
            "parts": parts,
        }

    def _about(self) -> dict[str, str]:
        return {
            "modelyard.model": self._version.name,
            "modelyard.version": str(self._version.version),
            "modelyard.digest": self._version.digest,
            "modelyard.input_sha256": self._input,
        }

    def _key(self) -> str:
        params = self._contract.params.model_dump(mode="json", by_alias=True)
        about = {"format": _FORMAT, "rows": ROWS, "params": params, **self._about()}
        return hashlib.sha256(canonical(about)).hexdigest()

    def _sibling(self, kind: str) -> Path:
        return self._output.with_name(f".{self._output.name}.{kind}")


def _is_done(blocks: Path, number: int) -> bool:
    return (blocks / f"{number:05d}.json").exists()


def _known(output: Path) -> str | None:
    """The key of the result that is there."""
    try:
        return read_json(output / MANIFEST)["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _place(root: Path, source: str) -> tuple[Path, str]:
    """From which folder a source is fetched, and its name there; any file here will do."""
    if is_address(source):
        return root.resolve(), source
    path = Path(source) if Path(source).is_absolute() else root.resolve() / source
    path = Path(os.path.normpath(path))
    if not path.exists() and not set(source) & set("*?{["):
        raise SourceError(
            f"{source}: there is no such file", "Give a file, a folder, a glob or an address."
        )
    if path.is_relative_to(root.resolve()):
        return root.resolve(), str(path.relative_to(root.resolve()))
    return Path(path.anchor), str(path.relative_to(path.anchor))
