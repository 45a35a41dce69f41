"""From an alias moved in MLflow to the first answer by the new version, and swaps under load.

In a fresh clone with its services up and two server workers: one run to a live champion, variants
as challengers. Aliases are moved as MLflow's page moves them, by its REST API, at odd moments, when
nobody else asks: ``--moves`` with MLflow's webhook, as many with the follower's looks alone; some
are rolled back. Then ``--swaps`` follow one another while ``--callers`` ask without a pause. Every
tenth is to a version that is corrupt, wrongly signed or ungated. Each answer must come from a
version that was live, or being loaded by some worker, between its question and itself, and each bad
version must have its reason as a tag.
"""

import argparse
import json
import random
import tempfile
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import yaml
from overhead import ROOT, clone, timed

NAME = "digits"
VARIANTS = 4
WORKERS = 2
PATIENCE_S = 20.0
_TAG = "modelyard.refused"
_OTHER = "judged against another champion"


def main() -> None:
    """Measure, print the bars, write them."""
    from bars import bar, publish

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moves", type=int, default=20)
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--callers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="modelyard-promotion-") as folder:
        root = clone(Path(folder), "clone")
        try:
            add_words(root, "serving", "--workers", str(WORKERS))
            yard = prepare(root)
            hooked = moves(yard, arguments.moves)
            back = rollbacks(yard, min(5, arguments.moves))
            polled = alone(root, yard, arguments.moves)
            bad = spoil(yard)
            load = Load(yard, arguments.callers)
            with load:
                tally = swaps(yard, bad, arguments.swaps)
        finally:
            timed(root, "-m", "modelyard.cli", "down")
    print(
        f"{tally.good} swaps between good versions, {tally.bad} wishes for bad ones "
        f"({tally.refused} refused); {WORKERS} workers gave {sum(load.answers.values()):,} answers:"
        f" {dict(load.answers)}"
    )
    for version, reason in tally.reasons.items():
        print(f"version {version} refused: {reason}")
    bars = [
        bar("promotion_to_first_answer_s", hooked, "<=", 1.0),
        bar("promotion_by_polling_s", polled, "<=", 3.0),
        bar("rollback_to_first_answer_s", back, "<=", 1.0),
        bar("swaps_failed_requests", [float(load.failed)], "<=", 0.0),
        bar("swaps_wrong_versions", [float(load.wrong)], "<=", 0.0),
        bar("swaps_bad_versions_not_refused", [float(tally.bad - tally.refused)], "<=", 0.0),
    ]
    figures = {
        "hooked_s": hooked,
        "polled_s": polled,
        "rollback_s": back,
        "swap_s": tally.seconds,
        "workers": [float(WORKERS)],
    }
    publish("promotion", ROOT, bars, figures)


@dataclass
class Tally:
    """What the swaps under load came to; ``seconds`` of each swap between good versions."""

    good: int = 0
    bad: int = 0
    refused: int = 0
    seconds: list[float] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)


@dataclass
class Yard:
    """A clone with its services up.

    ``may_answer`` are the versions that may answer now: the live one, and one that is wished for.
    """

    root: Path
    mlflow: str
    serving: str
    body: bytes
    may_answer: set[str] = field(default_factory=set)

    def ask(self) -> str:
        """The version that answers one request.

        Raises:
            OSError: none does.
        """
        request = urllib.request.Request(
            f"{self.serving}/predict/{NAME}", self.body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.headers["x-model-version"]

    def call(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """One call of MLflow's REST API."""
        request = urllib.request.Request(
            f"{self.mlflow}/api/2.0/mlflow/{path}",
            json.dumps(body).encode() if body else None,
            {"content-type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def wish(self, version: int) -> None:
        """Move the alias ``champion``."""
        place = "registered-models/alias"
        self.call("POST", place, name=NAME, alias="champion", version=str(version))

    def move(self, version: int) -> float:
        """Make a version champion; seconds until it answers."""
        self.may_answer.add(str(version))
        started = perf_counter()
        self.wish(version)
        if not within(lambda: self.ask() == str(version)):
            raise TimeoutError(f"version {version} did not answer within {PATIENCE_S:g} s")
        seconds = perf_counter() - started
        # Until all have acknowledged, another worker may still answer by the one before.
        if not within(lambda: self.confirmed() == version):
            raise TimeoutError(f"version {version} was not confirmed within {PATIENCE_S:g} s")
        self.may_answer.intersection_update({str(version)})
        return seconds

    def confirmed(self) -> int:
        """The version that every worker serves."""
        history = self.root / ".modelyard/serving" / NAME / "history.json"
        return json.loads(history.read_bytes())["events"][-1]["release"]["version"]

    def version(self, version: int) -> dict[str, Any]:
        """What MLflow says of a version."""
        return self.call("GET", f"model-versions/get?name={NAME}&version={version}")[
            "model_version"
        ]

    def artifacts(self, version: int) -> Path:
        """Where MLflow keeps a version's package."""
        tags = {tag["key"]: tag["value"] for tag in self.version(version)["tags"]}
        for manifest in (self.root / ".modelyard/mlflow/artifacts").rglob("manifest.json"):
            if json.loads(manifest.read_bytes())["digest"] == tags["modelyard.digest"]:
                return manifest.parent
        raise FileNotFoundError(f"no artifacts of {NAME} version {version}")


class Load:
    """Callers that ask without a pause; counts what came back."""

    def __init__(self, yard: Yard, callers: int) -> None:
        self._yard = yard
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(callers)]
        self.answers: Counter[str] = Counter()
        self.failed = self.wrong = 0

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._stop.is_set():
            before = set(self._yard.may_answer)
            try:
                version = self._yard.ask()
            except (OSError, urllib.error.URLError):
                self.failed += 1
                continue
            self.answers[version] += 1
            self.wrong += version not in before | self._yard.may_answer


def prepare(root: Path) -> Yard:
    """Version 1 live, versions 2 to ``VARIANTS`` registered."""
    timed(root, "-m", "modelyard.cli", "run", "--set", "evaluate.baselines=[]")
    for seed in range(1, VARIANTS):
        sets = ["promote.mode=manual", "evaluate.baselines=[]", f"evaluate.seed={seed}"]
        words = [word for item in sets for word in ("--set", item)]
        timed(root, "-m", "modelyard.cli", "run", *words)
    live = json.loads((root / ".modelyard/serving" / NAME / "live.json").read_bytes())
    example = root / ".modelyard/serving" / NAME / live["path"] / "input_example.json"
    return Yard(root, *addresses(root), example.read_bytes())


def addresses(root: Path) -> tuple[str, str]:
    """Where MLflow and the server answer."""
    services = json.loads((root / ".modelyard/services.json").read_bytes())
    return services["mlflow"]["url"], services["serving"]["url"]


def add_words(root: Path, service: str, *words: str) -> None:
    """Add arguments to a service's command in the clone."""
    path = root / "infra/local/services.yaml"
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    tree["services"][service]["command"] += words
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")


def moves(yard: Yard, number: int) -> list[float]:
    """Seconds of each move between versions 1 and 2, at moments that owe nothing to the last."""
    pause = random.Random(0)
    seconds = []
    for _ in range(number):
        sleep(pause.uniform(0.3, 1.5))
        seconds.append(yard.move(3 - yard.confirmed()))
    return seconds


def rollbacks(yard: Yard, number: int) -> list[float]:
    """Seconds from a rollback's call to the first answer by the version that was live before."""
    from modelyard.follower.rollback import rollback

    state, seconds = yard.root / ".modelyard", []
    for _ in range(number):
        before = yard.confirmed()
        yard.move(3 - before)
        started = perf_counter()
        rollback(state / "serving", NAME, "benchmark", state)
        if not within(lambda before=before: yard.ask() == str(before)):
            raise TimeoutError(f"version {before} did not answer within {PATIENCE_S:g} s")
        seconds.append(perf_counter() - started)
        if not within(lambda: not (state / "serving" / NAME / "pin.json").exists()):
            raise TimeoutError("MLflow has not learned of the rollback")
        yard.may_answer = {str(before)}
    return seconds


def alone(root: Path, yard: Yard, number: int) -> list[float]:
    """The same by the follower's looks, without MLflow's webhook."""
    services = root / "infra/local/services.yaml"
    before = services.read_bytes()
    add_words(root, "follower", "--no-webhook")
    restart(root, yard)
    seconds = moves(yard, number)
    services.write_bytes(before)
    restart(root, yard)
    return seconds


def restart(root: Path, yard: Yard) -> None:
    """Stop the services and start them as services.yaml says now."""
    timed(root, "-m", "modelyard.cli", "down")
    timed(root, "-m", "modelyard.cli", "up")
    yard.mlflow, yard.serving = addresses(root)
    live = yard.confirmed()
    if not within(lambda: yard.ask() == str(live)):
        raise TimeoutError(f"version {live} does not answer after a restart")
    yard.may_answer = {str(live)}


def spoil(yard: Yard) -> list[int]:
    """Version 3 gets a flipped byte, version 4 another's signature; version 5 passed no gate."""
    model = yard.artifacts(3) / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    signature = yard.artifacts(1) / "model.sig"
    (yard.artifacts(4) / "model.sig").write_bytes(signature.read_bytes())
    first = yard.version(1)
    same = {key: first[key] for key in ("name", "source", "run_id")}
    same["model_id"] = first["source"].rpartition("/")[2]
    same["tags"] = [tag for tag in first["tags"] if tag["key"] == "modelyard.digest"]
    created = yard.call("POST", "model-versions/create", **same)
    return [3, 4, int(created["model_version"]["version"])]


def swaps(yard: Yard, bad: list[int], number: int) -> Tally:
    """Swap between two good versions, every tenth time to a bad one."""
    tally, live = Tally(), yard.confirmed()
    for index in range(1, number + 1):
        if index % 10:
            live = 3 - live
            tally.seconds.append(yard.move(live))
            tally.good += 1
            continue
        if live != 1:
            # The bad ones were judged against version 1: what is wrong with them is all there is.
            live = 1
            tally.seconds.append(yard.move(live))
            tally.good += 1
        version = bad[index // 10 % len(bad)]
        if refused(yard, version):
            tag = {"name": NAME, "version": str(version), "key": _TAG}
            yard.call("DELETE", "model-versions/delete-tag", **tag)
        tally.bad += 1
        yard.wish(version)
        if within(lambda version=version: refused(yard, version)):
            reason = tally.reasons[version] = refused(yard, version)
            tally.refused += _OTHER not in reason
        yard.wish(live)
    return tally


def refused(yard: Yard, version: int) -> str:
    """The reason that MLflow shows why a version does not serve; empty where it shows none."""
    tags = {tag["key"]: tag["value"] for tag in yard.version(version).get("tags", ())}
    return tags.get(_TAG, "")


def within(condition: Callable[[], object]) -> bool:
    """Whether a condition comes true in ``PATIENCE_S``."""
    deadline = perf_counter() + PATIENCE_S
    while perf_counter() < deadline:
        if condition():
            return True
        sleep(0.005)
    return False


if __name__ == "__main__":
    main()
