"""Registers tiny versions with a real MLflow, as ``register`` and ``gate`` would."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.mlflow_api import MlflowApi
from modelyard.package import ensure_key, sign_folder
from modelyard.registry import tags as names
from modelyard.registry.verdict import Verdict
from modelyard.services import seeds
from modelyard.services.specs import Seed
from tests.integration.serving_processes import process, wait_until
from tests.unit.serving.tiny_packages import write_package


@contextmanager
def own_mlflow(folder: Path, port: int) -> Iterator[str]:
    """Run the server that `modelyard up` runs, which lets webhooks through; yield its address."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds.plant(Seed(package="mlflow", files=("mlflow.db",)), folder)
    url, log = f"http://127.0.0.1:{port}", folder / "server.log"
    words = ["--port", str(port), "--folder", str(folder)]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    program = process("modelyard.services.mlflow_server", log, *words, env=quiet)
    with program as child, MlflowApi(url) as api:
        wait_until(lambda: api.health() or child.poll() is not None, seconds=90)
        assert child.poll() is None, log.read_text()
        yield url


@dataclass
class Registrar:
    """Registers versions of ``name``, signed with a key that ``trusted`` knows."""

    api: MlflowApi
    name: str
    folder: Path
    trusted: Path
    _run: tuple[str, str] = field(init=False)

    def __post_init__(self) -> None:
        run = self.api.create_run(self.api.ensure_experiment("tiny"), self.name, 0, {})
        self._run = (run.run_id, run.artifact_uri)
        self.api.ensure_registered_model(self.name)
        self._key = ensure_key(self.folder / "keys", self.trusted)

    def add(self, seed: int, passed: bool | None = True) -> int:
        """Register a version that was judged against what ``live`` names now."""
        package = self.folder / str(seed)
        digest = write_package(package, seed)
        sign_folder(package, self._key)
        run_id, root = self._run
        self.api.upload_folder(f"{root}/{seed}", package, "package")
        tags = {names.DIGEST: digest}
        made = self.api.create_version(self.name, f"{root}/{seed}", run_id, "", tags, "")
        if passed is not None:
            self.judge(made.version, digest, passed)
        return made.version

    def judge(self, version: int, digest: str, passed: bool) -> None:
        """Sign a verdict."""
        live = self.api.get_version_by_alias(self.name, names.LIVE)
        verdict = Verdict(
            name=self.name,
            version=version,
            digest=digest,
            champion_version=live.version if live else None,
            champion_digest=live.tags[names.DIGEST] if live else None,
            dataset_digest="d",
            rows=100,
            metric="accuracy",
            score=0.95,
            score_low=0.93,
            difference=None,
            difference_low=None,
            difference_high=None,
            latency_ms=0.1,
            size_mb=0.1,
            margin=0.02,
            passed=passed,
            reason="" if passed else "too slow",
        )
        for tag, value in verdict.signed_tags(self._key).items():
            self.api.set_version_tag(self.name, version, tag, value)

    def digest(self, version: int) -> str:
        """That of a version's package."""
        found = self.api.get_version(self.name, version)
        assert found is not None
        return found.tags[names.DIGEST]

    def promote(self, version: int) -> None:
        """Move ``champion``."""
        self.api.set_alias(self.name, names.CHAMPION, version)

    def aliases(self) -> dict[str, int]:
        """Where they are."""
        model = self.api.get_registered_model(self.name)
        return model.aliases if model else {}

    def is_live(self, version: int) -> bool:
        """Whether the follower says so."""
        return self.aliases().get(names.LIVE) == version
