"""PeerIds: a libp2p peer is named by its public key (libp2p specification, "Peer Ids and Keys")."""

from __future__ import annotations

import functools
import re

import attrs

from plasm_core.records.ed25519 import key_problem
from plasm_core.records.fields import Constraint, names

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_TEXT = r"12D3KooW[1-9A-HJ-NP-Za-km-z]{44}"
_PATTERN = re.compile(_TEXT)
# identity multihash of 36 bytes: protobuf PublicKey{Type: Ed25519 (1), Data: 32 bytes}
_PREFIX = bytes.fromhex("002408011220")


def base58_encode(data: bytes) -> str:
    """Encode bytes in base58btc, without a multibase prefix."""
    number = int.from_bytes(data, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = _ALPHABET[digit] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits


def base58_decode(text: str) -> bytes:
    """Decode base58btc. Raises: ValueError."""
    number = 0
    for character in text:
        number = number * 58 + _ALPHABET.index(character)
    body = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return b"\0" * (len(text) - len(text.lstrip("1"))) + body


_TEXT_CHARACTERS = 52
_NO_PEER_ID = "not the PeerId of an Ed25519 key (12D3KooW…)"


@attrs.frozen
class PeerId:
    """The identity of a node: its Ed25519 public key. `public_key`: 32 raw bytes.

    Use `from_public_key`, `parse` or `from_multihash` for data from outside: they refuse weak keys (not canonical,
    or of small order). No signature is valid under a weak key, even if the object was constructed directly
    (`plasm_core.signing`).
    """

    public_key: bytes = attrs.field()

    @public_key.validator
    def _thirty_two_bytes(self, _attribute: object, value: bytes) -> None:
        if not isinstance(value, bytes) or len(value) != 32:
            raise ValueError("an Ed25519 public key has 32 bytes")

    @property
    def multihash(self) -> bytes:
        """The binary form, 38 bytes."""
        return _PREFIX + self.public_key

    def __str__(self) -> str:
        """The text form, `12D3Koo…`."""
        return _text_of(self.multihash)

    @classmethod
    def parse(cls, text: str) -> PeerId:
        """Parse the text form. Raises: ValueError, also for a weak key."""
        if len(text) != _TEXT_CHARACTERS:
            raise ValueError(_NO_PEER_ID)
        return _parsed(text)

    @classmethod
    def from_multihash(cls, data: bytes) -> PeerId:
        """Parse the binary form. Raises: ValueError, also for a weak key."""
        if len(data) != 38 or not data.startswith(_PREFIX):
            raise ValueError("not the PeerId of an Ed25519 key")
        return cls.from_public_key(data[len(_PREFIX) :])

    @classmethod
    def from_public_key(cls, public_key: bytes) -> PeerId:
        """Return the PeerId of a raw Ed25519 public key, 32 bytes.

        Raises: ValueError if its length is wrong, or if the key has small order (docs/receipts.md, "Keys and signatures").
        """
        problem = key_problem(public_key)
        if problem is not None:
            raise ValueError(problem)
        return cls(public_key)


@functools.lru_cache(maxsize=1024)
def _text_of(multihash: bytes) -> str:
    return base58_encode(multihash)


@functools.lru_cache(maxsize=1024)
def _parsed(text: str) -> PeerId:
    if not _PATTERN.fullmatch(text):
        raise ValueError(_NO_PEER_ID)
    return PeerId.from_multihash(base58_decode(text))


def peer_name() -> Constraint:
    """Return the constraint for a PeerId in its text form, stored as text."""
    return Constraint(
        expected=lambda _: "the PeerId of an Ed25519 key (12D3KooW…)",
        schema={"type": "string", "pattern": f"^{_TEXT}$"},
        accepts=lambda value: isinstance(value, str) and is_peer_id(value),
    )


def peer_names() -> Constraint:
    """Return the constraint for a list of PeerIds in their text form, stored as a tuple of texts."""
    listed = names(_TEXT)

    def accepts(value: object) -> bool:
        return listed.accepts(value) and isinstance(value, tuple) and all(map(is_peer_id, value))

    return attrs.evolve(
        listed, expected=lambda _: "a list of PeerIds of Ed25519 keys (12D3KooW…)", accepts=accepts
    )


def is_peer_id(text: str) -> bool:
    """Return whether a text is a PeerId with an acceptable key."""
    try:
        PeerId.parse(text)
    except ValueError:
        return False
    return True


def peer_id() -> Constraint:
    """Return an attrs field for a PeerId, in JSON its text form."""
    return Constraint(
        expected=lambda _: "the PeerId of an Ed25519 key (12D3KooW…)",
        schema={"type": "string", "pattern": f"^{_TEXT}$"},
        accepts=lambda value: isinstance(value, PeerId),
        load=PeerId.parse,
        dump=str,
    )
