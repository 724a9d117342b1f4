"""Flip every byte of a signed receipt and of what it speaks of: not one may pass."""

import attrs
import pytest

from plasm_core.records import Decision, Envelope, Verdict
from plasm_core.verification import Expectation, verify
from plasm_signer_ed25519.verifier import SignatureVerifier
from tests.support.receipts import SIGNER, STDOUT, envelope, outputs_of

SIGNED = envelope()
(SIGNATURE,) = SIGNED.signatures
TRUST = Expectation(trusted=frozenset({SIGNER.peer_id}))
FORGED = f"no signature of {SIGNER.peer_id}, the node it names, is valid"


def judged(signed: Envelope | bytes, expectation: Expectation = TRUST) -> Verdict:
    data = signed if isinstance(signed, bytes) else signed.to_json()
    return verify(data, expectation, [SignatureVerifier()])[1]


def flipped(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]


def test_untouched_it_is_accepted() -> None:
    assert judged(SIGNED, attrs.evolve(TRUST, outputs=outputs_of())).decision is Decision.ACCEPT


@pytest.mark.parametrize("bit", [0x01, 0x20, 0x80])
def test_every_byte_of_the_payload_counts(bit: int) -> None:
    for at in range(len(SIGNED.payload)):
        verdict = judged(attrs.evolve(SIGNED, payload=flipped(SIGNED.payload, at, bit)))

        assert verdict.decision is Decision.REJECT, at
        assert verdict.reasons, at


@pytest.mark.parametrize("bit", [0x01, 0x20, 0x80])
def test_every_byte_of_the_signature_counts(bit: int) -> None:
    for at in range(64):
        changed = attrs.evolve(SIGNATURE, sig=flipped(SIGNATURE.sig, at, bit))
        verdict = judged(attrs.evolve(SIGNED, signatures=(changed,)))

        assert verdict.decision is Decision.REJECT, at
        assert verdict.reasons == (FORGED,), at


@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_every_byte_of_the_output_counts(bit: int) -> None:
    for at in range(len(STDOUT)):
        verdict = judged(SIGNED, attrs.evolve(TRUST, outputs=outputs_of(flipped(STDOUT, at, bit))))

        assert verdict.decision is Decision.REJECT, at
        assert verdict.reasons[0].startswith("stdout is not what the receipt says"), at


def test_output_cut_short_or_continued_is_rejected() -> None:
    for output in (b"", STDOUT[:-1], STDOUT + b"\n"):
        assert judged(SIGNED, attrs.evolve(TRUST, outputs=outputs_of(output))).decision is Decision.REJECT


@pytest.mark.parametrize("bit", [0x01, 0x04, 0x20])
def test_every_character_of_the_envelope_counts_but_those_of_the_key_id(bit: int) -> None:
    """The key id is an untrusted hint and may be left out."""
    data = SIGNED.to_json()
    name = data.index(b"keyid")
    value = data.index(SIGNATURE.key_id.encode())
    hint = {*range(name, name + 5), *range(value, value + 64)}
    for at in set(range(len(data))) - hint:
        verdict = judged(flipped(data, at, bit))

        assert verdict.decision is Decision.REJECT, data[max(0, at - 10) : at + 10]
