"""The stage ``ingest``: from the raw file to a whole, validated dataset version, or to none."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from modelyard.artifacts import Dataset, Layout, sha256_file, write_json
from modelyard.data.contract import Checked, check
from modelyard.data.dataset import Accepted, write_dataset
from modelyard.data.manifest import build_manifest, columns_of
from modelyard.data.outputs import disk_errors, remove, replaced_folder
from modelyard.data.quarantine import Rejection, commonest, num_counted, num_rows
from modelyard.data.readers import read_batches
from modelyard.data.report import DataReport, write_report
from modelyard.data.splits import stratify
from modelyard.data.validation import Validation, validate
from modelyard.errors import DataRejected, SourceError
from modelyard.params import DataParams
from modelyard.settings import STATE_DIR

log = logging.getLogger(__name__)

REJECTED_REPORT = Path("reports/rejected.html")
"""Below the state folder, which outlives the worktree of an isolated run."""


def ingest(layout: Layout, params: DataParams, state_dir: Path = Path(STATE_DIR)) -> Dataset:
    """Make a validated dataset version of the file in ``layout.raw``.

    Writes ``layout.dataset``, ``layout.data_report`` and ``metrics/ingest.json``; after an error
    none of them is there.

    Raises:
        SourceError: the file cannot be read as the contract says.
        DataRejected: rows break the contract by more than it allows, or the accepted ones do not
            meet every expectation; ``REJECTED_REPORT`` in the state folder shows which and why.
        ParamsError: an expectation is unknown or cannot be evaluated.
        WorkspaceError: the disk is full.
    """
    path = _raw_file(layout)
    columns_of(params)
    _remove_outputs(layout)
    report = DataReport(params)
    try:
        checked = check(read_batches(path, params), params)
        report = replace(report, checked=checked)
        _refuse_too_many(checked.rejections, checked.num_read, params)
        validation = validate(build_manifest(checked, params), params)
        report = replace(report, validation=validation)
        accepted = _accept(checked, validation, params)
    except DataRejected as error:
        report = replace(report, refusal=error.message)
        place = state_dir / REJECTED_REPORT
        write_report(layout.root / place, report)
        remedy = f"{error.remedy}\nReport: {place}"
        raise DataRejected(error.message, remedy) from error
    try:
        with disk_errors(layout.dataset), replaced_folder(layout.dataset) as folder:
            tree = write_dataset(folder, accepted, validation, params, sha256_file(path))
            report = replace(report, checked=accepted.rows, accepted=accepted)
            write_report(layout.data_report, report)
            _write_metrics(layout, accepted, validation, tree["digest"])
    except BaseException:
        _remove_outputs(layout)
        raise
    log.info("dataset %s: %s, %d rejected", tree["digest"][:12], tree["rows"], tree["num_rejected"])
    return Dataset.read(layout.dataset)


def _raw_file(layout: Layout) -> Path:
    files = sorted(layout.raw.iterdir()) if layout.raw.is_dir() else []
    if len(files) != 1 or not files[0].is_file():
        found = ", ".join(file.name for file in files) or "nothing"
        raise SourceError(
            f"{layout.raw.relative_to(layout.root)} holds {found}, "
            "not the one file that fetch leaves there",
            "Run the stage fetch.",
        )
    return files[0]


def _remove_outputs(layout: Layout) -> None:
    for output in (layout.dataset, layout.data_report, layout.metrics("ingest")):
        remove(output)


def _refuse_too_many(rejections: tuple[Rejection, ...], num_read: int, params: DataParams) -> None:
    num = num_counted(rejections)
    lines = "\n".join(f"  {line}" for line in commonest(rejections))
    if num > params.max_rejected * num_read:
        raise DataRejected(
            f"{num} of {num_read} rows break the contract ({num / num_read:.2%}), "
            f"more than data.max_rejected {params.max_rejected:.2%}:\n{lines}",
            "Mend the source, or change the contract if it is too narrow.",
        )
    if num_rows(rejections) == num_read:
        raise DataRejected(
            f"none of {num_read} rows is left:\n{lines}", "Mend the source or the contract."
        )


def _accept(checked: Checked, validation: Validation, params: DataParams) -> Accepted:
    """The rows that stay, with their classes and splits; or the refusal."""
    rejections = tuple(sorted({*checked.rejections, *validation.rejections}))
    _refuse_too_many(rejections, checked.num_read, params)
    if validation.failed:
        lines = "\n".join(f"  {verdict}" for verdict in validation.failed)
        raise DataRejected(
            f"{len(validation.failed)} of {len(validation.verdicts)} expectations are not met:\n"
            f"{lines}",
            "Mend the source, or change the expectation in params.yaml if it asks too much.",
        )
    refused = [item.row for item in validation.rejections]
    rows = replace(checked.take(~np.isin(checked.rows, refused)), rejections=rejections)
    names, codes = np.unique(rows.scalars[params.target].array, return_inverse=True)
    if len(names) < 2:
        raise DataRejected(
            f"the accepted rows hold {len(names)} class of {params.target!r}; "
            "there is nothing to tell apart",
            "Check data.target, or add rows of another class.",
        )
    labels = tuple(str(name) for name in names.tolist())
    targets = codes.astype(np.int64)
    return Accepted(rows, labels, targets, _split(rows, labels, targets, params))


def _split(
    rows: Checked, labels: tuple[str, ...], targets: np.ndarray, params: DataParams
) -> dict[str, np.ndarray]:
    column = rows.scalars[params.split.column]
    strata = column.array
    if column.null.any():
        strata = np.where(column.null, "(missing)", strata.astype(str))
    parts = stratify(strata, params.split)
    for name, positions in parts.items():
        absent = sorted(set(range(len(labels))) - set(targets[positions].tolist()))
        if absent:
            raise DataRejected(
                f"class {labels[absent[0]]!r} of {params.target!r} has no row in {name}",
                f"Add rows of the class, or set data.split.column: {params.target}",
            )
    return parts


def _write_metrics(layout: Layout, accepted: Accepted, validation: Validation, digest: str) -> None:
    rows = {
        "read": accepted.rows.num_read,
        "accepted": len(accepted.rows.rows),
        "rejected": num_rows(accepted.rows.rejections),
        **accepted.num_rows,
    }
    expectations = {
        "evaluated": len(validation.verdicts),
        "passed": len(validation.verdicts) - len(validation.failed),
    }
    metrics = {"rows": rows, "expectations": expectations, "classes": len(accepted.labels)}
    write_json(layout.metrics("ingest"), metrics | {"digest": digest})
