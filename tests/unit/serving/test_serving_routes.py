"""The table of paths: what is found, what is not there, what is not taken."""

from typing import Any

import pytest

from modelyard.serving.failures import RequestError
from modelyard.serving.http import Response
from modelyard.serving.routes import Route, Routes


async def answer(*_: Any) -> Response:
    return Response(200, b"", ())


async def other(*_: Any) -> Response:
    return Response(200, b"", ())


ROUTES = (
    Route("POST", "/v2/models/*/infer", answer),
    Route("GET", "/v2/models/*", answer),
    Route("POST", "/both", answer),
    Route("GET", "/both", other),
)


@pytest.mark.parametrize(
    ("method", "path", "keys"),
    [
        ("POST", "/v2/models/digits/infer", ["digits"]),
        ("GET", "/v2/models/digits", ["digits"]),
        ("HEAD", "/v2/models/digits", ["digits"]),
        ("POST", "/both", []),
    ],
)
def test_a_path_is_found_the_first_time_and_again(method: str, path: str, keys: list[str]) -> None:
    routes = Routes(*ROUTES)
    for _ in range(2):
        assert routes.find(method, path) == (answer, keys)
    assert routes.find("GET", "/both") == (other, [])


@pytest.mark.parametrize("path", ["", "/", "/v2/models//infer", "/v2/models/a/b/infer", "/both/"])
def test_another_path_is_not_there(path: str) -> None:
    with pytest.raises(RequestError, match="nothing at") as caught:
        Routes(*ROUTES).find("POST", path)
    assert caught.value.status == 404


def test_another_method_is_told_what_is_taken() -> None:
    with pytest.raises(RequestError) as caught:
        Routes(*ROUTES).find("DELETE", "/both")
    assert caught.value.status == 405
    assert caught.value.headers == ((b"allow", b"POST, GET, HEAD"),)


def test_made_up_names_are_not_kept_without_end() -> None:
    routes = Routes(*ROUTES)
    for number in range(2000):
        assert routes.find("GET", f"/v2/models/{number}") == (answer, [str(number)])
    assert len(routes._found) <= 256
