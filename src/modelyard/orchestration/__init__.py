"""What Prefect is told when `modelyard up` starts, and the worker that does what it asks for."""
