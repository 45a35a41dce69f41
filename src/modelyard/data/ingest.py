"""The stage ``ingest``: from the raw files to a whole, validated dataset version, or to none."""

import logging
from pathlib import Path

from modelyard.artifacts import Dataset, Layout, write_json
from modelyard.data.dataset import Accepted, write_dataset
from modelyard.data.ingest_media import accept_media
from modelyard.data.ingest_table import accept_table
from modelyard.data.outputs import disk_errors, remove, replaced_folder
from modelyard.data.raw import check_query, raw_files, raw_sha256
from modelyard.data.report import DataReport, write_report
from modelyard.errors import DataRejected, SourceError
from modelyard.params import DataParams
from modelyard.params.data import MEDIA_KINDS
from modelyard.settings import STATE_DIR

log = logging.getLogger(__name__)

REJECTED_REPORT = Path("reports/rejected.html")
"""Below the state folder, which outlives the worktree of an isolated run."""


def ingest(layout: Layout, params: DataParams, state_dir: Path = Path(STATE_DIR)) -> Dataset:
    """Make a validated dataset version of the files in ``layout.raw``.

    Writes ``layout.dataset``, ``layout.data_report`` and ``metrics/ingest.json``; after an error
    none of them is there.

    Raises:
        SourceError: the files cannot be read as the contract says, or are of another query.
        DataRejected: rows break the contract by more than it allows, the accepted ones do not meet
            every expectation, cannot be divided, or leak from one split to another;
            ``REJECTED_REPORT`` in the state folder shows which and why.
        ParamsError: an expectation is unknown or cannot be evaluated, or a function of ``custom``
            fails.
        WorkspaceError: the disk is full.
    """
    _remove_outputs(layout)
    if not (layout.raw.is_dir() and raw_files(layout.raw)):
        raise SourceError(
            f"{layout.raw.relative_to(layout.root)} holds nothing", "Run the stage fetch."
        )
    check_query(layout.raw, params)
    report = DataReport(params)
    # Tokens of personal data must be the same in every run of this project.
    state_dir = layout.root / state_dir
    accept = accept_media if params.kind in MEDIA_KINDS else accept_table
    try:
        with (
            disk_errors(layout.dataset),
            replaced_folder(layout.dataset) as folder,
            accept(layout, params, state_dir, folder, report) as accepted,
        ):
            report.accepted = accepted
            source = raw_sha256(layout.raw)
            tree = write_dataset(folder, accepted, params, source, state_dir)
            write_report(layout.data_report, report)
            _write_metrics(layout, accepted, tree["digest"])
    except DataRejected as error:
        _remove_outputs(layout)
        report.refusal, report.accepted = error.message, None
        place = state_dir / REJECTED_REPORT
        write_report(place, report)
        shown = place.relative_to(layout.root) if place.is_relative_to(layout.root) else place
        raise DataRejected(error.message, f"{error.remedy}\nReport: {shown}") from error
    except BaseException:
        _remove_outputs(layout)
        raise
    log.info("dataset %s: %s, %d rejected", tree["digest"][:12], tree["rows"], tree["num_rejected"])
    return Dataset.read(layout.dataset)


def _remove_outputs(layout: Layout) -> None:
    for output in (layout.dataset, layout.data_report, layout.metrics("ingest")):
        remove(output)


def _write_metrics(layout: Layout, accepted: Accepted, digest: str) -> None:
    rows = {
        "read": accepted.num_read,
        "accepted": len(accepted.parts),
        "rejected": accepted.refused.num_rows,
        **accepted.num_rows,
    }
    validation = accepted.validation
    expectations = {
        "evaluated": len(validation.verdicts),
        "passed": len(validation.verdicts) - len(validation.failed),
    }
    metrics = {
        "rows": rows,
        "expectations": expectations,
        "classes": len(accepted.targets.labels),
        "digest": digest,
    }
    write_json(layout.metrics("ingest"), metrics | accepted.counts)
