"""kill -9 between any two writes of follower or rollback: whatever happens, later ticks converge.

Every write (a file, a rename, a call that changes the registry) may be the one before or after
which the process dies. Of the follower nothing survives that but its files and the registry.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from modelyard.errors import PackageError, ServiceUnavailable, WorkspaceError
from modelyard.follower import audit, fetch, folder, rollback
from modelyard.follower.fetch import Fetcher
from modelyard.follower.folder import ModelFolder
from modelyard.follower.follow import Follower, check_folder
from modelyard.follower.patience import Patience
from modelyard.package import verify_manifest
from modelyard.params.serve import Canary, ServeParams, Shadow
from tests.unit.follower.fake_registry import (
    FakeRegistry,
    FakeWorker,
    check_verdict,
    counts,
)
from tests.unit.follower.yard import FixedServe

GOOD = (1, 2, 3)
REFUSED_BY_WORKER = 4
ALTERED = 5
UNJUDGED = 6
VERSIONS = (*GOOD, REFUSED_BY_WORKER, ALTERED, UNJUDGED)
CANARY = ServeParams(canary=Canary(), shadow=Shadow())
CRASH = st.none() | st.integers(0, 30)


class Killed(BaseException):
    """The process is gone."""


class Crashes:
    """Kills at the ``countdown``-th point from now, if there is one."""

    countdown: int | None = None

    def point(self) -> None:
        if self.countdown is None:
            return
        if self.countdown == 0:
            self.countdown = None
            raise Killed
        self.countdown -= 1

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.point()
            result = function(*args, **kwargs)
            self.point()
            return result

        return call


class FollowerUnderFire(RuleBasedStateMachine):
    """A person, a server, MLflow, a follower and an operator who rolls back, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = pytest.MonkeyPatch()
        self.crashes = Crashes()
        self.base = Path(tempfile.mkdtemp())
        self.root, self.state = self.base / "serving", self.base / "state"

    @initialize()
    def build(self) -> None:
        set_ = self.patches.setattr
        set_(os, "fsync", lambda _: None)
        set_(fetch, "verify_package", lambda path, _: verify_manifest(path))
        self.registry = FakeRegistry(self.base / "registry")
        for version in VERSIONS:
            self.registry.add("m", version, passed=version != UNJUDGED)
        (self.registry.source / f"m/{ALTERED}/model.onnx").write_text("m 1")
        self.worker = FakeWorker(self.root, refused=frozenset({REFUSED_BY_WORKER}))
        self.serve_params = FixedServe()
        self.follower = self.start_follower()
        self.sequences: list[int] = []
        for module, name in ((folder, "write_json"), (audit, "append")):
            set_(module, name, self.crashes.around(getattr(module, name)))
        for name in ("rename", "unlink"):
            set_(Path, name, self.crashes.around(getattr(Path, name)))
        self.registry.before_write = self.crashes.point
        set_(rollback.time, "sleep", lambda _: self.worker.step())

    def start_follower(self) -> Follower:
        check_folder(self.root)
        fetcher = Fetcher(self.registry, self.base, check_verdict)
        patience = Patience(seconds=1e9)
        return Follower(
            self.registry,
            fetcher,
            self.root,
            self.state,
            patience=patience,
            serve=self.serve_params,
        )

    @rule(version=st.sampled_from(VERSIONS))
    def move_champion(self, version: int) -> None:
        self.registry.aliases["m"]["champion"] = version

    @rule()
    def remove_champion(self) -> None:
        self.registry.aliases["m"].pop("champion", None)

    @rule(version=st.sampled_from(VERSIONS))
    def allow_again(self, version: int) -> None:
        self.registry.tags["m", version].pop("modelyard.refused", None)

    @rule(version=st.none() | st.sampled_from(VERSIONS))
    def move_challenger(self, version: int | None) -> None:
        if version is None:
            self.registry.aliases["m"].pop("challenger", None)
        else:
            self.registry.aliases["m"]["challenger"] = version

    @rule(params=st.sampled_from([CANARY, ServeParams()]))
    def change_params(self, params: ServeParams) -> None:
        self.serve_params.params = params

    @rule(failed=st.sampled_from([0, 100]))
    def answer_callers(self, failed: int) -> None:
        self.worker.live_counts, self.worker.canary_counts = counts(900), counts(100, failed)
        self.worker.step()

    @rule()
    def pass_time(self) -> None:
        """A canary that has begun did so an hour earlier."""
        path = self.root / "m/canary.json"
        if path.exists() and (pointer := json.loads(path.read_text()))["since"] is not None:
            pointer["since"] -= 3600
            path.write_text(json.dumps(pointer))

    @rule()
    def switch_mlflow(self) -> None:
        self.registry.away = not self.registry.away

    @rule()
    def switch_server(self) -> None:
        if self.worker.is_up:
            self.worker.stop()
        else:
            self.worker.start()

    @rule()
    def serve(self) -> None:
        self.worker.step()

    @rule(crash=CRASH)
    def tick(self, crash: int | None) -> None:
        self.crashes.countdown = crash
        try:
            self.follower.tick()
        except ServiceUnavailable:
            assert self.registry.away
        except Killed:
            self.follower = self.start_follower()
        finally:
            self.crashes.countdown = None

    @rule(crash=CRASH)
    def turns(self, crash: int | None) -> None:
        for _ in range(3):
            self.tick(crash)
            self.worker.step()

    @precondition(lambda self: (self.root / "m").is_dir())
    @rule(crash=CRASH)
    def roll_back(self, crash: int | None) -> None:
        before = ModelFolder(self.root, "m").read()
        self.crashes.countdown = crash
        try:
            result = rollback.rollback(self.root, "m", "because", self.state)
        except (WorkspaceError, Killed):
            return
        except PackageError as error:
            raise AssertionError("only versions that served are gone back to") from error
        finally:
            self.crashes.countdown = None
        assert result.to_version in {event.release.version for event in before.history}
        if self.worker.is_up:
            assert self.worker.served == result.to_version

    @invariant()
    def pointer_names_a_whole_package_that_was_let_through(self) -> None:
        if not (path := self.root / "m/live.json").exists():
            return
        pointer = json.loads(path.read_text())
        canary, shadow = (self.root / f"m/{name}.json" for name in ("canary", "shadow"))
        named = [
            pointer,
            *(json.loads(path.read_text()) for path in (canary, shadow) if path.exists()),
        ]
        for one in named:
            judged = () if "sequence" in one else (UNJUDGED,)
            assert one["version"] in (*GOOD, REFUSED_BY_WORKER, *judged)
            assert verify_manifest(self.root / "m" / one["path"]) == one["digest"]
        self.sequences.append(pointer["sequence"])
        assert self.sequences == sorted(self.sequences)

    @invariant()
    def live_and_the_log_name_only_what_served(self) -> None:
        if not hasattr(self, "registry"):
            return
        assert self.registry.aliases["m"].get("live", 1) in GOOD
        lines = self.audit()
        assert len({line["id"] for line in lines}) == len(lines)
        assert all(line["to"] in GOOD for line in lines if line["outcome"] == "live")

    @rule()
    def converge(self) -> None:
        """With everything up, what is wanted, what serves and what is said come to agree."""
        self.registry.away = False
        if not self.worker.is_up:
            self.worker.start()
        self.answer_callers(failed=0)
        for _ in range(10):
            self.pass_time()
            self.worker.step()
            self.follower.tick()
        writes, lines = self.registry.num_writes, len(self.audit())
        self.worker.step()
        self.follower.tick()
        assert (self.registry.num_writes, len(self.audit())) == (writes, lines)

        state = ModelFolder(self.root, "m").read()
        aliases = self.registry.aliases["m"]
        champion = aliases.get("champion")
        confirmed = state.confirmed.release.version if state.confirmed else None
        assert state.is_settled
        assert state.pin is None
        assert state.canary is None
        assert self.worker.canary is None
        assert aliases.get("live") == self.worker.served == confirmed
        if state.previous:
            assert aliases["previous"] == state.previous.release.version
        if confirmed:
            tags = self.registry.tags["m", confirmed]
            assert tags["modelyard.was_live"] == "true"
        refused = self.registry.tags.get(("m", champion or 0), {}).get("modelyard.refused", "")
        if champion in GOOD and not refused.startswith("canary: 100.0% more requests fail"):
            assert confirmed == champion
        elif champion is not None:
            assert confirmed != champion
            assert self.registry.tags["m", champion]["modelyard.refused"]
        assert not list((self.root / "m/versions").glob(".*"))

    def audit(self) -> list[dict[str, Any]]:
        path = self.state / "audit.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def teardown(self) -> None:
        try:
            if hasattr(self, "follower"):
                self.converge()
        finally:
            self.patches.undo()
            if hasattr(self, "worker") and self.worker.is_up:
                self.worker.stop()
            shutil.rmtree(self.base)


FollowerUnderFire.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestFollowerUnderFire = FollowerUnderFire.TestCase
