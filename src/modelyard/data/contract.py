"""The contract of params.yaml applied to the rows of pictures and sounds.

Each is accepted as typed values, or refused with column, value, reason.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from modelyard.data.decoding import empty_payload
from modelyard.data.packed import fill_payload
from modelyard.data.quarantine import Rejection, rejection
from modelyard.data.readers import Batch
from modelyard.data.scalars import MISSING_TARGET, Column, check_scalars, refuse_repeated
from modelyard.errors import DataRejected
from modelyard.params import DataParams


@dataclass(frozen=True)
class Checked:
    """The accepted rows.

    ``rows`` int64 [N]; ``payload`` uint8 [N, height x width x channels] or int16 [N, samples];
    ``scalars`` by field name; ``figures`` [N] by manifest column, what is known of each row's file.

    ``num_read`` counts all rows of the source, ``rejections`` says why the others were refused,
    ``counts`` how many rows were converted, and how.
    """

    rows: np.ndarray
    payload: np.ndarray
    scalars: dict[str, Column]
    rejections: tuple[Rejection, ...]
    num_read: int
    figures: dict[str, np.ndarray] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def take(self, keep: np.ndarray) -> "Checked":
        """The accepted rows that ``keep`` (bool [N]) selects; the rest stays as it is."""
        if keep.all():
            return self
        return replace(
            self,
            rows=self.rows[keep],
            payload=self.payload[keep],
            scalars={name: column.take(keep) for name, column in self.scalars.items()},
            figures={name: array[keep] for name, array in self.figures.items()},
        )

    def refuse(self, rejections: Iterable[Rejection]) -> "Checked":
        """The same without the rows that further ``rejections`` name."""
        found = tuple(rejections)
        keep = ~np.isin(self.rows, [item.row for item in found])
        return replace(self.take(keep), rejections=tuple(sorted({*self.rejections, *found})))


def check(batches: Iterable[Batch], params: DataParams) -> Checked:
    """Apply the contract to every row of a packed table.

    Raises:
        ParamsError: a constraint does not fit its field's type.
        SourceError: a quotation mark is opened and not closed, so that rows run into each other.
        DataRejected: a target is missing and ``data.missing_target`` is ``fail``, or rows are
            repeated and ``data.clean.duplicates`` is ``fail``.
    """
    parts = [_check_batch(batch, params) for batch in batches]
    scalars = {
        name: Column(
            np.concatenate([part.scalars[name].array for part in parts]),
            np.concatenate([part.scalars[name].null for part in parts]),
        )
        for name in parts[0].scalars
    }
    checked = Checked(
        rows=np.concatenate([part.rows for part in parts]),
        payload=np.concatenate([part.payload for part in parts]),
        scalars=scalars,
        rejections=tuple(sorted({item for part in parts for item in part.rejections})),
        num_read=sum(part.num_read for part in parts),
        counts=dict(sum((Counter(part.counts) for part in parts), Counter())),
    )
    return finish(checked, params)


def finish(checked: Checked, params: DataParams) -> Checked:
    """What is asked of all rows together: unique values, no repeated rows, a target in each.

    Adds ``sha256``, that of each row's payload, to the figures.

    Raises:
        DataRejected: see ``check``.
    """
    _refuse_missing_target(checked.rejections, params)
    for item in params.schema_.fields:
        if item.constraints.unique and item.name in checked.scalars:
            found = refuse_repeated(checked.scalars[item.name], checked.rows, item)
            checked = checked.refuse(found)
    digests = [hashlib.sha256(row).hexdigest() for row in np.ascontiguousarray(checked.payload)]
    figures = checked.figures | {"sha256": np.array(digests, dtype=object)}
    return _refuse_duplicates(replace(checked, figures=figures), params)


def _refuse_duplicates(checked: Checked, params: DataParams) -> Checked:
    """Leave out rows with the payload and target of an earlier one.

    In a fixed split only within the same part: what stands in two parts is a leak, and no repeat.
    """
    policy = params.clean.duplicates
    if policy == "keep":
        return checked
    names = [*params.targets, *(params.split.keys if params.split.type == "fixed" else ())]
    columns = [checked.figures["sha256"], *(checked.scalars[name].array for name in names)]
    seen: dict[tuple[object, ...], int] = {}
    found: list[Rejection] = []
    keys = zip(*(column.tolist() for column in columns), strict=True)
    for row, key in zip(checked.rows.tolist(), keys, strict=True):
        first = seen.setdefault(key, row)
        if first != row:
            item = rejection(row, params.media.name, "", f"repeats row {first}")
            found.append(replace(item, allowed=True))
    if found and policy == "fail":
        raise DataRejected(
            f"{len(found)} rows repeat earlier ones, row {found[0].row} {found[0].reason}, "
            "and data.clean.duplicates is fail",
            "Remove them, or set data.clean.duplicates: drop.",
        )
    return checked.refuse(found)


def _refuse_missing_target(rejections: tuple[Rejection, ...], params: DataParams) -> None:
    if params.missing_target != "fail":
        return
    missing = [item for item in rejections if item.reason == MISSING_TARGET]
    if missing:
        raise DataRejected(
            f"{len(missing)} rows have no {missing[0].column!r}, first row {missing[0].row}, "
            "and data.missing_target is fail",
            "Complete the rows, or set data.missing_target: drop.",
        )


def _check_batch(batch: Batch, params: DataParams) -> Checked:
    num_rows, media = len(batch.rows), params.media
    payload = empty_payload(num_rows, media)
    first = {name: arrays[0] for name, arrays in batch.columns.items()}
    scalars, found = check_scalars(first, batch.rows, params)
    arrays, missing = batch.columns.get(media.name, []), params.schema_.missing_values
    refused, notes = fill_payload(arrays, batch.rows, media, missing, payload)
    checked = Checked(
        rows=batch.rows,
        payload=payload,
        scalars=scalars,
        rejections=tuple(batch.rejections),
        num_read=num_rows + len(batch.rejections),
        counts=dict(Counter(notes)),
    )
    return checked.refuse([*found, *refused])
