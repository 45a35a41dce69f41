"""The ``data`` section: the contract that raw rows must fulfil.

Terms follow Frictionless Table Schema (fields, type, constraints, missingValues, dialect) and the
quality metrics of the Open Data Contract Standard; ``kind``, ``target``, ``task`` and ``rest`` are
Modelyard's.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field as Key
from pydantic import field_validator, model_validator

from modelyard.params.base import Section

Kind = Literal["image"]
FieldType = Literal["image", "integer", "number", "string"]
Metric = Literal["rowCount", "duplicateValues", "nullValues"]
Share = Annotated[float, Key(ge=0, le=1)]
Sha256 = Annotated[str, Key(pattern="^[0-9a-f]{64}$")]
Tuple = Annotated[tuple[Any, ...], Key(strict=False)]


class Dialect(Section):
    """How a delimited file is written."""

    delimiter: Annotated[str, Key(min_length=1, max_length=1)] = ","
    header: bool = True

    @field_validator("delimiter")
    @classmethod
    def _separates(cls, delimiter: str) -> str:
        printable = " " <= delimiter <= "~" or delimiter == "\t"
        if not printable or delimiter.isalnum() or delimiter in "\"'":
            raise ValueError(
                f"{delimiter!r} separates no columns: give a printable ASCII character or a tab, "
                "but no letter, digit or quote"
            )
        return delimiter


class FieldConstraints(Section):
    """What every value of a field must fulfil."""

    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    enum: Annotated[tuple[str | int | float, ...], Key(strict=False)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum:g} is above maximum {self.maximum:g}")
        return self


class Field(Section):
    """One column; an ``image`` field of a packed table spans height x width x channels columns."""

    name: Annotated[str, Key(min_length=1)]
    type: FieldType
    height: Annotated[int, Key(ge=1, le=4096)] | None = None
    width: Annotated[int, Key(ge=1, le=4096)] | None = None
    channels: Literal[1, 3] | None = None
    constraints: FieldConstraints = FieldConstraints()

    @model_validator(mode="after")
    def _image_has_a_size(self) -> Self:
        sizes = (self.height, self.width, self.channels)
        if self.type == "image" and None in sizes:
            raise ValueError(
                f"field {self.name!r} is an image: give its height, width and channels"
            )
        if self.type != "image" and sizes != (None, None, None):
            raise ValueError(
                f"field {self.name!r} is of type {self.type}: "
                "height, width and channels are for images"
            )
        return self

    @property
    def num_columns(self) -> int:
        """How many columns of a packed table this field spans."""
        return (self.height or 1) * (self.width or 1) * (self.channels or 1)


class DataSchema(Section):
    """The columns, in the order of the source where it has no header."""

    missing_values: Annotated[tuple[str, ...], Key(strict=False, alias="missingValues")] = ("",)
    fields: Annotated[tuple[Field, ...], Key(strict=False, min_length=1)]
    rest: Literal["refuse"] = "refuse"

    @model_validator(mode="after")
    def _unique_names(self) -> Self:
        names = [field.name for field in self.fields]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"field {name!r} is declared {names.count(name)} times")
        return self


class Split(Section):
    """Shares of train, validation and test.

    ``stratify`` keeps the share of each class of ``column``.
    """

    type: Literal["stratify"] = "stratify"
    column: str
    probabilities: Annotated[tuple[Share, Share, Share], Key(strict=False)] = (0.8, 0.1, 0.1)
    seed: Annotated[int, Key(ge=0)] = 0

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        if abs(sum(self.probabilities) - 1) > 1e-9:
            raise ValueError(f"probabilities sum to {sum(self.probabilities):g}, not to 1")
        if min(self.probabilities) == 0:
            raise ValueError("probabilities: train, validation and test each need a share above 0")
        return self


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
    """An expectation of Great Expectations by its snake-case name, over the validated columns."""

    type: Annotated[str, Key(pattern="^expect_[a-z0-9_]+$")]
    kwargs: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it for each section


class DataParams(Section):
    """Where the raw data come from and what must hold of them before anything is trained."""

    kind: Kind
    source: Annotated[str, Key(min_length=1)]
    sha256: Sha256
    license: str = "unknown"
    dialect: Dialect = Dialect()
    schema_: Annotated[DataSchema, Key(alias="schema")]
    target: str
    task: Literal["classification"] = "classification"
    missing_target: Literal["drop", "fail"] = "drop"
    max_rejected: Share = 0.01
    split: Split
    quality: Annotated[tuple[Quality, ...], Key(strict=False)] = ()
    expectations: Annotated[tuple[Expectation, ...], Key(strict=False)] = ()

    @model_validator(mode="after")
    def _columns_exist(self) -> Self:
        names = [field.name for field in self.schema_.fields]
        for key, name in (("target", self.target), ("split.column", self.split.column)):
            if name not in names:
                raise ValueError(
                    f"{key} {name!r} is not a field of the schema; its fields: {', '.join(names)}"
                )
        if self.field(self.target).type == "image":
            raise ValueError(f"target {self.target!r} is an image; the target must be the label")
        if [field.type for field in self.schema_.fields].count("image") != 1:
            raise ValueError("kind image needs exactly one field of type image")
        return self

    def field(self, name: str) -> Field:
        """The field called ``name``."""
        return next(field for field in self.schema_.fields if field.name == name)

    @property
    def image(self) -> Field:
        """The image field."""
        return next(field for field in self.schema_.fields if field.type == "image")
