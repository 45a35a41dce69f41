"""Spool files of the prediction log: JSON lines, a file for each worker and version.

The first line says which version and inputs; each further one is a request. A worker locks the
file that it writes; one without a lock is closed, or its worker is dead. The last line of a dead
one may be torn: who reads skips what is not a whole line.
"""

import errno
import fcntl
import os
import time
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from modelyard.serving.http import dump

if TYPE_CHECKING:
    from modelyard.serving.model import Model
    from modelyard.serving.prediction_log import Entry
    from modelyard.serving.tensors import Tensor

FOLDER = "predictions"
"""Below a model's serving folder: ``DATE/*.parquet``, and spool files in ``SPOOL``."""
SPOOL = ".spool"
OTHER = "(other)"
"""Stands for a category that the model does not know, which may hold anything."""
_LONGEST = 64


@dataclass
class Spool:
    """A spool file in writing; ``num_bytes`` stand in it."""

    descriptor: int
    num_bytes: int = 0
    _began: float = field(default_factory=time.monotonic)
    _torn: bool = False

    @classmethod
    def open(cls, root: Path, worker: str, model: "Model") -> "Spool":
        """Begin a file; it gets its name when it is locked and has its header.

        Raises:
            OSError: it cannot be written.
        """
        folder = root / model.name / FOLDER / SPOOL
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.parent.chmod(0o700)
        path = folder / f"{worker}-{time.time_ns() // 1_000_000}.jsonl"
        temporary = path.with_suffix(".tmp")
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND
        spool = cls(os.open(temporary, flags, 0o600))
        try:
            fcntl.flock(spool.descriptor, fcntl.LOCK_EX)
            spool.write([dump(_header(model))])
            temporary.rename(path)
        except OSError:
            spool.close()
            temporary.unlink(missing_ok=True)
            raise
        return spool

    @property
    def age(self) -> float:
        """Seconds since it was begun."""
        return time.monotonic() - self._began

    def write(self, lines: list[bytes]) -> None:
        """Add lines.

        Raises:
            OSError: not all could be written; the next line begins anew.
        """
        content = (b"\n" if self._torn else b"") + b"\n".join(lines) + b"\n"
        self._torn = True
        written = os.write(self.descriptor, content)
        self.num_bytes += written
        if written < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._torn = False

    def close(self) -> None:
        """Close it and give up its lock."""
        os.close(self.descriptor)


def line(entry: "Entry") -> bytes:
    """A request as a line, without the newline."""
    model = entry.model
    return dump(
        {
            "time": entry.at,
            "request_id": entry.request_id.decode("ascii"),
            "caller": entry.caller,
            "latency_ms": round(entry.seconds * 1000, 3),
            "inputs": {
                tensor.name: _column(tensor, entry.inputs[tensor.name], model, entry.content)
                for tensor in model.inputs
            },
            "outputs": entry.outputs.tolist(),
        }
    )


def read_spool(content: bytes) -> tuple[dict[str, Any] | None, list[dict[str, Any]], int]:
    """The header and the requests of a spool file, and how many lines are torn."""
    header, *requests = [_parse(text) for text in content.split(b"\n") if text] or [None]
    whole = [request for request in requests if request is not None]
    return header, whole, len(requests) - len(whole) + (header is None)


def is_closed(descriptor: int) -> bool:
    """Whether nobody writes the spool file any more; if so, it is locked for the asker."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _parse(text: bytes) -> dict[str, Any] | None:
    try:
        tree = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return tree if type(tree) is dict else None


def _header(model: "Model") -> dict[str, Any]:
    return {
        "model": model.name,
        "version": model.version,
        "digest": model.digest,
        "task": model.task,
        "labels": list(model.labels),
        "inputs": [{"name": tensor.name, "type": tensor.type} for tensor in model.inputs],
    }


def _column(tensor: "Tensor", values: np.ndarray, model: "Model", content: bool) -> Any:
    """An input's values, one a row; of pictures, sounds and texts what ``content`` allows."""
    if tensor.type == "category":
        known = model.choices.get(tensor.name)
        return [_category(value, known, content) for value in values.tolist()]
    if tensor.type == "text":
        texts = values.tolist()
        return {"length": list(map(len, texts)), "content": texts if content else None}
    if tensor.is_scalar:
        return values.tolist()
    rows = values.reshape(len(values), -1)
    number = values.dtype != object
    raw = [b64encode(row.tobytes()).decode() for row in rows] if content and number else None
    mean = rows.mean(axis=1, dtype=np.float64).tolist() if number else None
    return {"shape": list(values.shape[1:]), "mean": mean, "content": raw}


def _category(value: str, known: tuple[str, ...] | None, content: bool) -> str | None:
    if not value:
        return None
    if content or (known is None and len(value) <= _LONGEST) or (known and value in known):
        return value
    return OTHER
