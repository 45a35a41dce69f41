"""The ``data`` section: the contract that raw rows must fulfil.

Terms follow Frictionless Table Schema and the quality metrics of the Open Data Contract Standard;
``kind``, ``target``, ``task``, ``clean``, ``prepare`` and ``leakage`` are Modelyard's.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field as Key
from pydantic import field_validator, model_validator

from modelyard.params.base import Section
from modelyard.params.fields import DataSchema, Dialect, Field, Texts
from modelyard.params.prepare import Clean, Leakage, Prepare, Sha256

Kind = Literal["tabular", "text", "image", "audio"]
Task = Literal["classification", "multi-label", "regression"]
Metric = Literal["rowCount", "duplicateValues", "nullValues"]
Share = Annotated[float, Key(ge=0, le=1)]
Function = Annotated[str, Key(pattern=r"^custom(\.\w+)+:[A-Za-z_]\w*$")]
MEDIA_KINDS = ("image", "audio")


class Split(Section):
    """Shares of train, validation and test, and what decides where a row goes.

    ``stratify`` keeps the share of each class of ``column``; ``hash`` puts rows that are equal in
    ``columns`` (by default in all features) into the same part; ``group`` does so for rows of one
    value of ``column`` and keeps the shares close; ``datetime`` goes by the time in ``column``,
    the newest rows being the test; ``fixed`` takes the part that ``column`` names, and carves a
    validation part of ``validation`` out of train where none is named.
    """

    type: Literal["stratify", "hash", "group", "datetime", "fixed"] = "stratify"
    column: str | None = None
    columns: Texts = ()
    probabilities: Annotated[tuple[Share, Share, Share], Key(strict=False)] = (0.8, 0.1, 0.1)
    seed: Annotated[int, Key(ge=0)] = 0
    names: Annotated[dict[Literal["train", "validation", "test"], Texts] | None, Key()] = None
    validation: Annotated[float, Key(gt=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        if abs(sum(self.probabilities) - 1) > 1e-9:
            raise ValueError(f"probabilities sum to {sum(self.probabilities):g}, not to 1")
        if min(self.probabilities) == 0:
            raise ValueError("probabilities: train, validation and test each need a share above 0")
        return self

    @model_validator(mode="after")
    def _has_its_column(self) -> Self:
        if (self.column is None) != (self.type == "hash"):
            needs = "takes columns, not column" if self.type == "hash" else "needs a column"
            raise ValueError(f"a {self.type} split {needs}")
        if self.columns and self.type != "hash":
            raise ValueError(f"a {self.type} split takes column, not columns")
        if self.names is not None and (
            self.type != "fixed" or not {"train", "test"} <= set(self.names)
        ):
            raise ValueError("names are for a fixed split, and give train and test at least")
        return self

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that decide."""
        return self.columns if self.column is None else (self.column,)


class Quality(Section):
    """A bound on a metric of the whole accepted set.

    It is written in the words of the Open Data Contract Standard.
    """

    metric: Metric
    column: str | None = None
    unit: Literal["rows", "share"] = "rows"
    must_be_greater_than: Annotated[float | None, Key(alias="mustBeGreaterThan")] = None
    must_be_less_than: Annotated[float | None, Key(alias="mustBeLessThan")] = None

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        if self.must_be_greater_than is None and self.must_be_less_than is None:
            raise ValueError(
                f"quality metric {self.metric} has no bound: "
                "give mustBeGreaterThan or mustBeLessThan"
            )
        if self.metric == "nullValues" and self.column is None:
            raise ValueError("quality metric nullValues needs a column")
        return self


class Expectation(Section):
    """An expectation over the validated columns.

    Of Great Expectations by its snake-case name, or ``custom.module:Class``, a class of yours.
    """

    type: Annotated[str, Key(pattern=r"^(expect_[a-z0-9_]+|custom(\.\w+)+:[A-Za-z_]\w*)$")]
    kwargs: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it for each section


class DataParams(Section):
    """Where the raw data come from and what must hold of them before anything is trained."""

    kind: Kind
    source: Annotated[str, Key(min_length=1)]
    query: str | None = None
    sha256: Sha256 | None
    license: str = "unknown"
    dialect: Dialect = Dialect()
    schema_: Annotated[DataSchema, Key(alias="schema")]
    features: Function | None = None
    target: str | Texts
    task: Task = "classification"
    missing_target: Literal["drop", "fail"] = "drop"
    max_rejected: Share = 0.01
    clean: Clean = Clean()
    pii: Literal["tokenize", "drop"] = "tokenize"
    split: Split
    leakage: Leakage = Leakage()
    quality: Annotated[tuple[Quality, ...], Key(strict=False)] = ()
    expectations: Annotated[tuple[Expectation, ...], Key(strict=False)] = ()
    prepare: Prepare = Prepare()

    @field_validator("target")
    @classmethod
    def _some_target(cls, target: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not target or (len(set(target)) < len(target) and not isinstance(target, str)):
            raise ValueError("name a field, or several different ones for multi-label")
        return target

    @model_validator(mode="after")
    def _columns_exist(self) -> Self:
        named = [("target", name) for name in self.targets]
        named += [
            ("split.columns" if self.split.columns else "split.column", name)
            for name in self.split.keys
        ]
        named += [("leakage.groups", name) for name in self.leakage.groups]
        names = [field.name for field in self.schema_.fields]
        for key, name in named:
            if name not in names:
                raise ValueError(
                    f"{key} {name!r} is not a field of the schema; its fields: {', '.join(names)}"
                )
        return self

    @model_validator(mode="after")
    def _media_fit_the_kind(self) -> Self:
        types = [field.type for field in self.schema_.fields]
        for media in MEDIA_KINDS:
            if types.count(media) != (self.kind == media):
                needs = "exactly one field" if self.kind == media else "no field"
                raise ValueError(f"kind {self.kind} needs {needs} of type {media}")
        if self.kind == "text" and types.count("text") != 1:
            raise ValueError("kind text needs exactly one field of type text")
        if self.kind in MEDIA_KINDS and self.features:
            raise ValueError(f"features are for tables and texts, not for kind {self.kind}")
        if self.kind in MEDIA_KINDS:
            for field in self.schema_.fields:
                if field.is_written_otherwise:
                    raise ValueError(
                        f"field {field.name!r}: decimalChar and groupChar are for tables and "
                        f"texts, not for kind {self.kind}"
                    )
        if self.kind in MEDIA_KINDS and self.schema_.rest == "infer":
            raise ValueError(f"schema.rest: infer is for tables, not for kind {self.kind}")
        return self

    @model_validator(mode="after")
    def _target_fits_the_task(self) -> Self:
        types = {name: self.field(name).type for name in self.targets}
        for name, kind in types.items():
            if kind in ("image", "audio", "text"):
                article = "an image" if kind == "image" else kind
                raise ValueError(f"target {name!r} is {article}; the target must be the label")
            if self.task == "regression" and kind not in ("integer", "number"):
                raise ValueError(
                    f"task regression: target {name!r} is of type {kind}, not a number"
                )
            if self.field(name).pii:
                raise ValueError(f"target {name!r} is pii: a model would learn to tell it")
        if self.task == "multi-label":
            single = self.field(self.targets[0])
            if len(types) == 1 and single.separator is None:
                raise ValueError(
                    "task multi-label: give several boolean fields as target, or one text field "
                    "with a separator"
                )
            if len(types) > 1 and set(types.values()) != {"boolean"}:
                raise ValueError("task multi-label: every field of target must be boolean")
        elif len(types) > 1:
            raise ValueError(f"task {self.task} has one target, not {len(types)}")
        return self

    @property
    def targets(self) -> tuple[str, ...]:
        """The fields of the target: one, but for a multi-label one of several booleans."""
        return (self.target,) if isinstance(self.target, str) else self.target

    def needs(self, field: Field) -> bool:
        """Whether nothing is learned from a row without a value of ``field``.

        That is so of a target, unless it lists labels: there may be none.
        """
        return field.name in self.targets and field.separator is None

    def field(self, name: str) -> Field:
        """The field called ``name``."""
        return next(field for field in self.schema_.fields if field.name == name)

    @property
    def media(self) -> Field:
        """The image or audio field."""
        return next(field for field in self.schema_.fields if field.type in MEDIA_KINDS)

    @property
    def image(self) -> Field:
        """The image field."""
        return next(field for field in self.schema_.fields if field.type == "image")
