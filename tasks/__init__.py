"""One step of the pipeline a file, each a Prefect task."""
