"""A canary in a server: who is answered by it, what is counted, how it comes and goes."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.artifacts import write_json
from modelyard.serving.app import App
from modelyard.serving.canary import Tally
from modelyard.serving.model import Model
from tests.unit.serving.conftest import Client
from tests.unit.serving.tiny_packages import point, write_package

ROWS = {"rows": [{"image": [[0] * 4] * 4}]}
CALLERS = [f"caller-{number}" for number in range(60)]


def point_canary(
    root: Path, version: int, digest: str, percent: float, since: float | None = 1.0
) -> None:
    write_json(
        root / "m/canary.json",
        {
            "name": "m",
            "version": version,
            "digest": digest,
            "path": f"versions/{version}-{digest[:12]}",
            "sequence": 10 + version,
            "since": since,
            "percent": percent,
        },
    )


@pytest.fixture
def digests(folder: Path, client: Client) -> dict[int, str]:
    """Version 1 is live; 2 and 3 lie beside it."""
    digests = {}
    for version in (1, 2, 3):
        staged = folder.parent / f"staged-{version}"
        digests[version] = write_package(staged, version, golden_shift=0.2 * (version == 3))
        (folder / "m/versions").mkdir(parents=True, exist_ok=True)
        staged.rename(folder / f"m/versions/{version}-{digests[version][:12]}")
    point(folder, "m", 1, digests[1], 1)
    client.scan()
    return digests


def _scan(client: Client) -> None:
    async def scan() -> None:
        watcher = client.app.watcher
        for _ in range(3):
            watcher.scan()
            await asyncio.gather(*watcher._loading.values(), *watcher.canaries._working.values())

    client.loop.run_until_complete(scan())


def _ask(client: Client, caller: str, path: str = "/predict/m", body: Any = ROWS) -> int:
    response = client("POST", path, json=body, headers={"x-caller-id": caller})
    version = int(response.headers["x-model-version"])
    if response.status_code == 200 and path.startswith("/predict"):
        assert response.json()["version"] == version
    return version


def _drawn(client: Client) -> set[str]:
    return {caller for caller in CALLERS if _ask(client, caller) == 2}


def _report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "m/canary/worker-0.json").read_text())


def _told(client: Client, folder: Path) -> dict[str, Any]:
    async def close() -> None:
        await client.app.watcher.close()

    client.loop.run_until_complete(close())
    return _report(folder)


def test_a_share_of_the_callers_is_answered_by_it_and_always_the_same(
    client: Client, folder: Path, digests: dict[int, str]
) -> None:
    point_canary(folder, 2, digests[2], percent=30)
    _scan(client)
    first = _drawn(client)
    assert 8 <= len(first) <= 30
    assert _drawn(client) == first
    point_canary(folder, 2, digests[2], percent=100)
    _scan(client)
    assert len(_drawn(client)) == len(CALLERS)
    (folder / "m/canary.json").unlink()
    _scan(client)
    assert _drawn(client) == set()


def test_it_answers_nobody_before_all_workers_have_it(
    client: Client, folder: Path, digests: dict[int, str]
) -> None:
    point_canary(folder, 2, digests[2], percent=100, since=None)
    _scan(client)
    report = _report(folder)
    assert (report["state"], report["sequence"], report["version"]) == ("live", 12, 2)
    assert report["live"] == report["canary"] == {"requests": 0, "failed": 0, "latencies": []}
    assert _ask(client, "anybody") == 1
    assert client("GET", "/health").json()["models"]["m"].keys() == {"version", "digest"}
    point_canary(folder, 2, digests[2], percent=100)
    _scan(client)
    assert _ask(client, "anybody") == 2
    health = client("GET", "/health").json()["models"]["m"]
    assert (health["version"], health["canary"]) == (1, {"version": 2, "percent": 100})


def test_who_names_a_version_gets_it_and_is_not_counted(
    client: Client, folder: Path, digests: dict[int, str]
) -> None:
    point_canary(folder, 2, digests[2], percent=100)
    _scan(client)
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 4, 4], "data": [0] * 16}
    body = {"inputs": [tensor]}
    for version in (1, 2):
        path = f"/v2/models/m/versions/{version}/infer"
        assert _ask(client, "somebody", path, body) == version
    assert _ask(client, "somebody", "/v2/models/m/infer", body) == 2
    assert _ask(client, "somebody", "/invocations", {"instances": [[[0] * 4] * 4]}) == 2
    assert client("GET", "/v2/models/m").json()["versions"] == ["1", "2"]
    told = _told(client, folder)
    assert (told["live"]["requests"], told["canary"]["requests"]) == (0, 2)


def test_both_versions_requests_faults_and_latencies_are_counted(
    client: Client, folder: Path, digests: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Model.run

    def fail(model: Model, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        if model.version == 2 and inputs["image"].max() == 200:
            raise RuntimeError("out of memory")
        return run(model, inputs)

    monkeypatch.setattr(Model, "run", fail)
    point_canary(folder, 2, digests[2], percent=40)
    _scan(client)
    mine = _drawn(client)
    hard = {"rows": [{"image": [[200] * 4] * 4}]}
    for caller in CALLERS[:20]:
        assert _ask(client, caller, body=hard) == (2 if caller in mine else 1)
        # Nobody's fault but the caller's.
        assert _ask(client, caller, body={"rows": [{"image": "?"}]}) in (1, 2)
    told = _told(client, folder)
    num_failed = len(mine & set(CALLERS[:20]))
    assert num_failed > 0
    assert told["canary"]["failed"] == num_failed
    assert told["canary"]["requests"] == len(mine) + num_failed
    assert told["live"]["failed"] == 0
    assert told["live"]["requests"] == len(CALLERS) - len(mine) + 20 - num_failed
    assert sum(number for _, number in told["canary"]["latencies"]) == len(mine)


def test_what_only_the_canary_refuses_counts_against_it(
    client: Client, folder: Path, digests: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a version would do that needs a field which callers do not send yet."""
    from modelyard.serving import calls
    from modelyard.serving.failures import RequestError

    parse = calls.parse_rows

    def stricter(body: Any, inputs: Any) -> Any:
        if inputs is client.app.table.canaries["m"].served.model.inputs:
            raise RequestError(400, "rows[0].age is missing")
        return parse(body, inputs)

    monkeypatch.setattr(calls, "parse_rows", stricter)
    point_canary(folder, 2, digests[2], percent=100)
    _scan(client)
    response = client("POST", "/predict/m", json=ROWS)
    assert (response.status_code, response.headers["x-model-version"]) == (400, "2")
    assert client("POST", "/predict/m", json={"rows": []}).status_code == 400
    told = _told(client, folder)
    assert (told["canary"]["requests"], told["canary"]["failed"]) == (1, 1)
    assert told["live"]["requests"] == 0


def test_a_canary_that_answers_otherwise_than_recorded_is_refused(
    client: Client, folder: Path, digests: dict[int, str]
) -> None:
    point_canary(folder, 3, digests[3], percent=100)
    _scan(client)
    assert _report(folder)["state"] == "refused"
    assert _report(folder)["reason"] == "golden request 0 is answered 0.2 off, 0.01 is allowed"
    assert _ask(client, "anybody") == 1


def test_a_promoted_canary_is_live_without_being_loaded_again(
    client: Client, folder: Path, digests: dict[int, str]
) -> None:
    point_canary(folder, 2, digests[2], percent=100)
    _scan(client)
    session = client.app.table.canaries["m"].served.model.session
    point(folder, "m", 2, digests[2], 13)
    _scan(client)
    (folder / "m/canary.json").unlink()
    _scan(client)
    assert client.app.table.entries["m"].live.model.session is session
    assert client.app.table.canaries == {}
    assert _drawn(client) == set(CALLERS)


@pytest.mark.parametrize(
    "change", [{"path": "../1"}, {"percent": "all"}, {"since": "now"}, {"name": "other"}, {}]
)
def test_a_pointer_that_is_none_is_no_canary(
    client: Client, folder: Path, digests: dict[int, str], change: dict[str, Any]
) -> None:
    point_canary(folder, 2, digests[2], percent=100)
    path = folder / "m/canary.json"
    tree = json.loads(path.read_text()) | change
    path.write_text(json.dumps(tree) if change else "[")
    _scan(client)
    assert _ask(client, "anybody") == 1


def test_a_keys_callers_are_its_own(client: Client, folder: Path, digests: dict[int, str]) -> None:
    from modelyard.serving.http import Request
    from modelyard.serving.keys import ApiKey

    point_canary(folder, 2, digests[2], percent=50)
    _scan(client)
    canary = client.app.table.canaries["m"]

    def takes(key_id: str, address: str, caller: bytes = b"") -> bool:
        key = ApiKey(key_id, "shop", ("*",), "", None, None, "") if key_id else None
        headers = {b"x-caller-id": caller} if caller else {}
        return canary.takes(Request(headers, None, key, client=address))  # pyright: ignore[reportArgumentType]

    keys = [f"{number:08x}" for number in range(40)]
    assert 5 < sum(takes(key, "::1") for key in keys) < 35
    assert all(takes(key, "::1") == takes(key, "10.0.0.1") for key in keys)
    assert len({takes("", f"10.0.0.{number}") for number in range(40)}) == 2
    assert len({takes(keys[0], "::1", b"%d" % number) for number in range(40)}) == 2


def test_a_worker_that_starts_sends_the_canarys_callers_nowhere_else(
    client: Client, folder: Path, digests: dict[int, str]
) -> None:
    """As one does that was killed in the midst of a canary."""
    point_canary(folder, 2, digests[2], percent=100)
    table = (started := App(folder, "worker-1")).table

    async def start() -> None:
        started.watcher.scan()
        async with asyncio.timeout(20):
            while "m" not in table.entries:
                await asyncio.sleep(0)
        assert table.canaries["m"].served.model.version == 2
        await asyncio.gather(*started.watcher.canaries._working.values())

    client.loop.run_until_complete(start())
    report = json.loads((folder / "m/canary/worker-1.json").read_text())
    assert report["state"] == "live"


def test_latencies_keep_their_order_of_magnitude() -> None:
    tally = Tally()
    for seconds in (0.0, 1e-5, 0.001, 0.1, 30.0):
        tally.answer(seconds)
    ends = [end for end, number in tally.tree()["latencies"] for _ in range(number)]
    assert ends == pytest.approx([1e-5, 1e-5, 0.001, 0.1, 30.0], rel=0.045)
    assert all(
        end >= seconds - 1e-12
        for end, seconds in zip(ends[1:], (1e-5, 0.001, 0.1, 30.0), strict=True)
    )
