"""A thin REST client of MLflow; nothing here imports mlflow."""

from modelyard.mlflow_api.client import MlflowApi
from modelyard.mlflow_api.transport import without_credentials
from modelyard.mlflow_api.types import (
    ArtifactFile,
    DatasetInput,
    LoggedModel,
    Metric,
    RegisteredModel,
    RegisteredVersion,
    Run,
)

__all__ = [
    "ArtifactFile",
    "DatasetInput",
    "LoggedModel",
    "Metric",
    "MlflowApi",
    "RegisteredModel",
    "RegisteredVersion",
    "Run",
    "without_credentials",
]
