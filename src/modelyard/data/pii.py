"""Tokens in place of personal data: equal values have equal tokens, and only the key tells which.

AES-SIV (RFC 5297) without a nonce is deterministic, so that a token still joins, groups and splits
rows; it hides everything else but the value's length. The column's name is bound into the token:
equal values of two columns cannot be matched.
"""

import base64
import os
import tempfile
from pathlib import Path
from typing import Self

from modelyard.errors import WorkspaceError

HIDDEN = "(pii)"
"""What is shown in place of personal data."""
KEY = Path("keys/pii.key")
"""Below the state folder, which isolated runs share."""
_NUM_BYTES = 64


class Tokenizer:
    """Turns texts into tokens with the project's key."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV

        self._cipher = AESSIV(key)

    @classmethod
    def open(cls, state_dir: Path, *, make: bool = True) -> Self:
        """With the key of ``state_dir``.

        Args:
            state_dir: Of the settings.
            make: Whether a key is made where there is none (mode 0600). Not where tokens must be
                those that were made before.

        Raises:
            WorkspaceError: others than the owner may read the key, it is damaged, or there is none
                and none is to be made.
        """
        path = state_dir / KEY
        if not path.exists():
            if not make:
                raise WorkspaceError(
                    f"the key of the tokens, {path}, is not there, and a new one would make other "
                    "tokens",
                    "Restore it from your copy of the machine that made the dataset.",
                )
            _make_key(path)
        if path.stat().st_mode & 0o077:
            raise WorkspaceError(
                f"the key of the tokens, {path}, can be read by others than its owner",
                f"Run `chmod 600 {path}`; if others have had access, every token can be undone: "
                "replace the key and make the dataset again.",
            )
        key = path.read_bytes()
        if len(key) != _NUM_BYTES:
            raise WorkspaceError(
                f"the key of the tokens, {path}, has {len(key)} bytes, not {_NUM_BYTES}",
                "Restore it from your copy. With a new one all tokens will be others.",
            )
        return cls(key)

    def tokens(self, values: list[str], column: str = "") -> list[str]:
        """A token for each value, URL-safe base64; a missing value (empty) stays empty.

        Args:
            values: Texts; each different one is encrypted once.
            column: The column's name, as associated data.
        """
        bound = [column.encode()]
        known = {
            value: base64.urlsafe_b64encode(self._cipher.encrypt(value.encode(), bound)).decode()
            for value in set(values)
            if value
        }
        return [known.get(value, "") for value in values]


def _make_key(path: Path) -> None:
    """Write a new key; where two processes do so at once, both go on with the same one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.parent.chmod(0o700)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".pii-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(_NUM_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, does not take the place of a key that is there by now.
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        Path(name).unlink()
