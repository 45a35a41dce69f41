"""Fields for the columns that the schema does not name, by all of their values."""

from modelyard.data.table_columns import column_sql
from modelyard.data.table_database import connect, named
from modelyard.data.table_files import TableFile
from modelyard.data.table_scan import source_sql
from modelyard.errors import SourceError
from modelyard.params import DataParams, Field
from modelyard.params.fields import FieldType

_TYPES: tuple[FieldType, ...] = ("integer", "number", "boolean", "date", "datetime")


def infer_fields(files: list[TableFile], params: DataParams) -> tuple[Field, ...]:
    """A field for each extra column: of the first type that all its values have, else a category.

    The types are tried in the order of ``_TYPES``. A column without any value is a category.

    Raises:
        SourceError: the files have different extra columns.
    """
    if params.schema_.rest != "infer" or not files[0].extra:
        return ()
    for file in files[1:]:
        if set(file.extra) != set(files[0].extra):
            differing = sorted(set(file.extra) ^ set(files[0].extra))
            raise SourceError(
                f"{file.path.name} and {files[0].path.name} have not the same columns: "
                f"{', '.join(differing)}",
                "Give all files the same columns, or set data.schema.rest: drop.",
            )
    fits: dict[tuple[str, FieldType], bool] = {}
    with connect() as connection:
        for file in files:
            tests = []
            for name in file.extra:
                position = file.names.index(name)
                source = named(name if file.is_parquet else f"c{position}")
                for kind in _TYPES:
                    tried = Field(name=name, type=kind)
                    column = column_sql(tried, source, file.types[position], params)
                    value = f"({column.value.replace('{raw}', f'({column.raw})')})"
                    wrong = column.broken[0].when.replace("{value}", value)
                    wrong = wrong.replace("{raw}", f"({column.raw})")
                    tests.append(f"coalesce(bool_and(NOT ({wrong})), true) AND count({value}) > 0")
            query = f"SELECT {', '.join(tests)} FROM {source_sql(file, params)}"  # noqa: S608
            found = connection.execute(query).fetchone()
            assert found is not None
            keys: list[tuple[str, FieldType]] = [
                (name, kind) for name in file.extra for kind in _TYPES
            ]
            for key, fit in zip(keys, found, strict=True):
                fits[key] = fits.get(key, True) and bool(fit)
    return tuple(Field(name=name, type=_first_fit(name, fits)) for name in files[0].extra)


def _first_fit(name: str, fits: dict[tuple[str, FieldType], bool]) -> FieldType:
    for kind in _TYPES:
        if fits[name, kind]:
            return kind
    return "category"
