"""The HTML report of data and validation: of a dataset version, or of a source that was refused."""

import io
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from modelyard.artifacts import SPLITS, write_atomic
from modelyard.data.dataset import Accepted
from modelyard.data.quarantine import Refused
from modelyard.data.validation import Validation
from modelyard.params import DataParams
from modelyard.templates import render

_GAP = 4
_NUM_VALUES = 5
_EPOCH = datetime(1970, 1, 1)
_BAR_WIDTH, _BAR_HEIGHT = 8, 36


@dataclass
class DataReport:
    """What there is to show of a dataset version; of a refused source, as far as it came.

    ``samples`` are pictures by class, ``counts`` says what was converted or left out and how often.
    """

    MAX_CLASSES: ClassVar[int] = 40
    NUM_SAMPLES: ClassVar[int] = 12

    params: DataParams
    num_read: int = 0
    refused: Refused = field(default_factory=Refused)
    counts: dict[str, int] = field(default_factory=dict)
    validation: Validation | None = None
    accepted: Accepted | None = None
    samples: list[tuple[str, np.ndarray]] = field(default_factory=list)
    refusal: str = ""

    def read(self, num_read: int, refused: Refused, counts: dict[str, int]) -> None:
        """Take in how many rows there were, which were refused, and what was done to the others."""
        self.num_read, self.refused, self.counts = num_read, refused, counts


def write_report(path: Path, report: DataReport) -> None:
    """Write the report as one HTML file without any outside address.

    Equal data give equal bytes.
    """
    accepted, refused = report.accepted, report.refused
    html = render(
        "data.html.j2",
        refusal=report.refusal,
        params=report.params,
        target=", ".join(report.params.targets),
        tiles=_tiles(report),
        splits=SPLITS,
        classes=_classes(accepted) if accepted else [],
        samples=[(label, _strip(images)) for label, images in report.samples] if accepted else [],
        columns=_columns(accepted, report.params) if accepted else [],
        counts=report.counts,
        verdicts=report.validation.verdicts if report.validation else [],
        refused=refused.first,
        num_refused=refused.num_rejections,
        reasons=refused.reasons,
        max_classes=report.MAX_CLASSES,
    )
    write_atomic(path, html.encode())


def _tiles(report: DataReport) -> list[tuple[str, str]]:
    """Key figures: value and label."""
    tiles: list[tuple[str, str]] = []
    if report.num_read:
        num = report.refused.num_rows
        tiles += [
            (f"{report.num_read:,}", "rows read"),
            (f"{report.num_read - num:,}", "rows accepted"),
            (f"{num:,}", "rows refused"),
        ]
    if report.accepted:
        tiles += [(f"{num:,}", name) for name, num in report.accepted.num_rows.items()]
        if report.accepted.targets.labels:
            single = report.accepted.targets.values.ndim == 1
            word = "classes" if single else "labels"
            tiles.append((f"{len(report.accepted.targets.labels):,}", word))
    if report.validation:
        total = len(report.validation.verdicts)
        tiles.append((f"{total - len(report.validation.failed)} of {total}", "expectations met"))
    return tiles


def _classes(accepted: Accepted) -> list[dict[str, Any]]:
    """The commonest classes in the labels' order.

    Name, rows by split, and each part's share of the longest bar.
    """
    targets = accepted.targets
    if not targets.labels:
        return []
    by_split = np.stack(
        [_counts(targets.values[accepted.parts == part], len(targets.labels)) for part in range(3)],
        axis=1,
    )
    totals = by_split.sum(axis=1)
    shown = sorted(np.argsort(-totals, kind="stable")[: DataReport.MAX_CLASSES].tolist())
    longest = max(1, int(totals.max()))
    return [
        {
            "label": targets.labels[code],
            "total": int(totals[code]),
            "parts": by_split[code].tolist(),
            "shares": [f"{100 * count / longest:.3f}" for count in by_split[code].tolist()],
        }
        for code in shown
    ]


def _counts(values: np.ndarray, num_labels: int) -> np.ndarray:
    if values.ndim == 2:
        return values.sum(axis=0, dtype=np.int64)
    return np.bincount(values, minlength=num_labels)


def _columns(accepted: Accepted, params: DataParams) -> list[dict[str, Any]]:
    """Each column of the profile: type, share missing, range, and a histogram or its values."""
    roles = {item["name"]: "feature" for item in accepted.features}
    roles |= dict.fromkeys(params.targets, "target")
    columns = []
    for name, profile in accepted.profiles["columns"].items():
        item = {
            "name": name,
            "type": profile["type"],
            "role": roles.get(name, ""),
            "missing": f"{profile['missing']:.1%}",
            "figures": "",
            "bars": [],
            "values": [],
        }
        if "values" in profile:
            common = profile["values"][:_NUM_VALUES]
            total = max(1, profile["sampled"])
            item["values"] = [(value, f"{count / total:.1%}") for value, count in common]
            item["figures"] = f"{profile['num_distinct']:,} different"
        elif "mean" in profile:
            item["figures"] = _figures(profile)
            item["bars"] = _bars(profile["bars"])
        columns.append(item)
    return columns


def _figures(profile: dict[str, Any]) -> str:
    """Range, mean and deviation of numbers; of dates and times only the range."""
    low, high = profile["min"], profile["max"]
    if profile["type"] in ("date", "datetime"):
        seconds = 86400 if profile["type"] == "date" else 1
        form = "%Y-%m-%d" if profile["type"] == "date" else "%Y-%m-%d %H:%M:%S"
        ends = [_EPOCH + timedelta(seconds=seconds * end) for end in (low, high)]
        return " to ".join(end.strftime(form) for end in ends)
    unit = " characters" if profile["type"] == "text" else ""
    return (
        f"{low:.6g} to {high:.6g}{unit}, mean {profile['mean']:.6g}, deviation {profile['std']:.6g}"
    )


def _bars(counts: list[int]) -> list[dict[str, str]]:
    """The bars of a small SVG picture, ``_BAR_HEIGHT`` high."""
    highest = max(counts, default=0)
    heights = [_BAR_HEIGHT * count / highest if highest else 0 for count in counts]
    return [
        {
            "x": str(index * _BAR_WIDTH),
            "y": f"{_BAR_HEIGHT - height:.1f}",
            "width": str(_BAR_WIDTH - 1),
            "height": f"{height:.1f}",
        }
        for index, height in enumerate(heights)
    ]


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
