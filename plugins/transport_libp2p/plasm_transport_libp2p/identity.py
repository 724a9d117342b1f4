"""Conversion of keys and peer ids to and from py-libp2p. The secret key stays with the signer."""

from __future__ import annotations

from libp2p.crypto.ed25519 import Ed25519PublicKey, create_new_key_pair
from libp2p.crypto.keys import KeyPair, KeyType, PrivateKey, PublicKey
from libp2p.peer.id import ID

from plasm_core.plugins.interfaces import Signer
from plasm_core.records.peer import PeerId


class SignerKey(PrivateKey):
    """A private key of libp2p's that asks a signer for each signature."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def to_bytes(self) -> bytes:
        """Raise: the secret key does not leave its signer."""
        raise NotImplementedError("the secret key does not leave its signer")

    def get_type(self) -> KeyType:
        """Return Ed25519."""
        return KeyType.Ed25519

    def sign(self, data: bytes) -> bytes:
        """Return the Ed25519 signature, 64 bytes (RFC 8032)."""
        return self._signer.sign(data)

    def get_public_key(self) -> PublicKey:
        """Return the public key."""
        return Ed25519PublicKey.from_bytes(self._signer.peer_id.public_key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SignerKey) and other._signer is self._signer

    __hash__ = None  # type: ignore[assignment]  # as all of libp2p's keys


def key_pair(signer: Signer | None) -> KeyPair:
    """Return the signer's key pair, or without a signer a fresh one."""
    if signer is None:
        return create_new_key_pair()
    private_key = SignerKey(signer)
    return KeyPair(private_key, private_key.get_public_key())


def to_libp2p(peer: PeerId) -> ID:
    """Return py-libp2p's peer id."""
    return ID(peer.multihash)


def from_libp2p(peer: ID) -> PeerId:
    """Return a peer id of Plasm. Raises: ValueError if its key is not Ed25519, or is of small order."""
    return PeerId.from_multihash(peer.to_bytes())
