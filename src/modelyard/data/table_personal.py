"""Personal data, tokenized or dropped before anything is stored."""

from typing import TYPE_CHECKING

from modelyard.data.pii import Tokenizer
from modelyard.params import DataParams, Field, FieldConstraints

if TYPE_CHECKING:
    import pyarrow as pa


def stored_columns(fields: tuple[Field, ...], params: DataParams) -> dict[str, Field]:
    """The columns of a table as they are stored, by name.

    A ``pii`` field is a category of tokens, or is not there where ``data.pii`` is ``drop``.
    """
    columns: dict[str, Field] = {}
    for item in fields:
        if not item.pii:
            columns[item.name] = item
            continue
        if params.pii == "tokenize":
            bounds = FieldConstraints(
                required=item.constraints.required, unique=item.constraints.unique
            )
            columns[item.name] = item.model_copy(update={"type": "category", "constraints": bounds})
    return columns


def hide(
    table: "pa.Table", fields: tuple[Field, ...], params: DataParams, tokenizer: Tokenizer | None
) -> "pa.Table":
    """Put tokens in place of personal data.

    Where they are dropped, tokens stay only of what divides the rows, and only until it has.
    """
    import pyarrow as pa

    if tokenizer is None:
        return table
    dividing = {*params.split.keys, *params.leakage.groups}
    for item in fields:
        if not item.pii or item.name not in table.column_names:
            continue
        place = table.schema.get_field_index(item.name)
        if params.pii == "drop" and item.name not in dividing:
            table = table.remove_column(place)
            continue
        texts = table.column(place).cast(pa.string()).fill_null("").to_pylist()
        tokens = [token or None for token in tokenizer.tokens(texts, item.name)]
        table = table.set_column(place, item.name, pa.array(tokens, pa.string()))
    return table
