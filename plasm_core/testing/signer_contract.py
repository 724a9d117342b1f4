"""The contract of signers."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from plasm_core.errors import KeyFileError
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Signer
from plasm_core.signing import sign_receipt
from plasm_core.testing.claims import receipt

MESSAGES = (b"", b"message", bytes(1 << 16))


class SignerContract:
    """Tests the requirements of receipts on a signer. A subclass named `Test…` defines the fixture `signer`."""

    @classmethod
    @abstractmethod
    def signer(cls, directory: Path) -> Signer:
        """Return a signer with its key in the given directory, which is empty at the first call.

        Two calls with one directory give signers with the same key. The plugin must be installed.
        """

    def test_it_is_installed_under_its_name(self, tmp_path: Path) -> None:
        signer = self.signer(tmp_path)

        assert loading.load("signer", signer.name) is type(signer)

    @pytest.mark.parametrize("message", MESSAGES, ids=len)
    def test_it_signs_with_the_key_that_it_names(self, tmp_path: Path, message: bytes) -> None:
        signer = self.signer(tmp_path)
        signature = signer.sign(message)

        assert len(signature) == 64
        key = Ed25519PublicKey.from_public_bytes(signer.peer_id.public_key)
        key.verify(signature, message)
        with pytest.raises(InvalidSignature):
            key.verify(signature, message + b"x")

    def test_a_receipt_it_signs_verifies(self, tmp_path: Path) -> None:
        signer = self.signer(tmp_path)
        envelope = sign_receipt(receipt(node=signer.peer_id), signer)

        key = Ed25519PublicKey.from_public_bytes(signer.peer_id.public_key)
        key.verify(envelope.signatures[0].sig, envelope.signed_bytes)

    def test_its_key_stays(self, tmp_path: Path) -> None:
        first, second = self.signer(tmp_path).peer_id, self.signer(tmp_path).peer_id

        assert first == second == self.signer(tmp_path).existing_peer_id()

    def test_to_look_for_a_key_makes_none(self, tmp_path: Path) -> None:
        assert self.signer(tmp_path).existing_peer_id() is None
        assert self.signer(tmp_path).existing_peer_id() is None

    def test_a_key_is_made_where_it_says_and_never_replaced(self, tmp_path: Path) -> None:
        assert self.signer(tmp_path).create_key()
        peer = self.signer(tmp_path).existing_peer_id()

        with pytest.raises(KeyFileError):
            self.signer(tmp_path).create_key()
        assert peer is not None
        assert self.signer(tmp_path).peer_id == peer

    def test_two_keys_are_two_identities(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()

        assert self.signer(tmp_path / "a").peer_id != self.signer(tmp_path / "b").peer_id
