"""dvc.lock read as proof: the digests of raw data and dataset, and the key of a whole run."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.artifacts import canonical, sha256_file
from modelyard.errors import WorkspaceError
from modelyard.yaml_text import load_yaml

FILE = "dvc.lock"
REQUIREMENTS = "requirements.lock"


@dataclass(frozen=True)
class Recorded:
    """What dvc.lock says of the finished stages.

    ``key`` is equal for equal code, data and params.
    """

    key: str
    raw_md5: str
    dataset_md5: str
    dvc_lock_sha256: str
    lock_sha256: str


def read(root: Path) -> Recorded:
    """Read ``root/dvc.lock``.

    Raises:
        WorkspaceError: it is missing, or the pipeline has not been run to its end.
    """
    import yaml

    path = root / FILE
    try:
        tree = load_yaml(path.read_text(encoding="utf-8"))
        stages: dict[str, Any] = tree["stages"]
        raw = _output_md5(stages["fetch"], "data/raw")
        dataset = _output_md5(stages["ingest"], "data/dataset")
        _output_md5(stages["compress"], "models/package")
    except (OSError, KeyError, TypeError, AttributeError, StopIteration, yaml.YAMLError):
        raise WorkspaceError(
            f"{FILE} does not name a finished run",
            "Run the stages first: `modelyard run` or `dvc repro`. If it is damaged, delete it:"
            " finished stages come from the cache.",
        ) from None
    return Recorded(
        key=hashlib.sha256(canonical(stages)).hexdigest(),
        raw_md5=raw,
        dataset_md5=dataset,
        dvc_lock_sha256=sha256_file(path),
        lock_sha256=sha256_file(root / REQUIREMENTS),
    )


def _output_md5(stage: dict[str, Any], path: str) -> str:
    return next(out["md5"] for out in stage["outs"] if out["path"] == path)
