"""What MLflow's REST API gives, as data: only the fields that Modelyard uses."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RegisteredModel:
    """A registered model and where its aliases point."""

    name: str
    aliases: dict[str, int]
    tags: dict[str, str]

    @classmethod
    def parse(cls, tree: dict[str, Any]) -> "RegisteredModel":
        """From the API's ``registered_model``."""
        aliases = {item["alias"]: int(item["version"]) for item in tree.get("aliases", [])}
        return cls(tree["name"], aliases, pairs(tree.get("tags")))


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a registered model; ``status`` is READY once its files are complete."""

    name: str
    version: int
    status: str
    tags: dict[str, str]
    aliases: tuple[str, ...]
    run_id: str
    model_id: str
    source: str
    description: str

    @classmethod
    def parse(cls, tree: dict[str, Any]) -> "RegisteredVersion":
        """From the API's ``model_version``."""
        return cls(
            name=tree["name"],
            version=int(tree["version"]),
            status=tree.get("status", "READY"),
            tags=pairs(tree.get("tags")),
            aliases=tuple(tree.get("aliases", ())),
            run_id=tree.get("run_id", ""),
            model_id=tree.get("model_id", ""),
            source=tree.get("source", ""),
            description=tree.get("description", ""),
        )


@dataclass(frozen=True)
class AliasMove:
    """Who ``set`` or ``delete``d an alias, or made a version by ``copy``.

    Only a server of ours with accounts tells (see ``services.mlflow_moves``); ``by`` is proved by
    its password.
    """

    by: str
    action: str
    alias: str
    version: int | None
    at: str

    @classmethod
    def parse(cls, tree: dict[str, Any]) -> "AliasMove":
        """From the API's ``moves``."""
        return cls(tree["by"], tree["action"], tree["alias"], tree["version"], tree["at"])


@dataclass(frozen=True)
class Run:
    """A tracked run, begun ``start_ms`` after 1970.

    ``metrics`` are the last values; ``datasets`` what it used, ``model_ids`` what it made.
    """

    run_id: str
    experiment_id: str
    name: str
    status: str
    start_ms: int
    artifact_uri: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
    datasets: tuple[dict[str, str], ...]
    model_ids: tuple[str, ...]

    @classmethod
    def parse(cls, tree: dict[str, Any]) -> "Run":
        """From the API's ``run``."""
        info, data = tree["info"], tree.get("data", {})
        inputs = tree.get("inputs", {}).get("dataset_inputs", [])
        outputs = tree.get("outputs", {}).get("model_outputs", [])
        return cls(
            run_id=info["run_id"],
            experiment_id=info["experiment_id"],
            name=info.get("run_name", ""),
            status=info.get("status", ""),
            start_ms=int(info.get("start_time", 0)),
            artifact_uri=info.get("artifact_uri", ""),
            tags=pairs(data.get("tags")),
            params=pairs(data.get("params")),
            metrics={item["key"]: float(item["value"]) for item in data.get("metrics", [])},
            datasets=tuple(item["dataset"] for item in inputs),
            model_ids=tuple(item["model_id"] for item in outputs),
        )


@dataclass(frozen=True)
class LoggedModel:
    """A model that a run logged; ``status`` is LOGGED_MODEL_READY once its files are complete."""

    model_id: str
    name: str
    status: str
    source_run_id: str
    artifact_uri: str
    tags: dict[str, str]

    @classmethod
    def parse(cls, tree: dict[str, Any]) -> "LoggedModel":
        """From the API's ``model``."""
        info = tree["info"]
        return cls(
            model_id=info["model_id"],
            name=info.get("name", ""),
            status=info.get("status", ""),
            source_run_id=info.get("source_run_id", ""),
            artifact_uri=info["artifact_uri"],
            tags=pairs(info.get("tags")),
        )


@dataclass(frozen=True)
class Metric:
    """One value of a metric; ``timestamp`` in ms since 1970. Equal points are stored once."""

    key: str
    value: float
    timestamp: int
    step: int = 0
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None


@dataclass(frozen=True)
class DatasetInput:
    """A dataset that a run used; ``source`` is a JSON text, ``context`` what it was used for."""

    name: str
    digest: str
    source_type: str
    source: str
    context: str
    schema: str | None = None
    profile: str | None = None


@dataclass(frozen=True)
class ArtifactFile:
    """A file of an artifact folder: its path below that folder, and its size in bytes."""

    path: str
    size: int = field(default=0)


def pairs(items: list[dict[str, str]] | None) -> dict[str, str]:
    """A list of ``{"key", "value"}`` as a dict; an empty value may be left out by the server."""
    return {item["key"]: item.get("value", "") for item in items or []}
