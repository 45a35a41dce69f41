"""Which columns of a packed table belong to which field: by position, or by name."""

from difflib import get_close_matches
from pathlib import Path

from modelyard.data.delimited import listed, refuse_numbers
from modelyard.errors import SourceError
from modelyard.params import DataParams


def num_columns(params: DataParams) -> int:
    """How many columns the schema's fields span together."""
    return sum(field.num_columns for field in params.schema_.fields)


def columns_by_position(params: DataParams) -> dict[str, list[int]]:
    """The positions of each field's columns, the fields following each other as in the schema."""
    positions: dict[str, list[int]] = {}
    start = 0
    for field in params.schema_.fields:
        positions[field.name] = list(range(start, start + field.num_columns))
        start += field.num_columns
    return positions


def columns_by_name(
    path: Path, names: list[str], params: DataParams, whole: str | None = None
) -> dict[str, list[int]]:
    """The positions of each field's columns in a table with the column ``names``.

    The picture or sound stands in the column ``whole``; without it the image takes those left over.

    Raises:
        SourceError: a field has no column or two, the columns left for the image are not one a
            pixel, or there is a column of no field.
    """
    clean = [name.strip() for name in names]
    refuse_numbers(path, clean, params)
    positions: dict[str, list[int]] = {}
    for field in params.schema_.fields:
        if field.name == params.media.name and whole is None:
            continue
        places = [index for index, name in enumerate(clean) if name == field.column]
        if len(places) != 1:
            raise _not_one(path, field.column, clean, len(places), params)
        positions[field.name] = places
    taken = {place for places in positions.values() for place in places}
    rest = [index for index in range(len(clean)) if index not in taken]
    if whole is not None:
        if rest and params.schema_.rest == "refuse":
            raise SourceError(
                f"{path.name}: the column {clean[rest[0]]!r} is no field of the schema",
                "Declare it as a field, or set data.schema.rest: drop.",
            )
        return positions
    image = params.image
    if len(rest) != image.num_columns:
        raise SourceError(
            f"{path.name}: {len(rest)} columns are left for the image {image.name!r}, which needs "
            f"{image.height} x {image.width} x {image.channels} = {image.num_columns}",
            "Declare the other columns as fields, or correct the image's size.",
        )
    return positions | {image.name: rest}


def _not_one(
    path: Path, field: str, names: list[str], found: int, params: DataParams
) -> SourceError:
    if found:
        return SourceError(
            f"{path.name}: {found} columns are called {field!r}", "Rename all but one."
        )
    near = get_close_matches(field, names, n=1, cutoff=0.5)
    return SourceError(
        f"{path.name}: there is no column {field!r}; its columns: {listed(names, params)}",
        f"Did you mean {near[0]!r}? Correct data.schema.fields."
        if near
        else "Correct data.schema.fields, or data.dialect.delimiter.",
    )
