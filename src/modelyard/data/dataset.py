"""A dataset version as files: the splits, what was fitted, what was refused, the digests."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.artifacts import SPLITS, canonical, read_json, sha256_file, write_json
from modelyard.data.contract import Checked
from modelyard.data.preprocessing import Preprocessing
from modelyard.data.quarantine import num_rows, write_quarantine
from modelyard.data.validation import Validation
from modelyard.params import DataParams


@dataclass(frozen=True)
class Accepted:
    """What becomes the dataset.

    ``rows``, ``labels`` in their order, ``targets`` int64 [N] (indices into them).

    ``parts`` gives the positions of each split's rows, int64, ascending.
    """

    rows: Checked
    labels: tuple[str, ...]
    targets: np.ndarray
    parts: dict[str, np.ndarray]

    @property
    def num_rows(self) -> dict[str, int]:
        """Rows by split."""
        return {name: len(self.parts[name]) for name in SPLITS}

    def images(self, positions: np.ndarray, params: DataParams) -> np.ndarray:
        """The pictures at ``positions``, uint8 [N,H,W] (grey) or [N,H,W,3]."""
        image = params.image
        shape = [len(positions), image.height or 0, image.width or 0]
        return self.rows.pixels[positions].reshape(shape + ([3] if image.channels == 3 else []))


def write_dataset(
    folder: Path,
    accepted: Accepted,
    validation: Validation,
    params: DataParams,
    source_sha256: str,
) -> dict[str, Any]:
    """Fill an empty ``folder``; equal rows and params give equal bytes.

    Returns the content of ``dataset.json``.
    """
    for name in SPLITS:
        _write_split(folder / f"{name}.parquet", accepted, accepted.parts[name])
    write_quarantine(folder / "quarantine.parquet", accepted.rows.rejections)
    result = validation.as_json(len(accepted.rows.rows))
    write_json(folder / "validation.json", result)
    train = {"image": accepted.images(accepted.parts["train"], params)}
    Preprocessing.fit(train).write(folder / "preprocessing.json")
    # The identity covers what can be learned from, not what was refused.
    identity = {
        "splits": {name: sha256_file(folder / f"{name}.parquet") for name in SPLITS},
        "preprocessing": read_json(folder / "preprocessing.json"),
        "labels": list(accepted.labels),
    }
    image = params.image
    size = {"height": image.height, "width": image.width, "channels": image.channels}
    tree = {
        "task": params.task,
        "kind": params.kind,
        "labels": list(accepted.labels),
        "features": [{"name": "image", "type": "image", **size}],
        "target": params.target,
        "sensitive": [],
        "rows": accepted.num_rows,
        "num_rejected": num_rows(accepted.rows.rejections),
        "digest": hashlib.sha256(canonical(identity)).hexdigest(),
        "validation_digest": hashlib.sha256(canonical(result)).hexdigest(),
        "license": params.license,
        "source_sha256": source_sha256,
    }
    write_json(folder / "dataset.json", tree)
    return tree


def _write_split(path: Path, accepted: Accepted, positions: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pixels = accepted.rows.pixels[positions]
    table = pa.table(
        {
            "row": pa.array(accepted.rows.rows[positions], pa.int64()),
            "image": pa.FixedSizeListArray.from_arrays(pa.array(pixels.ravel()), pixels.shape[1]),
            "target": pa.array(accepted.targets[positions], pa.int64()),
        }
    )
    # Without a dictionary pixels are read three times as fast, and the file is only a third larger.
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
