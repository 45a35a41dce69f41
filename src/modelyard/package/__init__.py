"""The package folder that is registered and served: manifest, signature, proof and reading.

No torch, no MLflow: the server and the follower import it.
"""

from modelyard.package.manifest import verify_manifest, write_manifest
from modelyard.package.proof import Proof
from modelyard.package.reader import PackageReader
from modelyard.package.signing import (
    ensure_key,
    sign_bytes,
    sign_folder,
    verify_bytes,
    verify_folder,
    verify_package,
)

__all__ = [
    "PackageReader",
    "Proof",
    "ensure_key",
    "sign_bytes",
    "sign_folder",
    "verify_bytes",
    "verify_folder",
    "verify_manifest",
    "verify_package",
    "write_manifest",
]
