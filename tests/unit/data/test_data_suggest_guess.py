"""What a file's bytes and a column's values tell: dialect, types, ranges."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from modelyard.data.suggest.dialect import find_dialect
from modelyard.data.suggest.fields import widened
from modelyard.data.suggest.guess import guess
from modelyard.errors import SourceError


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a,b\n1,2\n", (",", True, "utf-8", 0, ("a", "b"))),
        (b"\xef\xbb\xbfa,b\n1,2\n", (",", True, "utf-8", 0, ("a", "b"))),
        (b"a;b\n1,5;2\n2,5;3\n", (";", True, "utf-8", 0, ("a", "b"))),
        (b"a\tb\nx, y\t2\n", ("\t", True, "utf-8", 0, ("a", "b"))),
        (b"1|2\n3|4\n", ("|", False, "utf-8", 0, ("0", "1"))),
        (b"x,y\nx,y\ny,x\nx,y\n", (",", False, "utf-8", 0, ("0", "1"))),
        ("größe,b\n1,é\n".encode("latin-1"), (",", True, "latin-1", 0, ("größe", "b"))),
        ("a,b\n1,é\n".encode("utf-16-le"), None),
        ("\ufeffa,b\n1,é\n".encode("utf-16-le"), (",", True, "utf-16", 0, ("a", "b"))),
        (b"# by us\n\na,b,c\n1,2,3\n", (",", True, "utf-8", 2, ("a", "b", "c"))),
        (b'"a, b",c\n"x\ny",2\nz,3\n', (",", True, "utf-8", 0, ("a, b", "c"))),
    ],
)
def test_the_dialect_is_found(tmp_path: Path, content: bytes, expected: Any) -> None:
    for name, written in (("t.csv", content), ("t.csv.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(written)
        if expected is None:
            with pytest.raises(SourceError, match="null bytes"):
                find_dialect(tmp_path / name)
            continue
        found = find_dialect(tmp_path / name)
        known = (found.delimiter, found.header, found.encoding, found.skip_rows, found.columns)
        assert known == expected


def test_bytes_far_down_tell_the_encoding_as_well(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\n" + b"1,2\n" * 400_000 + b"1,\xe9\n")
    assert find_dialect(tmp_path / "t.csv").encoding == "latin-1"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "-2", ""], ("integer", None)),
        (["1", "2.5", "1e3", "NA"], ("number", None)),
        (["007", "008"], ("text", None)),
        (["9" * 25, "1"], ("text", None)),
        (["Yes", "No", "?"], ("boolean", None)),
        (["Yes", "No", "Perhaps"], ("text", None)),
        (["2024-01-31", "-"], ("date", None)),
        (["2024-01-31T10:00:00Z"], ("datetime", None)),
        (["2024-01-31 10:00"], ("datetime", None)),
        (["31.01.2024", "1.2.2024"], ("date", "%d.%m.%Y")),
        (["01/31/2024"], ("date", "%m/%d/%Y")),
        (["31/01/2024 10:00:00"], ("datetime", "%d/%m/%Y %H:%M:%S")),
        (["nan", "", "NULL"], ("empty", None)),
        (["1_000", "2_000"], ("text", None)),
        (["inf", "0x1f"], ("text", None)),
    ],
)
def test_a_type_is_guessed_by_values(values: list[str], expected: tuple[str, str | None]) -> None:
    found = guess("x", values)
    assert (found.kind, found.form) == expected


def test_digits_are_a_date_where_the_name_says_so() -> None:
    assert guess("birth_date", ["20240131"]).form == "%Y%m%d"
    assert guess("amount", ["20240131"]).kind == "integer"
    assert guess("d", ["01/02/2024"]).also == "%m/%d/%Y"


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (18, 79, True, (0, 110)),
        (0, 1, True, (0, 1)),
        (1000, 1010, True, (990, 1100)),
        (-5.0, 5.0, False, (-10.0, 10.0)),
        (0.0, 0.0, False, (0.0, 1.0)),
        (7.0, 7.0, False, (3.5, 11.0)),
    ],
)
def test_ranges_are_widened_to_round_numbers(
    low: float, high: float, whole: bool, expected: tuple[float, float]
) -> None:
    assert widened(low, high, whole) == expected
    assert expected[0] <= low <= high <= expected[1]
