"""Objects of an S3 bucket as a source; only those that are new are downloaded again."""

import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.artifacts import canonical
from modelyard.data.outputs import check_space
from modelyard.data.placeholders import Placeholders
from modelyard.data.raw import check_relative, is_pattern, refuse_clash, select
from modelyard.data.source import S3Source
from modelyard.errors import ServiceUnavailable, SourceError

log = logging.getLogger(__name__)

PARALLEL = 8
KEPT_DAYS = 30
"""How long a downloaded object that no source names any more is kept."""
_ATTEMPTS = 3
_BLOCK = 1 << 20
_CHANGED = ("412", "PreconditionFailed", "NoSuchKey", "404")


@dataclass(frozen=True)
class StoredObject:
    """An object as a listing shows it; ``etag`` changes with its content."""

    key: str
    etag: str
    size: int


def bring_s3(source: S3Source, folder: Path, kept: Path) -> None:
    """Write the objects that ``source`` names into ``folder``, as they stood at one moment.

    Args:
        source: The bucket and the path in it.
        folder: Where the files go.
        kept: Folder of objects that an earlier call downloaded; an object of the same key, ETag and
            size is taken from there.

    Raises:
        SourceError: nothing is there, a key is no path of a file, or the objects changed while they
            were read; the message names the first.
        ServiceUnavailable: the server is away, refuses the keys, or breaks off again and again.
        WorkspaceError: there is not enough space.
    """
    place = f"s3://{source.bucket}"
    client = _client()
    before = list_objects(source, client)
    chosen = _chosen(before, source, place)
    check_space(folder, sum(found.size for found in chosen.values()), f"{place}/{source.path}")
    kept.mkdir(parents=True, exist_ok=True)
    endpoint = str(client.meta.endpoint_url)
    for relative in chosen:
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)

    def bring(item: tuple[str, StoredObject]) -> None:
        relative, found = item
        entry = kept / _kept_name(endpoint, source.bucket, found)
        if not entry.exists():
            _download(client, source.bucket, found, entry)
        os.utime(entry)
        shutil.copyfile(entry, folder / relative)

    with ThreadPoolExecutor(PARALLEL) as pool:
        try:
            for num, _ in enumerate(pool.map(bring, chosen.items()), start=1):
                if num % 1000 == 0:
                    log.info("fetch: %d of %d objects", num, len(chosen))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    _check_unchanged(before, list_objects(source, client), place)
    _prune(kept)


def list_objects(source: S3Source, client: Any = None) -> dict[str, StoredObject]:
    """The objects that may belong to ``source``, by key: a cheap look at what is there.

    Raises:
        SourceError: there is no such bucket.
        ServiceUnavailable: the server is away or refuses the keys.
    """
    client = client or _client()
    prefix = source.path
    if is_pattern(prefix):
        prefix = Placeholders.parse(prefix).folder
        prefix += "/" if prefix else ""
    found: dict[str, StoredObject] = {}
    with explained(f"s3://{source.bucket}/{source.path}"):
        pages = client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=source.bucket, Prefix=prefix):
            for entry in page.get("Contents", []):
                # A key that ends with / is the mark of an empty folder.
                if not entry["Key"].endswith("/"):
                    found[entry["Key"]] = StoredObject(entry["Key"], entry["ETag"], entry["Size"])
    if not is_pattern(source.path) and source.path:
        inside = f"{source.path}/"
        found = {
            key: entry
            for key, entry in found.items()
            if key == source.path or key.startswith(inside)
        }
    return found


def listing_digest(found: dict[str, StoredObject]) -> str:
    """Hex sha256 over keys, ETags and sizes: equal while nothing changes."""
    rows = [[entry.key, entry.etag, entry.size] for _, entry in sorted(found.items())]
    return hashlib.sha256(canonical(rows)).hexdigest()


def _chosen(
    found: dict[str, StoredObject], source: S3Source, place: str
) -> dict[str, StoredObject]:
    """Path in data/raw -> object.

    Raises:
        SourceError: nothing lies there, or a key is no path of a file.
    """
    if not found:
        folder = Placeholders.parse(source.path).folder if is_pattern(source.path) else source.path
        under = f"/{folder}" if folder else ""
        raise SourceError(
            f"nothing lies under {place}{under}",
            "Check data.source; upper and lower case differ.",
        )
    for key in found:
        check_relative(key, place)
    names = select(found, source.path, place)
    refuse_clash(names, place)
    return {relative: found[key] for relative, key in names.items()}


def _check_unchanged(
    before: dict[str, StoredObject], after: dict[str, StoredObject], place: str
) -> None:
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            what = "went away" if key not in after else "was written"
            raise _changed(f"{place}/{key}", what)


def _changed(name: str, what: str) -> SourceError:
    return SourceError(
        f"{name} {what} while the source was read",
        "Nothing was kept. Run again when nobody writes there, "
        "or have each delivery written to a prefix of its own.",
    )


def _download(client: Any, bucket: str, wanted: StoredObject, entry: Path) -> None:
    """Write one object beside ``entry`` and rename it: it is whole or absent."""
    from botocore.exceptions import (
        ClientError,
        HTTPClientError,
        IncompleteReadError,
        ReadTimeoutError,
        ResponseStreamingError,
    )

    name = f"s3://{bucket}/{wanted.key}"
    dropped = (HTTPClientError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError)
    problem: object = None
    for attempt in range(_ATTEMPTS):
        descriptor, partial = tempfile.mkstemp(dir=entry.parent, prefix=".partial-")
        try:
            with os.fdopen(descriptor, "wb") as file, explained(name):
                answer = client.get_object(Bucket=bucket, Key=wanted.key, IfMatch=wanted.etag)
                for block in answer["Body"].iter_chunks(_BLOCK):
                    file.write(block)
                size = file.tell()
            if size == wanted.size:
                Path(partial).replace(entry)
                return
            problem = f"{size:,} of {wanted.size:,} bytes came"
        except ServiceUnavailable as error:
            cause = error.__cause__
            if isinstance(cause, ClientError) and cause.response["Error"]["Code"] in _CHANGED:
                raise _changed(name, "changed or went away") from None
            if not isinstance(cause, dropped):
                raise
            problem = cause
        finally:
            Path(partial).unlink(missing_ok=True)
        log.info("fetch: %s: %s (attempt %d)", name, problem, attempt + 1)
    raise ServiceUnavailable(f"{name} broke off {_ATTEMPTS} times: {problem}", "Run again later.")


def _prune(kept: Path) -> None:
    """Remove what nothing used for a while, and what killed processes left half-written."""
    oldest = time.time() - KEPT_DAYS * 86_400
    for path in kept.iterdir():
        if path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)


def _kept_name(endpoint: str, bucket: str, found: StoredObject) -> str:
    identity = [endpoint, bucket, found.key, found.etag, found.size]
    return hashlib.sha256(canonical(identity)).hexdigest()


def _client() -> Any:
    """A client of the server that AWS_ENDPOINT_URL names, else of Amazon's."""
    from boto3.session import Session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(max_pool_connections=PARALLEL, connect_timeout=10)
    try:
        # The default session would keep the keys that it once saw.
        return Session().client("s3", config=config)
    except (BotoCoreError, ValueError) as error:
        raise ServiceUnavailable(
            f"S3 cannot be asked: {error}", "Check AWS_ENDPOINT_URL and ~/.aws/config."
        ) from None


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn the client's errors into ours; the message carries no key."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        yield
    except NoCredentialsError as error:
        raise ServiceUnavailable(
            f"{name}: no keys for S3 are known",
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write ~/.aws/credentials.",
        ) from error
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "NoSuchBucket":
            raise SourceError(f"{name}: there is no such bucket", "Check data.source.") from None
        raise ServiceUnavailable(
            f"{name}: the server answers {code}",
            "Check the keys, what they may read, and AWS_ENDPOINT_URL.",
        ) from error
    except BotoCoreError as error:
        raise ServiceUnavailable(
            f"{name}: {error}", "Check the connection and AWS_ENDPOINT_URL, then run again."
        ) from error
