"""The gate: is this version good enough to be wished for?

It compares what would serve with what serves, on the same untouched test rows and through the very
files: a paired comparison of the task's main metric, by its interval, plus budgets for that metric,
for each class and sensitive group, latency and size. The first champion has nothing to be compared
with and needs only the budgets.
"""

import contextlib
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelyard.artifacts import Dataset, Layout, ModelVersion
from modelyard.errors import GateRefused, PackageError, WorkspaceError
from modelyard.mlflow_api import MlflowApi, RegisteredVersion
from modelyard.package import PackageReader, ensure_key, verify_manifest, verify_package
from modelyard.params import PromoteParams
from modelyard.registry import tags as names
from modelyard.registry.budgets import over_budget, unfair
from modelyard.registry.copies import check_release
from modelyard.registry.mlmodel import PACKAGE
from modelyard.registry.scores import check_fits, same_interface, score_package
from modelyard.registry.verdict import Verdict, read_verdict

CONFIDENCE = 0.95
RESAMPLES = 1000
_OTHER_DATASET = (
    "the champion was trained on another dataset version and may have seen test rows,"
    " which favours it"
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contender:
    """A version, its verified package folder, and DVC's name of the dataset it was made of."""

    version: ModelVersion
    package: Path
    dataset: str = ""


def judge(
    challenger: Contender,
    champion: Contender | None,
    dataset: Dataset,
    params: PromoteParams,
    measurements: Path,
) -> Verdict:
    """Compare two packages on the test rows of a dataset, and the challenger with the budgets.

    Args:
        challenger: What asks to be promoted.
        champion: What is wanted now, or None when this is the first.
        dataset: Its test split is used.
        params: Margin and budgets.
        measurements: Folder of known latencies; a missing one is measured.

    Raises:
        PackageError: a package cannot be read.
    """
    from modelyard.data.columns import read_split
    from modelyard.evaluation.bootstrap import score_interval
    from modelyard.evaluation.comparison import compare_paired
    from modelyard.evaluation.tasks import Scoring

    rows, scoring = read_split(dataset, "test"), Scoring.read(dataset)
    reader = PackageReader.open(challenger.package)
    check_fits(reader, dataset, challenger.version.version)
    new = score_package(reader, rows, dataset.labels, scoring)
    score = score_interval(new, RESAMPLES, CONFIDENCE, seed=0)
    latency_ms = _latency_ms(reader.model, measurements, rows.features)
    size_mb = _size_mb(reader.model)
    failures = over_budget(params.budgets, scoring.metric, score.low, latency_ms, size_mb)
    failures += unfair(params.budgets, scoring.metric, reader.evaluation)
    comparison, remarks = None, []
    if champion is not None:
        former = PackageReader.open(champion.package)
        if not same_interface(former.schema, reader.schema):
            failures.append(
                f"version {champion.version.version} takes other inputs or gives other outputs"
            )
        else:
            old = score_package(former, rows, dataset.labels, scoring)
            comparison = compare_paired(new, old, params.margin, CONFIDENCE)
            if challenger.dataset and champion.dataset not in ("", challenger.dataset):
                remarks.append(_OTHER_DATASET)
            if not comparison.acceptable:
                failures.append(
                    f"against version {champion.version.version}: {comparison.verdict}"
                    f" (difference {comparison.difference:+.4f},"
                    f" interval {comparison.low:+.4f} to {comparison.high:+.4f},"
                    f" margin {params.margin:g})"
                )
    outcome = failures or [comparison.verdict if comparison else "within the budgets"]
    return Verdict(
        name=challenger.version.name,
        version=challenger.version.version,
        digest=challenger.version.digest,
        champion_version=champion.version.version if champion else None,
        champion_digest=champion.version.digest if champion else None,
        dataset_digest=dataset.digest,
        rows=len(new),
        metric=scoring.metric,
        score=score.value,
        score_low=score.low,
        difference=comparison.difference if comparison else None,
        difference_low=comparison.low if comparison else None,
        difference_high=comparison.high if comparison else None,
        latency_ms=latency_ms,
        size_mb=size_mb,
        margin=params.margin,
        passed=not failures,
        reason="; ".join([*outcome, *remarks]),
    )


def gate(
    version: ModelVersion,
    layout: Layout,
    params: PromoteParams,
    api: MlflowApi,
    keys: Path,
    trusted: Path,
    measurements: Path,
) -> Verdict:
    """Judge a registered version, store the signed verdict as its tags, and name it ``challenger``.

    Any registered version can be judged, at any time. What is champion or live already keeps the
    verdict that it came with, as long as that is about what is live. The alias is set only where
    the verdict passed, and taken back where it no longer does.

    Args:
        version: What asks to be promoted.
        layout: Its dataset gives the test rows; its package is used where it is this version's,
            else the registry's is downloaded.
        params: Margin and budgets.
        api: The MLflow server.
        keys: Folder of the signing key.
        trusted: Folder of the public keys that are trusted.
        measurements: Folder of known latencies.

    Raises:
        GateRefused: MLflow has no such version.
        WorkspaceError: the folder holds no dataset to judge on.
        PackageError: a package in the registry is altered or signed by nobody that is trusted.
        ServiceUnavailable: MLflow is away.
    """
    name, number = version.name, version.version
    registered = api.get_version(name, number)
    if registered is None:
        raise GateRefused(f"MLflow has no version {number} of {name}", "Register it first.")
    tagged, digest = registered.tags, version.digest
    if {names.CHAMPION, names.LIVE} & set(registered.aliases):
        live = api.get_version_by_alias(name, names.LIVE)
        against = live.tags.get(names.DIGEST) if live else None
        with contextlib.suppress(GateRefused):
            return check_release(api.get_version, registered, digest, against, trusted)
    if not (layout.dataset / "dataset.json").exists():
        raise WorkspaceError(
            f"there is no dataset in {layout.dataset} to judge version {number} of {name} on",
            "Make it: `modelyard run`, or `dvc pull`.",
        )
    with tempfile.TemporaryDirectory(prefix="modelyard-gate-") as temporary:
        package = _fetch(api, version, layout, Path(temporary), trusted)
        challenger, champion = Contender(version, package, tagged.get(names.DATASET, "")), None
        if (other := incumbent(api, name, beside=number)) is not None:
            theirs = ModelVersion(name, other.version, other.tags[names.DIGEST], other.run_id)
            package = _fetch(api, theirs, layout, Path(temporary), trusted)
            champion = Contender(theirs, package, other.tags.get(names.DATASET, ""))
        verdict = judge(challenger, champion, Dataset.read(layout.dataset), params, measurements)
    if not _is_stored(verdict, tagged, trusted):
        for key, value in verdict.signed_tags(ensure_key(keys, trusted)).items():
            api.set_version_tag(name, number, key, value)
    _log.info("version %d of %s: %s", number, name, verdict.reason)
    if verdict.passed and names.CHAMPION not in registered.aliases:
        api.set_alias(name, names.CHALLENGER, number)
    elif not verdict.passed and names.CHALLENGER in registered.aliases:
        api.delete_alias(name, names.CHALLENGER)
    return verdict


def incumbent(api: MlflowApi, name: str, beside: int) -> RegisteredVersion | None:
    """What version ``beside`` is compared with, or None for the first champion.

    That is what is live, which alone it would push aside. Where nothing is live yet, or ``beside``
    itself is, it is the champion, unless that wish was refused.
    """
    live = api.get_version_by_alias(name, names.LIVE)
    if live and live.version != beside:
        return live
    champion = api.get_version_by_alias(name, names.CHAMPION)
    if champion and champion.version != beside and names.REFUSED not in champion.tags:
        return champion
    return None


def _is_stored(verdict: Verdict, tagged: dict[str, str], trusted: Path) -> bool:
    """Whether the tags hold this very verdict with a signature that counts today."""
    try:
        return read_verdict(tagged, verdict.name, verdict.version, trusted) == verdict
    except GateRefused:
        return False


def _fetch(
    api: MlflowApi, version: ModelVersion, layout: Layout, temporary: Path, trusted: Path
) -> Path:
    """The version's package: the local one where it is the same, else the registry's, verified."""
    with contextlib.suppress(PackageError):
        if verify_manifest(layout.package) == version.digest:
            return layout.package
    folder = temporary / str(version.version)
    api.download_version(version.name, version.version, folder, PACKAGE)
    if (found := verify_package(folder, trusted)) != version.digest:
        raise PackageError(
            f"version {version.version} of {version.name} says that its files have digest"
            f" {version.digest[:12]}, but they have {found[:12]}",
            "Register the model again.",
        )
    return folder


def _latency_ms(model: Path, measurements: Path, rows: dict[str, np.ndarray]) -> float:
    from modelyard.evaluation.latency import measure_latency

    return measure_latency({"model": model}, measurements, rows)["model"].p50_ms


def _size_mb(model: Path) -> float:
    return model.stat().st_size / 1e6
