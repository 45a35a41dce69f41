"""params.yaml and --set: what YAML has beyond plain values is refused where it stands."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import ParamsError
from modelyard.params import check_name, load, parse, read_tree, with_overrides
from modelyard.params.data import Dialect
from modelyard.params.model import Budgets, Optimizer

TEXT = (Path(__file__).parents[3] / "params.yaml").read_text(encoding="utf-8")
TREE = yaml.safe_load(TEXT)


def with_line(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new, 1)


def refusal(folder: Path, text: str) -> ParamsError:
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError) as caught:
        load(folder)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize(
    ("license_", "message"),
    [
        ("2020-13-45", "line 6: data.license: '2020-13-45' is a date"),
        ("2020-01-02", "line 6: data.license: '2020-01-02' is a date"),
        ("!!binary aGk=", "line 6: data.license: the tag !!binary"),
        ("!!python/object/apply:os.getcwd []", "data.license: the tag !!python/object/apply"),
        ('"\\ud800"', "not valid YAML"),
        ("&a MIT", "line 6: data.license: anchors and aliases"),
        ("*a", "line 6: data.license: anchors and aliases"),
        ("=", "data.license: '=' is a special value"),
        ("0x_", "invalid literal for int"),
        ("MIT\n  license: BSD", "line 7: data.license is given twice, first in line 6"),
        ('MIT\n  "license": BSD', "line 7: data.license is given twice"),
    ],
)
def test_a_value_beyond_plain_ones_is_refused_with_path_and_line(
    tmp_path: Path, license_: str, message: str
) -> None:
    text = with_line("license: BSD-3-Clause", f"license: {license_}")
    error = refusal(tmp_path, text)
    assert error.message.startswith("params.yaml: ")
    assert message in error.message


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("&a {x: *a}", "model.args: anchors and aliases"),
        ("[" * 5000, "nested more than 32 deep"),
        ("{a: " * 100 + "1" + "}" * 100, "nested more than 32 deep"),
        ("{x: " + "7" * 5000 + "}", "model.args.x: an integer of 5000 digits is too large"),
        ("{x: 0x" + "f" * 90 + "}", "model.args.x: 0xffff"),
        ("{x: .inf}", "model.args.x: inf is not a finite number"),
        ("{x: [1, .nan]}", "model.args.x.1: nan is not a finite number"),
        ("{x: 1.0e+999}", "model.args.x: inf is not"),
        ("{1: x}", "model.args: the key 1 is a number, not text"),
        ("{x: {1, 2}, x: 1}", "model.args.x is given twice"),
        ("{x: !!set {a}}", "model.args.x: the tag !!set"),
        ("{[a]: 1}", "not valid YAML"),
        ("{a.b: {c: 2020-01-01}}", "model.args.a.b.c: '2020-01-01' is a date"),
    ],
)
def test_args_hold_plain_values_alone(tmp_path: Path, args: str, message: str) -> None:
    text = with_line("args: {channels: [16, 32], hidden: 64}", f"args: {args}")
    assert message in refusal(tmp_path, text).message


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("lr: 0.01", "lr: .inf", "train.optimizer.lr"),
        ("weight_decay: 0.01", "weight_decay: .nan", "train.optimizer.weight_decay"),
        ("minimum: 0", "minimum: -.inf", "data.schema.fields.1.constraints.minimum"),
        ("mustBeGreaterThan: 4000", "mustBeGreaterThan: .nan", "data.quality.0.mustBeGreaterThan"),
        ("max_latency_ms: 5", "max_latency_ms: .inf", "promote.budgets.max_latency_ms"),
        ("max_value: 50", "max_value: .inf", "data.expectations.0.kwargs.max_value"),
    ],
)
def test_infinity_and_nan_are_refused_with_their_path(
    tmp_path: Path, old: str, new: str, path: str
) -> None:
    assert f"{path}: " in refusal(tmp_path, with_line(old, new)).message


def test_a_section_alone_takes_finite_numbers_only() -> None:
    with pytest.raises(ValueError, match="finite"):
        Optimizer(lr=float("inf"))
    with pytest.raises(ValueError, match="finite"):
        Budgets(max_size_mb=float("inf"))


@pytest.mark.parametrize("value", [b"x", {1, 2}, object(), "\ud800", 2**63, float("nan")])
def test_a_tree_that_was_not_read_by_us_is_checked_too(value: Any) -> None:
    tree = with_overrides(TREE, [])
    tree["data"]["expectations"][0]["kwargs"]["x"] = [value]
    with pytest.raises(ParamsError, match=r"^data\.expectations\.0\.kwargs\.x\.0: "):
        parse(tree)


def test_a_key_with_half_a_surrogate_pair_is_refused() -> None:
    tree = with_overrides(TREE, [])
    tree["model"]["args"] = {"\udcff": 1}
    with pytest.raises(ParamsError, match=r"model\.args: the key '\\udcff'"):
        parse(tree)


@pytest.mark.parametrize(
    "override",
    [
        "train.epochs=[1",
        "model.args=*x",
        "model.args=&a {x: *a}",
        "train.epochs=!!python/object/apply:os.system [id]",
        "data.license=2020-13-45",
        "data.license=2020-01-01",
        "model.args={x: .nan}",
        "model.args={x: 1, x: 2}",
        "train.epochs=" + "9" * 5000,
        "model.args.channels.²=1",
        "model.args.channels." + "9" * 5000 + "=1",
        "model.args." + "x." * 5000 + "y=1",
        "model..args=1",
        "data.license=\udcff",
    ],
)
def test_an_override_that_is_not_possible_is_named_with_a_remedy(override: str) -> None:
    with pytest.raises(ParamsError) as caught:
        with_overrides(TREE, [override])
    assert caught.value.message.startswith(f"--set '{override[:12]}".replace("\udcff", "\\udcff"))
    assert len(caught.value.message) < 500
    assert caught.value.remedy


def test_an_unfit_value_of_an_override_says_to_quote_it() -> None:
    with pytest.raises(ParamsError) as caught:
        with_overrides(TREE, ["data.license=2020-13-45"])
    assert "quote it" in caught.value.remedy
    quoted = with_overrides(TREE, ['data.license="2020-13-45"'])
    assert parse(quoted).data.license == "2020-13-45"


def test_a_digit_under_a_mapping_is_text() -> None:
    tree = with_overrides(TREE, ["model.args.0=1", "model.args.²=2"])
    assert parse(tree).model.args == {"channels": [16, 32], "hidden": 64, "0": 1, "²": 2}


def test_no_absurd_key_is_suggested() -> None:
    with pytest.raises(ParamsError, match="nope: unknown key; known keys: data, model, train"):
        parse(with_overrides(TREE, ["nope.x=1"]))


@pytest.mark.parametrize("delimiter", ['"', "'", "a", "7", "\n", "\r", "\0", "é", "\x7f"])
def test_a_delimiter_that_separates_nothing_is_refused(delimiter: str) -> None:
    with pytest.raises(ValueError, match="separates no columns"):
        Dialect(delimiter=delimiter)


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t", " ", ":"])
def test_a_usual_delimiter_is_taken(delimiter: str) -> None:
    assert Dialect(delimiter=delimiter).delimiter == delimiter


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1, 2]", "mine.yaml holds a list, not a mapping"),
        (b"", "mine.yaml holds nothing, not a mapping"),
        (b"a: \xff", "mine.yaml is not UTF-8"),
        (b"a: [", "mine.yaml: not valid YAML"),
        (b"a: 1\n---\nb: 1", "mine.yaml: not valid YAML"),
    ],
)
def test_a_recipe_is_refused_by_its_own_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(ParamsError, match=message):
        read_tree(path)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"there is no mine\.yaml in"):
        read_tree(tmp_path / "mine.yaml")


def test_the_committed_file_reads_as_any_yaml_reader_has_it() -> None:
    assert read_tree(Path(__file__).parents[3] / "params.yaml") == TREE


@given(st.text(max_size=40) | st.text("[]{}&*!:,-? \n\"'0x_.ae\t#|>%@`=<", max_size=40))
def test_any_text_after_an_override_is_taken_or_refused_readably(text: str) -> None:
    try:
        with_overrides(TREE, [f"model.args={text}"])
    except ParamsError as error:
        assert error.message.startswith("--set")  # noqa: PT017 - most texts are possible


@pytest.mark.parametrize("name", ["a b", "é", "a\nb", "a\n", "", "-a", "../x", "A", "a" * 64])
def test_a_name_that_no_model_has_is_refused(name: str) -> None:
    with pytest.raises(ParamsError, match="is no name of a model"):
        check_name(name)


def test_a_name_is_returned() -> None:
    assert check_name("digits-2_b") == "digits-2_b"
