"""Whatever a caller sends, made up by schemathesis from the API's own description.

``make fuzz`` sends 5,000 requests; ``FUZZ_REQUESTS`` says how many.
"""

import os
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from schemathesis import Case, CheckContext, Config, Response
from schemathesis.engine import from_schema
from schemathesis.engine.events import (
    FatalError,
    NonFatalError,
    ScenarioFinished,
)

from tests.integration.serving_processes import server, wait_until
from tests.unit.serving.table_packages import (
    write_audio_package,
    write_table_package,
    write_text_package,
)
from tests.unit.serving.tiny_packages import place, write_package

pytestmark = pytest.mark.server

NUM_REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "400"))
NUM_POSTS = 3 * 4 + 1
MODELS = {
    "customers": write_table_package,
    "digits": lambda folder: write_package(folder, seed=1),
    "reviews": write_text_package,
    "sounds": write_audio_package,
}
CONFIG = {
    "continue-on-failure": True,
    "checks": {
        # Replaced by ours, below.
        "not_a_server_error": {"enabled": False},
        # A schema cannot say that an input's list is as long as its shape, nor how a picture is
        # encoded: of what it allows, some is refused.
        "positive_data_acceptance": {"enabled": False},
        # A body with too many rows is against the schema; 413 is the answer to it.
        "negative_data_rejection": {"expected-statuses": ["4xx", "503"]},
    },
    "generation": {
        "max-examples": NUM_REQUESTS // NUM_POSTS,
        "deterministic": NUM_REQUESTS < 1000,
        "database": "none",
    },
    "phases": {"stateful": {"enabled": False}},
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("fuzz")
    for name, write in MODELS.items():
        place(folder / name, folder / "serving", name, 1, write(folder / name), 1)
    with server(folder / "serving", folder / "server.log") as address:
        ready = f"{address}/v2/health/ready"
        wait_until(lambda: httpx.get(ready, trust_env=False).status_code == 200)
        yield address
        assert "Traceback" not in (folder / "server.log").read_text()


@schemathesis.check
def fails_only_as_said(_: CheckContext, response: Response, case: Case) -> None:
    """503 with Retry-After is the one answer of 5xx that a caller may see."""
    if response.status_code >= 500:
        assert response.status_code == 503, case.as_curl_command()
        assert response.headers["retry-after"]


def test_no_request_breaks_the_server(url: str) -> None:
    description = schemathesis.openapi.from_url(
        f"{url}/openapi.json", config=Config.from_dict(CONFIG)
    )
    description.validate()
    answers: Counter[tuple[str, int | None]] = Counter()
    failures: list[str] = []
    for event in from_schema(description).execute():
        assert not isinstance(event, NonFatalError | FatalError), event
        if isinstance(event, ScenarioFinished):
            for interaction in event.recorder.interactions.values():
                answer = interaction.response
                answers[event.recorder.label, answer.status_code if answer else None] += 1
            for check in (one for found in event.recorder.checks.values() for one in found):
                if check.failure_info is not None:
                    failures.append(
                        f"{check.failure_info.failure}\n{check.failure_info.code_sample}"
                    )
    assert not failures, "\n\n".join(failures)
    assert answers.total() >= NUM_REQUESTS, answers
    posts = {label for label, _ in answers if label.startswith("POST")}
    assert len(posts) == NUM_POSTS
    for label in posts:
        assert answers[label, 200] > 0, answers
        assert answers[label, 400] > 0, answers
    assert httpx.get(f"{url}/v2/health/ready", trust_env=False).status_code == 200
