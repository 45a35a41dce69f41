"""What is proposed for a table: types and roles of columns, the target, cleaning and split."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelyard.artifacts import Layout, sha256_file
from modelyard.data.suggest import data_yaml, propose, recipe
from modelyard.errors import ParamsError, SourceError
from tests.unit.data.suggest_sources import NUMBERS, SPREAD, proposed, table, write


def test_every_column_gets_its_type_and_role(tmp_path: Path) -> None:
    text = table(
        {
            "customer_id": lambda row: f"C{row:04d}",
            "age": lambda row: 18 + row % 60,
            "income": [*map(str, SPREAD[:30]), "?"],
            "Home Owner": ["Yes", "No", ""],
            "since": lambda row: f"{1 + row % 28:02d}.{1 + row % 12:02d}.2001",
            "city": ["Bern", "Zürich", "Genève"],
            "e-mail": lambda row: f"u{row}@example.org",
            "phone": lambda row: f"+41 44 {row:03d} 12 12",
            "gender": ["f", "m", "x"],
            "nothing": [""],
            "status": ["good", "good", "bad", "good"],
        }
    )
    proposal, params = proposed(tmp_path, write(tmp_path, text))
    fields = {field["name"]: field for field in proposal.tree["schema"]["fields"]}
    assert fields["customer_id"] == {
        "name": "customer_id",
        "type": "string",
        "use": False,
        "constraints": {"required": True},
    }
    assert fields["age"]["type"] == "integer"
    assert fields["age"]["sensitive"]
    assert fields["age"]["constraints"] == {"required": True, "minimum": 0, "maximum": 110}
    assert fields["income"]["type"] == "number"
    assert "required" not in fields["income"]["constraints"]
    assert fields["home_owner"] == {
        "name": "home_owner",
        "header": "Home Owner",
        "type": "boolean",
        "trueValues": ["Yes"],
        "falseValues": ["No"],
    }
    assert fields["since"]["format"] == "%d.%m.%Y"
    assert fields["since"]["constraints"]["minimum"] == "2000-01-01"
    assert fields["city"]["constraints"]["enum"] == ["Bern", "Genève", "Zürich"]
    for name in ("e_mail", "phone"):
        assert (fields[name]["pii"], fields[name]["use"]) == (True, False)
        assert "u1" not in proposal.notes[f"schema.fields.{name}"]
    assert fields["gender"]["sensitive"]
    assert (fields["nothing"]["type"], fields["nothing"]["use"]) == ("string", False)
    assert fields["status"]["constraints"] == {"required": True, "enum": ["bad", "good"]}
    assert proposal.tree["schema"]["missingValues"] == ["", "?"]
    assert (params.data.target, params.data.task) == ("status", "classification")
    assert params.data.sha256 == sha256_file(tmp_path / "t.csv")
    assert proposal.tree["split"]["type"] == "stratify"
    assert proposal.commonest == 0.75
    assert params.promote.budgets.min_score == 0.45
    nulls = [item for item in proposal.tree["quality"] if item["metric"] == "nullValues"]
    assert [item["column"] for item in nulls] == ["home_owner", "income"]
    written = data_yaml(proposal)
    assert yaml.safe_load(written)["data"] == proposal.tree
    assert "# 2 classes: good 90, bad 30" in written


def test_numbers_of_few_slips_stay_numbers_and_what_they_refuse_is_counted(tmp_path: Path) -> None:
    text = table({"x": lambda row: "oops" if row == 7 else row % 90 / 4, "y": ["a", "b"]}, 400)
    proposal, params = proposed(tmp_path, write(tmp_path, text + "1\n"))
    assert proposal.tree["schema"]["fields"][0]["type"] == "number"
    assert "'oops' (1)" in proposal.notes["schema.fields.x"]
    assert "2 rows are refused now, 1 as ragged" in proposal.notes["max_rejected"]
    assert params.data.max_rejected == 0.01
    text = table({"x": lambda row: "oops" if row % 9 == 0 else row, "y": ["a", "b"]})
    proposal, _ = proposed(tmp_path, write(tmp_path, text))
    assert proposal.tree["schema"]["fields"][0]["type"] in ("category", "string")


def test_of_personal_data_only_counts_are_shown(tmp_path: Path) -> None:
    phones = [*range(5_550_000, 5_550_119), "Jane Doe"]
    columns = {"phone": phones, "x": SPREAD, "kind": ["a", "b"]}
    proposal, _ = proposed(tmp_path, write(tmp_path, table(columns)))
    (field,) = [item for item in proposal.tree["schema"]["fields"] if item["name"] == "phone"]
    assert field["pii"]
    assert "1 values of another type are refused" in proposal.notes["schema.fields.phone"]
    assert "Jane" not in recipe(proposal, "m")


def test_a_word_is_missing_only_beside_numbers(tmp_path: Path) -> None:
    text = table({"basement": ["none", "NA", "full"], "y": ["a", "b"]})
    proposal, _ = proposed(tmp_path, write(tmp_path, text))
    assert "missingValues" not in proposal.tree["schema"]
    text = table({"basement": ["none", "NA", "full"], "size": [1.5, 2.5, "NA"], "y": ["a", "b"]})
    proposal, _ = proposed(tmp_path, write(tmp_path, text))
    assert proposal.tree["schema"]["missingValues"] == ["", "NA"]
    basement = proposal.tree["schema"]["fields"][0]
    assert basement["constraints"]["enum"] == ["full", "none"]


def test_a_strange_number_is_shown_and_not_decided(tmp_path: Path) -> None:
    text = table({"x": lambda row: -999 if row == 3 else row % 50, "y": ["a", "b"]})
    proposal, _ = proposed(tmp_path, write(tmp_path, text))
    assert "-999 may mean missing" in proposal.notes["schema.fields.x"]


@pytest.mark.parametrize(
    ("columns", "target", "task"),
    [
        ({"x": SPREAD, "Species": ["a", "b"], "z": SPREAD[::-1]}, "Species", "classification"),
        ({"x": SPREAD, "quality": [3, 4, 5]}, "quality", "classification"),
        ({"x": ["a", "b", "c"], "price": SPREAD}, "price", "regression"),
        ({"x": SPREAD, "rings": lambda row: row * 7 % 61}, "rings", "regression"),
        ({"x": SPREAD, "kind": ["a", "b"]}, "kind", "classification"),
        ({"x": SPREAD, "target": [0.0, 1.0]}, "target", "classification"),
    ],
)
def test_the_target_is_found_by_name_or_place(
    tmp_path: Path, columns: dict[str, Any], target: str, task: str
) -> None:
    proposal, _ = proposed(tmp_path, write(tmp_path, table(columns)))
    assert (proposal.tree["target"], proposal.tree["task"]) == (target, task)


def test_a_target_that_nothing_tells_is_asked_for(tmp_path: Path) -> None:
    source = write(tmp_path, table({"a": SPREAD, "b": ["x", "y"], "c": SPREAD[::-1]}))
    with pytest.raises(ParamsError, match="nothing in the source says") as caught:
        propose(Layout(tmp_path), source, certain=True)
    assert "a (regression), b (classification), c (regression)" in caught.value.remedy
    proposal, _ = proposed(tmp_path, source, target="b", certain=True)
    assert proposal.tree["target"] == "b"
    assert proposed(tmp_path, source)[0].notes["target"] == "the last column: a guess"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nix", "there is no column 'nix'"),
        ("when", "'when' cannot be the target: it holds times"),
        ("id", "'id' cannot be the target: it names the row"),
        ("same", "'same' cannot be the target: it has the same value in every row"),
        ("mail", "'mail' cannot be the target: it tells who a person is"),
    ],
)
def test_a_target_that_cannot_be_is_refused(tmp_path: Path, target: str, message: str) -> None:
    columns: dict[str, Any] = {
        "id": lambda row: row,
        "x": SPREAD,
        "when": lambda row: f"2024-01-{1 + row % 30:02d}",
        "same": ["a"],
        "mail": lambda row: f"u{row}@example.org",
        "y": ["a", "b"],
    }
    with pytest.raises(ParamsError, match=message):
        propose(Layout(tmp_path), write(tmp_path, table(columns)), target=target)


def test_rows_that_repeat_choose_cleaning_and_split(tmp_path: Path) -> None:
    numbers = list(range(240))
    same = table({"x": numbers, "y": ["a", "b"]}, 250)
    proposal, _ = proposed(tmp_path, write(tmp_path, same))
    assert proposal.tree["clean"] == {"duplicates": "drop"}
    assert proposal.tree["split"]["type"] == "stratify"
    other = table({"x": numbers, "y": lambda row: "ab"[row // 3 % 2 ^ row // 240]}, 480)
    proposal, _ = proposed(tmp_path, write(tmp_path, other))
    assert "clean" not in proposal.tree
    assert proposal.tree["split"]["type"] == "hash"
    assert "240 rows equal another in all features" in proposal.notes["split"]
    few = table({"x": [1, 2, 3], "y": ["a", "b"]})
    proposal, params = proposed(tmp_path, write(tmp_path, few), target="y")
    assert params.data.leakage.rows == "allow"
    assert "there are 3 different rows" in proposal.notes["leakage"]


def test_a_key_that_repeats_keeps_its_rows_together(tmp_path: Path) -> None:
    text = table({"patient_id": lambda row: f"P{row // 2:03d}", "x": SPREAD, "y": ["a", "b", "b"]})
    proposal, params = proposed(tmp_path, write(tmp_path, text))
    assert params.data.split.type == "group"
    assert params.data.split.column == "patient_id"
    assert params.data.leakage.groups == ("patient_id",)
    assert not params.data.field("patient_id").use
    assert "leakage" not in proposal.notes


def test_a_feature_that_tells_the_target_is_not_used(tmp_path: Path) -> None:
    text = table({"code": [7, 8, 9], "x": SPREAD, "y": ["a", "b", "c"]})
    proposal, _ = proposed(tmp_path, write(tmp_path, text))
    assert proposal.tree["schema"]["fields"][0]["use"] is False
    assert "tells the target exactly" in proposal.notes["schema.fields.code"]
    text = table({"code": [7, 8, 9], "y": ["a", "b", "c"]})
    with pytest.raises(SourceError, match="no column to learn from"):
        propose(Layout(tmp_path), write(tmp_path, text))


def test_sentences_make_a_text_model(tmp_path: Path) -> None:
    words = "a long story of how well the thing has worked for us"

    def review(row: int) -> str:
        return f"{words} number {row} {NUMBERS.random()}"

    columns = {"id": lambda row: row, "review": review, "label": ["pos", "neg"]}
    proposal, params = proposed(tmp_path, write(tmp_path, table(columns)))
    assert proposal.tree["kind"] == "text"
    assert params.data.field("review").type == "text"
    columns |= {"a": SPREAD, "b": SPREAD[::-1]}
    proposal, _ = proposed(tmp_path, write(tmp_path, table(columns)))
    assert proposal.tree["kind"] == "tabular"
    proposal, params = proposed(tmp_path, write(tmp_path, table(columns)), kind="text")
    assert params.data.kind == "text"
    with pytest.raises(ParamsError, match="no column holds text"):
        propose(
            Layout(tmp_path), write(tmp_path, table({"x": SPREAD, "y": ["a", "b"]})), kind="text"
        )


def test_names_that_are_taken_or_hard_get_others(tmp_path: Path) -> None:
    columns = {
        "row": SPREAD,
        "Größe (m²)": SPREAD[::-1],
        "AGE": SPREAD,
        "Age": SPREAD[5:],
        "2nd": SPREAD[3:],
        "y": ["a", "b"],
    }
    proposal, _ = proposed(tmp_path, write(tmp_path, table(columns)))
    fields = proposal.tree["schema"]["fields"]
    names = {field.get("header", field["name"]): field["name"] for field in fields}
    assert names == {
        "row": "row_column",
        "Größe (m²)": "groe_m2",
        "AGE": "AGE",
        "Age": "Age_",
        "2nd": "column_2nd",
        "y": "y",
    }


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        (lambda row: f"0,{row:03d}5", "numbers with a decimal comma"),
        (lambda row: f"{1 + row % 9},{row:03d}.50", "numbers with parted thousands"),
        (lambda row: f"{row / 4}%", "numbers with a percent sign"),
        (lambda row: f"${row}", "numbers with a currency"),
        (lambda row: f"{1 + row % 28:02d}/02/2020" if row % 3 else "2020-01-07", "more than one"),
        (lambda row: "none yet" if row % 4 == 0 else row / 4, "75 % are numbers, but not 'none"),
        (lambda row: f"n{row % 9}" if row % 16 == 3 else row, "93 % are numbers, but not 'n3'"),
    ],
)
def test_words_that_look_like_numbers_or_dates_say_why_they_are_none(
    tmp_path: Path, values: Callable[[int], object], hint: str
) -> None:
    cells = {"x": lambda row: f'"{values(row)}"', "z": SPREAD, "y": ["a", "b"]}
    proposal, _ = proposed(tmp_path, write(tmp_path, table(cells)))
    assert proposal.doubtful == ("x",)
    assert hint in proposal.notes["schema.fields.x"]


def test_a_target_that_cannot_be_says_why_though_nobody_asked_for_it(tmp_path: Path) -> None:
    columns = {"a": SPREAD, "label": ["x"], "price": lambda row: f'"{row},5"'}
    source = write(tmp_path, table(columns))
    with pytest.raises(ParamsError, match="nothing in the source says") as caught:
        propose(Layout(tmp_path), source, certain=True)
    assert "Not label: it has the same value in every row." in caught.value.remedy
    assert (
        "(numbers with a decimal comma: give it type: number and decimalChar: ',')"
        in caught.value.remedy
    )


def test_lists_of_labels_are_a_multi_label_target(tmp_path: Path) -> None:
    tags = ["news", "news|art", "art|sport", "sport", "news|sport|art", ""]
    source = write(tmp_path, table({"x": SPREAD, "z": SPREAD[::-1], "tags": tags}))
    proposal, params = proposed(tmp_path, source, certain=True)
    assert (params.data.target, params.data.task) == ("tags", "multi-label")
    assert proposal.tree["schema"]["fields"][2] == {
        "name": "tags",
        "type": "category",
        "separator": "|",
    }
    assert proposal.tree["split"]["type"] == "hash"
    places = ["Bern|CH", "Rome|IT", "Oslo|NO"]
    source = write(tmp_path, table({"x": SPREAD, "place": places}))
    assert proposed(tmp_path, source)[1].data.task == "classification"


def test_two_classes_say_which_the_metrics_of_one_are_about(tmp_path: Path) -> None:
    source = write(tmp_path, table({"x": SPREAD, "status": ["good", "bad"]}))
    proposal, _ = proposed(tmp_path, source)
    assert "PR-AUC and rates by group are about 'good'" in proposal.notes["schema.fields.status"]


def test_classes_that_repeats_thin_out_are_not_stratified_and_the_note_says_so(
    tmp_path: Path,
) -> None:
    source = write(tmp_path, table({"x": [1, 2, 3, 4], "z": ["u", "v", "w"], "y": ["a", "b"]}))
    proposal, _ = proposed(tmp_path, source)
    assert "class a has 60 rows, 108 repeated rows are dropped" in proposal.notes["split"]


@pytest.mark.parametrize("patient", [lambda row: f"P{row % 15}", lambda row: 700 + row * row % 43])
def test_rows_of_one_person_stay_together(tmp_path: Path, patient: Callable[[int], object]) -> None:
    source = write(tmp_path, table({"patient_id": patient, "x": SPREAD, "y": ["a", "b"]}))
    proposal, params = proposed(tmp_path, source)
    assert not params.data.field("patient_id").use
    assert proposal.tree["split"]["type"] == "group"
    assert proposal.tree["leakage"]["groups"] == ["patient_id"]


def test_a_class_beside_a_text_is_the_target_wherever_it_stands(tmp_path: Path) -> None:
    lines = "".join(
        f"{['ham', 'spam'][row % 2]}\tcall me again number {row}\n" for row in range(90)
    )
    proposal, params = proposed(tmp_path, write(tmp_path, lines, "sms.txt"), certain=True)
    assert (params.data.kind, params.data.target) == ("text", "column_0")
    assert proposal.notes["target"] == "the only one beside texts"


def test_a_class_that_may_mean_missing_is_pointed_out(tmp_path: Path) -> None:
    source = write(tmp_path, table({"x": SPREAD, "y": ["yes", "no", "NA"]}))
    proposal, _ = proposed(tmp_path, source)
    assert "'NA' may mean missing: then add to missingValues" in proposal.notes["schema.fields.y"]
