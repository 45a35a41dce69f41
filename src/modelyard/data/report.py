"""The HTML report of data and validation: of a dataset version, or of a source that was refused."""

import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.artifacts import SPLITS, write_atomic
from modelyard.data.contract import Checked
from modelyard.data.dataset import Accepted
from modelyard.data.quarantine import Rejection, commonest, num_rows
from modelyard.data.validation import Validation
from modelyard.params import DataParams
from modelyard.templates import render

_MAX_CLASSES = 40
_MAX_REFUSED = 200
_NUM_SAMPLES = 12
_GAP = 4


@dataclass(frozen=True)
class DataReport:
    """What there is to show of a dataset version; of a refused source, as far as it came."""

    params: DataParams
    checked: Checked | None = None
    validation: Validation | None = None
    accepted: Accepted | None = None
    refusal: str = ""


def write_report(path: Path, report: DataReport) -> None:
    """Write the report as one HTML file without any outside address.

    Equal data give equal bytes.
    """
    refused = _refused(report)
    html = render(
        "data.html.j2",
        refusal=report.refusal,
        params=report.params,
        tiles=_tiles(report, refused),
        splits=SPLITS,
        classes=_classes(report.accepted) if report.accepted else [],
        samples=_samples(report.accepted, report.params) if report.accepted else [],
        verdicts=report.validation.verdicts if report.validation else [],
        refused=refused[:_MAX_REFUSED],
        num_refused=len(refused),
        reasons=commonest(refused),
        max_classes=_MAX_CLASSES,
    )
    write_atomic(path, html.encode())


def _refused(report: DataReport) -> list[Rejection]:
    checked = report.checked.rejections if report.checked else ()
    validated = report.validation.rejections if report.validation else ()
    return sorted({*checked, *validated})


def _tiles(report: DataReport, refused: list[Rejection]) -> list[tuple[str, str]]:
    """Key figures: value and label."""
    tiles: list[tuple[str, str]] = []
    if report.checked:
        num = num_rows(refused)
        tiles += [
            (f"{report.checked.num_read:,}", "rows read"),
            (f"{report.checked.num_read - num:,}", "rows accepted"),
            (f"{num:,}", "rows refused"),
        ]
    if report.accepted:
        tiles += [(f"{num:,}", name) for name, num in report.accepted.num_rows.items()]
        tiles.append((f"{len(report.accepted.labels):,}", "classes"))
    if report.validation:
        total = len(report.validation.verdicts)
        tiles.append((f"{total - len(report.validation.failed)} of {total}", "expectations met"))
    return tiles


def _classes(accepted: Accepted) -> list[dict[str, Any]]:
    """The commonest classes in the labels' order.

    Name, rows by split, and each part's share of the longest bar.
    """
    counts = Counter(accepted.targets.tolist())
    shown = sorted(code for code, _ in counts.most_common(_MAX_CLASSES))
    longest = max(counts.values())
    by_split = {name: Counter(accepted.targets[accepted.parts[name]].tolist()) for name in SPLITS}
    return [
        {
            "label": accepted.labels[code],
            "total": counts[code],
            "parts": [by_split[name][code] for name in SPLITS],
            "shares": [f"{100 * by_split[name][code] / longest:.3f}" for name in SPLITS],
        }
        for code in shown
    ]


def _samples(accepted: Accepted, params: DataParams) -> list[tuple[str, bytes]]:
    """For each class (at most ``_MAX_CLASSES``) its first pictures in train, as one PNG."""
    train = accepted.parts["train"]
    strips = []
    for code, label in enumerate(accepted.labels[:_MAX_CLASSES]):
        positions = train[accepted.targets[train] == code][:_NUM_SAMPLES]
        strips.append((label, _strip(accepted.images(positions, params))))
    return strips


def _strip(images: np.ndarray) -> bytes:
    """Pictures side by side, uint8 [N,H,W] or [N,H,W,3], as one PNG.

    Enlarged by whole factors to about 56 pixels.
    """
    from PIL import Image

    padding = [(0, 0), (0, 0), (0, _GAP)] + [(0, 0)] * (images.ndim - 3)
    spaced = np.pad(images, padding, constant_values=255)
    row = np.concatenate(list(spaced), axis=1)[:, :-_GAP]
    picture = Image.fromarray(row)
    factor = max(1, 56 // images.shape[1])
    picture = picture.resize(
        (picture.width * factor, picture.height * factor), Image.Resampling.NEAREST
    )
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
