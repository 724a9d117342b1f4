"""PeerIds as people write them: in base58, or as a CID in the multibases of libp2p's tools."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasm_core.records import PeerId
from plasm_core.records.cid import parse_peer
from plasm_core.records.peer import base58_encode

PEER = PeerId(bytes(range(32)))
CID = b"\x01\x72" + PEER.multihash
BASE32 = base64.b32encode(CID).decode().rstrip("=")


def base36(data: bytes) -> str:
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 36)
        text = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + text
    return text


FORMS = [
    str(PEER),
    "b" + BASE32.lower(),
    "B" + BASE32,
    "k" + base36(CID),
    "K" + base36(CID).upper(),
    "z" + base58_encode(CID),
    "f" + CID.hex(),
    "F" + CID.hex().upper(),
]


@pytest.mark.parametrize("text", FORMS)
def test_each_form_is_read(text: str) -> None:
    assert parse_peer(text) == PEER
    assert parse_peer(f" {text}\n") == PEER


@pytest.mark.parametrize(
    "text",
    [
        *(form[:-1] for form in FORMS),
        *(form + "0" for form in FORMS[1:]),
        "B" + BASE32.lower(),
        "f01" + "70" + PEER.multihash.hex(),
        "b",
        "k",
        "z",
        "f",
        "",
        "Qm" + "1" * 44,
        "k" + "z" * 100,
        "b" * 5000,
    ],
)
def test_invalid_values_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_peer(text)


@given(
    st.text(max_size=150) | st.builds("".join, st.tuples(st.sampled_from("bBfFkKz1"), st.text(max_size=140)))
)
def test_nothing_but_value_errors_comes_out(text: str) -> None:
    with contextlib.suppress(ValueError):
        parse_peer(text)
