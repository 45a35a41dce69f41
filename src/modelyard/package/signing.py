"""Signatures over packages and verdicts: who vouches for them.

A package carries an OpenSSF model-signing bundle (a Sigstore bundle with an in-toto statement over
every file), made and checked offline with an EC P-256 key. Which keys count is the business of the
reader's settings, never the package's.
"""

import base64
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.artifacts import read_json, write_atomic
from modelyard.errors import PackageError
from modelyard.package.manifest import SIGNATURE, list_files, verify_manifest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )

PRIVATE_KEY = "signing.pem"
PUBLIC_KEY = "signing.pub.pem"

_REMEDY = "Copy the signer's public key into the folder of trusted keys if you trust it."


def ensure_key(keys: Path, trusted: Path) -> Path:
    """Return the private signing key, made at first use with its public half in ``trusted``.

    An existing key's public half is not put back into ``trusted``: taking it out there revokes it.

    Args:
        keys: Folder of the key (mode 0700); the key itself has mode 0600.
        trusted: Folder of PEM public keys whose signatures are accepted.

    Raises:
        PackageError: others than the owner may read the private key.
    """
    key = keys / PRIVATE_KEY
    keys.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys.chmod(0o700)
    with _locked(keys / ".lock"):
        if not key.exists():
            _make_key(key, keys / PUBLIC_KEY, trusted)
    if key.stat().st_mode & 0o077:
        raise PackageError(
            f"the signing key {key} can be read by others than its owner",
            f"Run `chmod 600 {key}`; if others have had access, replace the key.",
        )
    return key


def sign_folder(folder: Path, key: Path) -> None:
    """Sign every file of ``folder`` and write the bundle to its ``model.sig``.

    Raises:
        PackageError: the folder holds a link, or the key cannot be read.
    """
    from model_signing import signing

    list_files(folder)
    _private_key(key)
    config = signing.Config().use_elliptic_key_signer(private_key=key)
    config.set_hashing_config(_hashing()).sign(folder, folder / SIGNATURE)


def verify_folder(folder: Path, trusted: Path) -> None:
    """Check that a trusted key signed exactly the files of ``folder``.

    Raises:
        PackageError: there is no signature, no trusted key made it, or a file is changed, extra,
            missing or a link.
    """
    from model_signing import verifying

    list_files(folder)
    signature = folder / SIGNATURE
    hint = _key_hint(signature)
    path = {_fingerprint(key): path for path, key in _trusted_keys(trusted).items()}.get(hint)
    if path is None:
        raise PackageError(
            f"{folder} is signed by key {hint[:12]}, which is not in {trusted}", _REMEDY
        )
    config = verifying.Config().use_elliptic_key_verifier(public_key=path)
    try:
        config.set_hashing_config(_hashing()).verify(folder, signature)
    # The library lets parsing and cryptographic errors through as they come.
    except Exception as error:
        changed = re.findall(r"Hash mismatch for '([^']+)'", str(error))
        detail = f"{', '.join(changed)} changed" if changed else str(error) or type(error).__name__
        raise PackageError(
            f"the signature of {folder} does not hold: {detail}",
            "Take the package from the registry again; if it stays, somebody changed it there.",
        ) from None


def verify_package(folder: Path, trusted: Path) -> str:
    """Check both the manifest and the signature; neither is enough alone.

    Returns:
        The package's digest.

    Raises:
        PackageError: see ``verify_manifest`` and ``verify_folder``.
    """
    digest = verify_manifest(folder)
    verify_folder(folder, trusted)
    return digest


def sign_bytes(data: bytes, key: Path) -> str:
    """Sign ``data`` by ECDSA with SHA-256.

    Returns:
        The DER signature as base64.
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return base64.b64encode(_private_key(key).sign(data, ec.ECDSA(hashes.SHA256()))).decode()


def verify_bytes(data: bytes, signature: str, trusted: Path) -> None:
    """Check that a trusted key made ``signature`` (base64) over ``data``.

    Raises:
        PackageError: no trusted key did.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        raw = base64.b64decode(signature, validate=True)
    except ValueError:
        raise PackageError(f"the signature {signature[:16]!r} is not base64", _REMEDY) from None
    for key in _trusted_keys(trusted).values():
        try:
            key.verify(raw, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            continue
        return
    raise PackageError(f"no key in {trusted} made this signature", _REMEDY)


def _make_key(key: Path, public: Path, trusted: Path) -> None:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    secret = ec.generate_private_key(ec.SECP256R1())
    pem = secret.public_key().public_bytes(
        form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
    )
    write_atomic(trusted / f"modelyard-{hashlib.sha256(pem).hexdigest()[:12]}.pem", pem)
    write_atomic(public, pem)
    private = secret.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    # Last, so that a key that exists is complete and was once trusted.
    write_atomic(key, private, mode=0o600)


def _private_key(path: Path) -> "EllipticCurvePrivateKey":
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise PackageError(
            f"the signing key {path} cannot be read: {error}",
            "Move it away: the next run makes a new one.",
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PackageError(f"the signing key {path} is not an elliptic curve key", "Move it away.")
    return key


def _trusted_keys(trusted: Path) -> dict[Path, "EllipticCurvePublicKey"]:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    keys: dict[Path, EllipticCurvePublicKey] = {}
    for path in sorted(trusted.glob("*.pem")):
        try:
            key = load_pem_public_key(path.read_bytes())
        except ValueError:
            key = None
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise PackageError(
                f"{path} is not a PEM public key on an elliptic curve",
                "Take it out of the folder of trusted keys.",
            )
        keys[path] = key
    if not keys:
        raise PackageError(f"there is no trusted key (*.pem) in {trusted}", _REMEDY)
    return keys


def _fingerprint(key: "EllipticCurvePublicKey") -> str:
    """The hint by which model-signing names a key in its bundle: hex sha256 of its PEM."""
    from cryptography.hazmat.primitives import serialization as form

    pem = key.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def _key_hint(signature: Path) -> str:
    try:
        hint = read_json(signature)["verificationMaterial"]["publicKey"]["hint"]
    except FileNotFoundError:
        raise PackageError(
            f"{signature.parent} has no {SIGNATURE}", "Register the package: that signs it."
        ) from None
    except (ValueError, KeyError, TypeError):
        hint = None
    if not isinstance(hint, str) or not hint:
        raise PackageError(f"{signature} is not a signature that names its key", _REMEDY)
    return hint


def _hashing():  # noqa: ANN202 - the type is that of a library that is imported late
    """Every file but the signature counts, git's own files too."""
    from model_signing import hashing

    return hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock: two runs at once must not make two keys."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
