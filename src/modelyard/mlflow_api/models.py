"""Registered models, versions, aliases, tags, and the logged models that versions are made of."""

from typing import Any

from modelyard.mlflow_api.transport import Transport
from modelyard.mlflow_api.types import (
    AliasMove,
    LoggedModel,
    RegisteredModel,
    RegisteredVersion,
)

_MOVES = "/api/2.0/modelyard/alias-moves"


class ModelsApi(Transport):
    """The part of the client that speaks of models."""

    def get_registered_model(self, name: str) -> RegisteredModel | None:
        """The registered model with its aliases, or None."""
        tree = self.find("/registered-models/get", name=name)
        return RegisteredModel.parse(tree["registered_model"]) if tree else None

    def search_registered_models(self) -> list[RegisteredModel]:
        """Every registered model, with its aliases."""
        trees = self._pages("/registered-models/search", "registered_models", max_results=200)
        return [RegisteredModel.parse(tree) for tree in trees]

    def ensure_registered_model(self, name: str) -> None:
        """Create the registered model unless it exists."""
        if self.get_registered_model(name) is None:
            try:
                self.call("POST", "/registered-models/create", {"name": name})
            except Exception:
                # Another run may have made it in between.
                if self.get_registered_model(name) is None:
                    raise

    def get_version(self, name: str, version: int) -> RegisteredVersion | None:
        """A version, or None."""
        tree = self.find("/model-versions/get", name=name, version=str(version))
        return RegisteredVersion.parse(tree["model_version"]) if tree else None

    def get_version_by_alias(self, name: str, alias: str) -> RegisteredVersion | None:
        """The version that an alias points to, or None."""
        model = self.get_registered_model(name)
        if model is None or alias not in model.aliases:
            return None
        return self.get_version(name, model.aliases[alias])

    def search_versions(
        self, name: str, tags: dict[str, str] | None = None
    ) -> list[RegisteredVersion]:
        """The versions of a model that carry all of ``tags``, newest first."""
        conditions = [f"name = {_quoted(name)}"]
        conditions += [f"tags.`{key}` = {_quoted(value)}" for key, value in (tags or {}).items()]
        trees = self._pages(
            "/model-versions/search",
            "model_versions",
            filter=" and ".join(conditions),
            max_results=1000,
        )
        versions = [RegisteredVersion.parse(tree) for tree in trees]
        return sorted(versions, key=lambda version: version.version, reverse=True)

    def create_version(
        self,
        name: str,
        source: str,
        run_id: str,
        model_id: str,
        tags: dict[str, str],
        description: str,
    ) -> RegisteredVersion:
        """Register the files at ``source`` as the next version, tags and description at once."""
        body = {
            "name": name,
            "source": source,
            # A server with accounts takes an empty id for one that nobody may read.
            "run_id": run_id or None,
            "model_id": model_id or None,
            "description": description,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        return RegisteredVersion.parse(
            self.call("POST", "/model-versions/create", body)["model_version"]
        )

    def delete_version(self, name: str, version: int) -> None:
        """Delete a version; its files stay with the logged model."""
        self.call("DELETE", "/model-versions/delete", {"name": name, "version": str(version)})

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias to a version, wherever it pointed before."""
        body = {"name": name, "alias": alias, "version": str(version)}
        self.call("POST", "/registered-models/alias", body)

    def delete_alias(self, name: str, alias: str) -> None:
        """Take an alias away; without it, nothing happens."""
        self.call("DELETE", "/registered-models/alias", {"name": name, "alias": alias})

    def alias_moves(self, name: str, alias: str) -> list[AliasMove]:
        """Who moved an alias, newest first; nothing where the server keeps or tells no record."""
        query = {"name": name, "alias": alias}
        answer = self.send("GET", _MOVES, params=query, refuse=False)
        if answer.status_code in (403, 404):
            return []
        self._refuse(answer)
        return [AliasMove.parse(tree) for tree in self._parse(answer)["moves"]]

    def set_version_tag(self, name: str, version: int, key: str, value: str) -> None:
        """Set a tag of a version."""
        body = {"name": name, "version": str(version), "key": key, "value": value}
        self.call("POST", "/model-versions/set-tag", body)

    def delete_version_tag(self, name: str, version: int, key: str) -> None:
        """Take a tag away; without it, nothing happens."""
        body = {"name": name, "version": str(version), "key": key}
        self.call("DELETE", "/model-versions/delete-tag", body)

    def version_uri(self, name: str, version: int) -> str:
        """Where the files of a version lie."""
        tree = self.call("GET", "/model-versions/get-download-uri", name=name, version=str(version))
        return tree["artifact_uri"]

    def create_logged_model(
        self,
        experiment_id: str,
        name: str,
        run_id: str,
        params: dict[str, str],
        tags: dict[str, str],
    ) -> LoggedModel:
        """Begin a logged model of a run; it stays pending until ``finalize_logged_model``."""
        body = {
            "experiment_id": experiment_id,
            "name": name,
            "model_type": "onnx",
            "source_run_id": run_id,
            "params": [{"key": key, "value": value} for key, value in params.items()],
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        return LoggedModel.parse(self.call("POST", "/logged-models", body)["model"])

    def finalize_logged_model(
        self, model_id: str, status: str = "LOGGED_MODEL_READY"
    ) -> LoggedModel:
        """Say that the files of a logged model are complete, or by ``status`` that it failed."""
        body = {"model_id": model_id, "status": status}
        return LoggedModel.parse(self.call("PATCH", f"/logged-models/{model_id}", body)["model"])

    def get_logged_model(self, model_id: str) -> LoggedModel | None:
        """A logged model, or None."""
        tree = self.find(f"/logged-models/{model_id}")
        return LoggedModel.parse(tree["model"]) if tree else None

    def search_logged_models(self, experiment_id: str, run_id: str) -> list[LoggedModel]:
        """The logged models of a run."""
        body = {
            "experiment_ids": [experiment_id],
            "filter": f"source_run_id = '{run_id}'",
            "max_results": 50,
        }
        tree = self.call("POST", "/logged-models/search", body)
        return [LoggedModel.parse(item) for item in tree.get("models", [])]

    def delete_logged_model(self, model_id: str) -> None:
        """Delete a logged model."""
        self.call("DELETE", f"/logged-models/{model_id}")

    def _pages(self, path: str, key: str, **params: Any) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        token = None
        while True:
            tree = self.call("GET", path, page_token=token, **params)
            items += tree.get(key, [])
            token = tree.get("next_page_token")
            if not token:
                return items


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
