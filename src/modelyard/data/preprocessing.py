"""What is fitted on train alone, once, and used twice: in training and in the served graph."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from modelyard.artifacts import read_json, write_json
from modelyard.data.columns import count_values, iterate_features, read_feature
from modelyard.data.onnx_nodes import Nodes
from modelyard.data.prepare_audio import Audio
from modelyard.data.prepare_image import Image
from modelyard.data.prepare_table import Category, Number, mean_and_std
from modelyard.data.prepare_text import Bag
from modelyard.data.prepared import Prepared, Table, prepare_media, prepare_table
from modelyard.data.spectrogram import Spectrogram
from modelyard.errors import ParamsError
from modelyard.params import Clean, Prepare

if TYPE_CHECKING:
    import onnx

OUTPUT = "features"
TAKEN = (OUTPUT, "network_outputs", "probabilities", "prediction")
"""Names that tensors of the served graph have, which no feature may have."""
BLOCK_ROWS = 256
BLOCK_BYTES = 64 << 20
"""Of prepared rows that are in memory at once: as many times ``BLOCK_ROWS`` as fit, and once."""

Part = Image | Audio | Number | Category | Bag
_PARTS: dict[str, type[Part]] = {
    "image": Image,
    "audio": Audio,
    "number": Number,
    "category": Category,
    "text": Bag,
}


@dataclass(frozen=True)
class Target:
    """A number to be learned: the network gives ``(target - mean) / std``.

    ``typical_error`` is the mean distance of train's targets from their ``median``, 1 where all are
    equal: skill is ``1 - error / typical_error``.
    """

    mean: float
    std: float
    median: float
    typical_error: float


@dataclass(frozen=True)
class Preprocessing:
    """From raw columns to the network's input.

    ``parts``: one a feature, in the order of dataset.json. ``target`` is there for regression.
    """

    parts: tuple[Part, ...]
    target: Target | None = None

    @classmethod
    def fit(
        cls,
        train: Path,
        features: Sequence[dict[str, Any]],
        task: str,
        prepare: Prepare,
        clean: Clean,
        vocabulary: Collection[str] | None = None,
    ) -> Self:
        """Fit on the train split; a column, or a batch of texts or images, is in memory at a time.

        Args:
            train: ``train.parquet``.
            features: As in ``dataset.json``.
            task: Of params.
            prepare: The section ``data.prepare``.
            clean: The section ``data.clean``, for bounds of outliers that are clipped.
            vocabulary: Tokens of ``prepare.text.vocabulary`` (``prepare_text.read_vocabulary``).

        Raises:
            ParamsError: nothing is left to learn from, or a column cannot be prepared so.
            WorkspaceError: the file is missing or damaged.
        """
        _check_names(features)
        parts = []
        for feature in features:
            name, kind = feature["name"], feature["type"]
            match kind:
                case "image":
                    part = Image.fit(feature, _column(train, feature))
                case "audio":
                    part = Audio.fit(feature, partial(_column, train, feature))
                case "text":
                    part = Bag.fit(name, prepare.text, _column(train, feature), vocabulary)
                case "category":
                    part = Category.fit(name, count_values(train, name), prepare.categories)
                case _:
                    values = read_feature(train, feature)
                    part = Number.fit(name, kind, values, prepare.numbers, clean.outliers)
            parts.append(part)
        return cls(tuple(parts), _fit_target(train) if task == "regression" else None)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what ``write`` wrote."""
        tree = read_json(path)
        target = tree["target"]
        return cls(
            tuple(map(_parse, tree["features"])), None if target is None else Target(**target)
        )

    def write(self, path: Path) -> None:
        """Write ``preprocessing.json``; equal ones are equal bytes."""
        kinds = {part: kind for kind, part in _PARTS.items()}
        features = [{"kind": kinds[type(part)], **asdict(part)} for part in self.parts]
        target = None if self.target is None else asdict(self.target)
        write_json(path, {"features": features, "target": target})

    @property
    def media(self) -> Image | Audio | None:
        """The image or sound, which is then the only feature."""
        part = self.parts[0]
        return part if isinstance(part, Image | Audio) else None

    @property
    def table(self) -> Table:
        """The features of a table or text."""
        return Table(
            tuple(part for part in self.parts if isinstance(part, Number)),
            tuple(part for part in self.parts if isinstance(part, Category)),
            tuple(part for part in self.parts if isinstance(part, Bag)),
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one row as the network sees it: (C, H, W), (1, mels, frames), or (D,)."""
        return (self.table.width,) if self.media is None else self.media.shape

    @property
    def embeddings(self) -> tuple[tuple[int, int], ...]:
        """(places, dimension) of each embedded category; their places are the last columns."""
        return tuple((part.num_places, part.dimension or 0) for part in self.table.embedded)

    def prepare(self, batches: Iterable[Mapping[str, np.ndarray]], num_rows: int) -> Prepared:
        """Prepare raw columns, a batch after the other, for many calls of ``take``.

        Args:
            batches: Columns by feature, as ``columns.iterate_features`` or ``SplitColumns`` has
                them; one at least.
            num_rows: Of all batches together.
        """
        media = self.media
        if media is not None:
            return prepare_media(media, batches, num_rows)
        return prepare_table(self.table, batches, num_rows)

    def transform(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        """Columns as in ``SplitColumns.features`` to float32 [N, *input_shape]."""
        num_rows = len(next(iter(features.values())))
        return self.prepare([features], num_rows).take(slice(None))

    def blocks(self, features: Mapping[str, np.ndarray]) -> Iterator[np.ndarray]:
        """``transform`` in parts of ``BLOCK_BYTES``: many wide rows at once exceed the memory."""
        row_bytes = 4 * int(np.prod(self.input_shape))
        rows = max(1, BLOCK_BYTES // (BLOCK_ROWS * row_bytes)) * BLOCK_ROWS
        for start in range(0, len(next(iter(features.values()))), rows):
            part = {name: column[start : start + rows] for name, column in features.items()}
            yield self.transform(part)

    def onnx_model(self, opset: int, ir_version: int) -> "onnx.ModelProto":
        """The same as ``transform`` as a graph.

        Its inputs are named as the features: [batch] double or string, uint8 [batch,H,W(,3)], int16
        [batch,S]. Its output ``features`` is float32 [batch, *input_shape].
        """
        graph = Nodes()
        result = (self.media or self.table).add_to(graph)
        return graph.model(result, OUTPUT, self.input_shape, opset, ir_version)


def _column(train: Path, feature: dict[str, Any]) -> Iterator[np.ndarray]:
    return (batch[feature["name"]] for batch in iterate_features(train, [feature]))


def _fit_target(train: Path) -> Target:
    values = read_feature(train, {"name": "target", "type": "number"})
    mean, std = mean_and_std(values)
    median = float(np.median(values))
    return Target(mean, std, median, float(np.abs(values - median).mean()) or 1.0)


def _parse(tree: dict[str, Any]) -> Part:
    """A part as ``write`` wrote it."""
    fields: dict[str, Any] = {}
    for key, value in tree.items():
        fields[key] = tuple(value) if isinstance(value, list) else value
    if "spectrogram" in fields:
        fields["spectrogram"] = Spectrogram(**fields["spectrogram"])
    return _PARTS[fields.pop("kind")](**fields)


def _check_names(features: Sequence[dict[str, Any]]) -> None:
    """Refuse features that no network can be fed with."""
    names = [feature["name"] for feature in features]
    if not names:
        raise ParamsError(
            "no column is left to learn from",
            "Give data.schema a field that is used; data.clean.constant drops those of one value.",
        )
    for name in set(names) & set(TAKEN):
        raise ParamsError(
            f"a feature cannot be named {name!r}: so is a tensor of the served model",
            "Give the field another name, and its name in the source as header.",
        )
    media = [feature["name"] for feature in features if feature["type"] in ("image", "audio")]
    if media and len(names) > 1:
        other = next(name for name in names if name != media[0])
        raise ParamsError(
            f"{other} cannot be learned from beside {media[0]}: an image or sound is all that a "
            "network is fed with",
            f"Give the field {other!r} use: false.",
        )
