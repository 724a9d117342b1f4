"""Ed25519 keys in files: PKCS #8 PEM (RFC 8410), readable by their owner alone."""

from __future__ import annotations

import base64
import os
import re
import secrets
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from plasm_core.errors import KeyFileError
from plasm_core.ownership import check_file, open_regular

MAX_KEY_BYTES = 16_384
# The form in which `create` writes a key (RFC 8410, section 7): a version, the algorithm, and a seed of 32 bytes.
_PEM = re.compile(rb"-----BEGIN PRIVATE KEY-----\n([A-Za-z0-9+/]{64})\n-----END PRIVATE KEY-----\n")
_DER_BEFORE_SEED = bytes.fromhex("302e020100300506032b657004220420")


def load(path: Path) -> Ed25519PrivateKey:
    """Read a key file. Raises: `KeyFileError`, also if other users can read it."""
    try:
        with open_regular(path) as file:
            found = os.fstat(file.fileno())
            check_file(found, path)
            data = file.read(MAX_KEY_BYTES)
    except FileNotFoundError:
        raise KeyFileError(f"no key at {path}", hint="make one with: plasm key new") from None
    except OSError as exc:
        raise KeyFileError(f"cannot read the key {path}: {exc.strerror}") from exc
    if found.st_mode & 0o077:
        raise KeyFileError(f"the key {path} is open to other users", hint=f"close it with: chmod 600 {path}")
    usual = _PEM.fullmatch(data)
    der = base64.b64decode(usual[1]) if usual else b""
    if der.startswith(_DER_BEFORE_SEED):
        return Ed25519PrivateKey.from_private_bytes(der[len(_DER_BEFORE_SEED) :])
    # Its import takes longer than signing a receipt.
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise KeyFileError(f"{path} is not an unencrypted private key in PEM form") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} holds a key that is not Ed25519")
    return key


def create(path: Path) -> Ed25519PrivateKey:
    """Create a key and its file, mode 0600, atomically. Raises: `KeyFileError` if the file exists."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.generate()
    data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise KeyFileError(f"cannot write the key {path}: {exc.strerror}") from exc
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(fd)
            os.link(temporary, path)  # fails if there is one, where rename would replace it
        finally:
            os.unlink(temporary)
    except FileExistsError:
        raise KeyFileError(f"there is a key at {path} already") from None
    except OSError as exc:
        raise KeyFileError(f"cannot write the key {path}: {exc.strerror}") from exc
    return key


def load_or_create(path: Path) -> Ed25519PrivateKey:
    """Read a key file; create it if it is missing. Two processes that do so at once get the same key."""
    if not path.exists():
        try:
            create(path)
        except KeyFileError:
            if not path.exists():  # else another process was first
                raise
    return load(path)
