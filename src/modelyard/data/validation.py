"""Great Expectations over every row.

Those that break an expectation are refused, the rest must then meet all of them.
"""

import contextlib
import importlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from modelyard.custom_code import import_function
from modelyard.data.quarantine import Rejection, rejection
from modelyard.data.suite import Expected, build_suite
from modelyard.errors import ParamsError
from modelyard.params import DataParams

if TYPE_CHECKING:
    import pandas as pd

_NUM_SHOWN = 5
_LOADING = Lock()


@dataclass(frozen=True)
class Verdict:
    """How one expectation came out; ``observed`` is what was seen, in words.

    ``failing`` are the rows that break it.
    """

    expected: Expected
    success: bool
    observed: str
    failing: tuple[int, ...] = ()
    values: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What ``validation.json`` holds: no time, no id."""
        return {
            "type": self.expected.type,
            "kwargs": self.expected.kwargs,
            "origin": self.expected.origin,
            "success": self.success,
            "observed": self.observed,
        }

    def __str__(self) -> str:
        asked = ", ".join(f"{name}={value}" for name, value in self.expected.kwargs.items())
        return f"{self.expected.type}({asked}) [{self.expected.origin}]: observed {self.observed}"


@dataclass(frozen=True)
class Validation:
    """The verdicts over the accepted rows, and the rows refused on the way there."""

    verdicts: tuple[Verdict, ...]
    rejections: tuple[Rejection, ...]

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """The verdicts that say no; a dataset version needs none."""
        return tuple(verdict for verdict in self.verdicts if not verdict.success)

    def as_json(self, num_rows: int) -> dict[str, Any]:
        """The content of ``validation.json``."""
        return {
            "success": not self.failed,
            "rows": num_rows,
            "evaluated": len(self.verdicts),
            "passed": len(self.verdicts) - len(self.failed),
            "expectations": [verdict.as_json() for verdict in self.verdicts],
        }


def validate(manifest: "pd.DataFrame", params: DataParams) -> Validation:
    """Evaluate the suite over all rows.

    If rows break an expectation, leave them out and evaluate all of it again.

    Args:
        manifest: the frame of ``modelyard.data.manifest.build_manifest``.
        params: the contract.

    Raises:
        ParamsError: an expectation has an unknown name, unknown columns, impossible arguments, or
            cannot be evaluated.
    """
    verdicts = _evaluate(manifest, params)
    rejections = tuple(_rejections(verdicts))
    if rejections:
        refused = [item.row for item in rejections]
        verdicts = _evaluate(manifest.loc[~manifest["row"].isin(refused)], params)
    return Validation(verdicts, rejections)


def _rejections(verdicts: Iterable[Verdict]) -> Iterable[Rejection]:
    for verdict in verdicts:
        if verdict.success or not verdict.expected.by_row:
            continue
        kwargs = verdict.expected.kwargs
        column = str(kwargs.get("column") or kwargs.get("column_A") or "(row)")
        for row, value in zip(verdict.failing, verdict.values, strict=True):
            yield rejection(row, column, value, verdict.expected.reason)


def _evaluate(manifest: "pd.DataFrame", params: DataParams) -> tuple[Verdict, ...]:
    present = {str(name): int(count) for name, count in manifest.notna().sum().items()}
    suite = build_suite(params, present)
    results = run_suite(manifest, suite, "row")
    return tuple(verdict(expected, result) for expected, result in zip(suite, results, strict=True))


def run_suite(
    frame: "pd.DataFrame", suite: Sequence[Expected], index: str | None
) -> list[dict[str, Any]]:
    """Run Great Expectations in memory: nothing is written or sent.

    Args:
        frame: The rows.
        suite: What must hold of them.
        index: The column that names a row that breaks one; None counts such rows only, which is
            faster.

    Returns:
        One result for each expectation, in its order.

    Raises:
        ParamsError: see ``validate``.
    """
    load_expectations()
    from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
    from great_expectations.validator.validator import Validator

    complete = {
        "result_format": "COMPLETE",
        "unexpected_index_column_names": [index],
        "return_unexpected_index_query": False,
    }
    with _quiet():
        # An engine of its own for each frame: what data sources add is a hash of the whole frame,
        # which takes longer than the expectations, and a state that threads would share.
        engine = PandasExecutionEngine(batch_data_dict={"rows": frame})
        validator = Validator(engine, data_context=_context())
        results = validator.graph_validate(
            [configured(item, place).configuration for place, item in enumerate(suite)],
            runtime_configuration={
                "catch_exceptions": True,
                "result_format": "BASIC" if index is None else complete,
            },
        )
    by_position: dict[int, dict[str, Any]] = {}
    for item in results:
        assert item.expectation_config is not None
        _refuse_exceptions(item, suite)
        by_position[item.expectation_config.meta["position"]] = {
            "success": bool(item.success),
            **item.result,
        }
    return [by_position[place] for place in range(len(suite))]


def load_expectations() -> None:
    """Import Great Expectations, which registers its expectations on the way.

    Threads that import it at once would see a part of them: all but the first wait.
    """
    with _LOADING:
        import great_expectations.expectations.core  # noqa: F401 - for what it registers


@cache
def _context() -> Any:
    """Settings that show no progress bars and send nothing, made once a process."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    context = gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(store_backend_defaults=stores, analytics_enabled=False),
    )
    context.variables.progress_bars = ProgressBarsConfig(False, False)
    return context


def configured(item: Expected, position: int) -> Any:
    """The expectation as Great Expectations' object.

    It loses its place among the results, so ``meta`` keeps it.

    Raises:
        ParamsError: there is no such expectation, or it does not take these arguments.
    """
    load_expectations()
    from great_expectations.exceptions.exceptions import ExpectationNotFoundError
    from great_expectations.expectations.registry import (
        get_expectation_impl,
        list_registered_expectation_implementations,
    )

    try:
        kind = _custom(item.type) or get_expectation_impl(item.type)
    except ExpectationNotFoundError:
        known = list_registered_expectation_implementations()
        near = get_close_matches(item.type, known, n=1, cutoff=0.0)
        raise ParamsError(
            f"{item.origin}.type: there is no expectation {item.type!r}; nearest: {near[0]}",
            "Correct params.yaml.",
        ) from None
    try:
        return kind(**item.kwargs, meta={"position": position})
    except (ValueError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        raise ParamsError(
            f"{item.origin}.kwargs of {item.type}: {'; '.join(lines) or error}",
            "Correct params.yaml.",
        ) from None


def import_expectations(params: DataParams, root: Path) -> None:
    """Import the classes of ``custom`` that ``data.expectations`` names.

    Raises:
        ParamsError: one cannot be imported, or is no expectation.
    """
    named = [
        (index, item.type) for index, item in enumerate(params.expectations) if ":" in item.type
    ]
    if not named:
        return
    load_expectations()
    from great_expectations.expectations.expectation import Expectation

    for index, name in named:
        key = f"data.expectations.{index}.type"
        found = import_function(name, root, key)
        if not (isinstance(found, type) and issubclass(found, Expectation)):
            raise ParamsError(
                f"{key}: {name} is no expectation",
                "Name a class derived from one of great_expectations.expectations.expectation, "
                "for instance ColumnMapExpectation.",
            )


def _custom(kind: str) -> Any:
    """The class of ``custom.module:Class``, which ``import_expectations`` has imported."""
    module, _, name = kind.partition(":")
    return getattr(importlib.import_module(module), name) if name else None


def _refuse_exceptions(result: Any, suite: Sequence[Expected]) -> None:
    """An expectation that cannot be evaluated is no verdict on the data."""
    info = result.exception_info
    if info.get("raised_exception", True):
        parts = [part for part in info.values() if isinstance(part, dict)] or [info]
        kind, kwargs = result.expectation_config.type, dict(result.expectation_config.kwargs)
        kwargs.pop("batch_id", None)
        origin = suite[result.expectation_config.meta["position"]].origin
        raise ParamsError(
            f"{origin}: {kind} with {kwargs} cannot be evaluated: "
            f"{parts[0].get('exception_message')}",
            "Correct its kwargs in params.yaml, or use an expectation that fits the column's type.",
        )


def verdict(expected: Expected, result: dict[str, Any]) -> Verdict:
    """The verdict from one result of ``run_suite``."""
    # Of the column that is checked, or of all of them where there are several.
    failing = result.get("unexpected_index_list") or []
    column = expected.kwargs.get("column")
    values = [
        item.get(column) if column else {k: v for k, v in item.items() if k != "row"}
        for item in failing
    ]
    return Verdict(
        expected=expected,
        success=result["success"],
        observed=_observed(result),
        failing=tuple(int(item["row"]) for item in failing),
        values=tuple("" if value is None else str(value) for value in values),
    )


def _observed(result: dict[str, Any]) -> str:
    if result.get("observed_value") is not None:
        return _spoken(result["observed_value"])
    if "unexpected_count" in result:
        shown = [_spoken(value) for value in result.get("partial_unexpected_list", [])[:_NUM_SHOWN]]
        total = f" of {result['element_count']} rows" if "element_count" in result else ""
        listed = f": {', '.join(shown)}" if shown else ""
        return f"{result['unexpected_count']}{total} break it{listed}"
    missing = {"missing": result["partial_missing_list"]} if "partial_missing_list" in result else 0
    return _spoken(missing or result.get("details", "nothing"))


def _spoken(value: Any) -> str:
    """Numbers to nine digits: the last bits of a mean differ from one kind of CPU to another."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_spoken(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_spoken, value))}]"
    if hasattr(value, "item"):
        value = value.item()
    return f"{value:.9g}" if isinstance(value, float) else str(value)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the library's own log: what it has to say is in the verdicts."""
    logger = logging.getLogger("great_expectations")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
