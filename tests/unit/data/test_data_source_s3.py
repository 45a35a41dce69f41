"""Which objects a source means, and what a changed listing says; the server is in integration."""

import pytest

from modelyard.data.source import S3Source, parse_source
from modelyard.data.source_s3 import StoredObject, _check_unchanged, _chosen, listing_digest
from modelyard.errors import SourceError


def listing(**sizes: int) -> dict[str, StoredObject]:
    return {key: StoredObject(key, f'"{key}-{size}"', size) for key, size in sizes.items()}


@pytest.mark.parametrize(
    "key", ["a/../../b.csv", "/etc/passwd", "a//b.csv", "a/./b.csv", "a\\..\\b.csv", "a/b\0.csv"]
)
def test_a_key_that_is_no_path_is_refused(key: str) -> None:
    with pytest.raises(SourceError, match="no relative path of a file"):
        _chosen(listing(**{"a/c.csv": 1, key: 1}), S3Source("bucket", "a"), "s3://bucket")


@pytest.mark.parametrize(
    ("path", "expected"),
    [("nope", "s3://b/nope"), ("nope/{label}/*.png", "s3://b/nope"), ("", "s3://b")],
)
def test_a_prefix_with_nothing_below_it_says_so(path: str, expected: str) -> None:
    with pytest.raises(SourceError, match=f"^nothing lies under {expected}\n"):
        _chosen({}, S3Source("b", path), "s3://b")


def test_an_object_cannot_be_a_file_and_a_folder() -> None:
    with pytest.raises(SourceError, match=r"holds both 'a/b' and 'a/b/c\.csv'"):
        _chosen(listing(**{"a/b": 1, "a/b/c.csv": 1}), S3Source("bucket", "a"), "s3://bucket")


def test_the_first_changed_object_is_named() -> None:
    before = listing(a=1, b=2)
    _check_unchanged(before, listing(a=1, b=2), "s3://x")
    for after, expected in (
        (listing(a=1, b=3), "s3://x/b was written"),
        (listing(b=2), "s3://x/a went away"),
        (listing(a=1, aa=1, b=2), "s3://x/aa was written"),
    ):
        with pytest.raises(SourceError, match=expected):
            _check_unchanged(before, after, "s3://x")
        assert listing_digest(before) != listing_digest(after)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("s3://bucket/a/b/", S3Source("bucket", "a/b")),
        ("s3://bucket", S3Source("bucket", "")),
        ("s3://bucket/{label}/*.png", S3Source("bucket", "{label}/*.png")),
    ],
)
def test_an_address_is_taken_apart(source: str, expected: S3Source) -> None:
    assert parse_source(source) == expected


@pytest.mark.parametrize(
    "source", ["s3://", "s3://key:hunter2@bucket/a", "s3:bucket/a", "s3://B/a"]
)
def test_no_address_is_refused(source: str) -> None:
    with pytest.raises(SourceError, match="is not s3://bucket/prefix") as caught:
        parse_source(source)
    assert "hunter2" not in str(caught.value)
