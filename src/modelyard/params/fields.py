"""The schema: which columns there are, of what type, and what every value must fulfil.

Terms follow Frictionless Table Schema (fields, type, constraints, missingValues, trueValues,
falseValues, decimalChar, groupChar, dialect); ``use``, ``sensitive``, ``pii``, ``header``, ``fit``
and ``rest`` are Modelyard's.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field as Key
from pydantic import field_validator, model_validator

from modelyard.params.base import Section

FieldType = Literal[
    "integer",
    "number",
    "boolean",
    "string",
    "category",
    "date",
    "datetime",
    "text",
    "image",
    "audio",
]
NUMERIC = ("integer", "number")
MEDIA = ("image", "audio")
_COMPARED = (*NUMERIC, "date", "datetime")
_WRITTEN = ("string", "category", "text")
Texts = Annotated[tuple[str, ...], Key(strict=False)]
Scalar = str | int | float


class Dialect(Section):
    """How a delimited file is written; ``skip_rows`` are lines before the header or first row."""

    delimiter: Annotated[str, Key(min_length=1, max_length=1)] = ","
    header: bool = True
    encoding: Literal["utf-8", "utf-16", "latin-1"] = "utf-8"
    quote_char: Annotated[str, Key(min_length=1, max_length=1, alias="quoteChar")] = '"'
    skip_rows: Annotated[int, Key(ge=0, le=1000, alias="skipRows")] = 0

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
    """What every value of a field must fulfil; lengths are counted in characters."""

    required: bool = False
    unique: bool = False
    minimum: float | str | None = None
    maximum: float | str | None = None
    min_length: Annotated[int | None, Key(ge=0, alias="minLength")] = None
    max_length: Annotated[int | None, Key(ge=0, alias="maxLength")] = None
    pattern: str | None = None
    enum: Annotated[tuple[Scalar, ...], Key(strict=False)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for low, high in ((self.minimum, self.maximum), (self.min_length, self.max_length)):
            if type(low) is type(high) and low is not None and low > high:  # pyright: ignore
                raise ValueError(f"minimum {_shown(low)} is above maximum {_shown(high)}")
        return self

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        return pattern


class Field(Section):
    """One column; an ``image`` field of a packed table spans height x width x channels columns.

    ``header`` is the column's name in the source where ``name`` is another one. ``use: false``
    keeps a column out of the features: it is checked, and may split or group the rows. ``pii``
    means ``use: false``.
    ``format`` is that of strptime, for dates; without it they are ISO 8601. Numbers may have a
    ``decimalChar`` and, each three digits, a ``groupChar``. ``separator`` divides the labels of a
    multi-label target that is one text.
    """

    name: Annotated[str, Key(min_length=1)]
    type: FieldType
    header: Annotated[str | None, Key(min_length=1)] = None
    use: bool = True
    sensitive: bool = False
    pii: bool = False
    format: str | None = None
    decimal_char: Annotated[Literal[".", ","], Key(alias="decimalChar")] = "."
    group_char: Annotated[Literal["", ".", ",", " ", "'"], Key(alias="groupChar")] = ""
    separator: Annotated[str | None, Key(min_length=1, max_length=1)] = None
    true_values: Annotated[Texts, Key(alias="trueValues")] = ("true", "True", "1", "yes")
    false_values: Annotated[Texts, Key(alias="falseValues")] = ("false", "False", "0", "no")
    height: Annotated[int, Key(ge=1, le=4096)] | None = None
    width: Annotated[int, Key(ge=1, le=4096)] | None = None
    channels: Literal[1, 3] | None = None
    fit: Literal["refuse", "stretch", "pad", "crop"] = "refuse"
    sample_rate: Annotated[int, Key(ge=4000, le=96_000)] | None = None
    seconds: Annotated[float, Key(gt=0, le=60)] | None = None
    constraints: FieldConstraints = FieldConstraints()

    @model_validator(mode="before")
    @classmethod
    def _tokens_are_no_features(cls, tree: Any) -> Any:
        if isinstance(tree, dict) and tree.get("pii") is True:
            if tree.get("use") is True:
                raise ValueError(
                    f"field {tree.get('name')!r} is pii with use: true: who asks the model has no "
                    "key to make its tokens with; leave use out"
                )
            return tree | {"use": False}
        return tree

    @model_validator(mode="after")
    def _media_have_a_size(self) -> Self:
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
        lengths = (self.sample_rate, self.seconds)
        if self.type == "audio" and None in lengths:
            raise ValueError(f"field {self.name!r} is audio: give its sample_rate and seconds")
        if self.type != "audio" and lengths != (None, None):
            raise ValueError(
                f"field {self.name!r} is of type {self.type}: sample_rate and seconds are for audio"
            )
        return self

    @model_validator(mode="after")
    def _constraints_fit(self) -> Self:
        bounds = self.constraints
        limits = [item for item in (bounds.minimum, bounds.maximum) if item is not None]
        if limits and self.type not in _COMPARED:
            raise ValueError(
                f"field {self.name!r} is of type {self.type}: minimum and maximum are for numbers "
                "and dates"
            )
        for limit in limits:
            if isinstance(limit, str) != (self.type not in NUMERIC):
                kind = "a number" if self.type in NUMERIC else "a date in quotes"
                raise ValueError(f"field {self.name!r}: {limit!r} bounds nothing: give {kind}")
        lengths = (bounds.min_length, bounds.max_length, bounds.pattern)
        if lengths != (None, None, None) and self.type not in _WRITTEN:
            raise ValueError(
                f"field {self.name!r} is of type {self.type}: "
                "minLength, maxLength and pattern are for text"
            )
        kinds: dict[str, tuple[type, ...]] = {"integer": (int,), "number": (int, float)}
        for value in bounds.enum or ():
            if not isinstance(value, kinds.get(self.type, (str,))) or self.type in MEDIA:
                raise ValueError(
                    f"field {self.name!r} is of type {self.type}, but its enum holds {value!r}: "
                    "give values of the field's type (in quotes for text)"
                )
        if self.format and self.type not in ("date", "datetime"):
            raise ValueError(f"field {self.name!r} is of type {self.type}: format is for dates")
        if both := set(self.true_values) & set(self.false_values):
            raise ValueError(f"field {self.name!r}: {sorted(both)[0]!r} is both true and false")
        return self

    @model_validator(mode="after")
    def _written_as_numbers_are(self) -> Self:
        if self.is_written_otherwise:
            if self.type not in NUMERIC:
                raise ValueError(
                    f"field {self.name!r} is of type {self.type}: decimalChar and groupChar are "
                    "for numbers"
                )
            if self.decimal_char == self.group_char:
                raise ValueError(
                    f"field {self.name!r}: {self.group_char!r} cannot both part thousands and "
                    "stand before the fraction"
                )
        return self

    @property
    def is_written_otherwise(self) -> bool:
        """Whether its numbers are not those of programming languages."""
        return (self.decimal_char, self.group_char) != (".", "")

    @property
    def column(self) -> str:
        """The column's name in the source."""
        return self.header or self.name

    @property
    def num_columns(self) -> int:
        """How many columns of a packed table this field spans."""
        return (self.height or 1) * (self.width or 1) * (self.channels or 1)


class DataSchema(Section):
    """The columns, in the order of the source where it has no header.

    ``rest`` says what becomes of columns that no field names: the source is refused, they are
    dropped, or their types are inferred from all their values.
    """

    missing_values: Annotated[Texts, Key(alias="missingValues")] = ("",)
    fields: Annotated[tuple[Field, ...], Key(strict=False, min_length=1)]
    rest: Literal["refuse", "drop", "infer"] = "refuse"

    @model_validator(mode="after")
    def _unique_names(self) -> Self:
        for what in ("name", "column"):
            names = [getattr(field, what) for field in self.fields]
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"field {name!r} is declared {names.count(name)} times")
        return self


def _shown(value: float | str | None) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
