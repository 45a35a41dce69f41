"""Great Expectations over a table of any length: every row, in bounded memory.

Expectations on single rows are evaluated shard by shard. Those on the table as a whole are judged
by Great Expectations too, but on figures that are computed over all rows, a column at a time; only
what is neither runs over one whole frame, if that is small enough.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.data.pii import HIDDEN
from modelyard.data.quarantine import WHOLE_ROW, Quarantine
from modelyard.data.suite import Expected
from modelyard.data.table_clean import refusals
from modelyard.data.table_frames import (
    INDEX,
    Outcome,
    as_result,
    empty_frame,
    evaluate_rows,
    to_frame,
)
from modelyard.data.table_kinds import (
    METRIC,
    ROW,
    SCHEMA,
    UNIQUE,
    WHOLE,
    needed_columns,
    sort_suite,
)
from modelyard.data.table_metrics import METRICS, Metrics
from modelyard.data.table_stage import Shard, Stage
from modelyard.data.table_suite import columns_named, quality_suite, table_suite
from modelyard.data.validation import (
    Validation,
    Verdict,
    configured,
    import_expectations,
    run_suite,
    verdict,
)
from modelyard.errors import ParamsError
from modelyard.params import DataParams, Field

MOST_CELLS = 20_000_000
_FEW_SHARDS = 2


@dataclass
class TableValidator:
    """The suite of a table; shards may be handed over while the next ones are still read.

    A thread of its own evaluates them: reading is done by DuckDB's threads, which seldom need
    Python's lock, and importing Great Expectations takes three seconds of one core.
    """

    params: DataParams
    columns: dict[str, Field]
    root: Path
    _known: dict[Path, Future[list[Outcome]]] = field(default_factory=dict)
    _begun: list[Shard] = field(default_factory=list)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    def begin(self, shard: Shard) -> None:
        """Evaluate a shard's rows beside what goes on, once there is more than one."""
        self._begun.append(shard)
        waiting = self._begun if len(self._begun) == _FEW_SHARDS else self._begun[-1:]
        if len(self._begun) >= _FEW_SHARDS:
            for item in waiting:
                self._known[item.path] = self._pool.submit(self._evaluate_shard, item)

    def close(self) -> None:
        """Let go of what has not begun, and wait for the rest."""
        self._pool.shutdown(cancel_futures=True)

    def validate(self, stage: Stage, quarantine: Quarantine) -> Validation:
        """Evaluate the suite; rows that break it leave, and the rest must then meet all of it.

        Raises:
            ParamsError: an expectation has an unknown name, unknown columns or impossible
                arguments, cannot be evaluated, or needs more rows at once than memory may hold.
        """
        import_expectations(self.params, self.root)
        suite = table_suite(self.params, self.columns)
        verdicts = self._evaluate(stage, suite)
        if any(item.refuses and item.rows for item in verdicts):
            self._refuse(stage, quarantine, verdicts)
            verdicts = self._evaluate(stage, suite)
        return Validation(tuple(item.verdict for item in verdicts), ())

    @property
    def _hidden(self) -> set[str]:
        return {name for name, item in self.columns.items() if item.pii}

    def _evaluate(self, stage: Stage, suite: list[Expected]) -> "list[_Judged]":
        kinds = sort_suite(suite, set(METRICS))
        metrics = Metrics(stage)
        quality = quality_suite(self.params, self.columns, metrics.count)
        found: dict[int, _Judged] = {}
        types = run_suite(empty_frame(stage.schema, self.columns), kinds[SCHEMA], None)
        for item, result in zip(kinds[SCHEMA], types, strict=True):
            found[id(item)] = _Judged(verdict(item, result))
        for item, outcome in zip(kinds[ROW], self._outcomes(stage, kinds[ROW]), strict=True):
            found[id(item)] = _Judged(verdict(item, as_result(item, outcome)), outcome.failing)
        for item in kinds[UNIQUE]:
            found[id(item)] = _unique(item, metrics, self._hidden)
        for item in (*kinds[METRIC], *quality):
            found[id(item)] = _Judged(verdict(item, _judge(item, metrics)))
        for item in kinds[WHOLE]:
            found[id(item)] = self._whole(item, stage)
        return [found[id(item)] for item in (*suite, *quality)]

    @cached_property
    def _row_suite(self) -> list[Expected]:
        import_expectations(self.params, self.root)
        return sort_suite(table_suite(self.params, self.columns), set(METRICS))[ROW]

    def _evaluate_shard(self, shard: Shard, kept: np.ndarray | None = None) -> list[Outcome]:
        if not self._row_suite:
            return []
        table = shard.read(needed_columns(self._row_suite, list(self.columns)))
        kept = np.ones(shard.num_rows, bool) if kept is None else kept
        return evaluate_rows(to_frame(table, shard.start, kept), self._row_suite, self._hidden)

    def _outcomes(self, stage: Stage, suite: list[Expected]) -> list[Outcome]:
        by_shard: list[list[Outcome]] = []
        for shard in stage.shards:
            kept, known = stage.kept_of(shard), self._known.get(shard.path)
            if known is not None and kept.all():
                by_shard.append(known.result())
            else:
                by_shard.append(self._evaluate_shard(shard, kept))
        return [Outcome.add(outcomes) for outcomes in zip(*by_shard, strict=True)] if suite else []

    def _whole(self, item: Expected, stage: Stage) -> "_Judged":
        columns = columns_named(item.kwargs) or list(self.columns)
        if stage.num_kept * len(columns) > MOST_CELLS:
            raise ParamsError(
                f"{item.origin}: {item.type} needs all {stage.num_kept:,} rows of "
                f"{', '.join(columns)} at once, more than {MOST_CELLS:,} values",
                "Use an expectation on single rows, or on a column's figures: "
                f"{', '.join(sorted(METRICS))}.",
            )
        import pandas as pd

        frames = [
            to_frame(shard.read(columns), shard.start, stage.kept_of(shard))
            for shard in stage.shards
        ]
        result = run_suite(pd.concat(frames, ignore_index=True), [item], INDEX)[0]
        shown = item.kwargs.get("column")
        hidden = bool(self._hidden & set(columns))
        failing = tuple(
            (int(row[INDEX]), HIDDEN if hidden else str(row.get(shown, "")))
            for row in result.pop("unexpected_index_list", None) or ()
        )
        return _Judged(verdict(item, result), failing)

    def _refuse(self, stage: Stage, quarantine: Quarantine, judged: "list[_Judged]") -> None:
        import pyarrow as pa

        tables = []
        for item in judged:
            if not item.refuses or not item.rows:
                continue
            kwargs = item.verdict.expected.kwargs
            column = str(kwargs.get("column") or kwargs.get("column_A") or WHOLE_ROW)
            rows, values = zip(*item.rows, strict=True)
            table = refusals(stage, np.array(rows, np.int64), column, item.verdict.expected.reason)
            order = np.argsort(np.array(rows, np.int64), kind="stable")
            shown = pa.array([values[place] for place in order], pa.string())
            tables.append(table.set_column(2, "value", shown))
        quarantine.add(pa.concat_tables(tables))
        for item in judged:
            if item.refuses and item.rows:
                stage.drop(np.array([row for row, _ in item.rows], np.int64))


@dataclass(frozen=True)
class _Judged:
    """A verdict, and the rows (index, value) that break it."""

    verdict: Verdict
    rows: tuple[tuple[int, str], ...] = ()

    @property
    def refuses(self) -> bool:
        return not self.verdict.success and self.verdict.expected.by_row


def _judge(item: Expected, metrics: Metrics) -> dict[str, Any]:
    """Let the expectation judge figures that are already there, as it does with its own."""
    expectation = configured(item, 0)
    column = item.kwargs.get("column", WHOLE_ROW)
    try:
        values = {
            name: METRICS[name](metrics, column, item.kwargs)
            for name in expectation.metric_dependencies
        }
        judged = expectation._validate(values, {"result_format": {"result_format": "BASIC"}})
    except (TypeError, ValueError) as error:
        raise ParamsError(
            f"{item.origin}: {item.type} with {item.kwargs} cannot be evaluated: {error}",
            "Correct its kwargs in params.yaml, or use an expectation that fits the column's type.",
        ) from None
    return {"success": bool(judged["success"]), **judged["result"]}


def _unique(item: Expected, metrics: Metrics, hidden: set[str]) -> _Judged:
    """Every row whose value stands in another one, as Great Expectations counts them."""
    column = item.kwargs["column"]
    indices, values, present = metrics.repeated(column)
    shown = [HIDDEN] * len(indices) if column in hidden else values
    outcome = Outcome(
        metrics.count(WHOLE_ROW),
        present,
        len(indices),
        tuple(zip(indices.tolist(), shown, strict=True)),
    )
    return _Judged(verdict(item, as_result(item, outcome)), outcome.failing)
