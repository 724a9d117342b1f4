"""PeerIds: a libp2p peer is named by its public key (libp2p specification, "Peer Ids and Keys")."""

from __future__ import annotations

import re

import attrs

from plasm_core.records.ed25519 import key_problem
from plasm_core.records.fields import Constraint, names

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_TEXT = r"12D3KooW[1-9A-HJ-NP-Za-km-z]{44}"
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


@attrs.frozen
class PeerId:
    """The identity of a node that signs with Ed25519. `public_key` is 32 raw bytes.

    Whatever comes from outside is read by `from_public_key`, `parse` or `from_multihash`, which refuse keys that
    prove nothing. No signature is valid under such a key, however it was made (`plasm_core.signatures`).
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
        return base58_encode(self.multihash)

    @classmethod
    def parse(cls, text: str) -> PeerId:
        """Read the text form. Raises: ValueError, also if the key proves nothing."""
        if not re.fullmatch(_TEXT, text):
            raise ValueError("not the PeerId of an Ed25519 key (12D3KooW…)")
        return cls.from_multihash(base58_decode(text))

    @classmethod
    def from_multihash(cls, data: bytes) -> PeerId:
        """Read the binary form. Raises: ValueError, also if the key proves nothing."""
        if len(data) != 38 or not data.startswith(_PREFIX):
            raise ValueError("not the PeerId of an Ed25519 key")
        return cls.from_public_key(data[len(_PREFIX) :])

    @classmethod
    def from_public_key(cls, public_key: bytes) -> PeerId:
        """Read a raw public key. Raises: ValueError unless it is an Ed25519 key that proves something."""
        problem = key_problem(public_key)
        if problem is not None:
            raise ValueError(problem)
        return cls(public_key)


def peer_name() -> Constraint:
    """The text form of a PeerId, held as text."""
    return Constraint(
        expected=lambda _: "the PeerId of an Ed25519 key (12D3KooW…)",
        schema={"type": "string", "pattern": f"^{_TEXT}$"},
        accepts=lambda value: isinstance(value, str) and is_peer_id(value),
    )


def peer_names() -> Constraint:
    """A list of PeerIds in their text form, as a configuration names them; held as a tuple."""
    listed = names(_TEXT)

    def accepts(value: object) -> bool:
        return listed.accepts(value) and isinstance(value, tuple) and all(map(is_peer_id, value))

    return attrs.evolve(
        listed, expected=lambda _: "a list of PeerIds of Ed25519 keys (12D3KooW…)", accepts=accepts
    )


def is_peer_id(text: str) -> bool:
    """Return whether a text is a PeerId that proves something."""
    try:
        PeerId.parse(text)
    except ValueError:
        return False
    return True


def peer_id() -> Constraint:
    """A field that holds a PeerId, in JSON its text form."""
    return Constraint(
        expected=lambda _: "the PeerId of an Ed25519 key (12D3KooW…)",
        schema={"type": "string", "pattern": f"^{_TEXT}$"},
        accepts=lambda value: isinstance(value, PeerId),
        load=PeerId.parse,
        dump=str,
    )
