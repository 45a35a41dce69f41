"""Brings ``serve`` of params.yaml to the serving folder, where servers read it as plain JSON.

A file that is not possible changes nothing: what was read before holds, and the log has the reason.
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.artifacts import canonical, write_atomic
from modelyard.errors import ModelyardError
from modelyard.params import ServeParams, parse, read_tree

FILE = "serve.json"
_logger = logging.getLogger(__name__)


@dataclass
class ServeFiles:
    """The params files of the models that are followed, read again when they change.

    Args:
        paths: A params.yaml each. One holds for the registered model that it names, the first also
            for those that none names.
    """

    paths: tuple[Path, ...] = ()
    _stamps: dict[Path, tuple[int, int, int] | None] = field(default_factory=dict)
    _read: dict[Path, tuple[str, ServeParams]] = field(default_factory=dict)

    def of(self, name: str) -> ServeParams:
        """What holds for a model."""
        self._refresh()
        found = [self._read[path] for path in self.paths if path in self._read]
        for model, params in found:
            if model == name:
                return params
        return found[0][1] if found else ServeParams()

    def write(self, folder: Path, name: str) -> ServeParams:
        """Let the model's serving ``folder`` say what holds, where that exists; return it.

        Raises:
            OSError: the folder cannot be written.
        """
        params = self.of(name)
        path, text = folder / FILE, canonical(params.model_dump(mode="json"))
        if folder.is_dir() and (not path.exists() or path.read_bytes() != text):
            write_atomic(path, text)
        return params

    def _refresh(self) -> None:
        for path in self.paths:
            stamp = _stamp(path)
            if stamp is None or self._stamps.get(path) == stamp:
                continue
            self._stamps[path] = stamp
            try:
                params = parse(read_tree(path))
            except ModelyardError as error:
                _logger.error("serve settings stay as they are: %s", error)
                continue
            self._read[path] = params.registry.name, params.serve


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
