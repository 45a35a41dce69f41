"""The API's description and the pages for people, as they come over HTTP."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from modelyard.artifacts import read_json, write_json
from modelyard.package import write_manifest
from tests.unit.serving.conftest import Client
from tests.unit.serving.table_packages import (
    INPUTS,
    ROW,
    write_audio_package,
    write_table_package,
    write_text_package,
)
from tests.unit.serving.tiny_packages import place, publish

HEADERS = {"content-type": "application/json"}


@pytest.fixture
def served(client: Client, folder: Path, tmp_path: Path) -> Client:
    """A model of each kind; the table's knows the values of a category."""
    publish(folder, "digits", 1, 1)
    for name, write in (("sounds", write_audio_package), ("reviews", write_text_package)):
        place(tmp_path / name, folder, name, 1, write(tmp_path / name), 1)
    write_table_package(tmp_path / "table", "multi-label")
    kept = [{"kind": "category", "name": "status", "kept": ["good", "bad"]}, {"kind": "text"}]
    write_json(tmp_path / "table/preprocessing.json", {"features": kept})
    place(tmp_path / "table", folder, "table", 3, write_manifest(tmp_path / "table"), 1)
    client.scan()
    return client


def described(client: Client) -> dict[str, Any]:
    return client("GET", "/openapi.json").json()


def test_the_description_is_openapi(served: Client) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastapi.openapi.models import OpenAPI

    page = described(served)
    assert OpenAPI.model_validate(page).openapi == "3.1.0"
    assert {tag["name"] for tag in page["tags"]} == {
        "server",
        "digits",
        "sounds",
        "reviews",
        "table",
    }
    for schema in page["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    names = [
        get["operationId"]
        for path in page["paths"].values()
        for get in path.values()
        if "operationId" in get
    ]
    assert len(names) == len(set(names)) == 22


def test_each_path_is_there_and_each_example_is_right_and_answered(served: Client) -> None:
    page = described(served)
    num_examples = 0
    for path, methods in page["paths"].items():
        for method, operation in methods.items():
            if method == "get":
                examples = {one["name"]: one["example"] for one in operation.get("parameters", ())}
                query = {name: json.dumps(value).strip('"') for name, value in examples.items()}
                assert served("GET", path, params=query).status_code == 200, path
                continue
            content = operation["requestBody"]["content"]["application/json"]
            schema = content["schema"] | {"components": page["components"]}
            jsonschema.validate(content["example"], schema)
            answer = served("POST", path, content=json.dumps(content["example"]), headers=HEADERS)
            assert answer.status_code == 200, (path, answer.text)
            promised = operation["responses"]["200"]["content"]["application/json"]["schema"]
            jsonschema.validate(answer.json(), promised | {"components": page["components"]})
            num_examples += 1
    assert num_examples == 1 + 3 * 4


@pytest.mark.parametrize(
    ("row", "fits"),
    [
        (ROW, True),
        ({"visits": 1, "age": None}, True),
        ({"age": 1}, False),
        (ROW | {"visits": 1.5}, False),
        (ROW | {"married": 1}, False),
        (ROW | {"other": 1}, False),
    ],
)
def test_the_schema_of_a_row_says_what_the_server_does(
    served: Client, row: dict[str, Any], fits: bool
) -> None:
    page = described(served)
    schema = {"$ref": "#/components/schemas/table.Row", "components": page["components"]}
    assert jsonschema.Draft202012Validator(schema).is_valid(row) is fits
    status = served("POST", "/predict/table", json={"rows": [row]}).status_code
    assert status == (200 if fits else 400)


def test_the_description_follows_the_live_version(served: Client, folder: Path) -> None:
    first = served("GET", "/openapi.json")
    tag = {"if-none-match": first.headers["etag"]}
    assert served("GET", "/openapi.json", headers=tag).status_code == 304
    publish(folder, "digits", 2, 2)
    served.scan()
    assert "by digits, version 2" in served("GET", "/openapi.json", headers=tag).text


def test_the_form_has_a_field_for_each_input(served: Client) -> None:
    response = served("GET", "/models/table/form")
    assert response.headers["x-model-version"] == "3"
    page = response.json()
    assert [item["name"] for item in page["fields"]] == [spec["name"] for spec in INPUTS]
    fields = {item["name"]: item for item in page["fields"]}
    assert fields["status"]["choices"] == ["good", "bad"]
    assert fields["visits"]["required"]
    assert not fields["age"]["required"]
    assert fields["since"] == {
        "name": "since",
        "type": "date",
        "required": False,
        "shape": [],
        "choices": [],
        "example": "1970-01-11",
    }
    kinds = {"digits": "image/*", "sounds": "audio/wav", "reviews": "text/plain", "table": ""}
    for name, kind in kinds.items():
        assert served("GET", f"/models/{name}/form").json()["media_type"] == kind


@pytest.mark.parametrize("path", ["/", "/models/digits"])
def test_a_page_loads_nothing_from_elsewhere(served: Client, path: str) -> None:
    response = served("GET", path)
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    (nonce,) = set(re.findall(r"'nonce-([\w-]+)'", policy))
    tags = re.findall(r"<(?:script|style)[^>]*>", response.text)
    assert tags
    assert all(tag.endswith(f'nonce="{nonce}">') for tag in tags)
    assert nonce not in served("GET", path).text
    assert not re.search(r"https?://|src=|url\(|\$(title|nonce|script)", response.text)


def test_a_page_of_no_model_is_not_there(served: Client) -> None:
    for path in ("/models/nobody", "/models/nobody/form", "/models/<script>"):
        response = served("GET", path)
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/json"
    assert served("POST", "/models/digits").status_code == 405


def test_packages_from_elsewhere_have_no_choices(served: Client, folder: Path) -> None:
    package = next((folder / "digits/versions").iterdir())
    assert "preprocessing.json" not in read_json(package / "manifest.json")["files"]
    assert served("GET", "/models/digits/form").json()["fields"][0]["choices"] == []
