"""Proof and reader: what they read is what was written, and nothing else passes."""

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.errors import PackageError
from modelyard.package import PackageReader, Proof, write_manifest

TEXTS = {
    field.name: "x" for field in fields(Proof) if field.name not in ("params", "metrics", "parent")
}
PROOF = Proof(**TEXTS, params={"a": {"b": [1, 2.5, None]}}, metrics={"accuracy": 0.9}, parent=None)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    params=st.dictionaries(st.text(), JSON, max_size=3),
    text=st.text(),
    parent=st.none() | st.text(),
)
def test_a_proof_is_read_as_it_was_written(
    params: dict[str, Any], text: str, parent: str | None
) -> None:
    proof = replace(PROOF, params=params, chosen=text, parent=parent)
    with tempfile.TemporaryDirectory() as temporary:
        proof.write(Path(temporary))
        assert Proof.read(Path(temporary)) == proof


@pytest.mark.parametrize("field", [field.name for field in fields(Proof)])
def test_a_proof_lacks_nothing(tmp_path: Path, field: str) -> None:
    tree = asdict(PROOF)
    del tree[field]
    (tmp_path / "proof.json").write_text(json.dumps(tree))
    with pytest.raises(PackageError, match=f"lacks {field}"):
        Proof.read(tmp_path)
    (tmp_path / "proof.json").write_text(json.dumps(tree | {field: 7}))
    with pytest.raises(PackageError, match=field):
        Proof.read(tmp_path)


def test_a_proof_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "proof.json").write_text(json.dumps(asdict(PROOF) | {"trust_me": "yes"}))
    with pytest.raises(PackageError, match="unknown key 'trust_me'"):
        Proof.read(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", None])
def test_what_is_no_proof_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "proof.json").write_text(content)
    with pytest.raises(PackageError, match=r"proof\.json"):
        Proof.read(tmp_path)


SMALL: dict[str, Any] = {
    "schema.json": {
        "task": "classification",
        "inputs": [{"name": "image", "dtype": "uint8", "shape": [-1, 2, 2]}],
        "outputs": [{"name": "probabilities", "dtype": "float32", "shape": [-1, 2]}],
        "target": "label",
    },
    "labels.json": ["no", "yes"],
    "golden.json": {
        "atol": 0.01,
        "requests": [{"rows": [{"image": [[0, 1], [2, 3]]}], "probabilities": [[0.25, 0.75]]}],
    },
    "input_example.json": {"rows": [{"image": [[0, 1], [2, 3]]}]},
}


def write_small(folder: Path, **changes: Any) -> None:
    for name, tree in SMALL.items():
        content = changes.get(name.removesuffix(".json"), tree)
        (folder / name).write_text(json.dumps(content))
    write_manifest(folder)


def test_the_reader_gives_the_small_files_typed(tmp_path: Path) -> None:
    write_small(tmp_path)
    reader = PackageReader.open(tmp_path)
    assert reader.labels == ("no", "yes")
    assert reader.schema.inputs[0].shape == (-1, 2, 2)
    assert reader.golden.requests[0].answers == ((0.25, 0.75),)
    assert reader.golden.requests[0].rows[0] == {"image": [[0, 1], [2, 3]]}
    assert reader.model == tmp_path / "model.onnx"
    assert len(reader.digest) == 64


def test_inputs_have_types_and_answers_the_output_s_name(tmp_path: Path) -> None:
    inputs = [
        {"name": "age", "type": "integer", "dtype": "float64", "shape": [-1], "required": True},
        {"name": "job", "type": "category", "dtype": "string", "shape": [-1], "enum": ["a"]},
    ]
    output = {"name": "prediction", "dtype": "float32", "shape": [-1, 1]}
    schema = {"task": "regression", "inputs": inputs, "outputs": [output], "target": ["a", "b"]}
    rows = [{"age": 3, "job": None}]
    golden = {"atol": 1.0, "requests": [{"rows": rows, "prediction": [[2.5]]}]}
    write_small(tmp_path, schema=schema, golden=golden, labels=[])
    reader = PackageReader.open(tmp_path)
    assert [(spec.type, spec.required) for spec in reader.schema.inputs] == [
        ("integer", True),
        ("category", False),
    ]
    assert reader.golden.requests[0].answers == ((2.5,),)
    assert reader.schema.target == ("a", "b")


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": {}},
        {"schema": {**SMALL["schema.json"], "task": "ranking"}},
        {"schema": {**SMALL["schema.json"], "outputs": []}},
        {"schema": []},
        {"labels": 3},
        {"golden": {"atol": "x", "requests": []}},
        {"golden": {"atol": 0.1, "requests": [{"rows": [{}, {}], "probabilities": [[1.0]]}]}},
    ],
)
def test_a_package_that_says_nothing_useful_is_refused(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    write_small(tmp_path, **changes)
    with pytest.raises(PackageError, match="does not hold"):
        PackageReader.open(tmp_path)


@pytest.mark.parametrize("name", SMALL)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write_small(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(PackageError, match=name):
        PackageReader.open(tmp_path)


def test_reading_and_checking_a_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, modelyard.package;"
        "print({'torch', 'mlflow', 'numpy', 'model_signing', 'cryptography'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"
