"""The model server: it watches a folder of packages and answers over HTTP; no MLflow, no torch."""
