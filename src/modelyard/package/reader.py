"""A package folder, read: schema, labels, examples and paths. JSON only: servers start light."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.artifacts import MAIN_METRIC, read_json
from modelyard.errors import PackageError
from modelyard.package.manifest import read_manifest


@dataclass(frozen=True)
class TensorSpec:
    """One input or output: ``dtype`` is numpy's name or "string", -1 in ``shape`` the batch axis.

    ``type`` is that of the data's feature, empty where the tensor is none's; ``required`` says that
    a row may not lack it; ``sample_rate``, in Hz, is that of sound; ``fit`` says what is done with
    a picture of another size.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    type: str = ""
    required: bool = False
    sample_rate: int | None = None
    fit: str = "refuse"


@dataclass(frozen=True)
class Schema:
    """What the model takes and gives; ``target`` names the predicted columns."""

    task: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    target: str | tuple[str, ...]


@dataclass(frozen=True)
class GoldenRequest:
    """Rows as in a ``/predict`` body, and the shipped file's answers [rows, width].

    They are the first output: probabilities of the classes or labels, or a prediction of width 1.
    """

    rows: tuple[dict[str, Any], ...]
    answers: tuple[tuple[float, ...], ...]


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
            schema = _schema(read_json(folder / "schema.json"))
            golden, output = read_json(folder / "golden.json"), schema.outputs[0].name
            return cls(
                folder=folder,
                digest=digest,
                schema=schema,
                labels=tuple(read_json(folder / "labels.json")),
                golden=Golden(
                    atol=float(golden["atol"]),
                    requests=tuple(_golden_request(item, output) for item in golden["requests"]),
                ),
                input_example=read_json(folder / "input_example.json"),
            )
        except FileNotFoundError as error:
            raise PackageError(
                f"{Path(error.filename).name} is missing in {folder}", "Build the package again."
            ) from None
        except (KeyError, IndexError, TypeError, ValueError) as error:
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


def _schema(tree: dict[str, Any]) -> Schema:
    target = tree["target"]
    schema = Schema(
        task=tree["task"],
        inputs=tuple(_tensor(spec) for spec in tree["inputs"]),
        outputs=tuple(_tensor(spec) for spec in tree["outputs"]),
        target=target if isinstance(target, str) else tuple(target),
    )
    if schema.task not in MAIN_METRIC:
        raise ValueError(f"task {schema.task!r} is none of {', '.join(MAIN_METRIC)}")
    return schema


def _tensor(spec: dict[str, Any]) -> TensorSpec:
    # Packages made before inputs had types take pictures alone.
    pixels = "image" if spec["dtype"] == "uint8" and len(spec["shape"]) > 2 else ""
    return TensorSpec(
        name=spec["name"],
        dtype=spec["dtype"],
        shape=tuple(int(size) for size in spec["shape"]),
        type=spec.get("type", pixels),
        required=bool(spec.get("required", False)),
        sample_rate=spec.get("sample_rate"),
        fit=spec.get("fit", "refuse"),
    )


def _golden_request(item: dict[str, Any], output: str) -> GoldenRequest:
    rows = tuple(item["rows"])
    answers = tuple(tuple(float(value) for value in row) for row in item[output])
    if len(rows) != len(answers):
        raise ValueError(f"{len(rows)} golden rows but {len(answers)} answers")
    return GoldenRequest(rows, answers)
