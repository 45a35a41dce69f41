"""A package of a table's model, as MLflow loads it: signature, example and answers."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.package import PackageReader
from modelyard.package.scalars import to_tensor
from modelyard.registry.mlmodel import write_model_files, write_package_mlmodel
from tests.unit.serving.table_packages import INPUTS, ROW, TOTAL, write_table_package


@pytest.mark.slow
def test_mlflow_loads_a_model_of_numbers_and_strings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    write_table_package(tmp_path / "model/package", "regression")
    write_package_mlmodel(tmp_path / "model/package")
    reader = PackageReader.open(tmp_path / "model/package")
    write_model_files(tmp_path / "model", reader, "m-1", "r-1")
    import mlflow
    from mlflow.pyfunc.scoring_server import infer_and_parse_data

    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    schema: Any = model.metadata.get_input_schema()
    specs = schema.to_dict()
    assert [spec["name"] for spec in specs] == [spec["name"] for spec in INPUTS]
    assert {spec["tensor-spec"]["dtype"] for spec in specs} == {"float64", "object"}
    rows = [ROW, ROW | {"age": None, "note": None}]
    columns: dict[str, Any] = {}
    for spec in INPUTS:
        values = [to_tensor(spec["type"], row[spec["name"]]) for row in rows]
        kind = object if spec["dtype"] == "string" else np.float64
        columns[spec["name"]] = np.array(values, dtype=kind)
    answer = model.predict(columns)
    assert answer["prediction"][:, 0].tolist() == [TOTAL, TOTAL - 31.5 - 1 - 3 + 1]
    assert model.predict(model.input_example)["prediction"].tolist() == [[TOTAL]]
    body = json.loads((tmp_path / "model/serving_input_example.json").read_text())
    given = infer_and_parse_data(body, schema)
    assert model.predict(given)["prediction"].tolist() == [[TOTAL]]
    body["inputs"]["age"] = [None]
    given = infer_and_parse_data(body, schema)
    assert model.predict(given)["prediction"].tolist() == [[TOTAL - 31.5 - 1]]
    with pytest.raises(mlflow.MlflowException, match="schema"):
        model.predict({name: values for name, values in columns.items() if name != "note"})
    shutil.rmtree(tmp_path / "model")
