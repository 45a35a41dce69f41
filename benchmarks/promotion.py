"""From an alias moved in MLflow to the first answer by the new version, and swaps under load.

In a fresh clone with its services up: one run to a live champion, variants as challengers. Aliases
are moved as MLflow's page moves them, by its REST API. ``--moves`` are timed with the follower's
polling alone, nobody else asking; then ``--swaps`` follow one another while ``--callers`` ask
without a pause. Every tenth is to a version that is corrupt, wrongly signed or ungated. Each answer
must come from a version that was live between its question and itself, and each bad version must
have its reason as a tag.
"""

import argparse
import json
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

from overhead import ROOT, clone, timed

NAME = "digits"
VARIANTS = 4
PATIENCE_S = 20.0
_TAG = "modelyard.refused"


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
            yard = prepare(root)
            moves = [yard.move(2 - index % 2) for index in range(arguments.moves)]
            bad = spoil(yard)
            load = Load(yard, arguments.callers)
            with load:
                wrong_verdicts = swaps(yard, bad, arguments.swaps)
        finally:
            timed(root, "-m", "modelyard.cli", "down")
    print(f"{sum(load.answers.values()):,} answers during {arguments.swaps} swaps: {load.answers}")
    bars = [
        bar("promotion_to_first_answer_s", moves, "<=", 1.0),
        bar("promotion_by_polling_s", moves, "<=", 3.0),
        bar("swaps_failed_requests", [float(load.failed)], "<=", 0.0),
        bar("swaps_wrong_versions", [float(load.wrong)], "<=", 0.0),
        bar("swaps_bad_versions_not_refused", [float(wrong_verdicts)], "<=", 0.0),
    ]
    publish("promotion", ROOT, bars, {"moves_s": moves})


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
        within(lambda: self.ask() == str(version))
        seconds = perf_counter() - started
        # Requests under way may still be answered by the one before.
        sleep(0.05)
        self.may_answer.intersection_update({str(version)})
        return seconds

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
    addresses = json.loads((root / ".modelyard/services.json").read_bytes())
    live = json.loads((root / ".modelyard/serving" / NAME / "live.json").read_bytes())
    example = root / ".modelyard/serving" / NAME / live["path"] / "input_example.json"
    return Yard(root, addresses["mlflow"]["url"], addresses["serving"]["url"], example.read_bytes())


def spoil(yard: Yard) -> list[int]:
    """Version 3 gets a flipped byte, version 4 another's signature; version 5 passed no gate."""
    model = yard.artifacts(3) / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    signature = yard.artifacts(1) / "model.sig"
    (yard.artifacts(4) / "model.sig").write_bytes(signature.read_bytes())
    created = yard.call("POST", "model-versions/create", name=NAME, source=f"models:/{NAME}/1")
    return [3, 4, int(created["model_version"]["version"])]


def swaps(yard: Yard, bad: list[int], number: int) -> int:
    """Swap between two good versions, every tenth time to a bad one; how many were not refused."""
    not_refused, live = 0, 1
    yard.move(live)
    for index in range(1, number + 1):
        if index % 10:
            live = 3 - live
            yard.move(live)
            continue
        version = bad[index // 10 % len(bad)]
        if refused(yard, version):
            tag = {"name": NAME, "version": str(version), "key": _TAG}
            yard.call("DELETE", "model-versions/delete-tag", **tag)
        yard.wish(version)
        not_refused += not within(lambda version=version: refused(yard, version))
        yard.wish(live)
    return not_refused


def refused(yard: Yard, version: int) -> bool:
    """Whether MLflow shows the reason why a version does not serve."""
    return any(tag["key"] == _TAG for tag in yard.version(version).get("tags", ()))


def within(condition: Callable[[], bool]) -> bool:
    """Whether a condition comes true in ``PATIENCE_S``."""
    deadline = perf_counter() + PATIENCE_S
    while perf_counter() < deadline:
        if condition():
            return True
        sleep(0.005)
    return False


if __name__ == "__main__":
    main()
