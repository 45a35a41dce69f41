"""A thin REST client of MLflow; nothing here imports mlflow."""

from modelyard.mlflow_api.client import MlflowApi
from modelyard.mlflow_api.transport import without_credentials
from modelyard.mlflow_api.types import (
    AliasMove,
    ArtifactFile,
    DatasetInput,
    LoggedModel,
    Metric,
    RegisteredModel,
    RegisteredVersion,
    Run,
)
from modelyard.mlflow_api.webhooks import Webhook

__all__ = [
    "AliasMove",
    "ArtifactFile",
    "DatasetInput",
    "LoggedModel",
    "Metric",
    "MlflowApi",
    "RegisteredModel",
    "RegisteredVersion",
    "Run",
    "Webhook",
    "without_credentials",
]
