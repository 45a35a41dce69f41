"""prefect.yaml as it is read: what it promises, and what is wrong with it said plainly."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from modelyard.errors import ParamsError, WorkspaceError
from modelyard.orchestration import automations, deployments, run_rules
from modelyard.params import Params
from modelyard.runs.request import Request

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def definitions() -> dict[str, deployments.Definition]:
    return {item.name: item for item in deployments.read(ROOT)}


def test_nothing_starts_by_itself_until_it_is_switched_on(
    definitions: dict[str, deployments.Definition],
) -> None:
    kinds = set()
    for item in definitions.values():
        assert not any(schedule["active"] for schedule in item.schedules), item.name
        for trigger in item.triggers:
            assert not automations.for_deployment(trigger, "id", "owner")["enabled"], item.name
        kinds |= {key for schedule in item.schedules for key in schedule["schedule"]}
    assert {"cron", "interval", "rrule", "timezone"} <= kinds


def test_none_overlaps_with_itself(definitions: dict[str, deployments.Definition]) -> None:
    assert {item.fields["concurrency_limit"] for item in definitions.values()} == {1}
    for item in definitions.values():
        strategy = item.fields["concurrency_options"]["collision_strategy"]
        assert strategy == ("CANCEL_NEW" if item.schedules else "ENQUEUE"), item.name


def test_the_form_has_the_fields_of_a_request(
    definitions: dict[str, deployments.Definition],
) -> None:
    form = definitions["pipeline"].fields["parameter_openapi_schema"]["properties"]
    wanted = Request.model_json_schema()["properties"]
    assert list(form) == list(wanted)
    shown = ("title", "description", "position")
    for name, field in wanted.items():
        assert form[name]["description"], name
        told = {key: value for key, value in form[name].items() if key not in shown}
        assert told == {k: v for k, v in deployments.plain(field).items() if k != "title"}, name


def test_the_form_is_typed_and_bounded_as_params_are(
    definitions: dict[str, deployments.Definition],
) -> None:
    form = definitions["pipeline"].fields["parameter_openapi_schema"]["properties"]
    for name, bounds in {
        "seed": {"type": "integer", "minimum": 0, "exclusiveMaximum": 2**32},
        "epochs": {"type": "integer", "minimum": 1},
        "learning_rate": {"type": "number", "exclusiveMinimum": 0},
        "workers": {"type": "integer", "minimum": 1, "maximum": 64},
        "promote": {"type": "string", "enum": ["auto", "manual", "approve"]},
    }.items():
        assert bounds.items() <= form[name].items(), name
        assert "default" not in form[name], "empty is as in the params file"
    schema = Params.model_json_schema()["$defs"]
    for name, (section, key) in {
        "seed": ("TrainParams", "seed"),
        "epochs": ("TrainParams", "epochs"),
        "learning_rate": ("Optimizer", "lr"),
        "workers": ("TrainParams", "workers"),
        "promote": ("PromoteParams", "mode"),
    }.items():
        theirs = schema[section]["properties"][key]
        own = {key: form[name][key] for key in form[name] if key in theirs and key != "title"}
        assert own == {k: theirs[k] for k in theirs if k not in ("title", "default")}, name


def test_every_field_of_every_form_is_described(
    definitions: dict[str, deployments.Definition],
) -> None:
    for item in definitions.values():
        for name, field in item.fields["parameter_openapi_schema"]["properties"].items():
            assert field["description"], f"{item.name}: {name}"


def test_equal_files_have_equal_digests(definitions: dict[str, deployments.Definition]) -> None:
    again = {item.name: item.digest for item in deployments.read(ROOT)}
    assert again == {name: item.digest for name, item in definitions.items()}
    assert len(set(again.values())) == len(again)


def entry(**changes: Any) -> dict[str, Any]:
    return {"name": "mine", "entrypoint": "flows.deployed.run"} | changes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("deployments: [", "has no list of deployments"),
        ("name: x", "has no list of deployments"),
        (yaml.safe_dump({"deployments": [entry(entrypoint="flows.gone.run")]}), "'mine'.*gone"),
        (yaml.safe_dump({"deployments": [entry(schedules=[{"cron": "* * * * *"}])]}), "slug"),
        (yaml.safe_dump({"deployments": [entry(schedules=[{"slug": "a"}])]}), "one of cron"),
    ],
)
def test_a_fault_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "prefect.yaml").write_text(text)
    with pytest.raises(WorkspaceError, match=message):
        deployments.read(tmp_path)


def test_a_missing_file_says_how_to_get_it_back(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="is missing") as caught:
        deployments.read(tmp_path)
    assert "git checkout prefect.yaml" in caught.value.remedy


def test_a_dead_run_is_seen_within_two_minutes() -> None:
    rule = automations.heartbeat_watch()
    trigger, (action,) = rule["trigger"], rule["actions"]
    # 30 s between two heartbeats, and the server looks every 5 s.
    assert 2 * 30 < trigger["within"] <= 120 - 30
    assert trigger["posture"] == "Proactive"
    assert trigger["after"] == ["prefect.flow-run.heartbeat"]
    ends = {f"prefect.flow-run.{name}" for name in ("Completed", "Failed", "Cancelled", "Crashed")}
    assert ends | {"prefect.flow-run.heartbeat"} <= set(trigger["expect"])
    assert trigger["for_each"] == ["prefect.resource.id"]
    assert (action["type"], action["state"]) == ("change-flow-run-state", "CRASHED")


def test_the_rules_name_every_step() -> None:
    steps = {path.stem for path in (ROOT / "tasks").glob("*.py")}
    rules = run_rules.load(ROOT)
    assert set(rules.timeouts) <= steps
    assert {"fetch", "ingest", "train", "evaluate", "compress", "register"} <= set(rules.timeouts)
    assert rules.slots == {"training": 1}


def test_a_rule_that_is_unknown_is_named(tmp_path: Path) -> None:
    (tmp_path / "infra").mkdir()
    (tmp_path / "infra/runs.yaml").write_text("timeouts: {train: soon}")
    with pytest.raises(WorkspaceError, match=r"timeouts\.train"):
        run_rules.load(tmp_path)


def test_an_impossible_request_names_the_field() -> None:
    with pytest.raises(ParamsError, match=r"overrides\.0.*not 'train\.epochs'"):
        Request.read({"overrides": ["train.epochs"]})
    with pytest.raises(ParamsError, match="params_file"):
        Request.read({"params_file": "../else/params.yaml"})
    with pytest.raises(ParamsError, match="epoch: Extra inputs"):
        Request.read({"epoch": 3})
    assert Request.read({"revision": "v1.2"}).commit == "v1.2"
    assert Request.read({}).commit is None
