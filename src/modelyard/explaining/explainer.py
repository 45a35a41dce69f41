"""A package, read to be explained: from raw columns to what each field or pixel adds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.data.prepare_image import Image
from modelyard.data.prepare_table import Number, scale
from modelyard.data.preprocessing import Preprocessing
from modelyard.errors import PackageError
from modelyard.explaining.gradients import Explained
from modelyard.explaining.shares import image_shares, table_shares
from modelyard.models import archive
from modelyard.package import PackageReader, verify_manifest

_PIXELS = {"black": 0, "white": 255}


@dataclass(frozen=True)
class Explainer:
    """One version of a model."""

    digest: str
    preprocessing: Preprocessing
    network: Explained

    @classmethod
    def load(cls, folder: Path, digest: str) -> "Explainer":
        """Read a package whose files are those that ``digest`` names.

        Raises:
            PackageError: it is not there, not that one, or holds no network.
        """
        if (found := verify_manifest(folder)) != digest:
            raise PackageError(f"the package has digest {found[:12]}, not {digest[:12]}")
        package = PackageReader.open(folder)
        preprocessing = Preprocessing.read(folder / "preprocessing.json")
        network = Explained(
            archive.read(folder / archive.ARCHIVE),
            package.schema.task,
            preprocessing.target,
            len(preprocessing.embeddings),
        )
        return cls(digest, preprocessing, network)

    def explain(self, job: dict[str, Any], number: int) -> dict[str, Any]:
        """Explain row ``number`` of a job.

        Args:
            job: ``columns`` of raw values by name; ``targets``, the index of each row's class;
                ``steps``; ``baseline``, columns of one row, or a name: ``black``,
                ``white``, or what the data are centred on, ``mean`` and ``typical``.
            number: Of the row.

        Returns:
            ``score``, ``baseline_score``, ``delta`` and ``attributions``.
        """
        row = self._prepared(job["columns"], slice(number, number + 1))
        baseline, blank = self._baseline(job["baseline"])
        found = self.network.attribute(row, baseline, blank, job["targets"][number], job["steps"])
        media = self.preprocessing.media
        if isinstance(media, Image):
            shares = image_shares(media, found.row)
        else:
            shares = table_shares(self.preprocessing.table, found.row, found.vectors)
        return {
            "score": found.score,
            "baseline_score": found.baseline_score,
            "delta": found.delta,
            "attributions": [share.to_json() for share in shares],
        }

    def _prepared(self, columns: dict[str, list[Any]], rows: slice) -> np.ndarray:
        """Raw columns, null where missing, as the network's input."""
        kinds = {
            part.name: np.uint8
            if isinstance(part, Image)
            else np.float64
            if isinstance(part, Number)
            else object
            for part in self.preprocessing.parts
        }
        return self.preprocessing.transform(
            {name: np.array(columns[name][rows], dtype=kind) for name, kind in kinds.items()}
        )

    def _baseline(self, wanted: str | dict[str, list[Any]]) -> tuple[np.ndarray, bool]:
        """The row to compare with, and whether it has no value of any category."""
        if isinstance(wanted, dict):
            return self._prepared(wanted, slice(0, 1)), False
        baseline = np.zeros((1, *self.preprocessing.input_shape), np.float32)
        media = self.preprocessing.media
        if not isinstance(media, Image):
            numbers = self.preprocessing.table.numbers
            typical = {number.name: np.array([number.impute]) for number in numbers}
            baseline[:, : len(numbers)] = scale(numbers, typical, 1)[:, : len(numbers)]
        elif wanted in _PIXELS:
            colour = () if len(media.scale) == 1 else (len(media.scale),)
            shape = (1, media.height, media.width, *colour)
            baseline = media.transform(np.full(shape, _PIXELS[wanted], np.uint8))
        return baseline, True
