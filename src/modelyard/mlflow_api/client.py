"""The client of MLflow's REST API, as far as Modelyard needs it; importing mlflow takes 2 s."""

from modelyard.errors import ServiceUnavailable
from modelyard.mlflow_api.artifacts import ArtifactsApi
from modelyard.mlflow_api.runs import RunsApi
from modelyard.mlflow_api.webhooks import WebhooksApi


class MlflowApi(ArtifactsApi, RunsApi, WebhooksApi):
    """One MLflow server.

    Every method may raise ServiceUnavailable, or ModelyardError with MLflow's own message.
    Use it as a context manager, or call ``close``.
    """

    def health(self) -> bool:
        """Whether the server answers."""
        try:
            return self.send("GET", "/health", timeout=2.0).text.strip() == "OK"
        except ServiceUnavailable:
            return False

    def version_page(self, name: str, version: int) -> str:
        """The address of a version's page in the UI."""
        return f"{self.address}/#/models/{name}/versions/{version}"

    def run_page(self, experiment_id: str, run_id: str) -> str:
        """The address of a run's page in the UI."""
        return f"{self.address}/#/experiments/{experiment_id}/runs/{run_id}"
