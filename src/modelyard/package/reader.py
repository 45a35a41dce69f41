"""A package folder, read: schema, labels, examples and paths. JSON only: servers start light."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.artifacts import read_json
from modelyard.errors import PackageError
from modelyard.package.manifest import read_manifest


@dataclass(frozen=True)
class TensorSpec:
    """One input or output: ``dtype`` is numpy's name, -1 in ``shape`` the batch axis."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Schema:
    """What the model takes and gives; ``target`` is the name of the predicted column."""

    task: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    target: str


@dataclass(frozen=True)
class GoldenRequest:
    """Rows as in a ``/predict`` body, and the shipped file's probabilities [rows, classes]."""

    rows: tuple[dict[str, Any], ...]
    probabilities: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Golden:
    """Requests that a server must answer as recorded, within ``atol``, before a model goes live."""

    atol: float
    requests: tuple[GoldenRequest, ...]


@dataclass(frozen=True)
class PackageReader:
    """The small files of the package in ``folder``; ``signing.verify_package`` verifies them."""

    folder: Path
    digest: str
    schema: Schema
    labels: tuple[str, ...]
    golden: Golden
    input_example: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> "PackageReader":
        """Read a package folder; its files are not hashed.

        Raises:
            PackageError: a file is missing or does not hold what it should.
        """
        digest, _ = read_manifest(folder)
        try:
            schema, golden = read_json(folder / "schema.json"), read_json(folder / "golden.json")
            return cls(
                folder=folder,
                digest=digest,
                schema=Schema(
                    task=schema["task"],
                    inputs=tuple(_tensor(spec) for spec in schema["inputs"]),
                    outputs=tuple(_tensor(spec) for spec in schema["outputs"]),
                    target=schema["target"],
                ),
                labels=tuple(read_json(folder / "labels.json")),
                golden=Golden(
                    atol=float(golden["atol"]),
                    requests=tuple(_golden_request(item) for item in golden["requests"]),
                ),
                input_example=read_json(folder / "input_example.json"),
            )
        except FileNotFoundError as error:
            raise PackageError(
                f"{Path(error.filename).name} is missing in {folder}", "Build the package again."
            ) from None
        except (KeyError, TypeError, ValueError) as error:
            raise PackageError(
                f"a JSON file in {folder} does not hold what a package needs: {error!r}",
                "Build the package again.",
            ) from None

    @property
    def model(self) -> Path:
        """The ONNX file that serves."""
        return self.folder / "model.onnx"

    @property
    def reference(self) -> Path:
        """The fp32 ONNX file, same interface."""
        return self.folder / "reference.onnx"

    @property
    def card(self) -> Path:
        """The model card, Markdown."""
        return self.folder / "MODEL_CARD.md"

    @property
    def evaluation(self) -> dict[str, Any]:
        """Metrics of the trained and of the shipped file, and the candidates."""
        return read_json(self.folder / "evaluation.json")


def _tensor(spec: dict[str, Any]) -> TensorSpec:
    return TensorSpec(spec["name"], spec["dtype"], tuple(int(size) for size in spec["shape"]))


def _golden_request(item: dict[str, Any]) -> GoldenRequest:
    rows = tuple(item["rows"])
    answers = tuple(tuple(float(value) for value in row) for row in item["probabilities"])
    if len(rows) != len(answers):
        raise ValueError(f"{len(rows)} golden rows but {len(answers)} answers")
    return GoldenRequest(rows, answers)
