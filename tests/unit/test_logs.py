"""Lines of a log: for people, and as JSON."""

import json
import logging
from typing import get_args

import pytest

from modelyard.logs import FIELDS, FORMATS, JsonLines, TextLines, default_format
from modelyard.settings import Settings


def record(message: str, *words: object, **extra: object) -> logging.LogRecord:
    found = logging.LogRecord("modelyard.x", logging.WARNING, "x.py", 1, message, words, None)
    found.__dict__.update(extra)
    return found


def test_a_json_line_is_one_object_whatever_it_says() -> None:
    extra = {"request_id": "r-1", "path": '/a"\n\u2028', "status": 400, "secret": "no field"}
    line = JsonLines().format(record("two\nlines %s", "\ud800", **extra))
    assert "\n" not in line
    assert line.isascii()
    tree = json.loads(line)
    assert tree.pop("time").endswith("Z")
    assert tree == {
        "level": "warning",
        "logger": "modelyard.x",
        "message": "two\nlines \ud800",
        "request_id": "r-1",
        "path": '/a"\n\u2028',
        "status": 400,
    }
    assert "secret" not in FIELDS


def test_a_traceback_is_text_in_it() -> None:
    found = record("it failed")
    try:
        raise RuntimeError("why")
    except RuntimeError as error:
        found.exc_info = (type(error), error, error.__traceback__)
    line = JsonLines().format(found)
    assert "\n" not in line
    assert json.loads(line)["exception"].endswith("RuntimeError: why")
    text = TextLines().format(found)
    assert text.splitlines()[0].endswith("WARNING it failed")
    assert text.endswith("RuntimeError: why")


def test_a_text_line_names_the_request() -> None:
    assert TextLines().format(record("it failed", request_id="r-1")).endswith("[request r-1]")
    assert TextLines().format(record("it failed")).endswith("it failed")


def test_the_environment_gives_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_args(Settings.model_fields["log_format"].annotation) == FORMATS
    for given, expected in (("json", "json"), ("text", "text"), ("yaml", "text")):
        monkeypatch.setenv("MODELYARD_LOG_FORMAT", given)
        assert default_format() == expected
    monkeypatch.delenv("MODELYARD_LOG_FORMAT")
    assert default_format() == "text"
