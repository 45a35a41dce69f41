"""The files by which MLflow loads the package as an ONNX model: MLmodel, environment, example.

They are written here rather than by ``mlflow.onnx.save_model``: importing mlflow takes seconds, and
its saving would write a second copy of the model. A contract test loads the result with MLflow.
"""

import json
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from modelyard.package import PackageReader
from modelyard.package.manifest import MLMODEL
from modelyard.package.reader import TensorSpec
from modelyard.package.scalars import SCALARS, to_tensor

PACKAGE = "package"
_REQUIRED = ("mlflow", "onnx", "onnxruntime")


def write_package_mlmodel(folder: Path) -> None:
    """Make the package folder itself one that MLflow can load.

    ``mlflow.pyfunc`` looks for an MLmodel beside the ONNX file, wherever the outer one lies.
    """
    _write_yaml(folder / MLMODEL, {"flavors": _flavors("")})


def write_model_files(folder: Path, reader: PackageReader, model_id: str, run_id: str) -> None:
    """Write what stands beside ``package/`` in the artifact folder of a logged model.

    Args:
        folder: The artifact folder, which holds ``package/``.
        reader: The package in it.
        model_id: Of MLflow's logged model.
        run_id: Of the MLflow run.
    """
    size = sum(path.stat().st_size for path in (folder / PACKAGE).iterdir())
    _write_yaml(
        folder / MLMODEL,
        {
            "artifact_path": f"models:/{model_id}",
            "flavors": _flavors(f"{PACKAGE}/"),
            "mlflow_version": version("mlflow"),
            "model_id": model_id,
            "model_size_bytes": size,
            "model_uuid": model_id,
            "run_id": run_id,
            "saved_input_example_info": {
                "artifact_path": "input_example.json",
                "serving_input_path": "serving_input_example.json",
                "type": "ndarray",
            },
            "signature": {
                "inputs": json.dumps([_tensor(spec) for spec in reader.schema.inputs]),
                "outputs": json.dumps([_tensor(spec) for spec in reader.schema.outputs]),
                "params": None,
            },
            "utc_time_created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
        },
    )
    example = _example(reader)
    _write_text(folder / "input_example.json", json.dumps(example))
    _write_text(folder / "serving_input_example.json", json.dumps({"inputs": example}))
    _write_environment(folder)


def _flavors(prefix: str) -> dict[str, Any]:
    data = f"{prefix}model.onnx"
    return {
        "onnx": {
            "code": None,
            "data": data,
            "onnx_session_options": {"intra_op_num_threads": 1, "inter_op_num_threads": 1},
            "onnx_version": version("onnx"),
            "providers": ["CPUExecutionProvider"],
        },
        "python_function": {
            "data": data,
            "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
            "loader_module": "mlflow.onnx",
            "python_version": platform.python_version(),
        },
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    # numpy has no name for text of any length but that of its objects.
    dtype = "object" if spec.dtype == "string" else spec.dtype
    tensor = {"dtype": dtype, "shape": list(spec.shape)}
    return {"name": spec.name, "type": "tensor", "tensor-spec": tensor}


def _example(reader: PackageReader) -> dict[str, Any]:
    """The example's rows turned into one array an input, as the graph takes it; NaN is null."""
    rows = reader.input_example["rows"]
    return {spec.name: [_value(spec, row) for row in rows] for spec in reader.schema.inputs}


def _value(spec: TensorSpec, row: dict[str, Any]) -> Any:
    if spec.type not in SCALARS:
        return row[spec.name]
    value = to_tensor(spec.type, row.get(spec.name))
    return None if value != value else value  # noqa: PLR0124 - NaN is no JSON


def _write_environment(folder: Path) -> None:
    requirements = [f"{name}=={version(name)}" for name in _REQUIRED]
    _write_text(folder / "requirements.txt", "\n".join(requirements) + "\n")
    python = platform.python_version()
    _write_yaml(
        folder / "python_env.yaml",
        {
            "python": python,
            "build_dependencies": ["pip", "setuptools", "wheel"],
            "dependencies": ["-r requirements.txt"],
        },
    )
    _write_yaml(
        folder / "conda.yaml",
        {
            "name": "mlflow-env",
            "channels": ["conda-forge"],
            "dependencies": [f"python={python}", "pip", {"pip": requirements}],
        },
    )


def _write_yaml(path: Path, tree: dict[str, Any]) -> None:
    _write_text(path, yaml.safe_dump(tree, sort_keys=False))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
