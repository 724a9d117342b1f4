"""The signer `passphrase`: its key file is encrypted, and the passphrase stands in another file."""

import os
import secrets
from functools import cached_property
from pathlib import Path

import attrs
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from plasm_core import hookimpl
from plasm_core.errors import KeyFileError
from plasm_core.paths import state_directory
from plasm_core.plugins.interfaces import Signer
from plasm_core.records import PeerId


@attrs.frozen(kw_only=True, slots=False)
class Passphrase(Signer):
    name = "passphrase"

    key: str = attrs.Factory(lambda: str(state_directory() / "node.key.encrypted"))
    passphrase_file: str = attrs.Factory(lambda: str(state_directory() / "passphrase"))

    @cached_property
    def _private_key(self):
        if not Path(self.key).exists():
            self.create_key()
        try:
            data = Path(self.key).read_bytes()
            return serialization.load_pem_private_key(data, self._passphrase())
        except (OSError, ValueError) as exc:
            raise KeyFileError(f"cannot read the key {self.key}: {exc}") from exc

    def _passphrase(self):
        try:
            found = Path(self.passphrase_file).read_bytes().rstrip(b"\n")
        except OSError as exc:
            raise KeyFileError(f"cannot read {self.passphrase_file}: {exc.strerror}") from exc
        if not found:
            raise KeyFileError(f"{self.passphrase_file} is empty", hint="write the passphrase into it")
        return found

    @property
    def peer_id(self):
        return PeerId(self._private_key.public_key().public_bytes_raw())

    def sign(self, message):
        return self._private_key.sign(message)

    def create_key(self):
        data = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(self._passphrase()),
        )
        part = Path(f"{self.key}.{secrets.token_hex(8)}")
        try:
            with open(part, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                file.write(data)
            os.link(part, self.key)  # whole or not at all, and never in place of another
        except OSError as exc:
            raise KeyFileError(f"cannot make the key {self.key}: {exc.strerror}") from exc
        finally:
            part.unlink(missing_ok=True)
        return self.key

    def existing_peer_id(self):
        return self.peer_id if Path(self.key).exists() else None


@hookimpl
def plasm_signer():
    return [Passphrase]
