"""Great Expectations over every row.

Those that break an expectation are refused, the rest must then meet all of them.
"""

import contextlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from modelyard.data.quarantine import Rejection, rejection
from modelyard.data.suite import Expected, build_suite
from modelyard.errors import ParamsError
from modelyard.params import DataParams

if TYPE_CHECKING:
    import pandas as pd

_NUM_SHOWN = 5


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
    results = _results(manifest, suite)
    return tuple(
        _verdict(expected, result) for expected, result in zip(suite, results, strict=True)
    )


def _results(manifest: "pd.DataFrame", suite: list[Expected]) -> list[dict[str, Any]]:
    """Run Great Expectations in memory: nothing is written or sent.

    One result for each expectation, in its order.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    with _quiet():
        stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
        context = gx.get_context(
            mode="ephemeral",
            project_config=DataContextConfig(
                store_backend_defaults=stores, analytics_enabled=False
            ),
        )
        context.variables.progress_bars = ProgressBarsConfig(False, False)
        asset = context.data_sources.add_pandas("rows").add_dataframe_asset("manifest")
        definition = asset.add_batch_definition_whole_dataframe("all")
        batch = definition.get_batch(batch_parameters={"dataframe": manifest})
        result = batch.validate(
            gx.ExpectationSuite(
                name="contract",
                expectations=[_configured(item, index) for index, item in enumerate(suite)],
            ),
            result_format={
                "result_format": "COMPLETE",
                "unexpected_index_column_names": ["row"],
                "return_unexpected_index_query": False,
            },
        )
    by_position: dict[int, dict[str, Any]] = {}
    for item in result.results:
        assert item.expectation_config is not None
        _refuse_exceptions(item, suite)
        by_position[item.expectation_config.meta["position"]] = {
            "success": bool(item.success),
            **item.result,
        }
    return [by_position[index] for index in range(len(suite))]


def _configured(item: Expected, position: int) -> Any:
    """The expectation as Great Expectations' object.

    It loses its place among the results, so ``meta`` keeps it.
    """
    from great_expectations.exceptions.exceptions import ExpectationNotFoundError
    from great_expectations.expectations.registry import (
        get_expectation_impl,
        list_registered_expectation_implementations,
    )

    try:
        kind = get_expectation_impl(item.type)
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


def _refuse_exceptions(result: Any, suite: list[Expected]) -> None:
    """An expectation that cannot be evaluated is no verdict on the data."""
    info = result.exception_info
    if info.get("raised_exception", True):
        parts = [part for part in info.values() if isinstance(part, dict)] or [info]
        kind, kwargs = result.expectation_config.type, dict(result.expectation_config.kwargs)
        kwargs.pop("batch_id", None)
        origin = next(
            (item.origin for item in suite if (item.type, item.kwargs) == (kind, kwargs)), ""
        )
        raise ParamsError(
            f"{origin or 'data.expectations'}: {kind} with {kwargs} cannot be evaluated: "
            f"{parts[0].get('exception_message')}",
            "Correct its kwargs in params.yaml, or use an expectation that fits the column's type.",
        )


def _verdict(expected: Expected, result: dict[str, Any]) -> Verdict:
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
