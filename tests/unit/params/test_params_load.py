"""params.yaml: what is refused, and what the message says of the remedy."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import ParamsError
from modelyard.params import Field, Params, load, parse, with_overrides

ROOT = Path(__file__).parents[3]
TREE = yaml.safe_load((ROOT / "params.yaml").read_text())


def changed(path: str, value: Any) -> dict[str, Any]:
    return with_overrides(TREE, [f"{path}={yaml.safe_dump(value, default_flow_style=True)}"])


def test_the_committed_params_are_valid() -> None:
    params = load(ROOT)
    assert params.data.target == "label"
    assert params.data.image.num_columns == 784
    assert params.train.optimizer.name == "adamw"


def test_params_are_frozen() -> None:
    params = parse(TREE)
    with pytest.raises(ValueError, match="frozen"):
        params.train.epochs = 3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("train.epoch", 3, r"train\.epoch: unknown key; did you mean 'epochs'"),
        ("trian", {}, r"trian: unknown key; did you mean 'train'"),
        ("train.zzz", 1, r"train\.zzz: unknown key; known keys: workers, epochs"),
        ("train.epochs", "ten", r"train\.epochs: 'ten': input should be a valid integer"),
        (
            "train.optimizer.lr",
            "1e-3",
            r"train\.optimizer\.lr: '1e-3': YAML reads this as text; write 0\.001",
        ),
        ("train.epochs", 0, r"train\.epochs: 0 is out of range; nearest: at least 1"),
        ("train.epochs", 2.5, r"train\.epochs: 2\.5"),
        (
            "train.optimizer.lr",
            -1,
            r"train\.optimizer\.lr: -1 is out of range; nearest: more than 0",
        ),
        ("train.optimizer.name", "adamx", r"'adamx' is not one of sgd, adam, adamw; nearest: adam"),
        ("compress.candidates", ["int8"], r"compress: candidates must name fp32"),
        ("compress.candidates", ["fp32", "int9"], r"compress\.candidates\.1: 'int9' is not one of"),
        ("train.batch_size", 63, r"batch_size 63 is not a multiple of workers 2; nearest: 62"),
        ("data.target", "lable", r"data: target 'lable' is not a field of the schema"),
        ("data.split.probabilities", [0.8, 0.1, 0.2], r"data\.split: probabilities sum to 1\.1"),
        ("data.split.probabilities", [0.9, 0.1, 0.0], r"each need a share above 0"),
        ("data.sha256", "abc", r"data\.sha256: 'abc'"),
        ("data.schema.fields.1.type", "int", r"'int' is not one of .*; nearest: integer"),
        ("data.schema.fields.1.constraints.minimum", 12, r"minimum 12 is above maximum 9"),
        ("data.kind", "video", r"data\.kind: 'video' is not one of tabular"),
        ("model.factory", "cn n", r"model\.factory: 'cn n'"),
        ("registry.name", "My Model", r"registry\.name: 'My Model'"),
        ("promote.margin", 1.5, r"promote\.margin: 1\.5 is out of range; nearest: less than 1"),
    ],
)
def test_an_impossible_value_is_refused_with_path_value_and_nearest(
    path: str, value: Any, message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        parse(changed(path, value))


@pytest.mark.parametrize("loss", ["class_weights=balanced", "label_smoothing=0.1"])
def test_a_number_has_no_classes_to_weigh_or_smooth(loss: str) -> None:
    tree = with_overrides(
        TREE, ["data.task=regression", "train.loss={name: mse}", f"train.loss.{loss}"]
    )
    tree["data"]["split"] = {"type": "hash"}
    with pytest.raises(ParamsError, match="task regression has none: leave both out"):
        parse(tree)


def test_tokens_are_no_features() -> None:
    field = {"name": "mail", "type": "string", "pii": True}
    assert not Field.model_validate(field).use
    with pytest.raises(ValueError, match=r"pii with use: true.*leave use out"):
        Field.model_validate(field | {"use": True})


def test_every_error_is_named_at_once() -> None:
    tree = with_overrides(TREE, ["train.epochs=0", "train.seed=-1"])
    with pytest.raises(ParamsError) as caught:
        parse(tree)
    assert "train.epochs" in caught.value.message
    assert "train.seed" in caught.value.message


@pytest.mark.parametrize("section", list(TREE))
def test_every_section_is_required(section: str) -> None:
    tree = copy.deepcopy(TREE)
    del tree[section]
    with pytest.raises(ParamsError, match=f"{section}: is required and missing"):
        parse(tree)


@pytest.mark.parametrize("content", ["[1, 2]", "", "a: [", "\ttabs: 1"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(ParamsError, match=r"params\.yaml"):
        load(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"there is no params\.yaml in"):
        load(tmp_path)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(b"data: \xff\xfe")
    with pytest.raises(ParamsError, match="UTF-8"):
        load(tmp_path)


def test_an_override_leaves_the_original_as_it_was() -> None:
    before = copy.deepcopy(TREE)
    result = with_overrides(TREE, ["train.epochs=3", "data.split.probabilities.0=0.7"])
    assert before == TREE
    assert result["train"]["epochs"] == 3
    assert result["data"]["split"]["probabilities"][0] == 0.7


@pytest.mark.parametrize(
    "override", ["train.epochs", "=3", "train.epochs.deep=3", "data.split.probabilities.9=1"]
)
def test_an_override_that_leads_nowhere_is_refused(override: str) -> None:
    with pytest.raises(ParamsError, match="--set"):
        with_overrides(TREE, [override])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=5,
    ),
    st.sampled_from(
        ["data", "train", "model", "compress", "train.optimizer", "data.schema.fields"]
    ),
)
def test_anything_in_a_section_is_either_valid_or_refused_readably(value: Any, path: str) -> None:
    tree = copy.deepcopy(TREE)
    node = tree
    *parents, last = path.split(".")
    for key in parents:
        node = node[key]
    node[last] = value
    refusal = None
    try:
        assert isinstance(parse(tree), Params)
    except ParamsError as error:
        refusal = error
    if refusal is not None:
        assert refusal.message
        assert path.split(".")[0] in refusal.message
