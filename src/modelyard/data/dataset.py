"""A dataset version as files: the splits, what was fitted, what was refused, the digests."""

import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from modelyard.artifacts import SPLITS, canonical, read_json, sha256_file, write_json
from modelyard.data.preprocessing import Preprocessing
from modelyard.data.quarantine import Refused
from modelyard.data.targets import Targets
from modelyard.data.validation import Validation
from modelyard.params import DataParams

if TYPE_CHECKING:
    import pyarrow as pa

_LEVEL = 1
_GROUP_ROWS = 122_880


@dataclass(frozen=True)
class Accepted:
    """What becomes the dataset, of any kind of data.

    ``parts`` int8 [N] gives each row's split, ``features`` are as in dataset.json, ``sensitive``
    the columns of groups, ``profiles`` the content of profile.json. ``write`` fills a folder with
    the splits and the quarantine. ``counts`` says what cleaning did, for the metrics.
    """

    targets: Targets
    parts: np.ndarray
    features: list[dict[str, Any]]
    sensitive: list[str]
    profiles: dict[str, Any]
    validation: Validation
    refused: Refused
    num_read: int
    write: Callable[[Path], None]
    counts: dict[str, Any] = field(default_factory=dict)

    @property
    def num_rows(self) -> dict[str, int]:
        """Rows by split."""
        counts = np.bincount(self.parts, minlength=len(SPLITS)).tolist()
        return dict(zip(SPLITS, counts, strict=True))


class SplitWriter:
    """Writes blocks of rows, in the order of the source, to the three files of the splits.

    Files are the same bytes however the rows are cut into blocks.
    """

    def __init__(self, folder: Path, schema: "pa.Schema", group_rows: int = _GROUP_ROWS) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # Numbers and pixels rarely repeat: without a dictionary they are written and read faster.
        repeated = [item.name for item in schema if pa.types.is_string(item.type)]
        self._group_rows = group_rows
        self._writers = [
            pq.ParquetWriter(
                folder / f"{name}.parquet",
                schema,
                compression="zstd",
                compression_level=_LEVEL,
                use_dictionary=repeated or False,  # pyright: ignore[reportArgumentType]
            )
            for name in SPLITS
        ]
        self._waiting: list[list[pa.Table]] = [[] for _ in SPLITS]
        self._pending: Future[None] | None = None
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        return self

    def write(self, block: "pa.Table", parts: np.ndarray) -> None:
        """Write the rows of a block, each to its split (int8 [n])."""
        for part in range(len(SPLITS)):
            self._waiting[part].append(block.filter(parts == part))
            while sum(table.num_rows for table in self._waiting[part]) >= self._group_rows:
                self._write_group(part)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what is left and close the files."""
        with self._pool:
            for part in range(len(SPLITS)) if error is None else ():
                if any(table.num_rows for table in self._waiting[part]):
                    self._write_group(part)
            self._wait()
            for writer in self._writers:
                writer.close()

    def _write_group(self, part: int) -> None:
        import pyarrow as pa

        num_rows = self._group_rows
        table = pa.concat_tables(self._waiting[part])
        self._waiting[part] = [table.slice(num_rows)]
        self._wait()
        # Encoding takes most of the time, and another core has the next block ready by then.
        group = table.slice(0, num_rows).combine_chunks()
        self._pending = self._pool.submit(self._writers[part].write_table, group, num_rows)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None


def write_dataset(
    folder: Path, accepted: Accepted, params: DataParams, source_sha256: str, state_dir: Path
) -> dict[str, Any]:
    """Fill an empty ``folder``; equal rows and params give equal bytes.

    Returns the content of ``dataset.json``.
    """
    accepted.write(folder)
    result = accepted.validation.as_json(len(accepted.parts))
    write_json(folder / "validation.json", result)
    write_json(folder / "profile.json", accepted.profiles)
    _fit(folder, accepted, params, state_dir)
    # The identity covers what can be learned from, not what was refused.
    identity = {
        "splits": {name: sha256_file(folder / f"{name}.parquet") for name in SPLITS},
        "preprocessing": read_json(folder / "preprocessing.json"),
        "labels": list(accepted.targets.labels),
    }
    tree = {
        "task": params.task,
        "kind": params.kind,
        "labels": list(accepted.targets.labels),
        "features": accepted.features,
        "target": params.target if isinstance(params.target, str) else list(params.target),
        "sensitive": accepted.sensitive,
        "rows": accepted.num_rows,
        "num_rejected": accepted.refused.num_rows,
        "digest": hashlib.sha256(canonical(identity)).hexdigest(),
        "validation_digest": hashlib.sha256(canonical(result)).hexdigest(),
        # What cross-validation makes its folds by, and fits in each.
        "split": params.split.model_dump(mode="json"),
        "prepare": params.prepare.model_dump(mode="json"),
        "clean": params.clean.model_dump(mode="json"),
        "leakage": params.leakage.model_dump(mode="json"),
        "license": params.license,
        "source_sha256": source_sha256,
    }
    write_json(folder / "dataset.json", tree)
    return tree


def _fit(folder: Path, accepted: Accepted, params: DataParams, state_dir: Path) -> None:
    """Fit the preprocessing on train alone."""
    from modelyard.data.prepare_text import read_vocabulary
    from modelyard.data.vocabulary import fetch_vocabulary

    known = None
    source = params.prepare.text.vocabulary
    if source is not None and any(item["type"] == "text" for item in accepted.features):
        with TemporaryDirectory(prefix="modelyard-vocabulary-") as place:
            known = read_vocabulary(fetch_vocabulary(source, Path(place), state_dir))
    Preprocessing.fit(
        folder / "train.parquet",
        accepted.features,
        params.task,
        params.prepare,
        params.clean,
        known,
    ).write(folder / "preprocessing.json")
