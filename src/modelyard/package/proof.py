"""What a registered package says about its making.

Whoever has the repository can compute each link again. It is written when the package is
registered, and covered by its signature.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from modelyard.artifacts import read_json, write_json
from modelyard.errors import PackageError
from modelyard.package.manifest import PROOF


@dataclass(frozen=True)
class Proof:
    """The links from a package back to code, data and params; hashes are hex.

    ``snapshot_commit`` and ``snapshot_tree`` are git's; ``raw_md5`` and ``dataset_md5`` DVC's;
    ``dataset_digest`` and ``validation_digest`` the dataset's own; ``params`` is the resolved
    params.yaml; ``metrics`` those of the shipped file on the test rows; ``parent`` the digest of
    the champion at the time; ``chosen`` the candidate that ships.
    """

    run_id: str
    snapshot_commit: str
    snapshot_tree: str
    raw_md5: str
    raw_sha256: str
    dataset_md5: str
    dataset_digest: str
    validation_digest: str
    params: dict[str, Any]
    lock_sha256: str
    dvc_lock_sha256: str
    metrics: dict[str, Any]
    parent: str | None
    chosen: str
    package_digest: str

    @classmethod
    def read(cls, folder: Path) -> "Proof":
        """Read ``proof.json`` of a package folder.

        Raises:
            PackageError: it is missing, lacks a key, holds an unknown one, or a value has the
                wrong type.
        """
        path = folder / PROOF
        try:
            tree = read_json(path)
        except FileNotFoundError:
            raise PackageError(
                f"{folder} has no {PROOF}", "Register the package: that writes it."
            ) from None
        except ValueError as error:
            raise PackageError(f"{path} is not JSON: {error}", "Register again.") from None
        if not isinstance(tree, dict):
            raise PackageError(f"{path} is not a mapping", "Register again.")
        for field in fields(cls):
            if field.name not in tree:
                raise PackageError(f"{path} lacks {field.name}", "Register again.")
            if not isinstance(tree[field.name], _TYPES.get(field.name, str)):
                raise PackageError(f"{path}: {field.name} is not possible", "Register again.")
        if unknown := sorted(tree.keys() - {field.name for field in fields(cls)}):
            raise PackageError(
                f"{path} holds the unknown key {unknown[0]!r}",
                "Use the version of Modelyard that wrote it.",
            )
        return cls(**tree)

    def write(self, folder: Path) -> None:
        """Write ``proof.json`` into a package folder."""
        write_json(folder / PROOF, asdict(self))


_TYPES: dict[str, Any] = {"params": dict, "metrics": dict, "parent": (str, type(None))}
