"""Hold envelopes: DSSE's own vector, both base64 alphabets, and nothing that two readers could read differently."""

import base64
import json
from typing import Any

import attrs
import pytest

from plasm_core.errors import InvalidRecordError
from plasm_core.records import Envelope, Signature, pae
from plasm_core.records.envelope import MAX_ENVELOPE_BYTES, MAX_SIGNATURES, PAYLOAD_TYPE, decode_base64
from tests.support.receipts import encoded, envelope

SIGNED = envelope()
GOOD = SIGNED.to_json()
BASE64 = "expected base64"
CANONICAL = "expected canonical base64"
TEXT = "expected a string of at most 1024 characters"
ONE_TO_64 = "expected a list of 1 to 64 signatures"


def problems(data: bytes) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRecordError) as caught:
        Envelope.from_json(data)
    assert caught.value.record == "envelope"
    return caught.value.problems


def test_the_protocols_own_vector() -> None:
    """DSSE 1.0.2, protocol.md."""
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"

    assert pae("http://example.com/HelloWorld", b"hello world") == expected


def test_lengths_count_bytes_and_stand_for_themselves() -> None:
    assert pae("ä", "ö".encode()) == b"DSSEv1 2 \xc3\xa4 2 \xc3\xb6"
    assert pae("", b"") == b"DSSEv1 0  0 "
    assert pae("a", b"b 1 c") != pae("a 5 b", b"c")


def test_an_envelope_comes_back_as_it_was() -> None:
    assert Envelope.from_json(GOOD) == SIGNED
    assert Envelope.from_json(GOOD).to_json() == GOOD
    assert SIGNED.payload_type == PAYLOAD_TYPE


def test_any_bytes_can_be_a_payload() -> None:
    for payload in (b"", bytes(range(256)), b"\xff" * 1000):
        signed = attrs.evolve(SIGNED, payload=payload)
        assert Envelope.from_json(signed.to_json()) == signed


def test_both_base64_alphabets_are_read_and_the_standard_one_is_written() -> None:
    data = bytes(range(248, 256)) * 3
    standard, urlsafe = base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()
    read = Envelope.from_json(encoded(GOOD, payload=urlsafe, signatures__0__sig=urlsafe))

    assert standard != urlsafe
    assert read.payload == read.signatures[0].sig == data
    assert json.loads(read.to_json())["payload"] == standard


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, BASE64),
        (5, BASE64),
        ([], BASE64),
        ("A", BASE64),
        ("AA", BASE64),
        ("AAA", BASE64),
        ("AAAAA", BASE64),
        ("AA==AAAA", BASE64),
        ("AAAA\n", BASE64),
        (" AAAA", BASE64),
        ("AA AA", BASE64),
        ("AA!A", BASE64),
        ("ＡＡＡＡ", BASE64),  # noqa: RUF001
        ("=", BASE64),
        ("====", BASE64),
        ("AB==", CANONICAL),
        ("AAB=", CANONICAL),
        ("AAAA=", CANONICAL),
        ("_x==", CANONICAL),
    ],
)
def test_base64_that_lax_readers_take_is_refused(text: Any, what: str) -> None:
    with pytest.raises(ValueError, match=f"^({BASE64}|{CANONICAL})$"):
        decode_base64(text)
    assert problems(encoded(GOOD, payload=text))[0][0] == "payload"
    assert problems(encoded(GOOD, signatures__0__sig=text))[0][0] == "signatures[0].sig"


def test_each_text_of_four_characters_decodes_to_itself_or_not_at_all() -> None:
    """No two texts of one alphabet may hold the same bytes: else a signed envelope could be changed unseen."""
    seen: dict[bytes, str] = {}
    for tail in ("A=", "B=", "P=", "g=", "==", "w=", "Aw", "AA", "AB"):
        for head in ("AA", "AQ", "Ag", "Aw", "QQ", "Qg"):
            text = head + tail
            try:
                data = decode_base64(text)
            except ValueError:
                continue
            assert seen.setdefault(data, text) == text
    assert len(seen) > 20


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        ({"payload": ...}, "payload", BASE64),
        ({"payloadType": ...}, "payloadType", TEXT),
        ({"payloadType": 5}, "payloadType", TEXT),
        ({"payloadType": "x" * 1025}, "payloadType", TEXT),
        ({"signatures": ...}, "signatures", ONE_TO_64),
        ({"signatures": []}, "signatures", ONE_TO_64),
        ({"signatures": {}}, "signatures", ONE_TO_64),
        ({"signatures": "x"}, "signatures", ONE_TO_64),
        ({"signatures": [{"sig": ""}] * (MAX_SIGNATURES + 1)}, "signatures", ONE_TO_64),
        ({"signatures__0": []}, "signatures[0]", "expected an object"),
        ({"signatures__0__sig": ...}, "signatures[0].sig", BASE64),
        ({"signatures__0__keyid": None}, "signatures[0].keyid", TEXT),
        ({"signatures__0__keyid": "x" * 1025}, "signatures[0].keyid", TEXT),
    ],
)
def test_a_problem_is_named_with_its_path(changes: dict[str, Any], where: str, what: str) -> None:
    value = json.loads(GOOD)
    for path, new in changes.items():
        if path == "signatures__0":
            value["signatures"] = [new]
        else:
            value = json.loads(encoded(json.dumps(value).encode(), **{path: new}))

    assert problems(json.dumps(value).encode()) == [(where, what)]


def test_every_problem_is_named_at_once() -> None:
    found = problems(b'{"payload": 1, "signatures": [{"sig": "!"}, 5]}')

    assert [where for where, _ in found] == ["payload", "payloadType", "signatures[0].sig", "signatures[1]"]


def test_unknown_fields_are_ignored() -> None:
    read = Envelope.from_json(encoded(GOOD, extra={"a": [1]}, signatures__0__cert="x"))

    assert read == SIGNED


def test_a_signature_needs_no_key_id() -> None:
    read = Envelope.from_json(encoded(GOOD, signatures__0__keyid=...))

    assert read.signatures == (Signature(key_id="", sig=SIGNED.signatures[0].sig),)


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b'"x"', b"\xff", b'{"payload":"","payload":""}', b"[" * 90_000, b"NaN"]
)
def test_a_document_that_is_no_json_object_is_refused(data: bytes) -> None:
    ((where, _),) = problems(data)

    assert where == ""


def test_an_envelope_may_have_so_many_bytes_and_no_more() -> None:
    padded = GOOD + b" " * (MAX_ENVELOPE_BYTES - len(GOOD))

    assert Envelope.from_json(padded) == SIGNED
    assert problems(padded + b" ") == [("", "1048577 bytes, more than the 1048576 allowed")]


def test_what_was_read_can_be_written_again() -> None:
    """A lone surrogate is no Unicode text, and nothing that holds one can be encoded (RFC 7493, section 2.1)."""
    try:
        read = Envelope.from_json(encoded(GOOD, payloadType="\ud800", signatures__0__keyid="\ud800"))
    except InvalidRecordError:
        return
    assert read.signed_bytes
    assert read.to_json()


def test_an_envelope_without_signatures_cannot_be_made() -> None:
    with pytest.raises(ValueError, match=r"signatures"):
        Envelope(payload=b"", signatures=())


def test_a_representation_does_not_show_the_payload() -> None:
    assert "Statement" not in repr(SIGNED)
