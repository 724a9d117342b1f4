"""Signs receipts with an Ed25519 key from a file that only its owner can read."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from plasm_core import hookimpl
from plasm_core.paths import default_key_file
from plasm_core.plugins.interfaces import Signer
from plasm_core.records import PeerId
from plasm_core.records.fields import constrained, text
from plasm_signer_ed25519.keyfile import create, load_or_create


@attrs.frozen(kw_only=True, slots=False)
class Ed25519Signer(Signer):
    """Signs with a key file, PKCS #8 PEM. `key`: its path, by default the user's own; it is created if missing."""

    name: ClassVar[str] = "ed25519"

    key: str = constrained(
        text(maximum=4096, pattern=r"[^\x00]+"), default=attrs.Factory(lambda: str(default_key_file()))
    )

    @cached_property
    def _private_key(self) -> Ed25519PrivateKey:
        return load_or_create(Path(self.key))

    @cached_property
    def peer_id(self) -> PeerId:
        return PeerId.from_public_key(self._private_key.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        return self._private_key.sign(message)

    def create_key(self) -> str:
        create(Path(self.key))
        return self.key

    def existing_peer_id(self) -> PeerId | None:
        return self.peer_id if Path(self.key).exists() else None


@hookimpl
def plasm_signer() -> list[type[Signer]]:
    return [Ed25519Signer]
