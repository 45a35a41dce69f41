"""One version of a model in memory: verified, warmed, and asked its golden requests first."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime as ort

from modelyard.artifacts import read_json
from modelyard.errors import PackageError
from modelyard.package import PackageReader, verify_manifest
from modelyard.serving.failures import RequestError
from modelyard.serving.plans import Plan
from modelyard.serving.rows import parse_rows
from modelyard.serving.tensors import Tensor

Arrays = dict[str, np.ndarray]

_NETWORK = "network.pt2"


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded version; ``run`` may be called from any thread."""

    name: str
    version: int
    digest: str
    task: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    labels: tuple[str, ...]
    session: ort.InferenceSession
    example: tuple[dict[str, Any], ...] = ()
    """Rows that the model answers, as ``/predict`` takes them."""
    choices: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The known values of categories, by input; others count as unknown."""
    path: Path = Path()
    """The package's folder."""
    plans: dict[bytes, Plan] = field(default_factory=dict)
    """What headers of binary requests mean, by their bytes."""
    heads: dict[Any, bytes] = field(default_factory=dict)
    """JSON headers of binary answers, by what was asked and the outputs' shapes."""
    explainable: bool = False
    """The package holds the network that explanations are computed from."""

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        """The outputs, in the order of ``outputs``, for a batch of validated inputs.

        Raises:
            RequestError: 400, a row's prediction is not a number.
        """
        names = [tensor.name for tensor in self.outputs]
        outputs = cast("list[np.ndarray]", self.session.run(names, inputs))
        if not (finite := np.isfinite(outputs[0])).all():
            row = int(np.flatnonzero(~finite.reshape(len(finite), -1).all(axis=1))[0])
            raise RequestError(
                400,
                f"rows[{row}]: the model's answer is not a number; a value of this row lies far "
                "beyond those that the model was made for",
            )
        return outputs


def load(folder: Path, name: str, version: int, digest: str) -> Model:
    """Load a package.

    Every file is hashed and compared with the manifest and the manifest with ``digest``; then the
    model answers its input example and each golden request.

    Raises:
        PackageError: the package is altered or is not the one named, does not load, or answers
            other than recorded.
    """
    if (found := verify_manifest(folder)) != digest:
        raise PackageError(f"the package has digest {found[:12]}, the pointer names {digest[:12]}")
    package = PackageReader.open(folder)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A plan of memory is kept for every size of batch that was ever seen: +7 MB, and no faster.
    options.enable_mem_pattern = False
    try:
        session = ort.InferenceSession(
            str(package.model), options, providers=["CPUExecutionProvider"]
        )
        schema = package.schema
        inputs = tuple(Tensor(**vars(spec)) for spec in schema.inputs)
        outputs = tuple(Tensor(**vars(spec)) for spec in schema.outputs)
    except (
        Exception
    ) as error:  # onnxruntime raises bare classes of its own for a file it cannot read
        raise PackageError(f"model.onnx does not load: {_first_line(error)}") from error
    _check_interface(session, inputs, outputs)
    example = package.input_example.get("rows")
    model = Model(
        name=name,
        version=version,
        digest=digest,
        task=schema.task,
        inputs=inputs,
        outputs=outputs,
        labels=package.labels,
        session=session,
        example=tuple(example or ()),
        choices=_choices(folder),
        path=folder,
        explainable=(folder / _NETWORK).is_file(),
    )
    _answer(model, example, "the input example")
    for number, request in enumerate(package.golden.requests):
        place = f"golden request {number}"
        answers = _answer(model, list(request.rows), place)
        _compare(np.asarray(request.answers), answers, package.golden.atol, place)
    _give_back_memory()
    return model


def _give_back_memory() -> None:
    """Give back what loading freed, and what the version before the last one had.

    glibc keeps it otherwise, more with every version.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _choices(folder: Path) -> dict[str, tuple[str, ...]]:
    """The values of each category that were seen often enough to be learned."""
    try:
        features = read_json(folder / "preprocessing.json")["features"]
        return {
            item["name"]: tuple(map(str, item["kept"]))
            for item in features
            if item["kind"] == "category"
        }
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return {}  # of a package made elsewhere; they are for people to choose from, no more


def _check_interface(
    session: ort.InferenceSession, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> None:
    for kind, nodes, tensors in (
        ("input", session.get_inputs(), inputs),
        ("output", session.get_outputs(), outputs),
    ):
        found = {node.name: node.type for node in nodes}
        declared = {tensor.name: tensor.onnx_type for tensor in tensors}
        missing = kind == "output" and declared.items() <= found.items()
        if found != declared and not missing:
            raise PackageError(f"model.onnx has {kind}s {found}, schema.json declares {declared}")


def _answer(model: Model, rows: Any, place: str) -> np.ndarray:
    try:
        inputs = parse_rows({"rows": rows}, model.inputs)
    except RequestError as error:
        raise PackageError(f"{place} is not possible: {error.message}") from None
    try:
        answers = model.run(inputs)[0]
    except Exception as error:  # see load
        raise PackageError(f"the model fails at {place}: {_first_line(error)}") from error
    width = 1 if model.task == "regression" else len(model.labels)
    if answers.ndim != 2 or answers.shape != (len(rows), width):
        raise PackageError(
            f"{place} gives shape {list(answers.shape)}; "
            f"{len(rows)} rows of task {model.task} with {len(model.labels)} labels need "
            f"{[len(rows), width]}"
        )
    return answers


def _compare(expected: np.ndarray, found: np.ndarray, atol: float, place: str) -> None:
    """Compare answers [rows, width]; the class may differ where the two best are near."""
    if expected.shape != found.shape:
        raise PackageError(f"{place} records shape {list(expected.shape)}")
    if (worst := float(np.abs(expected - found).max(initial=0))) > atol:
        raise PackageError(f"{place} is answered {worst:.3g} off, {atol:g} is allowed")
    if expected.shape[1] < 2:
        return
    best = np.sort(expected, axis=1)
    clear = best[:, -1] - best[:, -2] > 2 * atol
    if (expected.argmax(axis=1) != found.argmax(axis=1))[clear].any():
        raise PackageError(f"{place} is answered with another class")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
