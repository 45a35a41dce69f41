"""Files of a table that are not as declared: named, with what to change, and nothing is left."""

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_tables import (
    HEADER,
    contract,
    fields,
    made,
    nothing_is_left,
    people,
    rows_of,
    text,
)

from modelyard.artifacts import Layout
from modelyard.data.table_files import TableFile, table_files
from modelyard.data.table_scan import Places, ScannedBatch, scan
from modelyard.errors import SourceError


def renamed() -> bytes:
    return text(people(), HEADER.replace("income", "incomes"))


SOURCE: dict[str, tuple[Callable[[], bytes], dict[str, Any], list[str]]] = {
    "empty file": (lambda: b"", {}, ["people.csv is empty"]),
    "a header alone": (lambda: HEADER.encode() + b"\n", {}, ["holds no rows after its header"]),
    "wrong delimiter": (
        lambda: text(people(), delimiter=";"),
        {},
        ["there is no column 'age'", "Split at a semicolon", "set data.dialect.delimiter: ';'"],
    ),
    "wrong delimiter without a header": (
        lambda: text(people(), None, "|"),
        {"dialect": {"header": False}},
        ["row 0 has 1 columns, the schema names 6", "set data.dialect.delimiter: '|'"],
    ),
    "a header that is not declared": (
        lambda: text(people()),
        {"dialect": {"header": False}},
        ["the first row holds names (age, income, city, ...)", "set data.dialect.header: true"],
    ),
    "no header where one is declared": (
        lambda: text([[str(index), str(index)] for index in range(30)], None),
        {},
        ["the first row holds numbers", "set data.dialect.header: false"],
    ),
    "wrong encoding": (
        lambda: text(people()).decode().encode("latin-1"),
        {},
        ["people.csv: line", "is not UTF-8 text (byte 0xc5)", "data.dialect.encoding"],
    ),
    "wrong encoding after the first lines": (
        lambda: text(people(8000)) + b"20,1.5,\xc5rhus,true,2020-01-01,good\n",
        {},
        ["row 8000, column 'city' is not UTF-8 text"],
    ),
    "utf-16 that is not declared": (
        lambda: text(people()).decode().encode("utf-16"),
        {},
        ["is UTF-16 text, not UTF-8", "Set data.dialect.encoding: utf-16"],
    ),
    "null bytes": (
        lambda: text(people()).replace(b"Lima", b"Li\0ma"),
        {},
        ["holds null bytes", "Save the file as UTF-8"],
    ),
    "a column is missing": (
        lambda: text([row[:1] + row[2:] for row in people()], HEADER.replace(",income", "")),
        {},
        ["there is no column 'income'; its columns: 'age', 'city'"],
    ),
    "a column is renamed": (
        renamed,
        {},
        ["there is no column 'income'", "Did you mean 'incomes'?", "header: 'incomes'"],
    ),
    "a column stands there twice": (
        lambda: text([[*row, row[1]] for row in people()], HEADER + ",income"),
        {},
        ["2 columns are called 'income'", "Rename all but one"],
    ),
    "a column too many": (
        lambda: text([[*row, "x"] for row in people()], HEADER + ",note"),
        {},
        ["no field names 'note'", "data.schema.rest: drop"],
    ),
    "a quotation mark that is not closed": (
        lambda: text(people()).replace(b"Lima", b'"Lima', 1),
        {},
        ["a value runs over several lines and does not end", "mend the file"],
    ),
    "gzip cut short": (
        lambda: gzip.compress(text(people(20_000)))[:60_000],
        {"name": "people.csv.gz"},
        ["people.csv.gz is cut off or damaged"],
    ),
    "gzip by another name": (
        lambda: gzip.compress(text(people())),
        {},
        ["people.csv is gzipped", "ends in .gz"],
    ),
    "no Parquet": (
        lambda: text(people()),
        {"name": "people.parquet"},
        ["people.parquet cannot be read as Parquet"],
    ),
    "a file of another kind": (
        lambda: text(people()),
        {"name": "people.xlsx"},
        ["files of this kind are not read as a table", ".parquet"],
    ),
}


@pytest.mark.parametrize("name", SOURCE)
def test_a_source_that_is_not_as_declared(tmp_path: Path, name: str) -> None:
    content, changes, expected = SOURCE[name]
    with pytest.raises(SourceError) as caught:
        made(tmp_path, content(), **changes)
    for part in expected:
        assert part in f"{caught.value.message}\n{caught.value.remedy}"
    nothing_is_left(Layout(tmp_path))


def test_a_first_row_of_personal_data_is_not_shown(tmp_path: Path) -> None:
    rows = [[*row, f"jane{index}@mail.example"] for index, row in enumerate(people())]
    schema = fields(mail={"type": "string", "pii": True})
    for header in (",".join(rows[0]), "1,2,3,4,5,6,7"):
        with pytest.raises(SourceError) as caught:
            made(tmp_path, text(rows, header), schema__fields=schema)
        assert "jane" not in str(caught.value)
        assert "1, 2" not in str(caught.value)


@pytest.mark.parametrize("name", ["people[1].csv", "people?.csv", "people*.csv"])
def test_a_name_like_a_pattern_is_one_file(tmp_path: Path, name: str) -> None:
    raw = tmp_path / "data/raw"
    raw.mkdir(parents=True)
    (raw / name).write_bytes(text(people(30)))
    (raw / "people1.csv").write_bytes(text(people(40, seed=1)))
    (first, second) = table_files(raw, contract())
    read = {
        file.path.name: sum(batch.num_rows for batch in scanned(file)) for file in (first, second)
    }
    assert read == {name: 30, "people1.csv": 40}


def scanned(file: TableFile) -> Iterator[ScannedBatch]:
    params = contract()
    return scan([file], params.schema_.fields, params, 100, Places())


def test_what_is_odd_and_yet_right_is_accepted(tmp_path: Path) -> None:
    rows = people()
    rows[3][0] = " 33 "
    rows[4][1] = "+1.5e3"
    rows[5][2] = '"São Paulo, ""SP"""'
    rows[6][2] = " \u00a0Lima\t"
    rows[7][1] = rows[7][2] = rows[7][3] = "?"
    rows[8][3] = "yes"
    turned = [[row[index] for index in (5, 0, 1, 2, 3, 4)] for row in rows]
    content = b"\xef\xbb\xbf" + text(turned, "status, age ,income,city,member,joined")
    dataset = made(
        tmp_path, content.replace(b"\n", b"\r\n") + b"\r\n\r\n", schema__missingValues=["", "?"]
    )
    found = rows_of(dataset)
    assert len(found) == 40
    assert (found[3]["age"], found[4]["income"]) == (33, 1500.0)
    assert (found[5]["city"], found[6]["city"]) == ('São Paulo, "SP"', "Lima")
    assert (found[7]["income"], found[7]["city"], found[7]["member"]) == (None, None, None)
    assert found[8]["member"] is True


def test_encodings_and_lines_before_the_header_can_be_declared(tmp_path: Path) -> None:
    plain = made(tmp_path / "plain", people())
    for encoding in ("latin-1", "utf-16"):
        content = text(people()).decode().encode(encoding)
        other = made(tmp_path / encoding, content, dialect={"encoding": encoding})
        assert other.digest == plain.digest
    content = b"exported today\n\n" + text(people()).replace(b",", b"|")
    dialect = {"delimiter": "|", "skipRows": 2}
    assert made(tmp_path / "skip", content, dialect=dialect).digest == plain.digest
