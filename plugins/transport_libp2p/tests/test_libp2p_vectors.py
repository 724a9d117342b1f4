"""Hold the code against tests/vectors/libp2p.json, and the file against what wrote it."""

import json
from typing import Any

import pytest

from plasm_core.records import PeerId
from tests.vectors import generate_libp2p

VECTORS: dict[str, Any] = json.loads(generate_libp2p.FILE.read_bytes())


def test_the_file_is_what_the_generator_writes() -> None:
    assert generate_libp2p.FILE.read_text(encoding="utf-8") == generate_libp2p.render()


@pytest.mark.parametrize("vector", VECTORS["peer_id"]["valid"], ids=lambda vector: vector["base58"])
def test_a_peer_id(vector: Any) -> None:
    peer = PeerId(bytes.fromhex(vector["public_key_hex"]))

    assert str(peer) == vector["base58"]
    assert peer.multihash.hex() == vector["multihash_hex"]
    assert PeerId.parse(vector["base58"]) == peer


@pytest.mark.parametrize("text", VECTORS["peer_id"]["other_keys"])
def test_a_peer_without_an_ed25519_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Ed25519"):
        PeerId.parse(text)
