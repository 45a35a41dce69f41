"""Whether the dataset that a proof names is what its digests say, where its files are at hand.

They are in the workspace until a later run replaces them, and in DVC's cache after that.
"""

import configparser
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelyard.artifacts import SPLITS, Layout, canonical, read_json, sha256_file
from modelyard.errors import ModelyardError
from modelyard.package import Proof
from modelyard.registry.proof_git import same

_NOWHERE = "not checked: the dataset is neither here nor in the cache"
_FILES = ("dataset.json", "preprocessing.json", "validation.json")


@dataclass(frozen=True)
class _Found:
    """Where a dataset's files are; in the cache they have other names."""

    place: str
    files: dict[str, Path]


def check_source(repo: Path, proof: Proof) -> str:
    """The raw data's sha256, of one file or of a tree, is the one that the params ask for.

    Where they name none, it is computed from the raw data, as long as these are still in the
    workspace.

    Raises:
        ModelyardError: it is another.
    """
    from modelyard.data.raw import raw_sha256

    wanted = proof.params.get("data", {}).get("sha256", "")
    if wanted is not None:
        same("the raw data's sha256", proof.raw_sha256, wanted)
        return f"sha256 {wanted[:12]}, as data.sha256 asks"
    folder = Layout(repo).raw
    if folder.is_dir() and raw_sha256(folder) == proof.raw_sha256:
        return f"sha256 {proof.raw_sha256[:12]}, computed from the files in data/raw"
    return "not checked: data.sha256 names none, and the raw data are not here any more"


def check_dataset(repo: Path, proof: Proof) -> str:
    """Compute the dataset's digest from its files again.

    Returns:
        Where the files are, or that they are not at hand.

    Raises:
        ModelyardError: it is not the proof's.
    """
    if (found := _find(repo, proof)) is None:
        return _NOWHERE
    with _readable(found):
        digest = dataset_digest(found.files)
        source = str(read_json(found.files["dataset.json"])["source_sha256"])
    same(f"the digest of the dataset {found.place}", digest, proof.dataset_digest)
    same(f"the source of the dataset {found.place}", source, proof.raw_sha256)
    return f"digest {digest[:12]}, computed from the files {found.place}"


def check_validation(repo: Path, proof: Proof) -> str:
    """Compute the digest of the dataset's validation result again; as ``check_dataset``.

    Raises:
        ModelyardError: it is not the proof's, or it does not say that the rows passed.
    """
    if (found := _find(repo, proof)) is None:
        return _NOWHERE
    with _readable(found):
        validation = read_json(found.files["validation.json"])
        passed = validation["success"]
    digest = hashlib.sha256(canonical(validation)).hexdigest()
    place = found.place
    same(f"the validation's digest of the dataset {place}", digest, proof.validation_digest)
    if passed is not True:
        raise ModelyardError(f"the rows of the dataset {place} did not pass their validation")
    return f"digest {digest[:12]}, the rows passed"


def _find(repo: Path, proof: Proof) -> _Found | None:
    """The dataset's files, all of them.

    Raises:
        ModelyardError: one is missing, or an object of the cache is altered.
    """
    found = _in_workspace(repo, proof) or _in_cache(repo, proof)
    if found is not None:
        for name in (*_FILES, *(f"{split}.parquet" for split in SPLITS)):
            if name not in found.files or not found.files[name].exists():
                raise ModelyardError(f"the dataset {found.place} lacks {name}")
    return found


@contextmanager
def _readable(found: _Found) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise ModelyardError(f"the dataset {found.place} cannot be read: {error!r}") from None


def dataset_digest(files: dict[str, Path]) -> str:
    """A dataset's digest, by the rule by which ``modelyard.data.dataset`` writes it.

    Args:
        files: Its files by their names in the dataset's folder.
    """
    identity = {
        "splits": {name: sha256_file(files[f"{name}.parquet"]) for name in SPLITS},
        "preprocessing": read_json(files["preprocessing.json"]),
        "labels": read_json(files["dataset.json"])["labels"],
    }
    return hashlib.sha256(canonical(identity)).hexdigest()


def _in_workspace(repo: Path, proof: Proof) -> _Found | None:
    """The workspace's dataset, if it says that it is the proof's."""
    folder = Layout(repo).dataset
    try:
        if read_json(folder / "dataset.json")["digest"] != proof.dataset_digest:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return _Found("in data/dataset", {path.name: path for path in folder.iterdir()})


def _in_cache(repo: Path, proof: Proof) -> _Found | None:
    """The dataset in DVC's cache, its files checked against the md5 that dvc.lock gives it.

    Raises:
        ModelyardError: an object of the cache is altered.
    """
    listing = cached_object(repo, proof.dataset_md5)
    if listing is None:
        return None
    if f"{_md5(listing)}.dir" != proof.dataset_md5:
        raise ModelyardError(f"the cache's list of the dataset, {listing.name}, is altered")
    files: dict[str, Path] = {}
    for entry in json.loads(listing.read_bytes()):
        if (path := cached_object(repo, entry["md5"])) is None:
            return None
        if _md5(path) != entry["md5"]:
            raise ModelyardError(f"{entry['relpath']} of the dataset is altered in the cache")
        files[entry["relpath"]] = path
    return _Found("in the cache", files)


def cached_object(repo: Path, md5: str) -> Path | None:
    """The file of DVC's cache with this md5, if it is there."""
    name = md5.removesuffix(".dir")
    if len(name) != 32 or not name.isalnum():
        return None
    path = _cache(repo) / "files" / "md5" / md5[:2] / md5[2:]
    return path if path.is_file() else None


def _cache(repo: Path) -> Path:
    """DVC's cache: ``cache.dir`` of its two configuration files, else its default."""
    folder = repo / ".dvc"
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read([folder / "config", folder / "config.local"], encoding="utf-8")
        given = config.get("cache", "dir", fallback="cache")
    except configparser.Error:
        given = "cache"
    return folder / given


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
