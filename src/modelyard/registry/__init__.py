"""MLflow as the registry: runs recorded, packages registered, judged, promoted and verified."""
