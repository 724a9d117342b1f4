"""Keys that prove nothing are refused wherever one is read, and signatures are judged by one rule."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import click
import pytest
from libp2p.peer.id import ID

from plasm_core.cli.verify import parse_key
from plasm_core.config import Policy
from plasm_core.errors import InvalidRecordError
from plasm_core.records import Envelope, Handle, PeerId, Signature
from plasm_core.records.ed25519 import key_problem
from plasm_core.records.spki import public_key_pem, read_public_key
from plasm_core.signing import is_signature_of
from plasm_signer_ed25519.verifier import signed_by
from plasm_transport_libp2p.identity import from_libp2p

VECTORS = json.loads(Path(__file__).parents[1].joinpath("vectors", "keys.json").read_bytes())
KEYS = pytest.mark.parametrize("case", VECTORS["keys"], ids=lambda case: case["name"])
SIGNATURES = pytest.mark.parametrize("case", VECTORS["signatures"], ids=lambda case: case["name"])


@KEYS
def test_no_reader_takes_a_key_of_low_order(case: dict[str, Any], tmp_path: Path) -> None:
    key, multihash = bytes.fromhex(case["public_key_hex"]), bytes.fromhex(case["multihash_hex"])
    pem = tmp_path / "key.pem"
    pem.write_text(public_key_pem(PeerId(key)))
    handle = Handle(job_id="00" * 32, secret=bytes(32), peer=PeerId(key))
    ways: list[Any] = [
        lambda: PeerId.from_public_key(key),
        lambda: PeerId.from_multihash(multihash),
        lambda: PeerId.parse(case["peer_id"]),
        lambda: read_public_key(pem.read_bytes()),
        lambda: parse_key(case["public_key_hex"]),
        lambda: parse_key(case["peer_id"]),
        lambda: parse_key(str(pem)),
        lambda: from_libp2p(ID(multihash)),
        lambda: Handle.parse(str(handle)).peer,
    ]
    for way in ways:
        if case["accepted"]:
            assert way() == PeerId(key)
        else:
            with pytest.raises((ValueError, click.BadParameter, InvalidRecordError), match="proves nothing"):
                way()


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_has_32_bytes(length: int) -> None:
    assert key_problem(bytes([2]) * length) == "an Ed25519 public key has 32 bytes"


@SIGNATURES
def test_signatures_are_judged_by_one_rule(case: dict[str, Any]) -> None:
    key, message = bytes.fromhex(case["public_key_hex"]), bytes.fromhex(case["message_hex"])

    assert is_signature_of(PeerId(key), bytes.fromhex(case["signature_hex"]), message) is case["valid"]


def test_no_message_is_signed_by_a_key_of_small_order() -> None:
    """With R the neutral element and S zero, the equation holds for an eighth of all messages under any key."""
    forged = Signature(key_id="", sig=b"\1" + bytes(63))
    for case in VECTORS["keys"]:
        peer = PeerId(bytes.fromhex(case["public_key_hex"]))
        for number in range(40):
            payload = base64.b64encode(b"%d" % number)
            assert not signed_by(Envelope(payload=payload, signatures=(forged,)), peer)


@KEYS
@pytest.mark.parametrize("name", ["allow", "deny"])
def test_a_key_that_proves_nothing_is_on_no_list(case: dict[str, Any], name: str) -> None:
    lists: dict[str, Any] = {name: (case["peer_id"],)}

    if case["accepted"]:
        assert getattr(Policy(**lists), name) == lists[name]
    else:
        with pytest.raises(ValueError, match=f"{name}: expected a list of PeerIds"):
            Policy(**lists)
