"""From a source to the ``data`` section of params.yaml that would read it."""

from dataclasses import replace
from typing import Any

from modelyard.artifacts import Layout
from modelyard.data.source import S3Source, SqlSource, parse_source
from modelyard.data.suggest import media, packed
from modelyard.data.suggest.columns import Column, profile
from modelyard.data.suggest.fields import Suggested, suggest_fields
from modelyard.data.suggest.gathered import Gathered, gathered
from modelyard.data.suggest.proposal import Proposal, stratified
from modelyard.data.suggest.quality import quality_of
from modelyard.data.suggest.relations import Repeats, find_repeats, without_copies
from modelyard.data.suggest.table import Table, is_table, opened
from modelyard.data.suggest.target import Target, choose_target, undecided
from modelyard.errors import ParamsError, SourceError

KINDS = ("tabular", "text", "image", "audio")
_FEWEST = 10
"""Rows of a class that a share of a tenth needs to give one to each split."""
_MANY = 200
_FEW_LACKING = 0.002


def propose(
    layout: Layout,
    source: str,
    *,
    kind: str | None = None,
    target: str | None = None,
    query: str | None = None,
    certain: bool = False,
) -> Proposal:
    """Profile a source and propose its contract.

    Args:
        layout: The project's folders.
        source: As ``data.source``.
        kind: One of ``KINDS``, where the source does not show it.
        target: The column to learn, by its name in the source.
        query: What to read from a database.
        certain: Whether to ask for the target rather than to guess.

    Raises:
        SourceError: the source cannot be had or read.
        ParamsError: the target is none, or nothing says which it is.
        ServiceUnavailable: a server is away.
    """
    if kind is not None and kind not in KINDS:
        raise ParamsError(f"--kind {kind!r} is none", f"Possible: {', '.join(KINDS)}.")
    with gathered(layout, source, query) as files:
        tables = [path for path in files.paths.values() if is_table(path)]
        whole = not files.placeholders and len(tables) == len(files.paths)
        if whole and (kind == "tabular" or not media.are_texts(files)):
            proposal = _of_table(files, kind, target, certain)
        else:
            proposal = media.propose_files(files, kind, target)
            _refuse_zip(source)
        sha256 = files.sha256
    head: dict[str, Any] = {"kind": proposal.tree["kind"], "source": files.source}
    head |= {"query": query} if query is not None else {}
    tree = head | {"sha256": sha256, "license": "unknown"} | proposal.tree
    notes = {"license": "say whose the data are, and what may be done with them"}
    if isinstance(parse_source(source), S3Source | SqlSource):
        notes["sha256"] = f"not pinned: read anew each time; now it is {tree['sha256']}"
        tree["sha256"] = None
    return replace(proposal, tree=tree, notes=notes | proposal.notes)


def _refuse_zip(source: str) -> None:
    """A pattern cannot name files within an archive, and paths are what tells their labels.

    Raises:
        SourceError: the source is a zip.
    """
    if source.partition("?")[0].lower().endswith(".zip"):
        raise SourceError(
            f"{source} holds a file for each row, which is not read from a zip",
            "Unpack it, and give the folder.",
        )


def _of_table(files: Gathered, kind: str | None, asked: str | None, certain: bool) -> Proposal:
    with opened(list(files.paths.values())) as table:
        columns = profile(table)
        if kind in (None, "image") and (found := packed.find_image(columns)):
            return packed.propose_image(table, columns, found)
        if kind in ("image", "audio"):
            raise SourceError(
                f"{files.source} is a table without pixels, not {kind}", "Leave --kind out."
            )
        usable = tuple(column for column in columns if column.kind != "other")
        target = choose_target(usable, asked)
        if certain and not target.is_certain:
            raise undecided(usable)
        header = table.dialect is None or table.dialect.header
        name, task = target.column.name, target.task
        fields = suggest_fields(usable, header, name, task, target.separator)
        fields = without_copies(table, fields, target.task)
        if not any(item.is_feature and item.column.distinct > 1 for item in fields):
            raise SourceError(
                f"{files.source} has no column to learn from beside {target.column.name!r}",
                "Each other one is constant, names the row, is personal, or tells the target.",
            )
        repeats = find_repeats(table, fields)
        return _assembled(table, columns, fields, target, repeats, kind)


def _assembled(
    table: Table,
    columns: tuple[Column, ...],
    fields: tuple[Suggested, ...],
    target: Target,
    repeats: Repeats,
    kind: str | None,
) -> Proposal:
    (goal,) = [item for item in fields if item.is_target]
    kind = kind or _kind_of(fields)
    fields = tuple(_fitted(item, kind, fields) for item in fields)
    tree: dict[str, Any] = {"kind": kind}
    notes = {f"schema.fields.{item.name}": "; ".join(item.evidence) for item in fields}
    if table.dialect:
        notes["dialect"] = table.dialect.evidence
        tree |= {"dialect": table.dialect.tree()} if table.dialect.tree() else {}
    markers = columns[0].markers
    schema: dict[str, Any] = {"missingValues": ["", *markers]} if markers else {}
    if markers:
        notes["schema.missingValues"] = "each stands where a value should"
    left = [column.name for column in columns if column.kind == "other"]
    notes |= {"schema.rest": f"no field can hold {', '.join(left)}"} if left else {}
    schema |= {"fields": [item.tree for item in fields], "rest": "drop" if left else "refuse"}
    tree |= {"schema": schema, "target": goal.name, "task": target.task}
    notes["target"] = target.reason
    if goal.column.num_missing:
        tree["missing_target"] = "drop"
        notes["missing_target"] = f"{goal.column.num_missing} rows have none"
    refused = table.num_ragged + sum(item.column.num_odd for item in fields)
    if kind == "text":
        refused += sum(item.column.num_missing for item in fields if item.tree["type"] == "text")
    share = refused / (table.num_rows + table.num_ragged)
    tree["max_rejected"] = 0.01 if share < 0.005 else min(1.0, round(2 * share + 0.005, 2))
    if refused:
        notes["max_rejected"] = f"{refused} rows are refused now, {table.num_ragged} as ragged"
    if repeats.rows:
        tree["clean"] = {"duplicates": "drop"}
        notes["clean"] = f"{repeats.rows} rows equal an earlier one"
    tree |= _split(fields, goal, target, repeats, notes)
    num_left = max(2, goal.column.num_present - repeats.rows - refused)
    tree |= quality_of(fields, num_left, repeats.rows)
    counted = max((count for _, count in goal.column.values), default=0)
    return Proposal(
        tree,
        notes,
        table.num_rows,
        counted / max(goal.column.num_present, 1) if target.task == "classification" else 0.0,
        tuple(item.name for item in fields if item.column.hint and not item.tree.get("pii")),
    )


def _kind_of(fields: tuple[Suggested, ...]) -> str:
    """Text where one column of sentences is all or nearly all there is to learn from."""
    features = [item for item in fields if item.is_feature]
    texts = [item.column for item in features if item.tree["type"] == "text"]
    # A row without its text is refused; many such are reason for a table with texts in it.
    whole = len(texts) == 1 and texts[0].num_missing <= _FEW_LACKING * texts[0].num_rows
    return "text" if whole and len(features) <= 2 else "tabular"


def _fitted(item: Suggested, kind: str, fields: tuple[Suggested, ...]) -> Suggested:
    """For kind text the column of the longest texts is the one of type text, and is required."""
    if kind != "text" or not item.is_feature:
        return item
    written = [other for other in fields if other.is_feature and other.column.kind == "text"]
    if not written:
        raise ParamsError("no column holds text", "Leave --kind out.")
    if item is not max(written, key=lambda other: other.column.words):
        fitting = "category" if item.tree["type"] == "text" else item.tree["type"]
        return replace(item, tree=item.tree | {"type": fitting})
    constraints = {"required": True}
    return replace(item, tree=item.tree | {"type": "text", "constraints": constraints})


def _split(
    fields: tuple[Suggested, ...],
    goal: Suggested,
    target: Target,
    repeats: Repeats,
    notes: dict[str, str],
) -> dict[str, Any]:
    shares = {"probabilities": [0.8, 0.1, 0.1], "seed": 0}
    groups = [item.name for item in fields if item.groups]
    if groups:
        notes["split"] = f"rows of one {groups[0]} stay together"
        tree: dict[str, Any] = {"split": {"type": "group", "column": groups[0], **shares}}
        leakage: dict[str, Any] = {"groups": [groups[0]]}
        tree["leakage"] = leakage
        if repeats.features:
            leakage["rows"] = "allow"
            notes["leakage"] = f"{repeats.features} rows of other groups have equal features"
        return tree
    if repeats.features and repeats.different >= _MANY:
        notes["split"] = f"{repeats.features} rows equal another in all features: kept together"
        return {"split": {"type": "hash", **shares}}
    allowed: dict[str, Any] = {}
    if repeats.features:
        notes["leakage"] = f"there are {repeats.different} different rows of features in all"
        allowed = {"leakage": {"rows": "allow"}}
    return {"split": _by_target(fields, goal, target.task, repeats, notes)} | allowed


def _by_target(
    fields: tuple[Suggested, ...],
    goal: Suggested,
    task: str,
    repeats: Repeats,
    notes: dict[str, str],
) -> dict[str, Any]:
    """Stratified where each class, or tenth of a number, has enough rows; else by the row."""
    column = goal.column
    used = [item for item in fields if item.is_feature or item.is_target]
    names = [item.name for item in used if item.column.distinct > 1]
    by_row = {"type": "hash", "columns": names, "probabilities": [0.8, 0.1, 0.1], "seed": 0}
    if task == "classification":
        value, fewest = min(column.values, key=lambda item: item[1])
        if fewest - repeats.rows >= _FEWEST:
            return stratified(goal.name)
        dropped = f", {repeats.rows} repeated rows are dropped" if repeats.rows else ""
        said = f"class {value} has {fewest} rows{dropped}; to stratify, each needs {_FEWEST}"
        notes["split"] = said
        return by_row
    if task == "multi-label":
        return by_row
    times = [item.name for item in fields if item.tree["type"] in ("date", "datetime")]
    if times:
        notes["split"] = f"to tell the future, {{type: datetime, column: {times[0]}}}"
    many = column.num_present >= _MANY and column.distinct > column.num_present // 2
    return stratified(goal.name) if many else by_row
