"""What the registry must know of a run; the caller gathers it from git, DVC and Prefect."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RunInfo:
    """A run's identity and the hashes that its proof names; all hex.

    ``key`` names the results (a hash over the stages' lock entries): two runs with equal results
    have an equal key and share one MLflow run. ``train_key`` names the training alone: curves that
    were streamed while it ran are found by it. ``raw_md5`` and ``dataset_md5`` are DVC's.
    """

    run_id: str
    key: str
    train_key: str
    snapshot_commit: str
    snapshot_tree: str
    prefect_url: str | None
    raw_md5: str
    dataset_md5: str
    dvc_lock_sha256: str
    lock_sha256: str
